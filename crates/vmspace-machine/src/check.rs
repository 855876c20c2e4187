//! Checking mode: each cached translation that is used, against its entry.
//!
//! Guarantee: no false alarm. The argument rests on one fact: between two of its answers to
//! shootdowns, a hart inside is waited for by everyone who takes rights away in a space that it
//! has loaded, and they wait with the lock of the node held in which they changed the entry.
//!
//! - The frame changed hands, or a present entry names another frame and one of the two is
//!   writable: a violation, whoever holds what. Either may come only after this hart has answered
//!   the shootdown for the old entry, and answering would have dropped the translation.
//! - The entry is absent, or gives fewer rights (dirty counted among them), or names another frame
//!   read-only as before: a flush may be open, in which case the lock of the node where the walk
//!   ended is held, from before the entry's change until this hart answers. We read the entry
//!   (Acquire: it pairs with the changer's Release) and **then** the lock. The changer took the
//!   lock before it changed the entry, so we see the lock held, or a later state of it; a later
//!   one there is not, since this hart does not answer between the two readings. So a lock found
//!   free, of a node that is attached, proves that nobody is owed an answer: a violation.
//!
//! - A pointer to a table that a walk begins at, against the entry that named it: by the same
//!   argument, the lock looked at being that of the node where the way down ends or turns off.
//! - A translation that comes in while a hart may hold another one for the same page, where the
//!   format demands break-before-make: [`crate::ledger`].
//!
//! What may be missed: a stale use while another operation happens to hold the same lock. The
//! next use is looked at again. The generation is read when a translation is cached, after its
//! entry, by the same argument: the frame cannot change hands before this hart has answered.

use crate::mmu::Manager;
use crate::tlb::store::Cached;
use crate::walker::{Found, Table, frame_in_leaf, look_up, look_up_above};
use std::fmt;
use vmspace::format::{Entry, Format, Leaf, Rights};
use vmspace::{Access, Frame, SpaceId};

/// What is wrong with a cached translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The entry is gone, and no flush is open.
    Absent,
    /// The entry gives fewer rights, and no flush is open.
    Rights,
    /// The entry names another frame.
    OtherFrame,
    /// The frame has changed hands since.
    Generation {
        /// Its generation now.
        now: Option<u64>,
    },
    /// The walk leads outside of memory.
    OutsideMemory,
    /// The table is not where it was any more, and no flush is open.
    Unlinked,
    /// A translation comes in, and this hart may still hold another one.
    Unbroken {
        /// Which hart.
        holder: usize,
    },
}

/// A stale translation was used, or one came in beside another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The hart that used it.
    pub hart: usize,
    /// In which space.
    pub space: SpaceId,
    /// For which address.
    pub address: u64,
    /// For what.
    pub access: Access,
    /// The format's name.
    pub format: &'static str,
    /// What was cached.
    pub cached: Cached,
    /// The entry that the cached word stands for.
    pub entry: Entry,
    /// What the walk finds; none when it leads outside of memory.
    pub present: Option<Found>,
    /// What is wrong.
    pub why: Why,
}

/// A comparison that failed.
pub(crate) type Mismatch = (Why, Option<Found>);

/// Compares what is cached for `page` with its entry under `root`, before a use.
pub(crate) fn compare<V: Manager>(
    manager: &V,
    root: Frame,
    page: u64,
    cached: &Cached,
) -> Result<(), Mismatch> {
    let Some(leaf) = cached.leaf::<V::Format>() else {
        return Err((Why::Absent, None));
    };
    let frame = frame_in_leaf::<V::Format>(cached.level, leaf, page);
    let Some(found) = look_up::<V::Format>(manager.hardware().memory(), root, page) else {
        return Err((Why::OutsideMemory, None));
    };
    let now = manager.generation(frame);
    if now != cached.generation {
        return Err((Why::Generation { now }, Some(found)));
    }
    match suspicion::<V::Format>(leaf, frame, page, &found) {
        None => Ok(()),
        Some(Suspicion { excusable: true, .. }) if manager.is_unsettled(found.table) => Ok(()),
        Some(Suspicion { why, .. }) => Err((why, Some(found))),
    }
}

