//! The manager's own consistency, checked while nothing runs: for tests, and for who suspects.
//!
//! Guarantee: `Ok` means that for every space the tables, their counts, layouts and the reverse
//! map agree: every entry that names a managed page is in that page's reverse map and the other
//! way round, no page has fewer references than mappers, and slots of swap have as many references as
//! entries name them (O12).

use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::flush::SpaceId;
use crate::format::{Entry, Geometry, Rights};
use crate::frame::meta::Kind;
use crate::platform::Platform;
use crate::rmap::{self, Mapper};
use crate::sync::Ordering;
use crate::tree::node::Node;
use crate::tree::walk;
use crate::vm::Vm;
use core::cell::Cell;

/// What does not agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inconsistency {
    /// A table's count of entries, or of child tables, is wrong.
    Count(Frame),
    /// A table's summary of occupied slots misses one.
    Occupied(Frame),
    /// A table belongs to another space, or to another place in it, than where it was found.
    Place(Frame),
    /// A table's layout does not cover its span with ascending pieces.
    Layout(Frame),
    /// An entry names a frame that is not a page.
    NotAPage(Frame),
    /// A page's reverse map misses an entry.
    MissingMapper(Frame),
    /// A page's reverse map names an entry that does not name the page.
    StrayMapper(Frame),
    /// A page is one entry's alone, and has several; or may be written by a private entry, and is not
    /// its alone.
    Exclusive(Frame),
    /// A page has fewer references than mappers.
    TooFewReferences(Frame),
    /// A stealer has claimed a frame, though nothing runs.
    Claimed(Frame),
    /// Slots of swap have more or fewer references than entries name them, or an object's not one.
    Slots {
        /// References.
        held: u64,
        /// Entries.
        named: u64,
    },
}

impl<P: Platform> Vm<P> {
    /// Compares tables, layouts and reverse map. Nothing else may run.
    ///
    /// # Errors
    /// The first [`Inconsistency`] found.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// space.populate(&mut ms, at, 0x4000, true)?;
    /// assert_eq!(vm.check(&mut ms), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn check(&self, _: &mut MaySleep) -> Result<(), Inconsistency> {
        let found = Cell::new(Ok(()));
        self.for_each_space(
            || true,
            |space| {
                let root = Frame(self.header(space).root.load(Ordering::Relaxed));
                let root = Node::at(self, root, P::Format::ROOT_LEVEL);
                found.set(found.get().and_then(|()| self.check_table(space, root)));
            },
        );
        found.get()?;
        self.managed_frames().try_for_each(|frame| self.check_page(frame))?;
        self.check_slots()
    }

    /// Slots have as many references as entries name them, and those of objects one (O12).
    fn check_slots(&self) -> Result<(), Inconsistency> {
        let counts = self.places().map(|place| self.slot_count(place));
        let (held, wrong) =
            counts.fold((0, false), |(held, wrong), (count, object)| match object {
                true => (held, wrong | (count != 1)),
                false => (held + count, wrong),
            });
        let named = Cell::new(0);
        self.for_each_space(
            || true,
            |space| {
                let root = Frame(self.header(space).root.load(Ordering::Relaxed));
                let (guard, mut from) = (self.enter(), 0);
                while from < P::Format::USER_PAGES {
                    let rest = PageRange::new(from, P::Format::USER_PAGES);
                    from = walk::swapped(&guard, root, rest, |_, _| named.set(named.get() + 1));
                }
            },
        );
        let named = named.get();
        if wrong || held != named { Err(Inconsistency::Slots { held, named }) } else { Ok(()) }
    }

    fn check_table(&self, space: SpaceId, node: Node<'_, P>) -> Result<(), Inconsistency> {
        if node.space() != space || self.meta_of(node.frame).kind() != Kind::Table {
            return Err(Inconsistency::Place(node.frame));
        }
        let (mut entries, mut children) = (0, 0);
        let slots = if node.level == P::Format::ROOT_LEVEL {
            0..node.index(P::Format::USER_PAGES - 1) + 1
        } else {
            node.slots(node.range())
        };
        for index in slots {
            if node.load(index) == 0 {
                continue;
            }
            entries += 1;
            if node.occupied(index..index + 1).next().is_none() {
                return Err(Inconsistency::Occupied(node.frame));
            }
            if let Some(child) = node.child(index) {
                children += 1;
                if child.range() != node.slot_range(index) {
                    return Err(Inconsistency::Place(child.frame));
                }
                self.check_table(space, child)?;
            } else if let Entry::Leaf(leaf) = node.entry(index) {
                let (piece, _) = node.piece(node.slot_range(index).start);
                let owns = piece.key.is_private() && leaf.rights.contains(Rights::WRITE);
                self.check_entry(leaf.frame, owns, Mapper { table: node.frame, index })?;
            }
        }
        if entries != node.count() || children != node.child_count() {
            return Err(Inconsistency::Count(node.frame));
        }
        if node.has_whole_layout() { Ok(()) } else { Err(Inconsistency::Layout(node.frame)) }
    }

    fn check_entry(&self, frame: Frame, owns: bool, mapper: Mapper) -> Result<(), Inconsistency> {
        let Some(meta) = self.mapped_meta(frame) else { return Ok(()) };
        if meta.kind() != Kind::Page {
            return Err(Inconsistency::NotAPage(frame));
        }
        if owns && !meta.is_exclusive() {
            return Err(Inconsistency::Exclusive(frame));
        }
        let mut recorded = false;
        rmap::for_each(self, meta, |found| recorded |= found == mapper);
        if recorded { Ok(()) } else { Err(Inconsistency::MissingMapper(frame)) }
    }

    fn check_page(&self, frame: Frame) -> Result<(), Inconsistency> {
        let meta = self.meta_of(frame);
        if meta.is_claimed() {
            return Err(Inconsistency::Claimed(frame));
        }
        if meta.kind() != Kind::Page {
            return Ok(());
        }
        let (mut mappers, mut stray) = (0, false);
        rmap::for_each(self, meta, |mapper| {
            mappers += 1;
            let table = self.meta(mapper.table).is_some_and(|meta| meta.kind() == Kind::Table);
            stray |= !table || {
                let entry = Node::of(self, mapper.table).entry(mapper.index);
                !matches!(entry, Entry::Leaf(leaf) if leaf.frame == frame)
            };
        });
        if stray {
            return Err(Inconsistency::StrayMapper(frame));
        }
        if meta.is_exclusive() && mappers > 1 {
            return Err(Inconsistency::Exclusive(frame));
        }
        if mappers > meta.refs.count() {
            return Err(Inconsistency::TooFewReferences(frame));
        }
        Ok(())
    }
}
