//! mmap(2) of anonymous memory and of objects.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Rights};
use crate::object::{self, Object};
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::sync::Ordering;
use crate::tree::walk;

/// Who sees the stores to a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// The space alone; after a fork each has its own (MAP_PRIVATE).
    Private,
    /// The space and all that fork from it (MAP_SHARED).
    Shared,
}

/// Where a mapping goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At the address if that is free, else wherever there is room.
    Hint,
    /// At the address; what was there goes (MAP_FIXED).
    Fixed,
    /// At the address, if nothing is there (MAP_FIXED_NOREPLACE).
    FixedNoReplace,
}

/// What to map.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// // Memory for a stack: it grows down, and nothing else is to be there yet.
/// let stack = Map {
///     grows_down: true,
///     place: Place::FixedNoReplace,
///     ..Map::anonymous(65_536, rw).at(0x7000_0000)
/// };
/// assert_eq!(space.map(&mut ms, stack)?, 0x7000_0000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Map {
    /// The address, in bytes; what it means is `place`'s.
    pub address: u64,
    /// The length in bytes, rounded up to pages.
    pub length: u64,
    /// What user code may do.
    pub rights: Rights,
    /// Who sees the stores.
    pub sharing: Sharing,
    /// Where it goes.
    pub place: Place,
    /// It grows to cover faults just below it (MAP_GROWSDOWN).
    pub grows_down: bool,
    /// It may be larger than the memory there is (MAP_NORESERVE).
    pub no_reserve: bool,
    /// Stores may never be allowed, by [`Space::protect`] neither: a shared mapping of a file that
    /// is open for reading alone.
    pub never_write: bool,
    /// Its pages are locked, and brought (MAP_LOCKED).
    pub locked: bool,
    /// Its pages are brought, as far as that can be done (MAP_POPULATE).
    pub populate: bool,
}

impl Map {
    /// Private anonymous memory, wherever there is room.
    pub const fn anonymous(length: u64, rights: Rights) -> Map {
        Map {
            address: 0,
            length,
            rights,
            sharing: Sharing::Private,
            place: Place::Hint,
            grows_down: false,
            no_reserve: false,
            never_write: false,
            locked: false,
            populate: false,
        }
    }

    /// The same at a fixed address, replacing what is there.
    pub const fn at(self, address: u64) -> Map {
        Map { address, place: Place::Fixed, ..self }
    }

    /// The same, shared.
    pub const fn shared(self) -> Map {
        Map { sharing: Sharing::Shared, ..self }
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = Attributes::MAPPED | Attributes::of(self.rights);
        attributes.set(Attributes::SHARED, self.sharing == Sharing::Shared);
        attributes.set(Attributes::GROWS_DOWN, self.grows_down);
        attributes.set(Attributes::NO_RESERVE, self.no_reserve);
        attributes.set(Attributes::NEVER_WRITE, self.never_write);
        attributes.set(Attributes::LOCKED, self.locked);
        attributes
    }
}

/// What a mapping shows.
#[derive(Clone, Copy)]
enum Behind {
    /// Memory of its own.
    Nothing,
    /// An object, from a page of it on.
    Object(u64, u64),
}

/// The lowest address that may be mapped (Linux's vm.mmap_min_addr), in bytes.
pub(super) const LEAST_ADDRESS: u64 = 65_536;

