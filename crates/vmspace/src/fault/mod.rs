//! Page faults.
//!
//! Guarantee: when `fault` answers Ok, the access that faulted can be tried again, and either
//! succeeds or faults for a newer reason. A fault locks exactly one node, the lowest that exists
//! over the page, and waits inside neither for memory nor for a pager: pages are allocated, zeroed
//! and copied before.
//!
//! Protocol. Look without locks what is *needed* ([`Need`]), taking a reference to what will be
//! copied or mapped; prepare it; lock; look again. If the need is the same, install; else give
//! back what was prepared and start again. Missing tables are built privately, with the final
//! entry in the leaf, and attached in one window.
//!
//! A page of an object comes with a stamp, which is compared when the reverse map has the record: an
//! object that was truncated meanwhile is asked again.
//!
//! A page that is copied cannot change meanwhile: the reference, held until the copy is installed,
//! keeps its owners from taking it for their own, and the entry is compared again under the lock.

mod change;
mod fill;
mod install;
mod need;

pub(crate) use fill::bring_back;
use need::{Need, need};

use crate::addr::Frame;
use crate::context::MaySleep;
use crate::counters::Event;
use crate::error::Error;
use crate::format::{Entry, Format, Geometry, Rights};
use crate::lock;
use crate::object;
use crate::platform::Platform;
use crate::rmap;
use crate::space::Space;
use crate::sync::{Ordering, fence};
use crate::tree::entries;
use crate::tree::locking::Seen;
use crate::tree::node::Node;
use crate::tree::walk;
use crate::vm::Guard;

/// How memory was accessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or a read-modify-write.
    Write,
    /// An instruction fetch.
    Execute,
}

impl Access {
    /// Whether rights (of an entry, or of a region) allow it. Writing implies reading, as in
    /// Linux's protection map.
    ///
    /// ```
    /// use vmspace::{Access, format::Rights};
    ///
    /// assert!(Access::Read.allowed_by(Rights::WRITE)); // storing brings loading
    /// assert!(!Access::Execute.allowed_by(Rights::READ | Rights::WRITE));
    /// ```
    pub fn allowed_by(self, rights: Rights) -> bool {
        match self {
            Access::Read => rights.intersects(Rights::READ.union(Rights::WRITE)),
            Access::Write => rights.contains(Rights::WRITE),
            Access::Execute => rights.contains(Rights::EXECUTE),
        }
    }
}

/// Why a fault could not be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// Nothing is mapped there (SIGSEGV, SEGV_MAPERR).
    NotMapped,
    /// The mapping does not allow the access (SIGSEGV, SEGV_ACCERR).
    Denied,
    /// The mapping has nothing behind the address (SIGBUS).
    NoPage,
    /// No memory is left (Linux kills the process).
    OutOfMemory,
    /// The address is beyond the user's (SIGSEGV, SEGV_MAPERR).
    NotUser,
    /// It can only be resolved where sleeping is allowed.
    MustSleep,
}

/// What is to be settled: what was seen without locks, and what is needed therefore.
struct Target {
    page: u64,
    access: Access,
    need: Need,
    seen: Seen,
}

