//! madvise(2).

use super::{Space, is_device};
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Rights;
use crate::mutation::Mutation;
use crate::object;
use crate::platform::Platform;
use crate::region::{Attributes, Key};
use crate::tree::locking::Cover;
use crate::tree::walk;

/// What is said about a range.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// assert_eq!(Advice::from_number(4), Some(Advice::DontNeed)); // MADV_DONTNEED
/// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
/// space.write(&mut ms, at, b"gone");
/// space.advise(&mut ms, at, 4096, Advice::DontNeed)?;
/// let mut bytes = [1; 4];
/// space.read(&mut ms, at, &mut bytes);
/// assert_eq!(bytes, [0; 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// It is accessed in no special way (MADV_NORMAL).
    Normal,
    /// Pages are accessed in any order (MADV_RANDOM).
    Random,
    /// Pages are accessed one after the other (MADV_SEQUENTIAL).
    Sequential,
    /// It is needed soon: an object's pages are brought, where its pager has them, but not mapped
    /// (MADV_WILLNEED).
    WillNeed,
    /// The contents are not needed: the next touch finds zeros, or the object's page
    /// (MADV_DONTNEED).
    DontNeed,
    /// The same, locked or not (MADV_DONTNEED_LOCKED).
    DontNeedLocked,
    /// The contents may go, until they are written again, when memory is short (MADV_FREE).
    Free,
    /// A fork's child does not have it (MADV_DONTFORK).
    DontFork,
    /// A fork's child has it (MADV_DOFORK).
    DoFork,
    /// A fork's child finds zeros (MADV_WIPEONFORK).
    WipeOnFork,
    /// A fork's child finds the contents (MADV_KEEPONFORK).
    KeepOnFork,
    /// It is not needed soon (MADV_COLD).
    Cold,
    /// It is not needed for long (MADV_PAGEOUT).
    PageOut,
    /// What the manager has no use for: merging, huge pages, dumps (MADV_MERGEABLE, MADV_HUGEPAGE,
    /// MADV_DONTDUMP and their opposites).
    Other,
}

impl Advice {
    /// What madvise(2) knows by this number. None: nothing, or what is an operation of its own here
    /// (MADV_POPULATE_READ and _WRITE are [`Space::populate`]).
    ///
    /// ```
    /// use vmspace::Advice;
    ///
    /// assert_eq!(Advice::from_number(4), Some(Advice::DontNeed)); // MADV_DONTNEED
    /// assert_eq!(Advice::from_number(5), None);
    /// ```
    pub const fn from_number(number: u64) -> Option<Advice> {
        Some(match number {
            0 => Advice::Normal,
            1 => Advice::Random,
            2 => Advice::Sequential,
            3 => Advice::WillNeed,
            4 => Advice::DontNeed,
            8 => Advice::Free,
            10 => Advice::DontFork,
            11 => Advice::DoFork,
            12..=17 => Advice::Other,
            18 => Advice::WipeOnFork,
            19 => Advice::KeepOnFork,
            20 => Advice::Cold,
            21 => Advice::PageOut,
            24 => Advice::DontNeedLocked,
            _ => return None,
        })
    }

    /// Whether it is said of the mapping, not of its pages: a part of a mapping becomes one of its
    /// own.
    pub fn stays(self) -> bool {
        [Attributes::empty(), Attributes::all()].iter().any(|now| self.apply(*now) != *now)
    }

    /// Why Linux refuses the advice for a mapping, if it does.
    fn refused(self, key: Key) -> Option<Error> {
        let has = |attributes| key.attributes.contains(attributes);
        let anonymous = key.object == 0 && key.is_private();
        let discards = matches!(
            self,
            Advice::Free
                | Advice::DontNeed
                | Advice::DontNeedLocked
                | Advice::DontFork
                | Advice::WipeOnFork
        );
        let writable = key.attributes.rights().contains(Rights::WRITE);
        if discards && has(Attributes::SEALED) && key.is_private() && !writable {
            return Some(Error::Sealed);
        }
        let makes_no_sense = match self {
            Advice::DontNeed | Advice::Cold | Advice::PageOut => {
                has(Attributes::LOCKED) || is_device(key)
            }
            Advice::DontNeedLocked | Advice::DoFork => is_device(key),
            Advice::Free => has(Attributes::LOCKED) || !anonymous,
            Advice::WipeOnFork => !anonymous,
            _ => false,
        };
        makes_no_sense.then_some(Error::Invalid)
    }