/// Compares a table that is remembered for `page` with the entry under `root` that should name it,
/// before a walk begins there.
pub(crate) fn compare_table<V: Manager>(
    manager: &V,
    root: Frame,
    page: u64,
    table: Table,
) -> Result<(), Mismatch> {
    let (memory, level) = (manager.hardware().memory(), table.level + 1);
    let Some(found) = look_up_above::<V::Format>(memory, root, page, level) else {
        return Err((Why::OutsideMemory, None));
    };
    let linked = found.level == level && found.entry == Entry::Table(table.frame);
    if linked || manager.is_unsettled(found.table) {
        return Ok(());
    }
    Err((Why::Unlinked, Some(found)))
}

struct Suspicion {
    why: Why,
    /// An open flush excuses it.
    excusable: bool,
}

/// How the cached leaf goes beyond the entry found.
fn suspicion<F: Format>(leaf: Leaf, frame: Frame, page: u64, found: &Found) -> Option<Suspicion> {
    let Entry::Leaf(present) = found.entry else {
        return Some(Suspicion { why: Why::Absent, excusable: true });
    };
    if frame_in_leaf::<F>(found.level, present, page) != frame {
        let writable = (leaf.rights | present.rights).contains(Rights::WRITE);
        return Some(Suspicion { why: Why::OtherFrame, excusable: !writable });
    }
    let beyond = !present.rights.contains(leaf.rights) || leaf.dirty && !present.dirty;
    beyond.then_some(Suspicion { why: Why::Rights, excusable: true })
}

impl Violation {
    /// Which of the two it is, in words.
    pub fn kind(&self) -> &'static str {
        match self.why {
            Why::Unbroken { .. } => "break-before-make left out",
            _ => "stale translation used",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "fetch",
        };
        let (hart, address, format, space) = (self.hart, self.address, self.format, self.space.0);
        let kind = self.kind();
        writeln!(
            f,
            "{kind}: hart {hart}, {access} at {address:#x}, format {format}, space {space:#x}"
        )?;
        write!(f, "  cached:  ")?;
        show(f, self.cached.level, self.cached.word, self.entry)?;
        if let Some(generation) = self.cached.generation {
            write!(f, ", generation {generation}")?;
        }
        write!(f, "\n  present: ")?;
        if let Some(found) = &self.present {
            show(f, found.level, found.word, found.entry)?;
            write!(f, ", in table {:#x}", found.table.0)?;
        } else {
            write!(f, "none")?;
        }
        write!(f, "\n  why:     {}", self.why)
    }
}

/// One entry in words.
fn show(f: &mut fmt::Formatter<'_>, level: usize, word: u64, entry: Entry) -> fmt::Result {
    write!(f, "{word:#018x} at level {level}")?;
    let leaf = match entry {
        Entry::Leaf(leaf) => leaf,
        Entry::Table(table) => return write!(f, ": table {:#x}", table.0),
        Entry::Empty | Entry::Soft(_) => return write!(f, ": absent"),
    };
    write!(f, ": frame {:#x} ", leaf.frame.0)?;
    let flags =
        [(Rights::READ, 'r'), (Rights::WRITE, 'w'), (Rights::EXECUTE, 'x'), (Rights::USER, 'u')];
    for (right, letter) in flags {
        write!(f, "{}", if leaf.rights.contains(right) { letter } else { '-' })?;
    }
    write!(f, "{}", if leaf.dirty { " dirty" } else { "" })
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Absent => write!(f, "the entry is absent, and no flush of it is open"),
            Why::Rights => write!(f, "the entry gives fewer rights, and no flush of it is open"),
            Why::OtherFrame => write!(f, "the entry names another frame"),
            Why::Generation { now: Some(now) } => {
                write!(f, "the frame has changed hands: it is at generation {now}")
            }
            Why::Generation { now: None } => write!(f, "the frame is nobody's any more"),
            Why::Unlinked => {
                write!(f, "a walk began at a table that was unlinked, and no flush of it is open")
            }
            Why::Unbroken { holder } => write!(
                f,
                "hart {holder} may hold the cached one still: it was not invalidated before the \
                 entry was made anew"
            ),
            Why::OutsideMemory => write!(f, "the tables lead outside of memory"),
        }
    }
}

impl std::error::Error for Violation {}