impl<'vm, P: Platform> Space<'vm, P> {
    /// Resolves a fault of user code at `address`, in bytes.
    ///
    /// # Errors
    /// [`FaultError`], but for `MustSleep`.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ))?;
    /// assert_eq!(space.fault(&mut ms, at, Access::Read), Ok(())); // the page of zeros
    /// assert_eq!(space.fault(&mut ms, at, Access::Write), Err(FaultError::Denied));
    /// assert_eq!(space.fault(&mut ms, 0x1000, Access::Read), Err(FaultError::NotMapped));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn fault(&self, ms: &mut MaySleep, address: u64, access: Access) -> Result<(), FaultError> {
        self.resolve::<false>(ms, address, access)
    }

    /// The same, and private memory's page is the space's alone afterwards: not the zero page, and
    /// shared with no fork.
    pub(crate) fn fault_own(
        &self,
        ms: &mut MaySleep,
        address: u64,
        access: Access,
    ) -> Result<(), FaultError> {
        self.resolve::<true>(ms, address, access)
    }

    /// `OWN`: private memory's page is to be the space's alone.
    #[inline]
    fn resolve<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        address: u64,
        access: Access,
    ) -> Result<(), FaultError> {
        let page = user_page::<P>(address)?;
        loop {
            match self.vm.reclaiming(ms, |ms| self.attempt::<OWN>(ms, page, access)) {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(FaultError::OutOfMemory),
            }
        }
    }

    /// Looks, prepares, locks and installs. False: something else was found under the lock. None: no
    /// memory, and there are more empty tables at most.
    #[inline(never)]
    fn attempt<const OWN: bool>(
        &self,
        ms: &mut MaySleep,
        page: u64,
        access: Access,
    ) -> Option<Result<bool, FaultError>> {
        let (need, seen) = self.look::<OWN>(ms, page, access);
        let target = Target { page, access, need, seen };
        let settled = match need {
            Need::Fresh if seen.word == 0 => Ok(self.fill_fresh::<OWN>(ms, &target)?),
            Need::Zero => Ok(self.fill_zero::<OWN>(ms, &target)?),
            Need::Object(..) => self.fill_cached::<OWN>(ms, &target),
            Need::ObjectCopy(..) => self.fill_copy::<OWN>(ms, &target),
            Need::Swapped(place) => self.fill_swapped::<OWN>(ms, &target, place),
            Need::Refused(error) => self.refuse(ms, page, error),
            _ => Ok(self.change::<OWN>(ms, &target)?),
        };
        if settled == Ok(true) {
            self.vm.count(need.event(), 1);
        }
        Some(settled)
    }

    /// Resolves what can be resolved without locks and memory: accessed and dirty bits that the
    /// processor leaves to software. For interrupts, and for those who hold a guard or a lock.
    ///
    /// # Errors
    /// [`FaultError::MustSleep`] when that is not enough.
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
    /// let missing = space.fault_atomic(&vm.walk(&mut ms), at, Access::Read);
    /// assert_eq!(missing, Err(FaultError::MustSleep)); // a page is to be made
    /// space.fault(&mut ms, at, Access::Read).expect("it is mapped");
    /// // Only the entry's accessed bit was missing, say: an interrupt may see to that.
    /// assert_eq!(space.fault_atomic(&vm.walk(&mut ms), at, Access::Read), Ok(()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fault_atomic(
        &self,
        guard: &Guard<'_, P>,
        address: u64,
        access: Access,
    ) -> Result<(), FaultError> {
        let page = user_page::<P>(address)?;
        // Another manager's guard guards nothing here.
        if !core::ptr::eq(guard.vm(), self.vm) {
            return Err(FaultError::MustSleep);
        }
        let node = self.root_node().descend(page, 0);
        let index = node.index(page);
        let word = node.load(index);
        match P::Format::decode(node.level, word) {
            Entry::Leaf(leaf) if access.allowed_by(leaf.rights) => {
                let touched = P::Format::touched(node.level, word, access == Access::Write);
                // A failure means a newer word: the access finds out.
                let _ = entries::exchange(self.vm, node, index, word, touched);
                Ok(())
            }
            _ => Err(FaultError::MustSleep),
        }
    }

    /// What is needed, without locks; with a reference to the page or object that it names.
    #[inline]
    fn look<const OWN: bool>(&self, ms: &mut MaySleep, page: u64, access: Access) -> (Need, Seen) {
        let guard = self.vm.walk(ms);
        let seen = walk::page(&guard, self.root(), page);
        let entry = P::Format::decode(seen.level, seen.word);
        let need = need::<OWN, P>(self.vm, seen.key, page, entry, access);
        let held = match need {
            Need::Copy(frame) => self.try_hold_source(frame, page, &seen),
            Need::Object(object, _) | Need::ObjectCopy(object, _) => {
                object::try_get(&guard, object)
            }
            Need::Swapped(place) => fill::hold_slot(&guard, place, page, &seen),
            _ => true,
        };
        // What cannot be held is going away: look again.
        (if held { need } else { Need::Wait }, seen)
    }

    /// A reference to a page to copy, found in the entry seen. From then on nobody takes the page
    /// for its own, so that nobody writes it; who did so before has changed the entry, or still
    /// holds its table's lock.
    fn try_hold_source(&self, frame: Frame, page: u64, seen: &Seen) -> bool {
        if !self.vm.meta_of(frame).refs.try_get() {
            return false;
        }
        // Pairs with the fence in `is_own`: he sees our reference, or we see his lock.
        fence(Ordering::SeqCst);
        let node = Node::at(self.vm, seen.frame, seen.level);
        let unsettled = lock::is_unsettled(&node.meta.lock);
        // Pairs with the lock's release: its holder's entries are seen.
        fence(Ordering::Acquire);
        let held = !unsettled && node.load(node.index(page)) == seen.word;
        if !held {
            rmap::put_page(self.vm, frame);
        }
        held
    }

    /// Refuses a fault, but where a stack can grow over it: then it is to be looked at again.
    #[cold]
    fn refuse(&self, ms: &mut MaySleep, page: u64, why: FaultError) -> Result<bool, FaultError> {
        if why == FaultError::NotMapped && self.grow_stack(ms, page)? {
            return Ok(false);
        }
        self.vm.count(Event::FaultRefused, 1);
        Err(why)
    }

    /// Lets the stack above `page` grow over it. False: there is none that may.
    fn grow_stack(&self, ms: &mut MaySleep, page: u64) -> Result<bool, FaultError> {
        match self.extend_stack(ms, page) {
            Ok(grown) => {
                self.vm.count(Event::FaultStack, u64::from(grown));
                Ok(grown)
            }
            Err(Error::OutOfMemory) => Err(FaultError::OutOfMemory),
            Err(_) => Ok(false),
        }
    }
}

/// The page of an address of the user's.
fn user_page<P: Platform>(address: u64) -> Result<u64, FaultError> {
    let page = address >> P::Format::PAGE_SHIFT;
    if page < P::Format::USER_PAGES { Ok(page) } else { Err(FaultError::NotUser) }
}