    /// What the advice makes of a mapping's attributes.
    fn apply(self, now: Attributes) -> Attributes {
        let order = Attributes::RANDOM | Attributes::SEQUENTIAL;
        match self {
            Advice::Normal => now - order,
            Advice::Random => (now - order) | Attributes::RANDOM,
            Advice::Sequential => (now - order) | Attributes::SEQUENTIAL,
            Advice::DontFork => now | Attributes::DONT_FORK,
            Advice::DoFork => now - Attributes::DONT_FORK,
            Advice::WipeOnFork => now | Attributes::WIPE_ON_FORK,
            Advice::KeepOnFork => now - Attributes::WIPE_ON_FORK,
            _ => now,
        }
    }
}

impl<P: Platform> Space<'_, P> {
    /// Follows the advice on `length` bytes from `address` on. See madvise(2): holes are passed
    /// over, and answered with ENOMEM in the end; where a mapping refuses the advice, it has been
    /// followed before that. What may go (MADV_FREE) stays.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::Invalid`] when the range ends beyond all addresses, or for
    /// memory that the advice makes no sense for; [`Error::Sealed`]; [`Error::NotMapped`];
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
    /// let at = space.map(&mut ms, Map::anonymous(4096, rw))?;
    /// space.write(&mut ms, at, b"gone");
    /// space.advise(&mut ms, at, 4096, Advice::DontNeed)?;
    /// let mut bytes = [1; 4];
    /// space.read(&mut ms, at, &mut bytes);
    /// assert_eq!(bytes, [0; 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
            let (part, followed) = self.follow(ms, range, advice)?;
            match advice {
                Advice::WillNeed => self.bring_ahead(ms, part),
                Advice::Cold => self.cool(ms, part),
                Advice::PageOut => self.page_out(ms, part),
                _ => {}
            }
            followed?;
        }
        if beyond { Err(Error::NotMapped) } else { Ok(()) }
    }

    /// Brings pages of the objects that the range shows.
    fn bring_ahead(&self, ms: &mut MaySleep, range: PageRange) {
        let mut page = range.start;
        while page < range.end {
            let (part, key) = {
                let guard = self.vm.walk(ms);
                let next = walk::next_mapping(&guard, self.root(), page, range.end);
                let Some(run) = next else { return };
                let held = run.key.object != 0 && object::try_get(&guard, run.key.object);
                (run.range.intersect(range), held.then_some(run.key))
            };
            page = part.end;
            if let Some(Key { object, origin, .. }) = key {
                let first = part.start.wrapping_sub(origin);
                object::will_need(self.vm, ms, object, first..first + part.len());
                object::put(self.vm, ms, object, 1);
            }
        }
    }

    /// Does what the advice does to entries and attributes; the part up to the mapping that refuses
    /// it, and what is answered.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]: nothing has happened.
    fn follow(
        &self,
        ms: &mut MaySleep,
        range: PageRange,
        advice: Advice,
    ) -> Result<(PageRange, Result<(), Error>), Error> {
        self.edit(ms, range, Cover::Lowest, Mutation::NoShootdownAtDontNeed, |cursor| {
            let refusal =
                cursor.find(range, |key| key.is_mapped() && advice.refused(key).is_some());
            let part = PageRange::new(range.start, refusal.unwrap_or(range.end));
            if advice.stays() && !part.is_empty() {
                cursor.prepare(part, None)?;
                cursor.change_attributes(part, |now| advice.apply(now));
            }
            if matches!(advice, Advice::DontNeed | Advice::DontNeedLocked) {
                cursor.clear(part);
            }
            let refused = refusal.and_then(|page| advice.refused(cursor.piece(page).0));
            let hole = cursor.first(part, false).is_some();
            let answer = match refused {
                Some(error) => Err(error),
                None if hole => Err(Error::NotMapped),
                None => Ok(()),
            };
            Some((part, answer))
        })
    }
}
