//! mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2).
//!
//! Guarantee: when [`Space::lock`] returns without an error every page of the range has its frame,
//! and keeps one until it is unlocked or unmapped; a fork's child has no locks. The total of locked
//! pages is exact. It is one counter: spaces that lock nothing only read it, and those that do pay
//! for a frame with each page that they count.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::sync::{Change, Ordering};
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;

/// Which mappings of a space are locked (mlockall(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LockAll {
    /// Those that there are (MCL_CURRENT).
    pub current: bool,
    /// Those to come (MCL_FUTURE).
    pub future: bool,
    /// Pages only once they are touched (MCL_ONFAULT).
    pub on_fault: bool,
}

/// What locking sets.
fn locks(on_fault: bool) -> Attributes {
    if on_fault { Attributes::LOCKS } else { Attributes::LOCKED }
}

/// A change of attributes that makes the locks `wanted`. What is not the manager's has none.
fn relock(wanted: Attributes) -> impl Fn(Attributes) -> Attributes + Copy {
    move |now| match now.contains(Attributes::DEVICE) {
        true => now,
        false => now.difference(Attributes::LOCKS) | wanted,
    }
}

impl<P: Platform> Space<'_, P> {
    /// Sets how much may be locked (RLIMIT_MEMLOCK), in bytes.
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
    /// space.set_lock_limit(0x2000);
    /// assert_eq!(space.lock(&mut ms, at, 0x3000, false), Err(Error::TooMuchLocked));
    /// space.lock(&mut ms, at, 0x2000, false)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_lock_limit(&self, bytes: u64) {
        self.header().lock_limit.store(bytes >> P::Format::PAGE_SHIFT, Ordering::Relaxed);
    }

    /// How much may be locked, in bytes.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.set_lock_limit(16_384);
    /// assert_eq!(space.lock_limit(), 16_384);
    /// let at = space.map(&mut ms, Map::anonymous(20_480, rw))?;
    /// assert_eq!(space.lock(&mut ms, at, 20_480, false), Err(Error::TooMuchLocked));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_limit(&self) -> u64 {
        self.header().lock_limit.load(Ordering::Relaxed) << P::Format::PAGE_SHIFT
    }

    /// Locks the pages that `length` bytes from `address` on lie in, and brings them unless they are
    /// to be locked as they are touched. See mlock2(2): what lies before a hole is locked, the answer
    /// is ENOMEM, and nothing is brought.
    ///
    /// # Errors
    /// [`Error::LockingForbidden`]; [`Error::Invalid`] for a range beyond all addresses;
    /// [`Error::TooMuchLocked`]; [`Error::NotMapped`], also where nobody may access the memory;
    /// [`Error::NotLocked`] when memory runs out.
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
    /// space.lock(&mut ms, at + 5, 1, false)?; // the page that the byte lies in
    /// let mut page = [0];
    /// space.residency(&mut ms, at, &mut page)?;
    /// assert_eq!(page, [1]);
    /// // What is locked stays.
    /// assert_eq!(space.advise(&mut ms, at, 0x1000, Advice::DontNeed), Err(Error::Invalid));
    /// space.unlock(&mut ms, at, 0x1000)?;
    /// space.advise(&mut ms, at, 0x1000, Advice::DontNeed)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock(
        &self,
        ms: &mut MaySleep,
        address: u64,
        length: u64,
        on_fault: bool,
    ) -> Result<(), Error> {
        if self.header().lock_limit.load(Ordering::Relaxed) == 0 {
            return Err(Error::LockingForbidden);
        }
        let (range, beyond) = self.pages_around(address, length)?;
        if range.is_empty() {
            return if beyond { Err(Error::NotMapped) } else { Ok(()) };
        }
        self.relock(ms, range, locks(on_fault))?;
        if beyond {
            return Err(Error::NotMapped);
        }
        self.bring_for_use(ms, range).map_err(|error| match error {
            Error::OutOfMemory => Error::NotLocked,
            _ => Error::NotMapped,
        })
    }

    /// Unlocks the pages that `length` bytes from `address` on lie in, up to the first hole. See
    /// munlock(2).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range beyond all addresses; [`Error::NotMapped`];
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let at = space.map(&mut ms, Map::anonymous(8192, rw))?;
    /// space.lock(&mut ms, at, 8192, false)?;
    /// space.unlock(&mut ms, at, 1)?; // the page that the byte lies in
    /// assert_eq!(space.usage(&mut ms).locked, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlock(&self, ms: &mut MaySleep, address: u64, length: u64) -> Result<(), Error> {
        let (range, beyond) = self.pages_around(address, length)?;
        if !range.is_empty() {
            self.relock(ms, range, Attributes::empty())?;
        }
        if beyond { Err(Error::NotMapped) } else { Ok(()) }
    }

    /// Locks all mappings, present or future. See mlockall(2).
    ///
    /// # Errors
    /// [`Error::Invalid`] when nothing is asked; [`Error::LockingForbidden`];
    /// [`Error::TooMuchLocked`]; [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.lock_all(&mut ms, LockAll { current: false, future: true, on_fault: false })?;
    /// let at = space.map(&mut ms, Map::anonymous(0x1000, rw))?;
    /// let mut page = [0];
    /// space.residency(&mut ms, at, &mut page)?;
    /// assert_eq!(page, [1]); // nobody has touched it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_all(&self, ms: &mut MaySleep, all: LockAll) -> Result<(), Error> {
        if !all.current && !all.future {
            return Err(Error::Invalid);
        }
        let limit = self.header().lock_limit.load(Ordering::Relaxed);
        if limit == 0 {
            return Err(Error::LockingForbidden);
        }
        if all.current && self.usage(ms).mapped > limit {
            return Err(Error::TooMuchLocked);
        }
        let wanted = locks(all.on_fault);
        let future = if all.future { wanted } else { Attributes::empty() };
        if all.current {
            self.relock_all(ms, wanted, future)?;
            self.bring_all(ms);
        } else {
            self.set_future_locks(future);
        }
        Ok(())
    }

    /// Unlocks everything, and locks no mapping to come. See munlockall(2).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// space.map(&mut ms, Map::anonymous(8192, rw))?;
    /// space.lock_all(&mut ms, LockAll { current: true, future: true, on_fault: false })?;
    /// space.unlock_all(&mut ms)?;
    /// space.map(&mut ms, Map::anonymous(8192, rw))?;
    /// assert_eq!(space.usage(&mut ms).locked, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unlock_all(&self, ms: &mut MaySleep) -> Result<(), Error> {
        self.relock_all(ms, Attributes::empty(), Attributes::empty())
    }

    fn set_future_locks(&self, locks: Attributes) {
        let others = !u64::from(Attributes::LOCKS.bits());
        let changed = |word| Some(word & others | u64::from(locks.bits()));
        self.header().future.change(Ordering::Relaxed, changed);
    }

    /// The pages that bytes lie in; whether some are beyond the user's addresses.
    fn pages_around(&self, address: u64, length: u64) -> Result<(PageRange, bool), Error> {
        let within = address & (<P::Format as Geometry>::PAGE_SIZE - 1);
        let length = length.checked_add(within).ok_or(Error::Invalid)?;
        self.pages_within(address - within, length).map_err(|_| Error::Invalid)
    }

    /// Gives `range` other locks, up to the first hole.
    fn relock(&self, ms: &mut MaySleep, range: PageRange, wanted: Attributes) -> Result<(), Error> {
        self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtProtect, |cursor| {
            let hole = cursor.first(range, false);
            let mapped = PageRange::new(range.start, hole.unwrap_or(range.end));
            if mapped.is_empty() {
                return Some(Err(Error::NotMapped));
            }
            cursor.prepare(mapped, None)?;
            if !wanted.is_empty()
                && let Err(error) = self.check_lock_limit(cursor, range)
            {
                return Some(Err(error));
            }
            self.set_locks(cursor, mapped, wanted);
            Some(if hole.is_some() { Err(Error::NotMapped) } else { Ok(()) })
        })?
    }

    /// Gives all that is mapped other locks, and what will be: under the locks of all, so that what
    /// is mapped meanwhile is one or the other.
    fn relock_all(
        &self,
        ms: &mut MaySleep,
        wanted: Attributes,
        future: Attributes,
    ) -> Result<(), Error> {
        let user = self.user();
        self.edit(ms, user, Cover::Lowest, Mutation::NoShootdownAtProtect, |cursor| {
            cursor.prepare(user, None)?;
            self.set_future_locks(future);
            self.set_locks(cursor, user, wanted);
            Some(())
        })
    }

    /// Linux's check counts the whole range, holes too, but for what is locked already.
    fn check_lock_limit(&self, cursor: &Cursor<'_, '_, P>, range: PageRange) -> Result<(), Error> {
        let header = self.header();
        let more = range.len() - cursor.pages_with(range, Attributes::LOCKED);
        let locked = header.locked.load(Ordering::Relaxed);
        let fits = locked.saturating_add(more) <= header.lock_limit.load(Ordering::Relaxed);
        if fits { Ok(()) } else { Err(Error::TooMuchLocked) }
    }

    fn set_locks(&self, cursor: &mut Cursor<'_, '_, P>, range: PageRange, wanted: Attributes) {
        cursor.uncharge_locks(range);
        cursor.change_attributes(range, relock(wanted));
        let locked = cursor.pages_with(range, Attributes::LOCKED);
        self.header().locked.fetch_add(locked, Ordering::Relaxed);
    }

    /// Counts `pages` more of a mapping, if it is locked.
    ///
    /// # Errors
    /// [`Error::NotLocked`] beyond the limit; then nothing is counted.
    #[inline]
    pub(super) fn charge_locks(&self, key: Key, pages: u64) -> Result<(), Error> {
        if pages == 0 || !key.attributes.contains(Attributes::LOCKED) {
            return Ok(());
        }
        let header = self.header();
        let limit = header.lock_limit.load(Ordering::Relaxed);
        let more = |locked: u64| locked.checked_add(pages).filter(|total| *total <= limit);
        if header.locked.change(Ordering::Relaxed, more) { Ok(()) } else { Err(Error::NotLocked) }
    }

    /// What a new mapping has, with the locks that those to come get.
    #[inline]
    pub(super) fn with_future_locks(&self, attributes: Attributes) -> Attributes {
        match self.header().future.load(Ordering::Relaxed) {
            0 => attributes,
            future => {
                let all = attributes | Attributes::from_bits_truncate(future as u32);
                relock(all & Attributes::LOCKS)(attributes)
            }
        }
    }

    /// Brings what can be brought of all mappings.
    fn bring_all(&self, ms: &mut MaySleep) {
        let mut from = 0;
        while let Some(region) = self.next_region(ms, from) {
            from = region.end;
            let shift = P::Format::PAGE_SHIFT;
            let range = PageRange::new(region.start >> shift, region.end >> shift);
            let _ = self.bring_for_use(ms, range);
        }
    }
}

impl<P: Platform> Cursor<'_, '_, P> {
    /// How many pages of `range` have all of these attributes.
    pub(super) fn pages_with(&self, range: PageRange, attributes: Attributes) -> u64 {
        let (mut page, mut pages) = (range.start, 0);
        while page < range.end {
            let (key, end) = self.piece(page);
            let end = end.min(range.end);
            if key.attributes.contains(attributes) {
                pages += end - page;
            }
            page = end;
        }
        pages
    }

    /// The locks of `range` are about to go: they count no more.
    #[inline]
    pub(crate) fn uncharge_locks(&self, range: PageRange) {
        if self.vm.header(self.space).locked.load(Ordering::Relaxed) != 0 {
            self.uncharge_some(range);
        }
    }

    #[cold]
    fn uncharge_some(&self, range: PageRange) {
        let pages = self.pages_with(range, Attributes::LOCKED);
        if pages != 0 {
            self.vm.header(self.space).locked.fetch_sub(pages, Ordering::Relaxed);
        }
    }
}
