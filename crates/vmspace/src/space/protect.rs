//! mprotect(2).

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Rights;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::locking::Cover;

impl<P: Platform> Space<'_, P> {
    /// Gives `length` bytes from `address` on other rights. See mprotect(2): where part of the
    /// range is not mapped, all before the hole is changed and the answer is ENOMEM; so with
    /// EACCES where part of it may never be written, and with EPERM where part is sealed.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::BeyondUser`] when the range ends beyond all addresses;
    /// [`Error::NotMapped`]; [`Error::Denied`]; [`Error::Sealed`]; [`Error::OutOfMemory`].
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
    /// space.protect(&mut ms, at, 4096, Rights::READ)?;
    /// assert_eq!(space.fault(&mut ms, at, Access::Write), Err(FaultError::Denied));
    /// assert_eq!(space.protect(&mut ms, at, 8192, rw), Err(Error::NotMapped)); // as Linux: the first page is rw
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            let refused = cursor.find(range, |key| refusal(key, rights).is_some());
            let allowed = PageRange::new(range.start, refused.unwrap_or(range.end));
            if !allowed.is_empty() {
                cursor.prepare(allowed, None)?;
                cursor.protect(allowed, rights);
            }
            Some(match refused.and_then(|page| refusal(cursor.piece(page).0, rights)) {
                Some(error) => Err(error),
                None if beyond => Err(Error::NotMapped),
                None => Ok(()),
            })
        })?
    }
}

/// Why pages may not have these rights, as Linux looks: for a mapping, at its file, at its seal.
fn refusal(key: Key, rights: Rights) -> Option<Error> {
    let has = |attribute| key.attributes.contains(attribute);
    if !key.is_mapped() {
        Some(Error::NotMapped)
    } else if has(Attributes::NEVER_WRITE) && rights.contains(Rights::WRITE) {
        Some(Error::Denied)
    } else if has(Attributes::SEALED) {
        Some(Error::Sealed)
    } else {
        None
    }
}
