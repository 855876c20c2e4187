//! mremap(2).
//!
//! Guarantee: a mapping that moves is at its old place or at its new one to whoever asks, with all
//! that is behind it; when memory runs out, nothing has happened. A move over several mappings
//! ([`Remap::fixed`], same length) moves one after the other, as Linux does, and may end between two.

use super::map::LEAST_ADDRESS;
use super::{Space, is_device};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Format, Geometry, Rights};
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::cursor::Cursor;
use crate::tree::locking::Cover;
use crate::tree::walk;

mod relocate;

/// What becomes of a mapping, in bytes.
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
/// space.write(&mut ms, at, b"moved");
/// let longer = Remap { address: at, old_length: 4096, new_length: 1 << 20, may_move: true, ..Remap::default() };
/// let at = space.remap(&mut ms, longer)?;
/// let mut bytes = [0; 5];
/// space.read(&mut ms, at, &mut bytes);
/// assert_eq!(&bytes, b"moved");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remap {
    /// Where it is.
    pub address: u64,
    /// How much of it; 0: shared memory is mapped once more, from that address on.
    pub old_length: u64,
    /// How long it is to be.
    pub new_length: u64,
    /// It may go elsewhere where it cannot grow (MREMAP_MAYMOVE).
    pub may_move: bool,
    /// It goes to `new_address`, and what was there goes (MREMAP_FIXED).
    pub fixed: bool,
    /// It goes elsewhere, near `new_address` if that is free, and leaves an empty mapping behind
    /// (MREMAP_DONTUNMAP).
    pub keep_source: bool,
    /// Where to, if it is to go to a certain place.
    pub new_address: u64,
}

/// The same in pages, checked.
#[derive(Clone, Copy)]
struct Request {
    from: u64,
    old: u64,
    new: u64,
    to: u64,
    args: Remap,
}

impl Request {
    /// What is asked about; a part of it lies beyond the user's addresses perhaps.
    fn source(&self) -> PageRange {
        PageRange::new(self.from, self.from + self.old)
    }

    fn is_to(&self) -> bool {
        self.args.fixed || self.args.keep_source
    }
}

/// What came of an attempt to grow in place.
enum Growth {
    Done,
    MustMove,
}

