//! Pages held for devices and whoever else reaches them by their frames.
//!
//! Guarantee: a page that is held ([`Pinned`]) stays this space's: a fork gives the child a copy of
//! its own (see `frame::pins`). [`Space::pin`] waits for what it needs; [`Space::pin_fast`] takes no
//! lock: a reference by try-get, the pin, fence, the entry read again (R24).

use crate::addr::Frame;
use crate::context::MaySleep;
use crate::fault::{Access, FaultError};
use crate::format::{Format, Geometry};
use crate::mutation::{self, Mutation};
use crate::object;
use crate::platform::Platform;
use crate::rmap;
use crate::space::{Space, is_own};
use crate::sync::{Ordering, fence};
use crate::tree::entries;
use crate::tree::locking::Seen;
use crate::tree::node::Node;
use crate::tree::walk;
use crate::vm::{Guard, Vm};

impl<'vm, P: Platform> Space<'vm, P> {
    /// Holds the page at `address` for as long as the result lives, for whoever reads or writes it
    /// behind the tables' back (get_user_pages with FOLL_PIN).
    ///
    /// # Errors
    /// As [`Space::fault`]; [`FaultError::NoPage`] for memory that is not the manager's.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// let pinned = space.pin(&mut ms, at, true).expect("it is mapped");
    /// space.unmap(&mut ms, at, 4096)?;
    /// // A device may still write to the frame, which is nobody else's until then.
    /// let frame = pinned.frame();
    /// drop(pinned);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pin(
        &self,
        ms: &mut MaySleep,
        address: u64,
        write: bool,
    ) -> Result<Pinned<'vm, P>, FaultError> {
        let access = if write { Access::Write } else { Access::Read };
        let page = address >> P::Format::PAGE_SHIFT;
        loop {
            // Nobody may share what is going to be reached behind the tables' back.
            self.fault_own(ms, address, access)?;
            if let Some(pinned) = self.try_pin(ms, page, access)? {
                return Ok(pinned);
            }
        }
    }

    /// Pins the page if its entry allows the access and private memory's page is the space's alone.
    fn try_pin(
        &self,
        ms: &mut MaySleep,
        page: u64,
        access: Access,
    ) -> Result<Option<Pinned<'vm, P>>, FaultError> {
        let vm = self.vm;
        self.with_entry(ms, page, access, |node, frame| {
            let meta = vm.meta(frame).ok_or(FaultError::NoPage)?;
            let private = node.piece(page).0.key.is_private();
            if vm.is_zero_frame(frame) || private && !is_own(meta) {
                return Ok(None);
            }
            if private {
                meta.make_exclusive();
            }
            // The entry's reference stands under the lock: this cannot be the first.
            meta.refs.get();
            meta.pin();
            Ok(Some(Pinned { vm, frame, write: access == Access::Write }))
        })
        .unwrap_or(Ok(None))
    }

    /// [`Space::pin`] without locks and without waiting, for who holds a guard, in an interrupt too
    /// (get_user_pages_fast). None: only [`Space::pin`] can tell, since the page is not there, is
    /// shared, is being changed, or does not allow the access. The entry is marked accessed, and
    /// dirty if `write`, as the processor would.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{Map, MaySleep, Space, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ | Rights::WRITE))?;
    /// assert!(space.pin_fast(&vm.walk(&mut ms), at, true).is_none());
    /// space.write(&mut ms, at, b"now it is there");
    /// let pinned = space.pin_fast(&vm.walk(&mut ms), at, true).unwrap();
    /// assert_eq!(space.translate(&vm.walk(&mut ms), at).unwrap().frame, pinned.frame());
    /// # drop(pinned);
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    pub fn pin_fast(
        &self,
        guard: &Guard<'_, P>,
        address: u64,
        write: bool,
    ) -> Option<Pinned<'vm, P>> {
        let page = address >> P::Format::PAGE_SHIFT;
        // Another manager's guard guards nothing here.
        if page >= P::Format::USER_PAGES || !core::ptr::eq(guard.vm(), self.vm) {
            return None;
        }
        let access = if write { Access::Write } else { Access::Read };
        let (seen, frame) = self.allowed_now(guard, page, access)?;
        let mut pinned = self.pin_found(frame, seen.key.is_private())?;
        // Pairs with the fence of who decides by the count after clearing the entry.
        fence(Ordering::SeqCst);
        let (again, now) = self.allowed_now(guard, page, access)?;
        let node = Node::at(self.vm, again.frame, again.level);
        let touched = P::Format::touched(node.level, again.word, write);
        let same = now == frame && again.key.is_private() == seen.key.is_private()
            || mutation::active(Mutation::NoSecondLookAtPin);
        let marked = same
            && (touched == again.word
                || entries::exchange(self.vm, node, node.index(page), again.word, touched).is_ok());
        pinned.write = write && marked;
        marked.then_some(pinned)
    }

    /// What stands for the page, and the frame that it is in, if its entry allows the access.
    fn allowed_now(
        &self,
        guard: &Guard<'_, P>,
        page: u64,
        access: Access,
    ) -> Option<(Seen, Frame)> {
        let seen = walk::try_page(guard, self.root(), page)?;
        let leaf = P::Format::as_leaf(seen.level, seen.word)?;
        let within = page & (P::Format::slot_pages(seen.level) - 1);
        access.allowed_by(leaf.rights).then_some((seen, leaf.frame.add(within)))
    }

    /// A pin on a page that an entry named, if it can still be held; of private memory, if it is
    /// exclusive.
    fn pin_found(&self, frame: Frame, private: bool) -> Option<Pinned<'vm, P>> {
        let meta = self.vm.mapped_meta(frame)?;
        if !meta.refs.try_get() {
            return None;
        }
        if !private {
            meta.pin();
        } else if !meta.try_pin_exclusive() {
            rmap::put_page(self.vm, frame);
            return None;
        }
        Some(Pinned { vm: self.vm, frame, write: false })
    }
}

/// A page held for somebody who reaches it by its frame.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
/// let pinned = space.pin(&mut ms, at, true).expect("it is mapped");
/// let child = space.fork(&mut ms)?;
/// // The child has a copy: what a device writes to the frame is the parent's to see.
/// let theirs = child.translate(&vm.walk(&mut ms), at).map(|found| found.frame);
/// assert_ne!(theirs, Some(pinned.frame()));
/// # child.exit(&mut ms);
/// # drop(pinned);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pinned<'vm, P: Platform> {
    vm: &'vm Vm<P>,
    frame: Frame,
    write: bool,
}

impl<P: Platform> Pinned<'_, P> {
    /// The frame.
    pub fn frame(&self) -> Frame {
        self.frame
    }
}

impl<P: Platform> Drop for Pinned<'_, P> {
    fn drop(&mut self) {
        let meta = self.vm.meta_of(self.frame);
        if self.write {
            // It may have been handed to its pager meanwhile, and written since.
            object::mark_dirty(meta);
        }
        meta.unpin();
        rmap::put_page(self.vm, self.frame);
    }
}
