//! mseal(2).

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::Attributes;
use crate::sync::Ordering;
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;

impl<P: Platform> Space<'_, P> {
    /// Seals `length` bytes from `address` on, for good: they can be neither unmapped, moved,
    /// replaced nor given other rights, nor, where they cannot be written, discarded. A fork's child
    /// has the seals too. See mseal(2).
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::Invalid`] when the range ends beyond all addresses;
    /// [`Error::NotMapped`] for a hole, and then nothing is sealed; [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// # let at = space.map(&mut ms, Map::anonymous(0x4000, rw))?; // four pages
    ///
    /// space.seal(&mut ms, at, 0x1000)?;
    /// assert_eq!(space.unmap(&mut ms, at, 0x4000), Err(Error::Sealed));
    /// assert_eq!(space.protect(&mut ms, at, 0x1000, Rights::READ), Err(Error::Sealed));
    /// assert_eq!(space.write(&mut ms, at, b"as before"), 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seal(&self, ms: &mut MaySleep, address: u64, length: u64) -> Result<(), Error> {
        let (range, beyond) = self.pages_within(address, length).map_err(|error| match error {
            Error::BeyondUser => Error::Invalid,
            other => other,
        })?;
        if beyond {
            return Err(Error::NotMapped);
        }
        if range.is_empty() {
            return Ok(());
        }
        self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtProtect, |cursor| {
            if cursor.first(range, false).is_some() {
                return Some(Err(Error::NotMapped));
            }
            cursor.prepare(range, None)?;
            // Under the lock: whoever locks a part of the range later looks for seals.
            self.header().has_seals.store(1, Ordering::Relaxed);
            cursor.change_attributes(range, |now| now | Attributes::SEALED);
            Some(Ok(()))
        })?
    }
}

impl<P: Platform> Cursor<'_, '_, P> {
    /// The first sealed page of `range`. Costs nothing where the space has no seals.
    pub(super) fn first_seal(&self, range: PageRange) -> Option<u64> {
        if self.vm.header(self.space).has_seals.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.find(range, |key| key.attributes.contains(Attributes::SEALED))
    }

    /// An error where a page of `range` is sealed.
    pub(super) fn check_seals(&self, range: PageRange) -> Result<(), Error> {
        if self.first_seal(range).is_some() { Err(Error::Sealed) } else { Ok(()) }
    }
}
