//! What each CPU brought back last.
//!
//! Guarantee: an instruction gets all the pages that it needs at once, [`AT_ONCE`] at the most, or is
//! told that memory is over, if its CPU does nothing else between its faults. Without that, two pages
//! for which there is room for one drive each other out for ever: every fault succeeds, and the
//! instruction never runs.
//!
//! A CPU remembers the last pages that it brought back, each once. Who gets on wants another before
//! long; once a CPU has wanted no other [`AGAIN`] times in a row, those that it remembers are not stolen
//! for who needs memory, until the CPU has wanted another, or one of them so many times more: for who
//! was told that memory is over, and now needs fewer. (Who asks for pages to go gets them.)
//!
//! A page's mark says which CPU brought it, and as which of that CPU's pages, counted from one.

use crate::counters::{AT_ONCE, Brought};
use crate::flush::SpaceId;
use crate::frame::meta::Meta;
use crate::platform::Platform;
use crate::sync::Ordering;
use crate::vm::Vm;

/// How often in a row a CPU wants what it brought last before that stays, and how often it may then.
const AGAIN: u32 = 3 * AT_ONCE as u32;

/// Bits of a mark that say which CPU.
const CPU_BITS: u32 = 16;

/// A page that is gone and wanted: the same whenever it is, wherever it was. (Two that look alike are
/// taken for one, which does no harm.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted(u64);

impl Wanted {
    /// Page `page` of a space.
    pub fn of_space(space: SpaceId, page: u64) -> Wanted {
        Wanted::of(space.0, page)
    }

    /// Page `index` of an object.
    pub fn of_object(object: u64, index: u64) -> Wanted {
        Wanted::of(object, index)
    }

    /// Never 0, which stands where nothing has been wanted yet.
    fn of(whose: u64, page: u64) -> Wanted {
        Wanted(whose.rotate_left(u64::BITS / 2) ^ page | 1 << (u64::BITS - 1))
    }
}

impl<P: Platform> Vm<P> {
    /// The running CPU wants a page: before memory is looked for.
    pub(crate) fn want(&self, wanted: Wanted) {
        let brought = &self.running().brought;
        match number_of(brought, wanted) {
            Some(_) => brought.again.fetch_add(1, Ordering::Relaxed),
            None => brought.again.swap(0, Ordering::Relaxed),
        };
    }

    /// The running CPU has brought back what it wanted.
    pub(crate) fn note_brought(&self, wanted: Wanted, meta: &Meta) {
        let brought = &self.running().brought;
        let number = number_of(brought, wanted).unwrap_or_else(|| {
            let number = brought.count.fetch_add(1, Ordering::Relaxed) + 1;
            brought.last[number as usize % AT_ONCE].store(wanted.0, Ordering::Relaxed);
            number
        });
        meta.link.store(number << CPU_BITS | self.cpu() as u64, Ordering::Relaxed);
    }

    /// Whether a page stays because its CPU does not get on without it. Any frame: of one that is no
    /// page, the answer does not matter.
    pub(crate) fn is_latest(&self, meta: &Meta) -> bool {
        let mark = meta.link.load(Ordering::Relaxed);
        let (number, cpu) = (mark >> CPU_BITS, mark & ((1 << CPU_BITS) - 1));
        let cpu = self.blocks().nth(cpu as usize);
        number != 0 && cpu.is_some_and(|cpu| stays(&cpu.brought, number))
    }
}

/// As which of its pages a CPU remembers one.
fn number_of(brought: &Brought, Wanted(wanted): Wanted) -> Option<u64> {
    let newest = brought.count.load(Ordering::Relaxed);
    let mut numbers = (1..=newest).rev().take(AT_ONCE);
    numbers.find(|nth| brought.last[*nth as usize % AT_ONCE].load(Ordering::Relaxed) == wanted)
}

/// Whether a CPU still remembers the page with this number, and does not get on.
fn stays(brought: &Brought, number: u64) -> bool {
    let since = brought.count.load(Ordering::Relaxed).wrapping_sub(number);
    since < AT_ONCE as u64 && brought.again.load(Ordering::Relaxed) % (2 * AGAIN) >= AGAIN
}
