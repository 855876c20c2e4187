//! A machine whose every step shuttle orders: CPUs with a TLB that forgets nothing unless told to,
//! and which stops at the first use of a translation that should have gone (O1).
//!
//! A CPU holds its TLB's lock for one instruction, walk and access together, as a processor takes
//! an interrupt between instructions alone; a shootdown takes each TLB's in turn. Whoever parks is
//! woken by `unpark_all` and by nothing else, so a wakeup that is lost ends in a deadlock, which
//! shuttle reports.

use crate::host::{Files, Host, Kept};
use shuttle::sync::{Condvar, Mutex};
use std::cell::Cell;
use std::ops::Range;
use vmspace::format::{Entry, Format, Geometry, Rights, Sv48};
use vmspace::sync::{AtomicU32, AtomicU64, Ordering};
use vmspace::{Access, Batch, CpuSet, Frame, MaySleep, Native, Platform, Space, SpaceId, Vm};

pub const CPUS: usize = 3;
pub const PAGE: u64 = Sv48::PAGE_SIZE;
const FRAMES: u64 = 160;

shuttle::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

/// A translation that a CPU remembers.
#[derive(Clone, Copy, Debug)]
pub struct Cached {
    space: SpaceId,
    page: u64,
    frame: Frame,
    rights: Rights,
    dirty: bool,
    /// The frame's, when it was cached.
    generation: Option<u64>,
}

impl Cached {
    fn serves(&self, access: Access) -> bool {
        access.allowed_by(self.rights) && (self.dirty || access != Access::Write)
    }
}

pub struct Machine {
    host: Host<Sv48>,
    tlbs: [Mutex<Vec<Cached>>; CPUS],
    parking: Mutex<()>,
    woken: Condvar,
}

impl Machine {
    pub fn manager() -> Vm<Machine> {
        let machine = Machine {
            host: Host::new(FRAMES, CPUS),
            tlbs: Default::default(),
            parking: Mutex::default(),
            woken: Condvar::default(),
        };
        Vm::new(machine, 0..FRAMES).unwrap()
    }

    /// Loads the word at `at` on the running CPU, or stores one there. None: a page fault.
    pub fn instruction(space: &Space<'_, Machine>, at: u64, store: Option<u64>) -> Option<u64> {
        let machine = space.vm().platform();
        let access = if store.is_some() { Access::Write } else { Access::Read };
        let (id, page) = (space.id(), at / PAGE);
        let mut tlb = machine.tlbs[machine.cpu()].lock().unwrap();
        let known = tlb.iter().find(|c| (c.space, c.page) == (id, page) && c.serves(access));
        let cached = match known {
            Some(cached) => *cached,
            None => {
                let found = machine.walk(space, page, access)?;
                tlb.retain(|c| (c.space, c.page) != (id, page));
                tlb.push(found);
                found
            }
        };
        let word = machine.word(cached.frame, (at % PAGE) as usize / 8);
        let value = match store {
            Some(value) => word.swap(value, Ordering::Relaxed),
            None => word.load(Ordering::Relaxed),
        };
        let generation = space.vm().generation(cached.frame);
        assert_eq!(generation, cached.generation, "O1: {at:#x} was reached through {cached:?}");
        Some(value)
    }

    /// Stores a word to a page that is held, as a device does; the word before.
    pub fn store_by_frame(&self, frame: Frame, offset: u64, value: u64) -> u64 {
        self.word(frame, offset as usize / 8).swap(value, Ordering::Relaxed)
    }

