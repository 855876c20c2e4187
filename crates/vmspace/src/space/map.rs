//! mmap(2) of anonymous memory.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Rights};
use crate::mutation::Mutation;
use crate::object;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::locking::Cover;
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
        attributes
    }
}

/// The lowest address that may be mapped (Linux's vm.mmap_min_addr), in bytes.
pub(super) const LEAST_ADDRESS: u64 = 65_536;

impl<P: Platform> Space<'_, P> {
    /// Maps memory; its address in bytes. See mmap(2).
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::Misaligned`], [`Error::BelowMinimum`], [`Error::BeyondUser`],
    /// [`Error::Exists`], [`Error::NoFreeRange`], [`Error::OutOfMemory`].
    pub fn map(&self, ms: &mut MaySleep, map: Map) -> Result<u64, Error> {
        self.map_object(ms, map, 0)
    }

    /// Maps shared memory whose pages the platform's pager of this number fills
    /// ([`Platform::page_in`]; 0: zeros), whatever `map` says of sharing.
    ///
    /// # Errors
    /// As [`Space::map`].
    pub fn map_paged(&self, ms: &mut MaySleep, map: Map, pager: u64) -> Result<u64, Error> {
        self.map_object(ms, map.shared(), pager)
    }

    fn map_object(&self, ms: &mut MaySleep, map: Map, pager: u64) -> Result<u64, Error> {
        let length = self.checked_length(&map)?;
        let shift = P::Format::PAGE_SHIFT;
        if map.grows_down && map.sharing == Sharing::Shared {
            return Err(self.refuse_shared_stack(ms, &map));
        }
        // Linux's heuristic: what could never be filled is refused (vm.overcommit_memory = 0).
        let writable = map.rights.contains(Rights::WRITE) || map.sharing == Sharing::Shared;
        if writable && !map.no_reserve && length > self.vm.total_frames() {
            return Err(Error::OutOfMemory);
        }
        let object = match map.sharing {
            Sharing::Private => None,
            Sharing::Shared => {
                Some(self.vm.reclaiming(ms, |_| object::make(self.vm, length, pager))?)
            }
        };
        let placed = match map.place {
            Place::Hint => self.map_anywhere(ms, &map, length, object.map(|o| o.0)),
            Place::Fixed | Place::FixedNoReplace => {
                self.pages(map.address, map.length).and_then(|range| {
                    let replace = map.place == Place::Fixed;
                    self.map_range(ms, range, self.key(&map, range, object.map(|o| o.0)), replace)
                        .map(|()| range.start)
                })
            }
        };
        if let Some((object, weight)) = object {
            object::put(self.vm, object, weight);
        }
        placed.map(|page| page << shift)
    }

    fn key(&self, map: &Map, range: PageRange, object: Option<u64>) -> Key {
        let attributes = map.attributes();
        match object {
            None => Key::anonymous(attributes),
            Some(object) => Key { attributes, object, origin: range.start },
        }
    }

    /// Why shared memory that grows down is refused: Linux looks first whether the place is taken.
    fn refuse_shared_stack(&self, ms: &mut MaySleep, map: &Map) -> Error {
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
        object: Option<u64>,
    ) -> Result<u64, Error> {
        let shift = P::Format::PAGE_SHIFT;
        // Linux rounds a hint down, and then up to the lowest address there is.
        let hint = match map.address >> shift {
            0 => 0,
            page => page.max(LEAST_ADDRESS >> shift),
        };
        let hinted = PageRange::new(hint, hint.saturating_add(length));
        if hint != 0 && self.user().contains(hinted) && self.is_free(ms, hinted) {
            match self.map_range(ms, hinted, self.key(map, hinted, object), false) {
                Err(Error::Exists) => {}
                done => return done.map(|()| hinted.start),
            }
        }
        loop {
            let free = self.find_free(ms, length)?;
            let range = PageRange::new(free.start, free.start + length);
            match self.map_range(ms, range, self.key(map, range, object), false) {
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

    /// Maps `range` as `key`, over what is there or only if nothing is.
    pub(super) fn map_range(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        key: Key,
        replace: bool,
    ) -> Result<(), Error> {
        let replaced =
            self.edit(ms, range, Cover::Parent, Mutation::NoShootdownAtUnmap, |cursor| {
                if !replace && cursor.first(range, true).is_some() {
                    return Some(Err(Error::Exists));
                }
                cursor.prepare(range, Some(key))?;
                Some(Ok(cursor.replace(range, key)))
            })??;
        if replaced {
            // It may have been a stack, whose guard gap is free now.
            self.has_freed(ms, range);
        }
        Ok(())
    }
}
