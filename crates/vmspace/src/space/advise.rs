//! madvise(2), as far as it is there.

use super::{Space, is_device};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::tree::locking::Cover;

/// What is said about a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// The contents are not needed: the next touch finds zeros, or the object's page
    /// (MADV_DONTNEED).
    DontNeed,
}

impl<P: Platform> Space<'_, P> {
    /// Follows the advice on `length` bytes from `address` on. See madvise(2): holes are passed
    /// over, and answered with ENOMEM in the end.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::Invalid`] when the range ends beyond all addresses;
    /// [`Error::NotMapped`].
    pub fn advise(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        advice: Advice,
    ) -> Result<(), Error> {
        let (range, beyond) = self.pages_within(address, length).map_err(|error| match error {
            Error::BeyondUser => Error::Invalid,
            other => other,
        })?;
        if !range.is_empty() {
            match advice {
                Advice::DontNeed => self.dont_need(ms, range)?,
            }
        }
        if beyond { Err(Error::NotMapped) } else { Ok(()) }
    }

    fn dont_need(&self, ms: &mut MaySleep, range: PageRange) -> Result<(), Error> {
        self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtDontNeed, |cursor| {
            // What is not the manager's would not come back.
            if cursor.find(range, is_device).is_some() {
                return Some(Err(Error::Invalid));
            }
            cursor.clear(range);
            let hole = cursor.first(range, false);
            Some(if hole.is_some() { Err(Error::NotMapped) } else { Ok(()) })
        })?
    }
}
