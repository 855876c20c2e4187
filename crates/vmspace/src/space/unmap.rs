//! munmap(2).

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::Key;
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;

impl<P: Platform> Space<'_, P> {
    /// Unmaps what is mapped of `length` bytes from `address` on. See munmap(2).
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::Invalid`] for an empty range or one beyond the user's
    /// addresses; [`Error::Sealed`]; [`Error::OutOfMemory`] only when a mapping had to be split.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(3 * 4096, rw))?;
    /// space.unmap(&mut ms, at + 4096, 4096)?; // splits it
    /// assert_eq!(space.write(&mut ms, at, &[7; 8192]), 4096);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unmap(&self, ms: &mut MaySleep, address: u64, length: u64) -> Result<(), Error> {
        let range = self.pages(address, length).map_err(|error| match error {
            Error::BeyondUser => Error::Invalid,
            other => other,
        })?;
        if range.is_empty() {
            return Err(Error::Invalid);
        }
        self.unmap_range(ms, range)
    }

    pub(super) fn unmap_range(&self, ms: &mut MaySleep, range: PageRange) -> Result<(), Error> {
        let (cover, skip) = (Cover::Parent, Mutation::NoShootdownAtUnmap);
        let unmapped = self.edit(ms, range, cover, skip, |cursor| cursor.take_out(range))??;
        if unmapped {
            self.has_freed(ms, range);
        }
        Ok(())
    }
}

impl<P: Platform> Cursor<'_, '_, P> {
    /// Unmaps `range`; whether anything was there. None: no memory.
    pub(super) fn take_out(&mut self, range: PageRange) -> Option<Result<bool, Error>> {
        if let Err(error) = self.check_seals(range) {
            return Some(Err(error));
        }
        self.prepare(range, Some(Key::HOLE))?;
        Some(Ok(self.replace(range, Key::HOLE)))
    }
}
