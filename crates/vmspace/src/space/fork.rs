//! fork(2): a copy of a space, copied on write.
//!
//! Guarantee: the child is the parent as it was at one instant: the parent's whole user range is
//! locked while it is copied, and no CPU can still write through an old translation when the locks
//! go (R18). The child is registered after its parent, and every entry is in the reverse map from
//! the moment it is written (R14). When memory runs out, the half-made child is ended and the
//! parent is what it was, but for write permissions that the next write fault gives back.
//!
//! The cost is that of the tables and entries that exist, and of the pieces; an untouched range
//! costs its piece. The child's tables are private until the child is handed out: filled by plain
//! writes.

use super::Space;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Entry, Format, Leaf, Rights, Soft};
use crate::frame::meta::{Kind, Meta};
use crate::lock;
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::rmap::{self, Mapper};
use crate::swap::Place;
use crate::sync::{Ordering, fence};
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking::Cover;
use crate::tree::node::{Fresh, Node};

impl<'vm, P: Platform> Space<'vm, P> {
    /// A copy of the space: private memory is shared until one of the two writes it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; then nothing has happened.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let parent = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = parent.map(&mut ms, Map::anonymous(4096, rw))?;
    /// parent.write(&mut ms, at, b"parent");
    /// let child = parent.fork(&mut ms)?;
    /// parent.write(&mut ms, at, b"later.");
    /// let mut bytes = [0; 6];
    /// child.read(&mut ms, at, &mut bytes);
    /// assert_eq!(&bytes, b"parent");
    /// child.exit(&mut ms);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fork(&self, ms: &mut MaySleep) -> Result<Space<'vm, P>, Error> {
        self.vm.reclaiming(ms, |ms| {
            let child = Space::new(self.vm, ms).ok()?;
            // No break moves between the copy of its number and that of its pages.
            let copied = self.header().heap_lock.with(self.vm.platform(), || {
                self.inherit(&child);
                self.copy_into(ms, &child)
            });
            match copied {
                Some(()) => Some(child),
                None => {
                    child.exit(ms);
                    None
                }
            }
        })
    }

    /// What the header says that the child keeps.
    fn inherit(&self, child: &Space<'vm, P>) {
        let (from, to) = (self.header(), child.header());
        for (from, to) in [
            (&from.heap_start, &to.heap_start),
            (&from.heap_break, &to.heap_break),
            (&from.place.base, &to.place.base),
            // What the child does not have is free in it.
            (&from.place.base, &to.place.hint),
            (&from.stack_limit, &to.stack_limit),
            (&from.lock_limit, &to.lock_limit),
            (&from.has_seals, &to.has_seals),
        ] {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        child.set_size_limit(self.size_limit());
    }

    fn copy_into(&self, ms: &mut MaySleep, child: &Space<'vm, P>) -> Option<()> {
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtFork;
        let cursor =
            Cursor::lock(self.root_node(), ms, &mut gather, self.user(), Cover::Lowest, skip);
        let mut copy = Copy { cursor, child, resident: 0 };
        let copied = copy.table(self.root_node(), child.root_node());
        let totals = self.vm.totals(child.id());
        totals.resident.fetch_add(copy.resident, Ordering::Relaxed);
        // Also when memory ran out: rights were taken away.
        copy.cursor.commit().release();
        copied
    }
}

struct Copy<'a, 'c, 'p, P: Platform> {
    cursor: Cursor<'a, 'c, P>,
    child: &'p Space<'a, P>,
    resident: u64,
}

impl<'a, P: Platform> Copy<'a, '_, '_, P> {
    /// Copies layout and entries of `from` into the private `to`. None: no memory; what has been
    /// copied is reachable from the child's root.
    fn table(&mut self, from: Node<'a, P>, to: Node<'a, P>) -> Option<()> {
        let vm = self.cursor.vm;
        // Who comes from a page finds its record before its entry: he waits here.
        lock::acquire_attached(vm.platform(), &to.meta.lock);
        let copied = self.entries(from, to);
        lock::release(vm.platform(), &to.meta.lock);
        copied
    }

