//! Faults that the test-only build (`--cfg vmspace_mutations`) can plant, one at a time, so that
//! each protection is seen to be needed. In every other build [`active`] is the constant `false`.

/// A protection to leave out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Mutation {
    /// Unmap sends no shootdown.
    NoShootdownAtUnmap = 1,
    /// Protect sends no shootdown.
    NoShootdownAtProtect,
    /// Fork sends no shootdown.
    NoShootdownAtFork,
    /// A copy-on-write break sends no shootdown.
    NoShootdownAtCopy,
    /// Don't-need sends no shootdown.
    NoShootdownAtDontNeed,
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
}

/// Whether `mutation` is planted.
#[cfg(not(vmspace_mutations))]
#[inline(always)]
pub const fn active(_: Mutation) -> bool {
    false
}

#[cfg(vmspace_mutations)]
static PLANTED: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);

/// Whether `mutation` is planted.
#[cfg(vmspace_mutations)]
pub fn active(mutation: Mutation) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == mutation as u32
}

/// Plants the mutation with this number (0: none) for the whole process.
#[cfg(vmspace_mutations)]
pub fn plant(number: u32) {
    PLANTED.store(number, core::sync::atomic::Ordering::Relaxed);
}

/// Whether the next request for memory is to fail (unit tests make the k-th one fail).
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn allocation_fails() -> bool {
    false
}

#[cfg(test)]
std::thread_local! {
    static FAIL_AT: core::cell::Cell<Option<u64>> = const { core::cell::Cell::new(None) };
}

/// Whether the next request for memory is to fail.
#[cfg(test)]
pub(crate) fn allocation_fails() -> bool {
    FAIL_AT.with(|at| match at.get() {
        None => false,
        Some(0) => true,
        Some(n) => {
            at.set(Some(n - 1));
            false
        }
    })
}

/// Makes all requests of this thread fail after the next `n`; `None`: no more.
#[cfg(test)]
pub(crate) fn fail_allocations_after(n: Option<u64>) {
    FAIL_AT.with(|at| at.set(n));
}