impl<P: Platform> Space<'_, P> {
    /// Maps memory; its address in bytes. See mmap(2).
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::BelowMinimum`], [`Error::BeyondUser`],
    /// [`Error::Exists`], [`Error::NoFreeRange`], [`Error::OutOfMemory`]; [`Error::Sealed`];
    /// [`Error::LockingForbidden`], [`Error::NotLocked`].
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let anywhere = space.map(&mut ms, Map::anonymous(16_384, rw))?;
    /// let there = space.map(&mut ms, Map::anonymous(4096, rw).at(0x10_0000))?;
    /// assert_eq!(there, 0x10_0000);
    /// let shared = space.map(&mut ms, Map::anonymous(4096, rw).shared())?;
    ///
    /// let map = Map { place: Place::FixedNoReplace, ..Map::anonymous(4096, rw).at(there) };
    /// assert_eq!(space.map(&mut ms, map), Err(Error::Exists));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map(&self, ms: &mut MaySleep, map: Map) -> Result<u64, Error> {
        let length = self.checked(ms, &map)?;
        let shared = map.sharing == Sharing::Shared;
        self.check_commitment(&map, length, shared || map.rights.contains(Rights::WRITE))?;
        if !shared {
            return self.place(ms, &map, length, Behind::Nothing);
        }
        let object = self.vm.object(ms, length << P::Format::PAGE_SHIFT, 0)?;
        let placed = self.place(ms, &map, length, Behind::Object(object.address(), 0));
        object.close(ms);
        placed
    }

    /// Maps `object` from byte `offset` on, a multiple of the page size; its address in bytes.
    /// Shared: stores reach the object. Private: a page that is written is copied first. Touching
    /// what lies beyond the object's end is [`FaultError::NoPage`](crate::FaultError). The mapping
    /// keeps the object alive. See mmap(2).
    ///
    /// # Errors
    /// As [`Space::map`]; [`Error::Misaligned`] for the offset; [`Error::TooLarge`] where no object
    /// can reach; [`Error::Invalid`] for an object of another manager.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    ///
    /// let file = vm.object(&mut ms, 8192, 1)?; // the pager knows it as 1
    /// let shared = Map { sharing: Sharing::Shared, ..Map::anonymous(4096, rw) };
    /// let at = space.map_object(&mut ms, shared, &file, 4096)?;
    /// assert_eq!(space.write(&mut ms, at, b"seen by all"), 11);
    ///
    /// let copy = space.map_object(&mut ms, Map::anonymous(4096, rw), &file, 4096)?;
    /// assert_eq!(space.write(&mut ms, copy, b"only"), 4);
    /// let mut bytes = [0; 4];
    /// file.read(&mut ms, 4096, &mut bytes)?;
    /// assert_eq!(&bytes, b"seen");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_object(
        &self,
        ms: &mut MaySleep,
        map: Map,
        object: &Object<'_, P>,
        offset: u64,
    ) -> Result<u64, Error> {
        let shift = P::Format::PAGE_SHIFT;
        if !core::ptr::eq(object.vm(), self.vm) {
            return Err(Error::Invalid);
        }
        if offset & ((1 << shift) - 1) != 0 {
            return Err(Error::Misaligned);
        }
        let length = self.checked(ms, &map)?;
        if offset.checked_add(length << shift).is_none_or(|end| end > object::MOST_BYTES) {
            return Err(Error::TooLarge);
        }
        // What is shared is the object's, and not counted.
        let private = map.sharing == Sharing::Private;
        self.check_commitment(&map, length, private && map.rights.contains(Rights::WRITE))?;
        if private {
            object.expect_copies();
        }
        self.place(ms, &map, length, Behind::Object(object.address(), offset >> shift))
    }

    /// The length in pages, once the arguments make sense.
    fn checked(&self, ms: &mut MaySleep, map: &Map) -> Result<u64, Error> {
        let length = self.checked_length(map)?;
        if map.locked && self.header().lock_limit.load(Ordering::Relaxed) == 0 {
            return Err(Error::LockingForbidden);
        }
        if map.grows_down && map.sharing == Sharing::Shared {
            return Err(self.refuse_shared_stack(ms, map, length));
        }
        Ok(length)
    }

    /// Linux's heuristic: what could never be filled is refused (vm.overcommit_memory = 0).
    fn check_commitment(&self, map: &Map, length: u64, counts: bool) -> Result<(), Error> {
        let too_much = counts && !map.no_reserve && self.exceeds_memory(length);
        if too_much { Err(Error::OutOfMemory) } else { Ok(()) }
    }

    /// Finds the place and maps it; its address in bytes.
    fn place(
        &self,
        ms: &mut MaySleep,
        map: &Map,
        length: u64,
        behind: Behind,
    ) -> Result<u64, Error> {
        let page = match map.place {
            Place::Hint => self.map_anywhere(ms, map, length, behind)?,
            Place::Fixed | Place::FixedNoReplace => {
                let start = map.address >> P::Format::PAGE_SHIFT;
                let range = PageRange::new(start, start + length);
                let replace = map.place == Place::Fixed;
                self.map_range(ms, range, self.key(map, behind, range), replace)?;
                start
            }
        };
        if map.populate {
            let _ = self.bring_for_use(ms, PageRange::new(page, page + length));
        }
        Ok(page << P::Format::PAGE_SHIFT)
    }

    /// What the pages of `range` will be.
    #[inline]
    fn key(&self, map: &Map, behind: Behind, range: PageRange) -> Key {
        let attributes = map.attributes();
        match behind {
            Behind::Nothing => Key::anonymous(attributes),
            Behind::Object(object, first) => {
                Key { attributes, object, origin: range.start.wrapping_sub(first) }
            }
        }
    }

    /// Why shared memory that grows down is refused: Linux looks first whether there is a place, and
    /// whether it is taken.
    fn refuse_shared_stack(&self, ms: &mut MaySleep, map: &Map, length: u64) -> Error {
        if map.place == Place::Hint {
            let found = self.find_free(ms, length, map.address >> P::Format::PAGE_SHIFT);
            return found.err().unwrap_or(Error::Invalid);
        }
        let Ok(range) = self.pages(map.address, map.length) else { return Error::Invalid };
        let guard = self.vm.walk(ms);
        let found = walk::next_mapping(&guard, self.root(), range.start, range.end);
        match map.place {
            Place::FixedNoReplace if found.is_some() => Error::Exists,
            _ => Error::Invalid,
        }
    }

    /// The length in pages, once the arguments make sense.
    fn checked_length(&self, map: &Map) -> Result<u64, Error> {
        let shift = P::Format::PAGE_SHIFT;
        if map.length == 0 {
            return Err(Error::Empty);
        }
        let length = map.length.checked_add((1 << shift) - 1).ok_or(Error::NoFreeRange)? >> shift;
        if length > self.user().len() {
            return Err(Error::NoFreeRange);
        }
        if map.place != Place::Hint {
            if map.address > (self.user().len() - length) << shift {
                return Err(Error::BeyondUser);
            }
            if map.address & ((1 << shift) - 1) != 0 {
                return Err(Error::Misaligned);
            }
            if map.address < LEAST_ADDRESS {
                return Err(Error::BelowMinimum);
            }
        }
        Ok(length)
    }

    fn map_anywhere(
        &self,
        ms: &mut MaySleep,
        map: &Map,
        length: u64,
        behind: Behind,
    ) -> Result<u64, Error> {
        let shift = P::Format::PAGE_SHIFT;
        // Linux rounds a hint down, and then up to the lowest address there is.
        let hint = match map.address >> shift {
            0 => 0,
            page => page.max(LEAST_ADDRESS >> shift),
        };
        self.place_at(ms, hint, length, |ms, range| {
            self.map_range(ms, range, self.key(map, behind, range), false)
        })
    }

    /// Calls `put` with `length` pages at `hint`, if they are free (and that is not 0), or wherever
    /// there is room, until it finds nothing mapped there; its first page.
    pub(super) fn place_at(
        &self,
        ms: &mut MaySleep,
        hint: u64,
        length: u64,
        mut put: impl FnMut(&mut MaySleep, PageRange) -> Result<(), Error>,
    ) -> Result<u64, Error> {
        let hinted = PageRange::new(hint, hint.saturating_add(length));
        if hint != 0 && self.user().contains(hinted) && self.is_free(ms, hinted) {
            match put(ms, hinted) {
                Err(Error::Exists) => {}
                done => return done.map(|()| hinted.start),
            }
        }
        loop {
            let free = self.find_free(ms, length, hint)?;
            match put(ms, PageRange::new(free.start, free.start + length)) {
                // Somebody was faster: look again.
                Err(Error::Exists) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    self.has_taken(free);
                    return Ok(free.start);
                }
            }
        }
    }
}
