//! Why an operation was refused, and the number that Linux gives for it.

use crate::pager::PagerError;
use core::fmt;

/// Why an operation on a space, or the making of one, was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// No frame is left, after waiting for what was retired.
    OutOfMemory,
    /// No free range is long enough.
    NoFreeRange,
    /// The address is not a multiple of the page size.
    Misaligned,
    /// The length is zero.
    Empty,
    /// The range ends beyond the user's addresses.
    BeyondUser,
    /// The address lies below the lowest that may be mapped (`vm.mmap_min_addr`).
    BelowMinimum,
    /// Something is mapped there already, and the caller asked not to replace it.
    Exists,
    /// Part of the range is not mapped.
    NotMapped,
    /// Part of the range may never have these rights.
    Denied,
    /// The range is not part of one mapping.
    NotOneMapping,
    /// Nothing is behind part of the mapping.
    NoPage,
    /// The limit of locked memory is zero (RLIMIT_MEMLOCK).
    LockingForbidden,
    /// More memory would be locked than may be (RLIMIT_MEMLOCK).
    TooMuchLocked,
    /// A mapping cannot be locked, or not now.
    NotLocked,
    /// Part of the range is sealed.
    Sealed,
    /// The rights, flags or advice make no sense together.
    Invalid,
    /// The object would be longer than any may be, or be mapped beyond that.
    TooLarge,
    /// The object's pager could not do its part.
    Pager(PagerError),
    /// The swap device is in use already.
    InUse,
    /// Entries can name no more swap devices.
    TooManyDevices,
    /// A signal came first.
    Interrupted,
    /// The frames given to the manager are too few for itself: it needs at least this many.
    TooSmall {
        /// The least number of frames.
        least: u64,
    },
    /// Some of the frames given to the manager lie beyond what the format's entries can name, or
    /// from 2^48 bytes on.
    TooHigh {
        /// Frames must lie below this one.
        end: u64,
    },
    /// The platform's CPUs are none, or more than [`MAX_CPUS`](crate::MAX_CPUS).
    BadCpus,
}

impl Error {
    /// Linux's number for it (positive), as the call's man page has it.
    ///
    /// ```
    /// use vmspace::{Error, PagerError};
    ///
    /// assert_eq!(Error::NotMapped.errno(), 12); // ENOMEM
    /// assert_eq!(Error::Pager(PagerError::Full).errno(), 28); // ENOSPC
    /// ```
    pub const fn errno(self) -> i32 {
        const EPERM: i32 = 1;
        const EINTR: i32 = 4;
        const EAGAIN: i32 = 11;
        const ENOMEM: i32 = 12;
        const EACCES: i32 = 13;
        const EFAULT: i32 = 14;
        const EBUSY: i32 = 16;
        const EEXIST: i32 = 17;
        const EINVAL: i32 = 22;
        const EFBIG: i32 = 27;
        match self {
            Error::OutOfMemory
            | Error::NoFreeRange
            | Error::NotMapped
            | Error::BeyondUser
            | Error::TooSmall { .. } => ENOMEM,
            Error::Misaligned
            | Error::Empty
            | Error::Invalid
            | Error::TooHigh { .. }
            | Error::BadCpus => EINVAL,
            Error::BelowMinimum | Error::TooManyDevices => EPERM,
            Error::InUse => EBUSY,
            Error::Interrupted => EINTR,
            Error::Denied => EACCES,
            Error::TooLarge => EFBIG,
            Error::Pager(error) => error.errno(),
            Error::TooMuchLocked => ENOMEM,
            Error::NotLocked => EAGAIN,
            Error::LockingForbidden | Error::Sealed => EPERM,
            Error::NotOneMapping | Error::NoPage => EFAULT,
            Error::Exists => EEXIST,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::OutOfMemory => write!(f, "out of memory"),
            Error::NoFreeRange => write!(f, "no free range of addresses is long enough"),
            Error::Misaligned => write!(f, "the address is not a multiple of the page size"),
            Error::Empty => write!(f, "the length is zero"),
            Error::BeyondUser => write!(f, "the range ends beyond the user's addresses"),
            Error::BelowMinimum => {
                write!(f, "the address lies below the lowest that may be mapped")
            }
            Error::Exists => write!(f, "something is mapped there already"),
            Error::NotMapped => write!(f, "part of the range is not mapped"),
            Error::Denied => write!(f, "part of the range may never have these rights"),
            Error::NoPage => write!(f, "nothing is behind part of the mapping"),
            Error::LockingForbidden => write!(f, "no memory may be locked"),
            Error::TooMuchLocked => write!(f, "more memory would be locked than may be"),
            Error::NotLocked => write!(f, "the mapping cannot be locked"),
            Error::Sealed => write!(f, "part of the range is sealed"),
            Error::NotOneMapping => write!(f, "the range is not part of one mapping"),
            Error::Invalid => write!(f, "the arguments make no sense together"),
            Error::TooLarge => write!(f, "the object would be too long"),
            Error::Pager(error) => error.fmt(f),
            Error::InUse => write!(f, "the swap device is in use already"),
            Error::TooManyDevices => {
                write!(f, "there are as many swap devices as entries can name")
            }
            Error::Interrupted => write!(f, "interrupted by a signal"),
            Error::TooSmall { least } => write!(f, "too little memory: at least {least} frames"),
            Error::TooHigh { end } => {
                write!(f, "frames from {end:#x} on are beyond what can be managed")
            }
            Error::BadCpus => write!(f, "the platform's number of CPUs is out of range"),
        }
    }
}

impl core::error::Error for Error {}
