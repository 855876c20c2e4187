//! A page that is being stolen.
//!
//! Guarantee: one at a time steals a page; and from before its first entry is taken away, it is
//! found where its entries will say: a page of private memory in the cache of a slot, that of an
//! object in the object. While the victim is held, the slot does not end and the object neither, so
//! whoever comes back to the page finds it.

use crate::addr::Frame;
use crate::object::{self, Refusal};
use crate::platform::Platform;
use crate::rmap::{self, Mapper};
use crate::swap::{Cluster, Place, word};
use crate::sync::Ordering;
use crate::vm::{Guard, Vm};

/// Where a page's contents are when it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backing {
    /// In this slot, which is held.
    Slot(Place),
    /// With this object, which is held: its pager's, or in a slot of its own.
    Object(u64),
}

/// A page that is claimed, with a reference to it and to its backing.
#[derive(Debug)]
#[must_use]
pub(super) struct Victim {
    pub frame: Frame,
    pub backing: Backing,
    /// The last of its mappers that was met.
    pub met: Option<Mapper>,
}

impl Victim {
    /// Claims a page that is mapped, or is an object's or a slot's. The guard was there before the
    /// page was found.
    pub fn claim<P: Platform>(
        guard: &Guard<'_, P>,
        frame: Frame,
        cluster: &mut Cluster,
    ) -> Result<Victim, Refusal> {
        let vm = guard.vm();
        let meta = vm.meta_of(frame);
        if !meta.refs.try_get() {
            return Err(Refusal::Busy);
        }
        if !meta.try_claim() {
            rmap::put_page(vm, frame);
            return Err(Refusal::Busy);
        }
        Victim::back(guard, frame, cluster).inspect_err(|_| {
            meta.unclaim();
            rmap::put_page(vm, frame);
        })
    }

    /// Finds or makes the backing of a page that is claimed.
    fn back<P: Platform>(
        guard: &Guard<'_, P>,
        frame: Frame,
        cluster: &mut Cluster,
    ) -> Result<Victim, Refusal> {
        let vm = guard.vm();
        let meta = vm.meta_of(frame);
        let backing = if let Some(object) = meta.object() {
            // A page leaves its object before that is retired: this one's is no other yet.
            object::try_get(guard, object)
                .then_some(Backing::Object(object))
                .ok_or(Refusal::Busy)?
        } else if meta.is_cached() {
            Backing::Slot(vm.try_hold_slot_of(guard, frame).ok_or(Refusal::Busy)?)
        } else if rmap::is_unmapped(meta) {
            // It is on its way in or out.
            return Err(Refusal::Busy);
        } else {
            // The cache's, for as long as the slot is held.
            meta.refs.get();
            let Some(place) = cluster.take(vm, word::cached(frame)) else {
                rmap::put_page(vm, frame);
                return Err(Refusal::Kept);
            };
            // No device has it yet.
            meta.occupied.store(1, Ordering::Relaxed);
            meta.set_swap_place(place);
            Backing::Slot(place)
        };
        Ok(Victim { frame, backing, met: None })
    }

    /// Whether an entry maps the page.
    pub fn is_mapped<P: Platform>(&self, vm: &Vm<P>) -> bool {
        !rmap::is_unmapped(vm.meta_of(self.frame))
    }

    /// Lets the page go on being used.
    pub fn spare<P: Platform>(self, vm: &Vm<P>) {
        vm.meta_of(self.frame).unclaim();
        rmap::put_page(vm, self.frame);
        self.put_backing(vm);
    }

    /// Gives the reference to the backing back. An object that has no other ends later: who steals
    /// ends nothing (R37).
    pub fn put_backing<P: Platform>(&self, vm: &Vm<P>) {
        match self.backing {
            Backing::Slot(place) => vm.put_slot(place),
            Backing::Object(object) => object::put_anywhere(vm, object),
        }
    }
}
