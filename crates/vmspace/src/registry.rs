//! The registry: every space that exists, in the order in which they came to be.
//!
//! Guarantee: a space is in it from before its root can be loaded until after no CPU can have it
//! loaded; a child comes after its parent. One lock covers joining, leaving and walking, and
//! joining runs the publication step inside it, so that who walks sees a space either not at all
//! or complete (R03, R05, R06). The lock is a spin lock with the shortest of sections: making and
//! ending a space, a visitor's step, and adding a table to the kernel's half.
//!
//! Who visits the spaces one by one and must sleep meanwhile holds the one that he is at: it stays
//! in the list, and its root stays a table, until he has gone on. He meets all that were there when
//! he began, in their order, and a child that came of one that he had yet to leave.
//!
//! A space that is dropped instead of exited stays in it, and goes onto a list besides, whence
//! someone takes it who may sleep.

use crate::addr::Frame;
use crate::flush::SpaceId;
use crate::lock::{self, Attempt};
use crate::mutation::{self, Mutation};
use crate::platform::Platform;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::vm::Vm;

/// The list's ends; its links are in the spaces' headers. On a line of its own, since what lies
/// beside it in the manager is read by every operation.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Registry {
    lock: AtomicU32,
    first: AtomicU64,
    last: AtomicU64,
}

/// The spaces that were dropped and have not ended. On a line of its own: operations that run out
/// of memory look at it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Dropped {
    /// Its links are in the headers.
    first: AtomicU64,
    /// How many have taken the list and are ending what was on it.
    reapers: AtomicU32,
}

impl<P: Platform> Vm<P> {
    fn with_registry<R>(&self, section: impl FnOnce(&Registry) -> R) -> R {
        while lock::try_acquire(&self.registry.lock) == Attempt::Held {
            self.platform().relax();
        }
        let result = section(&self.registry);
        lock::release(self.platform(), &self.registry.lock);
        result
    }

    /// Adds a space at the end; `publish` runs in the same step.
    pub(crate) fn join_registry(&self, space: SpaceId, publish: impl FnOnce()) {
        self.with_registry(|registry| {
            publish();
            let last = registry.last.load(Ordering::Relaxed);
            let header = self.header(space);
            header.next.store(0, Ordering::Relaxed);
            header.previous.store(last, Ordering::Relaxed);
            match last {
                0 => registry.first.store(space.0, Ordering::Relaxed),
                last => self.header(SpaceId(last)).next.store(space.0, Ordering::Relaxed),
            }
            registry.last.store(space.0, Ordering::Relaxed);
        });
    }

    /// Takes a space out, when nobody is at it: no CPU can have its root loaded any more.
    pub(crate) fn leave_registry(&self, space: SpaceId) {
        while !self.try_leave_registry(space) {
            self.platform().relax();
        }
    }

    fn try_leave_registry(&self, space: SpaceId) -> bool {
        self.with_registry(|registry| {
            let header = self.header(space);
            let visited = header.visitors.load(Ordering::Relaxed) != 0;
            if visited && !mutation::active(Mutation::NoVisitorHeld) {
                return false;
            }
            let next = header.next.load(Ordering::Relaxed);
            let previous = header.previous.load(Ordering::Relaxed);
            match previous {
                0 => registry.first.store(next, Ordering::Relaxed),
                previous => self.header(SpaceId(previous)).next.store(next, Ordering::Relaxed),
            }
            match next {
                0 => registry.last.store(previous, Ordering::Relaxed),
                next => self.header(SpaceId(next)).previous.store(previous, Ordering::Relaxed),
            }
            true
        })
    }

    /// Calls `visit` with each space and its root, with no lock held; the root stays a table until it
    /// returns.
    pub(crate) fn visit_spaces(&self, mut visit: impl FnMut(SpaceId, Frame)) {
        let mut at = self.step_on(None);
        while let Some(space) = at {
            visit(space, Frame(self.header(space).root.load(Ordering::Relaxed)));
            at = self.step_on(Some(space));
        }
    }

    /// From a space, or from before the first, to the next, which is then held instead.
    fn step_on(&self, from: Option<SpaceId>) -> Option<SpaceId> {
        self.with_registry(|registry| {
            let link = from.map_or(&registry.first, |space| &self.header(space).next);
            let next = match link.load(Ordering::Relaxed) {
                0 => None,
                next => Some(SpaceId(next)),
            };
            let visitors = |space| &self.header(space).visitors;
            next.map(|space| visitors(space).fetch_add(1, Ordering::Relaxed));
            from.map(|space| visitors(space).fetch_sub(1, Ordering::Relaxed));
            next
        })
    }

    /// A space was dropped, perhaps where nothing may sleep. Takes no lock.
    pub(crate) fn note_dropped(&self, space: SpaceId) {
        let list = &self.dropped.first;
        let mut first = list.load(Ordering::Relaxed);
        loop {
            self.header(space).dropped.store(first, Ordering::Relaxed);
            // Release: pairs with `for_each_dropped`; what was done to the space comes before its end.
            match list.compare_exchange(first, space.0, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => first = found,
            }
        }
    }

    /// Takes all spaces that were dropped and gives each to `end`.
    pub(crate) fn for_each_dropped(&self, mut end: impl FnMut(SpaceId)) {
        let Dropped { first, reapers } = &self.dropped;
        if first.load(Ordering::Relaxed) == 0 {
            return;
        }
        reapers.fetch_add(1, Ordering::Relaxed);
        // AcqRel: Acquire pairs with `note_dropped`; Release with `wait_for_reapers`, so that who
        // sees the list taken sees a reaper at work.
        let mut next = first.swap(0, Ordering::AcqRel);
        while next != 0 {
            let space = SpaceId(next);
            next = self.header(space).dropped.load(Ordering::Relaxed);
            end(space);
        }
        // Release: pairs with `wait_for_reapers`.
        reapers.fetch_sub(1, Ordering::Release);
    }

    /// Waits until what the caller saw dropped has ended, whoever is at it.
    pub(crate) fn wait_for_reapers(&self) {
        let Dropped { first, reapers } = &self.dropped;
        // Acquire: as said in `for_each_dropped`.
        let _ = first.load(Ordering::Acquire);
        while reapers.load(Ordering::Acquire) != 0 {
            self.platform().relax();
        }
    }

    /// Runs `change`, then `visit` for every space, in one step.
    pub(crate) fn for_each_space(
        &self,
        change: impl FnOnce() -> bool,
        visit: impl Fn(SpaceId),
    ) -> bool {
        self.with_registry(|registry| {
            if !change() {
                return false;
            }
            let mut space = registry.first.load(Ordering::Relaxed);
            while space != 0 {
                visit(SpaceId(space));
                space = self.header(SpaceId(space)).next.load(Ordering::Relaxed);
            }
            true
        })
    }
}
