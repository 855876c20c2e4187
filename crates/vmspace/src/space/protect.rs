//! mprotect(2).

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Rights;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::tree::locking::Cover;

impl<P: Platform> Space<'_, P> {
    /// Gives `length` bytes from `address` on other rights. See mprotect(2): where part of the
    /// range is not mapped, all before the hole is changed and the answer is ENOMEM.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::BeyondUser`] when the range ends beyond all addresses;
    /// [`Error::NotMapped`]; [`Error::Sealed`]; [`Error::OutOfMemory`].
    pub fn protect(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        rights: Rights,
    ) -> Result<(), Error> {
        let (range, beyond) = self.pages_within(address, length)?;
        if range.is_empty() {
            return if beyond { Err(Error::NotMapped) } else { Ok(()) };
        }
        self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtProtect, |cursor| {
            let hole = cursor.first(range, false);
            let seal = cursor.first_seal(PageRange::new(range.start, hole.unwrap_or(range.end)));
            let mapped = PageRange::new(range.start, seal.or(hole).unwrap_or(range.end));
            if !mapped.is_empty() {
                cursor.prepare(mapped, None)?;
                cursor.protect(mapped, rights);
            }
            Some(match seal {
                Some(_) => Err(Error::Sealed),
                None if beyond || hole.is_some() => Err(Error::NotMapped),
                None => Ok(()),
            })
        })?
    }
}