    /// What the processor's walker finds; it sets accessed and dirty by compare-exchange.
    fn walk(&self, space: &Space<'_, Machine>, page: u64, access: Access) -> Option<Cached> {
        let (mut table, mut level) = (space.root(), Sv48::ROOT_LEVEL);
        loop {
            let slot = self.word(table, Sv48::index(level, page));
            let word = slot.load(Ordering::Acquire);
            match Sv48::decode(level, word) {
                Entry::Table(next) => (table, level) = (next, level - 1),
                Entry::Leaf(leaf) if access.allowed_by(leaf.rights) => {
                    let new = Sv48::touched(level, word, access == Access::Write);
                    let set = slot.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed);
                    if set.is_ok() {
                        return Some(Cached {
                            space: space.id(),
                            page,
                            frame: leaf.frame,
                            rights: leaf.rights,
                            dirty: leaf.dirty || access == Access::Write,
                            generation: space.vm().generation(leaf.frame),
                        });
                    }
                }
                _ => return None,
            }
        }
    }

    fn word(&self, frame: Frame, index: usize) -> &AtomicU64 {
        assert!(frame.0 < FRAMES, "a walk was led to {frame:?}, which nobody has");
        let word = self.host.frame_ptr(frame).cast::<AtomicU64>().wrapping_add(index);
        // SAFETY: a word of a frame of the host's, which hardware reaches as atomics alone.
        unsafe { &*word }
    }

    /// A translation of these addresses that a CPU remembers.
    pub fn cached(space: &Space<'_, Machine>, range: Range<u64>) -> Option<Cached> {
        let of = |c: &&Cached| c.space == space.id() && range.contains(&(c.page * PAGE));
        let tlbs = space.vm().platform().tlbs.iter();
        tlbs.filter_map(|tlb| tlb.lock().unwrap().iter().find(of).copied()).next()
    }

    /// At rest, no CPU remembers what the tables do not say.
    pub fn assert_nothing_is_stale(space: &Space<'_, Machine>, ms: &mut MaySleep) {
        let guard = space.vm().walk(ms);
        for tlb in &space.vm().platform().tlbs {
            for cached in tlb.lock().unwrap().iter() {
                assert_eq!(cached.space, space.id(), "a space that ended: {cached:?}");
                let now = space.translate(&guard, cached.page * PAGE);
                let agrees = now
                    .is_some_and(|t| t.frame == cached.frame && t.rights.contains(cached.rights));
                assert!(agrees, "O1: {cached:?} is remembered, the tables say {now:?}");
            }
        }
    }
}

/// Makes the running thread that CPU.
pub fn be_cpu(cpu: usize) {
    CPU.with(|c| c.set(cpu));
}

// SAFETY: memory is the host's, which keeps the contract; a shootdown returns when it has removed
// the pages from the TLB of every CPU named, none of which is then in the middle of an access.
unsafe impl Platform for Machine {
    type Format = Sv48;
    type Backend = Native;
    type Pager = Files;
    type Swap = Kept;

    fn backend(&self) -> &Native {
        &Native
    }

    fn pager(&self) -> &Files {
        self.host.pager()
    }

    fn swap(&self) -> &Kept {
        self.host.swap()
    }

    fn cpus(&self) -> usize {
        CPUS
    }

    fn cpu(&self) -> usize {
        CPU.with(Cell::get)
    }

    fn frame_ptr(&self, frame: Frame) -> *mut u8 {
        self.host.frame_ptr(frame)
    }

    fn zero(&self, frame: Frame) {
        self.host.zero(frame);
    }

    fn shootdown(&self, cpus: &CpuSet, space: SpaceId, batch: &Batch<'_>) {
        let named = |page| batch.pages.is_none_or(|shots| shots.iter().any(|s| s.page == page));
        for cpu in cpus.iter() {
            let mut tlb = self.tlbs[cpu].lock().unwrap();
            tlb.retain(|cached| cached.space != space || !named(cached.page));
        }
    }

    fn flush_local(&self, space: SpaceId, page: u64) {
        let mut tlb = self.tlbs[self.cpu()].lock().unwrap();
        tlb.retain(|cached| (cached.space, cached.page) != (space, page));
    }

    fn park(&self, word: &AtomicU32, value: u32) {
        let parking = self.parking.lock().unwrap();
        if word.load(Ordering::Relaxed) == value {
            drop(self.woken.wait(parking).unwrap());
        }
    }

    fn unpark_all(&self, _: &AtomicU32) {
        let _parking = self.parking.lock().unwrap();
        self.woken.notify_all();
    }

    fn relax(&self) {
        shuttle::thread::yield_now();
    }

    fn memory_low(&self) {}
}
