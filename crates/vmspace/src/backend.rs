//! How an entry is changed: the seam for hypervisors, hash tables and shadow tables.
//!
//! Guarantee: every change that the library makes to an entry that somebody else can reach goes
//! through one of these methods, and `close` is called before the lock of the node that holds the
//! entry is released. So a backend that forwards changes (a hypervisor's validated tables, a hash
//! table, a shadow) can be in step whenever the lock is free (R16, R49). A table with all below it
//! may move: unlinked by one change and linked again by a later one, before the locks of both slots
//! and of all that moves are released.
//!
//! The native backend is atomic instructions and nothing else.

use crate::addr::Frame;
use crate::cell::Cell;

/// One slot of a table that others can reach.
pub struct Slot<'a, C> {
    /// Where the entry lies.
    pub cell: &'a C,
    /// The table that holds it.
    pub table: Frame,
    /// Its index in the table.
    pub index: usize,
    /// The table's level.
    pub level: usize,
}

impl<C> Clone for Slot<'_, C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for Slot<'_, C> {}

/// How entries are changed. All methods are called with the lock of the slot's node held (for a
/// kernel's slot of a root, the registry's), but for `clear_accessed`, which the stealer calls
/// without, and a `compare_exchange` that sets accessed or dirty and nothing else.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use vmspace::{Backend, Cell, Frame, Native, Slot, backend::NoTable};
///
/// /// Counts the changes on their way to the tables.
/// #[derive(Default)]
/// struct Counting(AtomicU64);
///
/// impl Backend for Counting {
///     fn prepare_table(&self, table: Frame, level: usize) -> Result<(), NoTable> {
///         Native.prepare_table(table, level)
///     }
///     fn release_table(&self, table: Frame) {
///         Native.release_table(table);
///     }
///     fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Native.compare_exchange(slot, old, new)
///     }
///     fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Native.swap(slot, new)
///     }
///     fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
///         Native.clear_accessed(slot, mask)
///     }
///     fn close(&self, table: Frame) {
///         Native.close(table);
///     }
/// }
///
/// let entry = vmspace::sync::AtomicU64::new(0);
/// let slot = Slot { cell: &entry, table: Frame(1), index: 0, level: 0 };
/// let counting = Counting::default();
/// assert_eq!(counting.swap(slot, 5), 0);
/// assert_eq!(counting.compare_exchange(slot, 4, 6), Err(5));
/// assert_eq!(counting.0.into_inner(), 2);
/// ```
pub trait Backend: Sync {
    /// Before `table` (zeroed, unreachable) becomes a table of level `level`. May fail for memory.
    fn prepare_table(&self, table: Frame, level: usize) -> Result<(), NoTable>;

    /// After `table` (unlinked, flushed, past its grace period) has stopped being a table.
    fn release_table(&self, table: Frame);

    /// Changes the entry from `old` to `new`; the word found instead, when it is not `old`.
    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64>;

    /// Puts `new` there and returns what stood there.
    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64;

    /// Clears the bits of `mask` in a leaf entry (accessed, no other) and returns the old word.
    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64;

    /// The lock of the node in `table` is about to be released: nothing may stay queued.
    fn close(&self, table: Frame);
}

/// The backend could not prepare a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoTable;

/// Tables that the processor walks where they lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct Native;

impl Backend for Native {
    #[inline(always)]
    fn prepare_table(&self, _: Frame, _: usize) -> Result<(), NoTable> {
        Ok(())
    }

    #[inline(always)]
    fn release_table(&self, _: Frame) {}

    #[inline(always)]
    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        slot.cell.compare_exchange(old, new)
    }

    #[inline(always)]
    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        slot.cell.swap(new)
    }

    #[inline(always)]
    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        slot.cell.clear(mask)
    }

    #[inline(always)]
    fn close(&self, _: Frame) {}
}
