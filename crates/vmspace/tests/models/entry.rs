//! The entry's word, which the stealer, the holder of the leaf's lock and the MMU write at once.
//!
//! Scenario 6 (R13, R46, R47). The rule: without the leaf's lock, a `fetch_and` may clear accessed
//! and nothing else, accessed and dirty stand at positions that are zero in every absent word, and
//! all else is compare-exchange on the present value. Then a late `fetch_and` changes nothing in an
//! entry that has become a swap entry. Weaker formats put a bit of the slot's number where accessed
//! is, and the late stealer changes which slot the page is in. Weaker writers load and store (a
//! dirty bit is lost), clear dirty too (another frame's store is forgotten), or set accessed by
//! `fetch_or` (an absent word looks accessed).

use crate::explorer::{Model, Report, Step, ensure};

/// Bits of a present word; the frame's number stands above them.
const PRESENT: u16 = 1 << 0;
const ACCESSED: u16 = 1 << 5;
const DIRTY: u16 = 1 << 6;
const FRAME_SHIFT: u32 = 7;

/// Where an absent word that names a swap slot keeps the slot's number.
const ABOVE_DIRTY: u32 = 7;
const ABOVE_PRESENT: u32 = 1;

/// The slot that the page goes to: all its bits are set in either format.
const SLOT: u16 = 0x1f;

/// How the stealer ages a present entry.
#[derive(Clone, Copy, PartialEq)]
enum Ages {
    FetchAndOfAccessed,
    FetchAndOfDirtyToo,
    LoadAndStore,
}

/// How a walk in software sets accessed without the lock.
#[derive(Clone, Copy, PartialEq)]
enum Touches {
    CompareExchange,
    FetchOr,
}

/// The protocol of one entry.
#[derive(Clone, Copy)]
struct Rule {
    ages: Ages,
    touches: Touches,
    slot_shift: u32,
}

const OURS: Rule = Rule {
    ages: Ages::FetchAndOfAccessed,
    touches: Touches::CompareExchange,
    slot_shift: ABOVE_DIRTY,
};

fn present(frame: usize) -> u16 {
    (frame as u16) << FRAME_SHIFT | PRESENT
}

fn frame_of(word: u16) -> usize {
    usize::from(word >> FRAME_SHIFT)
}

/// The word, what its lock's holder last wrote, and of both frames: stored to, known to be dirty.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Entry {
    word: u16,
    written: u16,
    seen_by_stealer: u16,
    seen_by_walk: u16,
    stored: [bool; 2],
    known_dirty: [bool; 2],
}

impl Entry {
    /// An atomic swap by the lock's holder, who keeps the dirty bit of what he took out.
    fn swap(&mut self, word: u16) {
        let old = std::mem::replace(&mut self.word, word);
        self.written = word;
        if old & PRESENT != 0 {
            self.known_dirty[frame_of(old)] |= old & DIRTY != 0;
        }
    }

    fn names_what_was_written(&self) -> bool {
        let hardware = if self.written & PRESENT != 0 { ACCESSED | DIRTY } else { 0 };
        self.word & !hardware == self.written
    }

    fn is_known_dirty(&self, frame: usize) -> bool {
        let in_the_word = self.word & (PRESENT | DIRTY) == PRESENT | DIRTY;
        self.known_dirty[frame] || in_the_word && frame_of(self.word) == frame
    }
}

fn writers_at_once(rule: Rule) -> Report {
    let entry = Entry {
        word: present(0) | ACCESSED,
        written: present(0),
        seen_by_stealer: 0,
        seen_by_walk: 0,
        stored: [false; 2],
        known_dirty: [false; 2],
    };
    Model::new(entry)
        .thread("T0 ages")
        .step("load the entry", |e| {
            e.seen_by_stealer = e.word;
            if e.word & (PRESENT | ACCESSED) == PRESENT | ACCESSED {
                Step::Next
            } else {
                Step::Done
            }
        })
        .step("clear accessed", move |e| match rule.ages {
            Ages::FetchAndOfAccessed => e.word &= !ACCESSED,
            Ages::LoadAndStore => e.word = e.seen_by_stealer & !ACCESSED,
            Ages::FetchAndOfDirtyToo => {
                e.known_dirty[frame_of(e.seen_by_stealer)] |= e.word & DIRTY != 0;
                e.word &= !(ACCESSED | DIRTY);
            }
        })
        .thread("T2's MMU")
        .step("store", |e| {
            if e.word & PRESENT != 0 {
                e.word |= ACCESSED | DIRTY;
                e.stored[frame_of(e.word)] = true;
            }
        })
        .thread("T1 holds the lock")
        .step("swap in a swap entry", move |e| e.swap(SLOT << rule.slot_shift))
        .step("swap in another frame", |e| e.swap(present(1)))
        .thread("T3 walks in software")
        .step("load the entry", |e| {
            e.seen_by_walk = e.word;
            if e.word & PRESENT != 0 { Step::Next } else { Step::Done }
        })
        .step("set accessed", move |e| match rule.touches {
            Touches::FetchOr => e.word |= ACCESSED,
            Touches::CompareExchange if e.word == e.seen_by_walk => e.word |= ACCESSED,
            Touches::CompareExchange => {}
        })
        .always(|e| ensure(e.names_what_was_written(), "the entry is not what was written"))
        .always(|e| {
            let kept = (0..2).all(|frame| !e.stored[frame] || e.is_known_dirty(frame));
            ensure(kept, "a store is forgotten")
        })
        .explore()
}

#[test]
fn a_late_fetch_and_changes_the_slot_of_a_swap_entry_that_overlaps_accessed() {
    writers_at_once(Rule { slot_shift: ABOVE_PRESENT, ..OURS })
        .must_fail("the entry is not what was written");
}

#[test]
fn ageing_by_load_and_store_forgets_a_store() {
    writers_at_once(Rule { ages: Ages::LoadAndStore, ..OURS }).must_fail("a store is forgotten");
}

#[test]
fn clearing_dirty_without_the_lock_forgets_a_store_to_another_frame() {
    writers_at_once(Rule { ages: Ages::FetchAndOfDirtyToo, ..OURS })
        .must_fail("a store is forgotten");
}

#[test]
fn setting_accessed_by_fetch_or_changes_a_swap_entry() {
    writers_at_once(Rule { touches: Touches::FetchOr, ..OURS })
        .must_fail("the entry is not what was written");
}

#[test]
fn swap_entries_and_stores_survive_every_writer_without_the_lock() {
    writers_at_once(OURS).must_pass();
}