    fn entries(&mut self, from: Node<'a, P>, to: Node<'a, P>) -> Option<()> {
        from.copy_layout_to(&to)?;
        // SAFETY: the child has not been handed out: nobody loads or walks its root.
        let mut fresh = unsafe { Fresh::new(to) };
        let slots = from.slots(self.cursor.range);
        for index in from.occupied(slots) {
            match from.entry(index) {
                Entry::Table(_) => {
                    let start = from.slot_range(index).start;
                    let (vm, id) = (self.cursor.vm, self.child.id());
                    let made = Node::make(vm, id, from.level - 1, start)?;
                    fresh.set_child(index, made);
                    self.table(from.child(index)?, made)?;
                }
                Entry::Leaf(leaf) => self.leaf(from, index, leaf, &mut fresh)?,
                Entry::Soft(soft) => self.soft(from, index, soft, &mut fresh)?,
                Entry::Empty => {}
            }
        }
        Some(())
    }

    fn leaf(
        &mut self,
        from: Node<'a, P>,
        index: usize,
        leaf: Leaf,
        fresh: &mut Fresh<'a, P>,
    ) -> Option<()> {
        let vm = self.cursor.vm;
        let (piece, _) = from.piece(from.slot_range(index).start);
        if !is_inherited(piece.key) {
            return Some(());
        }
        let Some(meta) = vm.mapped_meta(leaf.frame) else {
            fresh.set(index, P::Format::leaf(from.level, leaf));
            return Some(());
        };
        let mapper = Mapper { table: fresh.frame(), index };
        if !mutation::active(Mutation::NoRecordAtFork) {
            rmap::add(vm, meta, mapper)?;
        }
        // Nothing fails from here on: a page that is shared is written through no entry.
        if piece.key.is_private() && !meta.try_share() {
            rmap::remove(vm, meta, mapper);
            return self.copy_pinned(piece.key, leaf, mapper, fresh);
        }
        meta.refs.get();
        let mut inherited = Leaf { accessed: false, ..leaf };
        if piece.key.is_private() && leaf.rights.contains(Rights::WRITE) {
            self.cursor.change_entry(from, index, |now| now.rights.difference(Rights::WRITE));
            inherited.rights.remove(Rights::WRITE);
        }
        fresh.set(index, P::Format::leaf(from.level, inherited));
        self.resident += 1;
        Some(())
    }

    /// A page on swap: the child's entry is one more that names its slot. (Whoever put an entry in
    /// transit holds the leaf's lock: it is not here.)
    fn soft(
        &mut self,
        from: Node<'a, P>,
        index: usize,
        soft: Soft,
        fresh: &mut Fresh<'a, P>,
    ) -> Option<()> {
        let (piece, _) = from.piece(from.slot_range(index).start);
        let Some(place) = Place::of(soft).filter(|_| is_inherited(piece.key)) else {
            return Some(());
        };
        let vm = self.cursor.vm;
        if !vm.hold_slot_again(place) {
            return None;
        }
        fresh.set(index, P::Format::soft(soft));
        vm.totals(self.child.id()).swapped.fetch_add(1, Ordering::Relaxed);
        Some(())
    }

    /// A pinned page stays the parent's alone: who holds it would else see the child's, or the
    /// child what is written to it from outside.
    fn copy_pinned(
        &mut self,
        key: Key,
        leaf: Leaf,
        mapper: Mapper,
        fresh: &mut Fresh<'a, P>,
    ) -> Option<()> {
        let vm = self.cursor.vm;
        let frame = vm.take_frame(Kind::Page)?;
        vm.copy_frame(leaf.frame, frame);
        rmap::init_page(vm.meta_of(frame), Some(mapper));
        let rights = key.attributes.rights();
        fresh.set(mapper.index, P::Format::leaf(0, Leaf { frame, rights, dirty: true, ..leaf }));
        self.resident += 1;
        Some(())
    }
}

/// Whether a child finds what its parent has there.
fn is_inherited(key: Key) -> bool {
    !key.attributes.intersects(Attributes::DONT_FORK | Attributes::WIPE_ON_FORK)
}

/// Whether a page with this metadata, mapped privately, is its mapper's alone: it is exclusive, or
/// may be made so. (A page of an object has the object's reference too.)
#[inline]
pub(crate) fn is_own(meta: &Meta) -> bool {
    if meta.is_exclusive() {
        return true;
    }
    // Pairs with the fence of who takes a reference to copy the page (R24).
    fence(Ordering::SeqCst);
    meta.refs.count() == 1
}

/// Whether there is anything behind the piece to bring in.
pub(crate) fn is_device(key: Key) -> bool {
    key.attributes.contains(Attributes::DEVICE)
}
