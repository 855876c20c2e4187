//! Pagers: where the pages of objects come from, and where they go.
//!
//! Guarantee: a pager is asked for a page and handed a page with the object's number and the place
//! in it; it sees no region and no space. None of the library's locks is held while it runs, but
//! perhaps the lock that orders the writers ([`Object::write`], [`Object::set_len`],
//! [`Object::sync`]) of that one object, and that of an object of memory whose writer found none
//! free: faults, reads and everything else never wait for them. So a pager may sleep, fault, map and
//! ask for memory; it must not write to, truncate or sync the object that it is serving, nor one
//! of memory.
//!
//! [`Object::write`]: crate::Object::write
//! [`Object::set_len`]: crate::Object::set_len
//! [`Object::sync`]: crate::Object::sync

use crate::addr::Frame;
use crate::context::MaySleep;
use crate::sync::Ordering;
use crate::sync::user::AtomicU8;
use core::fmt;

/// Why a pager could not do what it was asked for.
///
/// ```
/// use vmspace::{Error, PagerError};
///
/// let full = Error::Pager(PagerError::Full);
/// assert_eq!(full.errno(), 28); // ENOSPC
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PagerError {
    /// It cannot be read or written (EIO).
    Failed,
    /// There is no room left where it goes (ENOSPC).
    Full,
    /// It would be larger than what it goes to may be (EFBIG).
    TooLarge,
}

impl PagerError {
    /// Linux's number for it (positive).
    pub const fn errno(self) -> i32 {
        match self {
            PagerError::Failed => 5,
            PagerError::TooLarge => 27,
            PagerError::Full => 28,
        }
    }

    /// The error of that number, if there is one.
    pub(crate) const fn from_errno(number: i32) -> Option<PagerError> {
        match number {
            5 => Some(PagerError::Failed),
            27 => Some(PagerError::TooLarge),
            28 => Some(PagerError::Full),
            _ => None,
        }
    }
}

impl fmt::Display for PagerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PagerError::Failed => "the object's pager failed",
            PagerError::Full => "there is no room left for the object's pages",
            PagerError::TooLarge => "the object would be too large for its pager",
        })
    }
}

/// What fills and stores the pages of objects. Objects are known to it by the number that they
/// were made with ([`Vm::object`](crate::Vm::object)), which is never 0.
///
/// ```
/// use vmspace::{MaySleep, Page, Pager, PagerError};
///
/// /// Read-only bytes that are there anyway: number `n` is the `n`-th of them.
/// struct Images(&'static [&'static [u8]]);
///
/// impl Images {
///     fn of(&self, pager: u64) -> Result<&'static [u8], PagerError> {
///         self.0.get(pager as usize - 1).copied().ok_or(PagerError::Failed)
///     }
/// }
///
/// impl Pager for Images {
///     fn page_in(&self, _: &mut MaySleep, pager: u64, index: u64, page: Page<'_>) -> Result<(), PagerError> {
///         let from = self.of(pager)?;
///         let rest = from.get(index as usize * page.len()..).unwrap_or(&[]);
///         let copied = page.write(0, rest);
///         page.zero_from(copied);
///         Ok(())
///     }
///
///     fn page_out(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>, _: usize) -> Result<(), PagerError> {
///         Err(PagerError::Failed)
///     }
///
///     fn write(&self, _: &mut MaySleep, _: u64, _: u64, _: &[u8]) -> Result<usize, PagerError> {
///         Err(PagerError::Failed)
///     }
///
///     fn resize(&self, _: &mut MaySleep, _: u64, _: u64) -> Result<(), PagerError> {
///         Err(PagerError::Failed)
///     }
///
///     fn end(&self, _: &mut MaySleep, _: u64) {}
/// }
///
/// assert!(Images(&[b"one", b"two"]).of(3).is_err());
/// ```
pub trait Pager: Sync {
    /// Fills `page`, whose contents are undefined, with page `index` of the object; with zeros
    /// beyond the end of what it has: the object's end, unless a write is under way. Several may ask
    /// for one page at once; one answer is used. What it was asked for may be unmapped or truncated
    /// when it answers.
    ///
    /// # Errors
    /// Whoever touched the page gets SIGBUS, whoever read it EIO.
    fn page_in(
        &self,
        ms: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError>;

    /// Stores the first `bytes` bytes (not 0) of `page`, which is page `index` of the object. User
    /// code may be writing it; what it writes from now on is handed over again.
    ///
    /// # Errors
    /// Who asked for it is told; the page stays dirty.
    fn page_out(
        &self,
        ms: &mut MaySleep,
        pager: u64,
        index: u64,
        page: Page<'_>,
        bytes: usize,
    ) -> Result<(), PagerError>;

    /// Stores `from` (not empty) at byte `offset` of the object, which grows if it ends there; how
    /// many bytes were stored, at least one.
    ///
    /// # Errors
    /// Nothing was stored.
    fn write(
        &self,
        ms: &mut MaySleep,
        pager: u64,
        offset: u64,
        from: &[u8],
    ) -> Result<usize, PagerError>;

    /// The object is to be `bytes` long.
    ///
    /// # Errors
    /// It is as long as it was.
    fn resize(&self, ms: &mut MaySleep, pager: u64, bytes: u64) -> Result<(), PagerError>;

    /// The object has ended: all that was dirty has been handed over, and nothing more will be
    /// asked for under this number.
    fn end(&self, ms: &mut MaySleep, pager: u64);
}

/// The pager of a platform without files: objects are memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPager;

impl Pager for NoPager {
    fn page_in(&self, _: &mut MaySleep, _: u64, _: u64, _: Page<'_>) -> Result<(), PagerError> {
        Err(PagerError::Failed)
    }

