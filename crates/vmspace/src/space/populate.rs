//! Bringing pages before they are touched: MAP_POPULATE, MADV_POPULATE_READ and _WRITE, mlock(2).
//!
//! Each page is a fault of its own, so nothing is held between two; what somebody unmaps meanwhile
//! is found missing.

use super::{Space, is_device};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::fault::{Access, FaultError};
use crate::format::{Format, Rights};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Brings the pages of `length` bytes from `address` on as if each were loaded from, or stored
    /// to. See madvise(2), MADV_POPULATE_READ and MADV_POPULATE_WRITE.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::NotMapped`] for a hole; [`Error::Invalid`] where the access is
    /// not allowed, or the memory is not the manager's; [`Error::NoPage`] where nothing is behind the
    /// mapping; [`Error::OutOfMemory`]. The pages before the error have been brought.
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
    /// space.populate(&mut ms, at, 0x4000, true)?;
    /// assert_eq!(space.usage(&mut ms).resident, 4);
    /// assert_eq!(space.populate(&mut ms, at, 0x5000, true), Err(Error::NotMapped)); // a hole behind it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn populate(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        write: bool,
    ) -> Result<(), Error> {
        let (range, beyond) = self.pages_within(address, length).map_err(|error| match error {
            Error::BeyondUser => Error::Invalid,
            other => other,
        })?;
        let access = if write { Access::Write } else { Access::Read };
        self.bring(ms, range, |key| {
            let allowed = !is_device(key) && access.allowed_by(key.attributes.rights());
            if allowed { Ok(Some(access)) } else { Err(Error::Invalid) }
        })?;
        if beyond { Err(Error::NotMapped) } else { Ok(()) }
    }

    /// Brings what a mapping's own use would: private pages that may be written are brought for
    /// writing, so that each has its frame; what nobody may access is an error.
    pub(super) fn bring_for_use(&self, ms: &mut MaySleep, range: PageRange) -> Result<(), Error> {
        self.bring(ms, range, |key| {
            let rights = key.attributes.rights();
            if is_device(key) || key.attributes.contains(Attributes::LOCK_ON_FAULT) {
                return Ok(None);
            }
            match () {
                () if rights.contains(Rights::WRITE) && key.is_private() => Ok(Some(Access::Write)),
                () if Access::Read.allowed_by(rights) => Ok(Some(Access::Read)),
                () if Access::Execute.allowed_by(rights) => Ok(Some(Access::Execute)),
                () => Err(Error::NotMapped),
            }
        })
    }

    /// Brings each page for the access that `how` names for its mapping (none: leave it).
    fn bring(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        how: impl Fn(Key) -> Result<Option<Access>, Error>,
    ) -> Result<(), Error> {
        let mut page = range.start;
        while page < range.end {
            let run = {
                let guard = self.vm.walk(ms);
                walk::run(&guard, self.root(), page)
            };
            if !run.key.is_mapped() {
                return Err(Error::NotMapped);
            }
            let end = run.range.end.min(range.end);
            if let Some(access) = how(run.key)? {
                for page in page..end {
                    self.bring_page(ms, page, access)?;
                }
            }
            page = end;
        }
        Ok(())
    }

    /// One fault may not be enough: a page that comes back from swap may be others' too.
    fn bring_page(&self, ms: &mut MaySleep, page: u64, access: Access) -> Result<(), Error> {
        let address = page << P::Format::PAGE_SHIFT;
        loop {
            let there = self.translate(&self.vm.walk(ms), address);
            if there.is_some_and(|entry| access.allowed_by(entry.rights)) {
                return Ok(());
            }
            self.fault(ms, address, access).map_err(|error| match error {
                FaultError::NotMapped | FaultError::NotUser => Error::NotMapped,
                FaultError::NoPage | FaultError::MustSleep => Error::NoPage,
                FaultError::Denied => Error::Invalid,
                FaultError::OutOfMemory => Error::OutOfMemory,
            })?;
        }
    }
}