impl<P: Platform> Space<'_, P> {
    /// The lowest page that may be mapped.
    const LEAST: u64 = LEAST_ADDRESS >> P::Format::PAGE_SHIFT;

    /// Shrinks, grows or moves a mapping; where it is then, in bytes. See mremap(2), and Linux 6.17
    /// for moves of several mappings at once.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{Map, MaySleep, Remap, Space, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// let rights = Rights::READ | Rights::WRITE;
    /// let at = space.map(&mut ms, Map::anonymous(0x4000, rights))?;
    /// space.write(&mut ms, at, b"moved");
    /// let to = space.remap(&mut ms, Remap {
    ///     address: at,
    ///     old_length: 0x4000,
    ///     new_length: 0x8000,
    ///     may_move: true,
    ///     ..Remap::default()
    /// })?;
    /// let mut found = [0; 5];
    /// assert_eq!(space.read(&mut ms, to, &mut found), 5);
    /// assert_eq!(&found, b"moved");
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::Empty`] for no new length; [`Error::Invalid`] for lengths,
    /// addresses and flags that make no sense together, and to move what is not the manager's;
    /// [`Error::NotOneMapping`] where nothing is mapped, or the range is more than one mapping;
    /// [`Error::NoFreeRange`] where it can neither grow nor move; [`Error::BelowMinimum`];
    /// [`Error::Sealed`]; [`Error::NotLocked`]; [`Error::OutOfMemory`].
    pub fn remap(&self, ms: &mut MaySleep, remap: Remap) -> Result<u64, Error> {
        let request = self.checked_remap(remap)?;
        let to = self.remap_pages(ms, request)?;
        if request.new > request.old {
            self.bring_locked(ms, PageRange::new(to + request.old, to + request.new));
        }
        Ok(to << P::Format::PAGE_SHIFT)
    }

    /// Brings what a locked mapping has grown by.
    fn bring_locked(&self, ms: &mut MaySleep, grown: PageRange) {
        let run = {
            let guard = self.vm.walk(ms);
            walk::run(&guard, self.root(), grown.start)
        };
        if run.key.attributes.contains(Attributes::LOCKED) {
            let _ = self.bring_for_use(ms, grown);
        }
    }

    fn remap_pages(&self, ms: &mut MaySleep, request: Request) -> Result<u64, Error> {
        let remap = request.args;
        let to = if remap.fixed && request.old == request.new {
            self.move_all(ms, request)?
        } else if request.is_to() {
            self.move_to(ms, request)?
        } else if request.new > request.old {
            match self.grow_in_place(ms, request)? {
                Growth::Done => request.from,
                Growth::MustMove if !remap.may_move => return Err(Error::NoFreeRange),
                Growth::MustMove => self.move_to(ms, request)?,
            }
        } else {
            self.shrink(ms, request)?;
            request.from
        };
        Ok(to)
    }

    /// `check_mremap_params` of Linux's mm/mremap.c.
    fn checked_remap(&self, args: Remap) -> Result<Request, Error> {
        let (page, shift) = (<P::Format as Geometry>::PAGE_SIZE, P::Format::PAGE_SHIFT);
        // Lengths are rounded up, and wrap, as Linux's do.
        let round = |length: u64| length.wrapping_add(page - 1) & !(page - 1);
        let (old, new) = (round(args.old_length), round(args.new_length));
        let size = self.user().len() << shift;
        if !args.address.is_multiple_of(page) {
            return Err(Error::Misaligned);
        }
        if new == 0 {
            return Err(Error::Empty);
        }
        if new > size {
            return Err(Error::Invalid);
        }
        let (from, to) = (args.address, args.new_address);
        let request = Request {
            from: from >> shift,
            old: old >> shift,
            new: new >> shift,
            to: to >> shift,
            args,
        };
        if request.is_to() {
            let overlaps = from.wrapping_add(old) > to && to.wrapping_add(new) > from;
            if to > size - new || !args.may_move || args.keep_source && old != new || overlaps {
                return Err(Error::Invalid);
            }
            if !to.is_multiple_of(page) {
                return Err(Error::Misaligned);
            }
        }
        Ok(request)
    }

    /// Unmaps what is beyond the new length, whatever it is; or nothing.
    fn shrink(&self, ms: &mut MaySleep, request: Request) -> Result<(), Error> {
        let tail = PageRange::new(request.from + request.new, request.from + request.old);
        let whole = request.source().intersect(self.user());
        if whole.is_empty() {
            return Err(Error::NotOneMapping);
        }
        self.edit(ms, whole, Cover::Parent, Mutation::NoShootdownAtRemap, |cursor| {
            let (key, _) = cursor.piece(whole.start);
            if !key.is_mapped() {
                return Some(Err(Error::NotOneMapping));
            }
            if key.attributes.contains(Attributes::SEALED) {
                return Some(Err(Error::Sealed));
            }
            if tail.is_empty() {
                return Some(Ok(()));
            }
            if !self.user().contains(tail) {
                return Some(Err(Error::Invalid));
            }
            if let Err(error) = cursor.check_seals(tail) {
                return Some(Err(error));
            }
            cursor.prepare(tail, Some(Key::HOLE))?;
            cursor.replace(tail, Key::HOLE);
            Some(Ok(()))
        })??;
        if !tail.is_empty() {
            self.has_freed(ms, tail);
        }
        Ok(())
    }

    /// Grows the mapping where it is, if it ends where the range does and what follows is free.
    fn grow_in_place(&self, ms: &mut MaySleep, request: Request) -> Result<Growth, Error> {
        let whole = PageRange::new(request.from, request.from + request.new);
        let within = whole.intersect(self.user());
        if within.is_empty() {
            return Err(Error::NotOneMapping);
        }
        let (cover, skip) = (Cover::Parent, Mutation::NoShootdownAtRemap);
        self.edit_within(
            ms,
            within,
            cover,
            skip,
            |ms| self.room(ms),
            |cursor, room| {
                let key = match self.one_mapping(cursor, request) {
                    Ok(key) => key,
                    Err(error) => return Some(Err(error)),
                };
                let growth = PageRange::new(request.from + request.old, whole.end);
                if request.old == 0 || within != whole || cursor.first(growth, true).is_some() {
                    return Some(Ok(Growth::MustMove));
                }
                let affordable = self.afford(key, growth.len());
                if let Err(error) = affordable.and_then(|()| room.check(growth.len())) {
                    return Some(Err(error));
                }
                cursor.prepare(growth, Some(key))?;
                if let Err(error) = self.charge_locks(key, growth.len()) {
                    return Some(Err(error));
                }
                cursor.replace(growth, key);
                Some(Ok(Growth::Done))
            },
        )?
    }

    /// What the pages asked about are: one mapping that may become what is asked. (`check_prep_vma`;
    /// the cursor holds them.)
    fn one_mapping(&self, cursor: &Cursor<'_, '_, P>, request: Request) -> Result<Key, Error> {
        let source = request.source();
        let (key, _) = cursor.piece(source.start);
        if !key.is_mapped() {
            return Err(Error::NotOneMapping);
        }
        if key.attributes.contains(Attributes::SEALED) {
            return Err(Error::Sealed);
        }
        if request.old == 0 && key.is_private() {
            return Err(Error::Invalid);
        }
        // Who gave the mapping frames of his own has placed it.
        if is_device(key) && request.is_to() {
            return Err(Error::Invalid);
        }
        let uniform = self.user().contains(source) && cursor.find(source, |k| k != key).is_none();
        if !uniform || is_device(key) && request.old != request.new {
            return Err(Error::NotOneMapping);
        }
        Ok(key)
    }

    /// Linux's heuristic for more pages of a mapping (vm.overcommit_memory = 0).
    fn afford(&self, key: Key, pages: u64) -> Result<(), Error> {
        let attributes = key.attributes;
        let counted = key.is_private()
            && attributes.rights().contains(Rights::WRITE)
            && !attributes.contains(Attributes::NO_RESERVE);
        if counted && self.exceeds_memory(pages) { Err(Error::OutOfMemory) } else { Ok(()) }
    }
}