    fn page_out(
        &self,
        _: &mut MaySleep,
        _: u64,
        _: u64,
        _: Page<'_>,
        _: usize,
    ) -> Result<(), PagerError> {
        Err(PagerError::Failed)
    }

    fn write(&self, _: &mut MaySleep, _: u64, _: u64, _: &[u8]) -> Result<usize, PagerError> {
        Err(PagerError::Failed)
    }

    fn resize(&self, _: &mut MaySleep, _: u64, _: u64) -> Result<(), PagerError> {
        Err(PagerError::Failed)
    }

    fn end(&self, _: &mut MaySleep, _: u64) {}
}

/// A page of an object, held for a pager. User code may be reading and writing it: its bytes are
/// reached one by one, as atomics.
#[derive(Clone, Copy)]
pub struct Page<'a> {
    frame: Frame,
    bytes: &'a [AtomicU8],
}

impl<'a> Page<'a> {
    pub(crate) fn new(frame: Frame, bytes: &'a [AtomicU8]) -> Page<'a> {
        Page { frame, bytes }
    }

    /// The frame, for devices.
    pub fn frame(&self) -> Frame {
        self.frame
    }

    /// Bytes of a page.
    #[allow(clippy::len_without_is_empty)] // no page is empty
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Copies from byte `at` of the page on, as much as there is; how much.
    pub fn read(&self, at: usize, into: &mut [u8]) -> usize {
        let from = self.bytes.get(at..).unwrap_or(&[]);
        let pairs = into.iter_mut().zip(from);
        pairs.map(|(byte, from)| *byte = from.load(Ordering::Relaxed)).count()
    }

    /// Copies to byte `at` of the page on, as much as fits; how much.
    pub fn write(&self, at: usize, from: &[u8]) -> usize {
        let to = self.bytes.get(at..).unwrap_or(&[]);
        let pairs = to.iter().zip(from);
        pairs.map(|(to, byte)| to.store(*byte, Ordering::Relaxed)).count()
    }

    /// Zeros from byte `at` of the page on.
    pub fn zero_from(&self, at: usize) {
        for byte in self.bytes.get(at..).unwrap_or(&[]) {
            byte.store(0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Page").field(&self.frame).finish()
    }
}
