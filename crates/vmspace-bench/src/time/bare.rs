//! The yardstick: four levels of tables in Sv48's encoding, walked from the root for each page.
//!
//! Whoever changes entries knows that the tables are there and goes down without a look. Whoever
//! translates looks at each entry, as hardware does: a table, a leaf, or nothing.

use super::{PAGES, Subject, shuffled};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 512;

type Table = [AtomicU64; SLOTS];

/// Tables in a vector; the frame of a table is its index.
pub struct Bare {
    tables: Vec<Table>,
}

const VALID: u64 = 1;
/// Read, write, execute: all clear in an entry that names a table.
const ACCESS: u64 = 0xe;
const FRAME_SHIFT: u32 = 10;
const READ_WRITE: u64 = 0xd7;
const READ_ONLY: u64 = 0xd3;

impl Bare {
    pub fn new() -> Bare {
        let mut bare = Bare { tables: vec![table()] };
        for page in (0..PAGES).step_by(SLOTS) {
            bare.make(page);
        }
        bare
    }

    fn make(&mut self, page: u64) {
        let mut at = 0;
        for level in (1..4).rev() {
            let slot = &self.tables[at][index(page, level)];
            at = match slot.load(Ordering::Relaxed) {
                0 => {
                    let next = self.tables.len();
                    slot.store((next as u64) << FRAME_SHIFT | VALID, Ordering::Relaxed);
                    self.tables.push(table());
                    next
                }
                word => frame(word),
            };
        }
    }

    #[inline(always)]
    fn leaf(&self, page: u64) -> &Table {
        let mut at = 0;
        for level in (1..4).rev() {
            // SAFETY: `make` put the index of a table there.
            let table = unsafe { self.tables.get_unchecked(at) };
            at = frame(table[index(page, level)].load(Ordering::Acquire));
        }
        // SAFETY: as above.
        unsafe { self.tables.get_unchecked(at) }
    }

    /// The frame that `page` translates to, and what its entry says beside.
    #[inline(always)]
    fn translate(&self, page: u64) -> Option<(usize, u64)> {
        let mut at = 0;
        for level in (0..4).rev() {
            // SAFETY: `make` put the index of a table there.
            let table = unsafe { self.tables.get_unchecked(at) };
            let word = table[index(page, level)].load(Ordering::Acquire);
            if word & (VALID | ACCESS) != VALID {
                let within = page as usize & ((1 << (9 * level)) - 1);
                return (word & VALID != 0).then_some((frame(word) + within, word & 0xff));
            }
            at = frame(word);
        }
        None
    }

    fn each(&self, change: impl Fn(&AtomicU64, u64)) {
        for page in 0..PAGES {
            change(&self.leaf(page)[index(page, 0)], page);
        }
    }

    fn range(&self, change: impl Fn(&AtomicU64, u64)) {
        for first in (0..PAGES).step_by(SLOTS) {
            for (slot, page) in self.leaf(first).iter().zip(first..) {
                change(slot, page);
            }
        }
    }
}

fn table() -> Table {
    std::array::from_fn(|_| AtomicU64::new(0))
}

#[inline(always)]
fn frame(word: u64) -> usize {
    (word >> FRAME_SHIFT) as usize
}

#[inline(always)]
fn index(page: u64, level: u32) -> usize {
    (page >> (9 * level)) as usize & (SLOTS - 1)
}

fn put(slot: &AtomicU64, word: u64) {
    black_box(slot.swap(word, Ordering::AcqRel));
}

fn protect(slot: &AtomicU64) {
    let word = slot.load(Ordering::Relaxed);
    let new = word & !0xff | READ_ONLY;
    let _ = black_box(slot.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed));
}

impl Subject for Bare {
    fn map_each(&mut self) {
        self.each(|slot, page| put(slot, page << 10 | READ_WRITE));
    }

    fn translate(&mut self) {
        for page in shuffled() {
            black_box(Bare::translate(self, page));
        }
    }

    fn protect_each(&mut self) {
        self.each(|slot, _| protect(slot));
    }

    fn unmap_each(&mut self) {
        self.each(|slot, _| put(slot, 0));
    }

    fn map_range(&mut self) {
        self.range(|slot, page| put(slot, page << 10 | READ_WRITE));
    }

    fn protect_range(&mut self) {
        self.range(|slot, _| protect(slot));
    }

    fn unmap_range(&mut self) {
        self.range(|slot, _| put(slot, 0));
    }
}
