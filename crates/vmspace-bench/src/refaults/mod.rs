//! Refaults of the library's policy beside others', on traces of a hot set and a scan.
//!
//! The library runs for real: a machine of few frames, a space that is touched page by page as a
//! processor would (accessed and dirty bits set in the entries), and a swap device that counts what is
//! read back. The others are simulated with as many frames as the library had to use.

mod policy;
mod trace;

use crate::world::{self, Machine, World};
use policy::Policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use trace::Trace;
use vmspace::format::{Geometry, Rights, Sv48};
use vmspace::{Access, Advice, Map, MaySleep, Page, PagerError, Space, SwapDevices};

/// Refaults on one trace.
pub struct Row {
    pub what: &'static str,
    pub belady: u64,
    pub lru: u64,
    pub fifo: u64,
    pub ours: u64,
    /// Whether ours is to be below FIFO's and LRU's.
    pub scan: bool,
}

/// All of them, and what memory they were measured in.
pub struct Refaults {
    pub frames: u32,
    pub rows: Vec<Row>,
}

const AT: u64 = 1 << 40;
const PAGE: u64 = Sv48::PAGE_SIZE;
/// Of the machine: a few hundred are the manager's and the tables'.
const FRAMES: u64 = 2_560;

/// A device of which only is known how often it was read.
struct Counting(Arc<AtomicU64>);

impl SwapDevices for Counting {
    fn read(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Ok(())
    }

    fn discard(&self, _: u64, _: u64) {}
}

/// Measures everything.
pub fn measure() -> Refaults {
    let pages = trace::most_pages(FRAMES as u32);
    let frames = in_small_memory(pages, |space, _, _| space.vm().free_frames() as u32);
    let row = |trace: Trace| {
        eprintln!("counting refaults: {}", trace.what);
        let simulated = |policy| policy::refaults(policy, &trace, frames as usize);
        Row {
            what: trace.what,
            belady: simulated(Policy::Belady),
            lru: simulated(Policy::Lru),
            fifo: simulated(Policy::Fifo),
            ours: in_small_memory(pages, |space, ms, read| {
                for page in &trace.pages {
                    world::touch(space, ms, AT + u64::from(*page) * PAGE, Access::Write);
                }
                read.load(Ordering::Relaxed)
            }),
            scan: trace.scan,
        }
    };
    Refaults { frames, rows: trace::all(frames).map(row).collect() }
}

/// Runs `body` on a space of so many pages, whose tables exist, in a machine of few frames; it is
/// told how many pages were read back.
fn in_small_memory<R>(
    pages: u32,
    body: impl FnOnce(&World<'_>, &mut MaySleep, &AtomicU64) -> R,
) -> R {
    let read = Arc::new(AtomicU64::new(0));
    let vm = Machine::new(FRAMES, Box::new(Counting(read.clone())), false).manager();
    // SAFETY: this thread may sleep, and holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    vm.swap_on(ms, 1, u64::from(pages), 0).expect("there is memory for the slots");
    let space = Space::new(&vm, ms).expect("the manager is fresh");
    space.enter(0);
    let length = u64::from(pages) * PAGE;
    let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(AT) };
    space.map(ms, map).expect("there is memory");
    for first in (0..length).step_by(512 * PAGE as usize) {
        world::touch(&space, ms, AT + first, Access::Write);
        space.advise(ms, AT + first, PAGE, Advice::DontNeed).expect("it is mapped");
    }
    let result = body(&space, ms, &read);
    space.exit(ms);
    result
}

const RW: Rights = Rights::READ.union(Rights::WRITE);
