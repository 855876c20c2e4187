//! ftruncate(2): the length of an object, and its pages taken away from under mappings.
//!
//! Guarantee: when [`Object::set_len`] returns, no entry names a page beyond the end, no CPU has a
//! translation of one, and the object holds none; nor has any space a private copy of one. Whoever
//! touches one gets [`FaultError::NoPage`](crate::FaultError). Bytes beyond the end read as zeros
//! when the object grows again.
//!
//! Protocol (`protocol.md`, scenario 4): the length is set; the truncation is counted; then page
//! by page its entries are cleared, each under its leaf's lock, and the page leaves its slot. What
//! a fault had got before, it finds counted (see `bring`); what a fork copies, it copies under the
//! lock of an entry that is still to be cleared, so that the record of the copy is met too.
//!
//! Nothing leads from an object to the copies. If it was ever mapped privately, every space is
//! locked whole in turn, so that nothing moves meanwhile, and what its private mappings of the object
//! have beyond the end is cleared. A child's turn comes after its parent's, and the lock of its root
//! is held while it is filled: either it gets nothing, or what it got is met.

use super::{MOST_BYTES, Object, mappers, pages};
use crate::addr::{Frame, PageRange};
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Geometry;
use crate::mutation::Mutation;
use crate::pager::Pager;
use crate::platform::Platform;
use crate::rmap;
use crate::sync::{Ordering, fence};
use crate::tree::cursor::Cursor;
use crate::tree::gather::Gather;
use crate::tree::locking;
use crate::tree::node::Node;

impl<P: Platform> Object<'_, P> {
    /// Makes the object `bytes` long: cut off, or extended by zeros. See ftruncate(2).
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Pager`], and then nothing has happened.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let object = vm.object(&mut ms, 0x2000, 0)?;
    ///
    /// let map = Map::anonymous(0x2000, rw).shared();
    /// let at = space.map_object(&mut ms, map, &object, 0)?;
    /// object.set_len(&mut ms, 0x1000)?;
    /// assert_eq!(space.fault(&mut ms, at, Access::Write), Ok(()));
    /// let beyond = space.fault(&mut ms, at + 0x1000, Access::Write);
    /// assert_eq!(beyond, Err(FaultError::NoPage)); // SIGBUS
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_len(&self, ms: &mut MaySleep, bytes: u64) -> Result<(), Error> {
        if bytes > MOST_BYTES {
            return Err(Error::TooLarge);
        }
        let object = self.body();
        object.writers.with(self.vm.platform(), || {
            if object.pager() != 0 {
                let pager = self.vm.platform().pager();
                let resized = ms.in_driver(|ms| pager.resize(ms, object.pager(), bytes));
                resized.map_err(Error::Pager)?;
            }
            if bytes < object.len() {
                // What is on swap is brought while that can still fail.
                let tail = self.hold_tail(ms, bytes)?;
                self.truncate(ms, bytes);
                if let Some(frame) = tail {
                    rmap::put_page(self.vm, frame);
                }
            } else {
                self.zero_tail_before(ms, bytes)?;
                object.bytes.store(bytes, Ordering::Release);
            }
            Ok(())
        })
    }

    fn truncate(&self, ms: &mut MaySleep, bytes: u64) {
        let object = self.body();
        object.bytes.store(bytes, Ordering::Relaxed);
        // Release: who sees it counted sees the length.
        object.truncations.fetch_add(1, Ordering::Release);
        // Pairs with the fences of who maps and who fills a page: see `bring`.
        fence(Ordering::SeqCst);
        let end = bytes.div_ceil(<P::Format as Geometry>::PAGE_SIZE);
        let mut from = end;
        while let Some(index) = pages::next(self.vm, object, from) {
            self.drop_page(ms, index);
            from = index + 1;
        }
        if object.has_copies() {
            self.vm.visit_spaces(|_, root| self.drop_copies(ms, root, end));
        }
        self.zero_tail();
    }

    /// Clears what the private mappings of a space have of the object from page `end` on.
    fn drop_copies(&self, ms: &mut MaySleep, root: Frame, end: u64) {
        let user = PageRange::new(0, P::Format::USER_PAGES);
        let root = Node::at(self.vm, root, P::Format::ROOT_LEVEL);
        // It is ending, and its entries with it.
        let Some(held) = locking::lock_root(root, ms, user) else { return };
        let mut gather = Gather::default();
        let skip = Mutation::NoShootdownAtCopyTruncation;
        let mut cursor = Cursor::of(held, ms, &mut gather, user, skip);
        for node in cursor.nodes() {
            let mut page = node.range().start;
            while page < node.range().end {
                let (piece, piece_end) = node.piece(page);
                if piece.key.object == self.address && piece.key.is_private() {
                    let before = end.saturating_sub(page.wrapping_sub(piece.key.origin));
                    let from = page.saturating_add(before);
                    cursor.clear_in(node, PageRange::new(from, piece_end));
                }
                page = piece_end;
            }
        }
        cursor.commit().release();
    }

    /// Takes a page that nobody can map any more from its entries and from the object.
    fn drop_page(&self, ms: &mut MaySleep, index: u64) {
        let (vm, object) = (self.vm, self.body());
        loop {
            while let Some(frame) = pages::find(vm, object, index) {
                mappers::unmap(vm, ms, frame);
                if pages::take_out(vm, object, index, frame, || true) {
                    rmap::put_page(vm, frame);
                }
                rmap::put_page(vm, frame);
            }
            // One that was being brought may be on swap again: it came too late.
            if pages::forget_swapped(vm, object, index) {
                return;
            }
            vm.platform().relax();
        }
    }
}
