//! Grace periods: what readers without locks may rely on.
//!
//! Guarantee: memory retired after it was unlinked is not reused before every reader that was in a
//! read-side section then has left it, on whatever CPU it runs, whether or not that CPU ever ran
//! the space (R20). Retiring needs no memory and cannot fail (R21).
//!
//! Protocol. A reader counts itself into its CPU's [`Readers`] under the parity of the epoch that
//! it happened to read, and out of the same word again; nesting, interrupts and migration need
//! nothing more, and there is no loop. The epoch advances from `e` to `e + 1` only when every
//! CPU's count of parity `e + 1` has been seen at zero. A retirement is stamped with the epoch
//! after its unlinking, behind a fence; from stamp + 1 to stamp + 3 both parities are seen at zero
//! by scans that begin after the stamp was taken, so at stamp + 3 every earlier reader has left.
//!
//! The fences: reader: count; fence; read the structure. Retirer: unlink; fence; read the epoch.
//! Scanner: read the epoch; fence; read the counts. If a reader still saw the link, its fence comes
//! before the retirer's; the scanner, which read a later epoch, has its fence after the retirer's;
//! so the scanner sees the reader's count.

use crate::sync::{AtomicU64, Ordering, fence};

/// How many epochs after its stamp a retirement is due.
const GRACE: u64 = 3;

/// One CPU's readers, by parity of the epoch that they entered in.
#[derive(Debug, Default)]
pub struct Readers {
    count: [AtomicU64; 2],
}

/// Where a reader counted itself in: what it needs to leave.
#[derive(Clone, Copy, Debug)]
pub struct Ticket(usize);

impl Readers {
    /// Leaves the section that `ticket` stands for.
    #[inline]
    pub fn exit(&self, ticket: Ticket) {
        // Release: all reads of the section come before (Acquire in `Epoch::try_advance`).
        self.count[ticket.0].fetch_sub(1, Ordering::Release);
    }
}

/// The epoch that all CPUs share: on a line of its own, since what lies beside it in the manager is
/// read by every operation.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Epoch {
    now: AtomicU64,
}

impl Epoch {
    /// Enters a read-side section on the CPU whose readers these are.
    #[inline]
    pub fn enter(&self, readers: &Readers) -> Ticket {
        let parity = (self.now.load(Ordering::Relaxed) & 1) as usize;
        readers.count[parity].fetch_add(1, Ordering::Relaxed);
        // Pairs with the fences in `stamp` and `try_advance`: see the module's head.
        fence(Ordering::SeqCst);
        Ticket(parity)
    }

    /// The stamp of what has been unlinked before this call.
    pub fn stamp(&self) -> u64 {
        // Pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
        self.now.load(Ordering::Relaxed)
    }

    /// Whether everything stamped `stamp` may be reused.
    pub fn is_past(&self, stamp: u64) -> bool {
        // Acquire: pairs with the advance's Release, and through it with the readers' exits.
        self.now.load(Ordering::Acquire) >= stamp + GRACE
    }

    /// Moves the epoch on if no reader of the coming parity is left. False: one is.
    pub fn try_advance<'a>(&self, readers: impl Iterator<Item = &'a Readers>) -> bool {
        let now = self.now.load(Ordering::Acquire);
        // Pairs with the fences in `enter` and, through the value read, in `stamp`.
        fence(Ordering::SeqCst);
        let next = now + 1;
        for readers in readers {
            // Acquire: pairs with `exit`, so that reuse comes after the last read.
            if readers.count[(next & 1) as usize].load(Ordering::Acquire) != 0 {
                return false;
            }
        }
        // Release: hands on what the scan acquired. A failure means that somebody else advanced.
        let _ = self.now.compare_exchange(now, next, Ordering::AcqRel, Ordering::Relaxed);
        true
    }
}
