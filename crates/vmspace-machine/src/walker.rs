//! The walk over the library's tables: what hardware does on a TLB miss.
//!
//! Guarantee: a walk reads entries with Acquire, from the root down, and trusts nothing that it
//! reads: a frame outside of memory ends it. It writes nothing but accessed and dirty, by
//! compare-exchange on the very word whose rights it has checked (R47); when that fails somebody
//! else changed the word, and the walk starts again. So nothing is set in an entry that does not
//! grant the access, and no dirty bit is set after the entry was taken away.
//!
//! It is generic over the format and knows no instruction set. It holds no lock and no guard:
//! a walker is between two answers to shootdowns, and no table is reused before every hart has
//! answered.

use crate::memory::Memory;
use std::sync::atomic::Ordering;
use vmspace::format::{Entry, Format, Geometry, Leaf, Rights};
use vmspace::{Access, Cell, Frame};

/// A table on the way to a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Table {
    /// Where it is.
    pub frame: Frame,
    /// Its level.
    pub level: usize,
}

impl Table {
    /// The root of a space.
    pub fn root<F: Format>(frame: Frame) -> Table {
        Table { frame, level: F::ROOT_LEVEL }
    }
}

/// What a walk came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// The last table that was read.
    pub table: Frame,
    /// Its level.
    pub level: usize,
    /// The entry's word in it.
    pub word: u64,
    /// The entry, decoded: a leaf, or absent.
    pub entry: Entry,
}

/// Counts of what walks did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalkCounts {
    /// Walks begun.
    pub walks: u64,
    /// Walks begun again because somebody changed the entry meanwhile.
    pub retries: u64,
    /// Accessed bits set.
    pub accessed: u64,
    /// Dirty bits set.
    pub dirty: u64,
}

/// Whether rights let a program in user mode do `access`.
pub fn permits(rights: Rights, access: Access) -> bool {
    rights.contains(
        Rights::USER
            | match access {
                Access::Read => Rights::READ,
                Access::Write => Rights::WRITE,
                Access::Execute => Rights::EXECUTE,
            },
    )
}

/// The frame of base page `page` in a leaf at `level`.
pub fn frame_in_leaf<F: Format>(level: usize, leaf: Leaf, page: u64) -> Frame {
    leaf.frame.add(page & (F::slot_pages(level) - 1))
}

/// Walks to the entry of `page` and changes nothing. None when a table lies outside of memory.
pub fn look_up<F: Format>(memory: &Memory, root: Frame, page: u64) -> Option<Found> {
    look_up_above::<F>(memory, root, page, 0)
}

/// The same, but no further than to the entry at `level`.
pub fn look_up_above<F: Format>(
    memory: &Memory,
    root: Frame,
    page: u64,
    level: usize,
) -> Option<Found> {
    descend::<F>(memory, Table::root::<F>(root), page, level, |_, _, _| Step::Go)
}

/// Walks from a table to the entry of `page`, telling `pass` of each table on the way; when it
/// grants `access`, sets accessed, and dirty for a write. None when it is absent, does not grant the
/// access, or a table lies outside of memory.
pub fn walk<F: Format>(
    memory: &Memory,
    from: Table,
    page: u64,
    access: Access,
    counts: &mut WalkCounts,
    mut pass: impl FnMut(Table),
) -> Option<Found> {
    counts.walks += 1;
    let write = access == Access::Write;
    loop {
        let mut again = false;
        let found = descend::<F>(memory, from, page, 0, |found, cell, entry| {
            if let Entry::Table(frame) = entry {
                pass(Table { frame, level: found.level - 1 });
            }
            let touched = match entry {
                Entry::Leaf(leaf) if permits(leaf.rights, access) => {
                    F::touched(found.level, found.word, write)
                }
                Entry::Table(_) => F::touched(found.level, found.word, false),
                _ => found.word,
            };
            if touched == found.word {
                return Step::Go;
            }
            match cell.compare_exchange(found.word, touched) {
                Ok(()) => {
                    count_touched::<F>(counts, found.level, entry, touched);
                    Step::Became(touched)
                }
                Err(_) => {
                    again = true;
                    Step::Stop
                }
            }
        });
        if again {
            counts.retries += 1;
            continue;
        }
        return found.filter(|found| match found.entry {
            Entry::Leaf(leaf) => permits(leaf.rights, access),
            _ => false,
        });
    }
}

fn count_touched<F: Format>(counts: &mut WalkCounts, level: usize, was: Entry, touched: u64) {
    let (Entry::Leaf(was), Entry::Leaf(is)) = (was, F::decode(level, touched)) else {
        return;
    };
    counts.accessed += u64::from(is.accessed && !was.accessed);
    counts.dirty += u64::from(is.dirty && !was.dirty);
}

/// What `descend` does next after a visit to an entry.
enum Step {
    /// On with the word as it was read.
    Go,
    /// On with this word, which the visitor has put there: the same entry, touched.
    Became(u64),
    /// No further.
    Stop,
}

/// Reads entries from a table down to a leaf, an absent one or that at level `lowest`, showing each
/// to `visit`.
fn descend<F: Format>(
    memory: &Memory,
    from: Table,
    page: u64,
    lowest: usize,
    mut visit: impl FnMut(&Found, &F::Cell, Entry) -> Step,
) -> Option<Found> {
    let Table { frame: mut table, mut level } = from;
    loop {
        let cell = memory.cell::<F>(table, F::index(level, page))?;
        // Acquire: pairs with the Release of whoever attached the table or the page, so what the
        // entry names is seen filled; and what its changer did before is seen by the check.
        let word = cell.load(Ordering::Acquire);
        let entry = F::decode(level, word);
        let mut found = Found { table, level, word, entry };
        match visit(&found, cell, entry) {
            Step::Go => {}
            Step::Became(word) => {
                found.word = word;
                found.entry = F::decode(level, word);
            }
            Step::Stop => return None,
        }
        match entry {
            Entry::Table(next) if level > lowest => {
                table = next;
                level -= 1;
            }
            _ => return Some(found),
        }
    }
}
