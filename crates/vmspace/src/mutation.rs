//! Faults that the test-only build (`--cfg vmspace_mutations`) can plant, one at a time, so that
//! each protection is seen to be needed. In every other build [`active`] is the constant `false`.

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A protection to leave out.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)*];
        }
    };
}

mutations! {
    /// Unmap sends no shootdown.
    NoShootdownAtUnmap,
    /// Protect sends no shootdown.
    NoShootdownAtProtect,
    /// Fork sends no shootdown.
    NoShootdownAtFork,
    /// A copy-on-write break sends no shootdown.
    NoShootdownAtCopy,
    /// Don't-need sends no shootdown.
    NoShootdownAtDontNeed,
    /// Truncation sends no shootdown.
    NoShootdownAtTruncation,
    /// Truncation sends no shootdown for private copies.
    NoShootdownAtCopyTruncation,
    /// Clearing the dirty bit sends no shootdown.
    NoShootdownAtClean,
    /// Remap sends no shootdown.
    NoShootdownAtRemap,
    /// A shootdown does not say that tables were unlinked.
    NoTablesInShootdown,
    /// An entry that names another frame or size is made before the old one is flushed.
    NoBreakBeforeMake,
    /// The locks are released before the acknowledgements.
    UnlockBeforeAcknowledgement,
    /// Frames are freed before the flush.
    FreeBeforeFlush,
    /// Tables are reused without a grace period.
    NoGracePeriod,
    /// A detached node's lock is taken for good.
    NoStaleCheck,
    /// A store where a compare-exchange belongs.
    StoreForCompareExchange,
    /// The stealer sends no shootdown.
    NoShootdownAtSteal,
    /// The stealer takes pages of locked mappings.
    NoLockedCheckAtSteal,
    /// The stealer takes pages that somebody holds.
    NoPinCheckAtSteal,
    /// The stealer parts a page from its entry before he knows whether that stays.
    PartBeforeRefusal,
    /// The stealer waits for a leaf's lock.
    WaitAtSteal,
    /// What is dirty is given up without being written.
    NoWriteAtSteal,
    /// Ages are taken by a load and a store.
    StoreAtAgeing,
    /// A pager or a device that asks for memory has others called.
    DriversInDrivers,
    /// Swapoff looks at everything once.
    OnePassAtSwapoff,
    /// Fork's child is not in the reverse map.
    NoRecordAtFork,
    /// A space ends although somebody who goes through all of them is at it.
    NoVisitorHeld,
    /// A stack grows by what it was before the lock.
    NoSecondLookAtGrowth,
    /// A fault installs what was needed before the lock.
    NoSecondLookAtFault,
    /// A node's sequence stays even while it changes.
    NoSequence,
    /// A page is held without locks by what its entry said before the reference was taken.
    NoSecondLookAtPin,
}

impl Mutation {
    /// What [`active`]'s build plants it by; never 0.
    pub const fn number(self) -> u32 {
        self as u32 + 1
    }
}

/// Whether `mutation` is planted.
#[cfg(not(vmspace_mutations))]
#[inline(always)]
pub const fn active(_: Mutation) -> bool {
    false
}

#[cfg(vmspace_mutations)]
static PLANTED: crate::sync::user::AtomicU32 = crate::sync::user::AtomicU32::new(0);

/// Whether `mutation` is planted.
#[cfg(vmspace_mutations)]
pub fn active(mutation: Mutation) -> bool {
    PLANTED.load(crate::sync::Ordering::Relaxed) == mutation.number()
}

/// Plants the mutation with this number (0: none) for the whole process.
#[cfg(vmspace_mutations)]
pub fn plant(number: u32) {
    PLANTED.store(number, crate::sync::Ordering::Relaxed);
}

/// Whether the next request for memory is to fail (unit tests say which).
#[cfg(not(all(test, not(loom))))]
#[inline(always)]
pub(crate) const fn allocation_fails() -> bool {
    false
}

#[cfg(all(test, not(loom)))]
pub(crate) use failing::{Failing, allocation_fails, fail_allocations};

/// Requests for memory that fail: how unit tests see an operation through exhaustion.
#[cfg(all(test, not(loom)))]
mod failing {
    use core::cell::Cell;

    /// Which requests of a thread fail, counted from 0.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Failing {
        /// This one and all after it.
        From(u64),
        /// This one alone.
        Only(u64),
    }

    std::thread_local! {
        static FAILING: Cell<Option<Failing>> = const { Cell::new(None) };
        static ASKED: Cell<u64> = const { Cell::new(0) };
        static FAILED: Cell<u64> = const { Cell::new(0) };
    }

    /// Whether the next request for memory is to fail.
    pub(crate) fn allocation_fails() -> bool {
        let request = ASKED.replace(ASKED.get() + 1);
        let fails = match FAILING.get() {
            None => false,
            Some(Failing::From(first)) => request >= first,
            Some(Failing::Only(one)) => request == one,
        };
        FAILED.set(FAILED.get() + u64::from(fails));
        fails
    }

    /// Runs `section` with some of this thread's requests failing; how many did.
    pub(crate) fn fail_allocations<R>(which: Failing, section: impl FnOnce() -> R) -> (R, u64) {
        ASKED.set(0);
        FAILED.set(0);
        FAILING.set(Some(which));
        let result = section();
        FAILING.set(None);
        (result, FAILED.get())
    }
}
