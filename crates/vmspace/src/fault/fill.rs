//! An empty entry is filled: with the zero page, a zeroed one, an object's or a copy of an object's.
//!
//! Guarantee: the page is prepared without locks; under the lock of the lowest node the entry is
//! still empty, and the need the same, or nothing happens and what was prepared is given back.

use super::install::Install;
use super::need::{Need, need};
use super::{FaultError, Target};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::error::Error;
use crate::frame::meta::Kind;
use crate::object::{self, Cached};
use crate::platform::Platform;
use crate::region::Key;
use crate::rmap;
use crate::space::Space;
use crate::tree::locking::{self, Held};

impl<'vm, P: Platform> Space<'vm, P> {
    /// With the zero page. False: look again; None: no memory.
    pub(super) fn fill_zero<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
    ) -> Option<bool> {
        let zero = self.vm.zero_frame();
        self.fill_empty::<OWN>(ms, target, |_, install| install.fill(zero, false))
    }

    /// With a zeroed page. As `fill_zero`.
    #[inline]
    pub(super) fn fill_fresh<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
    ) -> Option<bool> {
        let vm = self.vm;
        let frame = vm.take_frame(Kind::Page)?;
        vm.platform().zero(frame);
        let filled = self.fill_empty::<OWN>(ms, target, |_, install| install.fill(frame, true));
        if filled != Some(true) {
            vm.give_frame(frame);
        }
        filled
    }

    /// With the page of an object, which is held and is given back. False: look again.
    #[inline(never)]
    pub(super) fn fill_cached<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
    ) -> Result<bool, FaultError> {
        let Need::Object(object, index) = target.need else { return Ok(false) };
        let filled = self.cached(ms, object, index).and_then(|cached| {
            // The page stays held while memory is looked for: else it would be what is given up.
            let filled = self.vm.reclaiming(ms, |ms| {
                self.fill_empty::<OWN>(ms, target, |held, install| {
                    install.fill_cached(held, cached)
                })
            });
            if filled != Ok(true) {
                rmap::put_page(self.vm, cached.frame);
            }
            filled.map_err(|_| FaultError::OutOfMemory)
        });
        // Not before: an object that is reused would look the same again.
        object::put(self.vm, ms, object, 1);
        filled
    }

    /// With a copy of the page of an object, which is held and is given back. As `fill_cached`.
    #[inline(never)]
    pub(super) fn fill_copy<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
    ) -> Result<bool, FaultError> {
        let Need::ObjectCopy(object, index) = target.need else { return Ok(false) };
        let filled = self.cached(ms, object, index).and_then(|cached| {
            let copy = self.vm.reclaiming(ms, |_| self.copy(cached.frame));
            rmap::put_page(self.vm, cached.frame);
            let copy = Cached { frame: copy.map_err(|_| FaultError::OutOfMemory)?, ..cached };
            let filled = self.vm.reclaiming(ms, |ms| {
                self.fill_empty::<OWN>(ms, target, |held, install| install.fill_copy(held, copy))
            });
            if filled != Ok(true) {
                self.vm.give_frame(copy.frame);
            }
            filled.map_err(|_| FaultError::OutOfMemory)
        });
        object::put(self.vm, ms, object, 1);
        filled
    }

    /// Locks, and calls `fill` if the entry is still empty and the need the same.
    #[inline]
    fn fill_empty<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
        fill: impl FnOnce(&mut Held<'vm, P>, Install<'vm, P>) -> Option<bool>,
    ) -> Option<bool> {
        let Target { page, access, ref seen, .. } = *target;
        let (mut held, same) = locking::lock_page(self.root_node(), ms, page, seen);
        let key = if same { Some(seen.key) } else { self.look_again::<OWN>(&held, target) };
        let filled = match key {
            Some(key) => {
                let node = held.top;
                fill(&mut held, Install { node, page, access, key })
            }
            None => Some(false),
        };
        held.release();
        filled
    }

    /// The key, under the lock, if the entry is still empty and the need the same.
    #[cold]
    fn look_again<const OWN: bool>(&self, held: &Held<'vm, P>, target: &Target) -> Option<Key> {
        let Target { page, access, need: expected, .. } = *target;
        let node = held.top;
        let key = node.piece(page).0.key;
        let index = node.index(page);
        let needed = need::<OWN, P>(self.vm, key, page, node.entry(index), access);
        (node.load(index) == 0 && needed == expected).then_some(key)
    }

    /// A copy of a page that is held. None: no memory.
    pub(super) fn copy(&self, from: Frame) -> Option<Frame> {
        let frame = self.vm.take_frame(Kind::Page)?;
        self.vm.copy_frame(from, frame);
        Some(frame)
    }

    /// The page of an object that is held.
    fn cached(&self, ms: &mut MaySleep, object: u64, index: u64) -> Result<Cached, FaultError> {
        match object::page(self.vm, ms, object, index) {
            Ok(Some(cached)) => Ok(cached),
            Ok(None) => Err(FaultError::NoPage),
            Err(Error::OutOfMemory) => Err(FaultError::OutOfMemory),
            Err(_) => Err(FaultError::NoPage),
        }
    }
}
