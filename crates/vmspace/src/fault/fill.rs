//! An absent entry is filled: with the zero page, a zeroed one, an object's, a copy of an object's, or
//! the page that it says is on swap.
//!
//! Guarantee: the page is prepared without locks; under the lock of the lowest node the entry is
//! still what it was, and the need the same, or nothing happens and what was prepared is given back.

use super::install::Install;
use super::need::{Need, need};
use super::{Access, FaultError, Target};
use crate::addr::Frame;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Entry, Format};
use crate::frame::meta::Kind;
use crate::latest::Wanted;
use crate::object::{self, Cached};
use crate::platform::Platform;
use crate::region::Key;
use crate::rmap;
use crate::space::Space;
use crate::swap::Place;
use crate::tree::locking::{self, Held, Seen};
use crate::tree::node::Node;
use crate::tree::walk;
use crate::vm::{Guard, Vm};

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

    /// With the page of a slot of swap, which is held and is given back. As `fill_cached`.
    #[inline(never)]
    pub(super) fn fill_swapped<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        target: &Target,
        place: Place,
    ) -> Result<bool, FaultError> {
        let wanted = Wanted::of_space(self.id(), target.page);
        self.vm.want(wanted);
        let brought = self.vm.bring_from_swap(ms, place).map_err(|error| match error {
            Error::OutOfMemory => FaultError::OutOfMemory,
            _ => FaultError::NoPage,
        });
        let filled = brought.and_then(|page| {
            self.vm.note_brought(wanted, self.vm.meta_of(page));
            let filled = self.vm.reclaiming(ms, |ms| {
                self.fill_empty::<OWN>(ms, target, |_, install| install.fill_swapped(page, place))
            });
            if filled != Ok(true) {
                rmap::put_page(self.vm, page);
            }
            filled.map_err(|_| FaultError::OutOfMemory)
        });
        self.vm.put_slot(place);
        filled
    }

    /// Locks, and calls `fill` if the entry is still what it was and the need the same.
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

    /// The key, under the lock, if the entry is still what it was and the need the same.
    #[cold]
    fn look_again<const OWN: bool>(&self, held: &Held<'vm, P>, target: &Target) -> Option<Key> {
        let Target { page, access, need: expected, ref seen } = *target;
        let node = held.top;
        let key = node.piece(page).0.key;
        let index = node.index(page);
        let needed = need::<OWN, P>(self.vm, key, page, node.entry(index), access);
        (node.load(index) == seen.word && needed == expected).then_some(key)
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

/// Brings back the page that an entry of a space says is on swap, whatever the mapping allows. Nothing,
/// where the entry changes meanwhile, or somebody holds its table: then it is to be looked for again.
/// The caller keeps the space's root from going.
///
/// # Errors
/// [`Error::OutOfMemory`], [`Error::Pager`].
pub(crate) fn bring_back<P: Platform>(
    vm: &Vm<P>,
    ms: &mut MaySleep,
    root: Frame,
    page: u64,
) -> Result<(), Error> {
    let held = {
        let guard = vm.walk(ms);
        walk::try_page(&guard, root, page).and_then(|seen| {
            let Entry::Soft(soft) = P::Format::decode(seen.level, seen.word) else { return None };
            let place = Place::of(soft)?;
            hold_slot(&guard, place, page, &seen).then_some((place, seen))
        })
    };
    let Some((place, seen)) = held else {
        vm.platform().relax();
        return Ok(());
    };
    let result = vm.bring_from_swap(ms, place).and_then(|frame| {
        let filled = vm.reclaiming(ms, |_| {
            let Some(held) = locking::lock_seen(vm, page, &seen) else { return Some(false) };
            let (node, access, key) = (held.top, Access::Read, seen.key);
            let filled = Install { node, page, access, key }.fill_swapped(frame, place);
            held.release();
            filled
        });
        if filled != Ok(true) {
            rmap::put_page(vm, frame);
            vm.platform().relax();
        }
        filled.map(|_| ())
    });
    vm.put_slot(place);
    result
}

/// A reference to the slot that the entry seen names.
pub(super) fn hold_slot<P: Platform>(
    guard: &Guard<'_, P>,
    place: Place,
    page: u64,
    seen: &Seen,
) -> bool {
    let vm = guard.vm();
    if !vm.try_hold_slot(guard, place) {
        return false;
    }
    // It was the entry's slot before we had the reference, and is so afterwards: while it was not, it
    // may have been another page's.
    let node = Node::at(vm, seen.frame, seen.level);
    let held = node.load(node.index(page)) == seen.word;
    if !held {
        vm.put_slot(place);
    }
    held
}
