//! How much a space may map: in all (RLIMIT_AS), and at once.
//!
//! Guarantee: a space with a limit maps no more than that, whoever maps at once: what maps more holds
//! a lock from counting until it is done. A space without one pays nothing for it, and one with a
//! limit a walk over its mappings for each call that maps.

use super::Space;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::Format;
use crate::lock::Held;
use crate::platform::Platform;
use crate::sync::Ordering;

/// In the word about mappings to come: there is a limit. (The rest of it are attributes.)
const LIMITED: u64 = 1 << 63;

/// How many more pages may be mapped, as long as it lives.
pub(super) struct Room<'a, P: Platform> {
    pages: u64,
    _held: Option<Held<'a, P>>,
}

impl<P: Platform> Room<'_, P> {
    /// Whether `pages` more may be mapped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn check(&self, pages: u64) -> Result<(), Error> {
        if pages > self.pages { Err(Error::OutOfMemory) } else { Ok(()) }
    }

    /// Whether there is anything to check.
    pub fn is_limited(&self) -> bool {
        self.pages != u64::MAX
    }
}

impl<P: Platform> Space<'_, P> {
    /// Sets how much may be mapped in all (RLIMIT_AS), in bytes; [`u64::MAX`]: no limit. What is
    /// mapped beyond it stays. [`Space::map`] and [`Space::remap`] give
    /// [`Error::OutOfMemory`] then, the heap does not grow, and a stack that
    /// should grow is not mapped there.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{Error, Map, MaySleep, Space, format::{Rights, Sv48}};
    /// # let vm = host::Host::<Sv48>::new(1024, 1).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// space.set_size_limit(65_536);
    /// let at = space.map(&mut ms, Map::anonymous(40_960, Rights::READ))?;
    /// let more = Map::anonymous(40_960, Rights::READ);
    /// assert_eq!(space.map(&mut ms, more), Err(Error::OutOfMemory));
    /// assert_eq!(space.map(&mut ms, more.at(at + 24_576)), Ok(at + 24_576)); // over a part of it
    /// # Ok::<(), vmspace::Error>(())
    /// ```
    pub fn set_size_limit(&self, bytes: u64) {
        let header = self.header();
        // Two words, one step; and who maps by the old limit is done.
        let _held = header.size_lock.acquire(self.vm.platform());
        header.size_limit.store(bytes, Ordering::Relaxed);
        match bytes {
            u64::MAX => header.future.fetch_and(!LIMITED, Ordering::Relaxed),
            _ => header.future.fetch_or(LIMITED, Ordering::Relaxed),
        };
    }

    /// How much may be mapped in all, in bytes.
    pub fn size_limit(&self) -> u64 {
        self.header().size_limit.load(Ordering::Relaxed)
    }

    /// Whether so many pages are more than memory and swap together have: they could never be filled.
    #[inline]
    pub(super) fn exceeds_memory(&self, pages: u64) -> bool {
        pages > self.vm.total_frames() && pages - self.vm.total_frames() > self.swap_slots()
    }

    #[cold]
    fn swap_slots(&self) -> u64 {
        self.vm.swaps().map(|swap| swap.slots).sum()
    }

    /// How much more may be mapped. Who maps by it keeps it until that is done, and meanwhile takes
    /// no fault.
    #[inline]
    pub(super) fn room(&self, ms: &mut MaySleep) -> Room<'_, P> {
        match self.header().future.load(Ordering::Relaxed) & LIMITED {
            0 => Room { pages: u64::MAX, _held: None },
            _ => self.limited_room(ms),
        }
    }

    #[cold]
    fn limited_room(&self, ms: &mut MaySleep) -> Room<'_, P> {
        let held = self.header().size_lock.acquire(self.vm.platform());
        let limit = self.size_limit() >> P::Format::PAGE_SHIFT;
        Room { pages: limit.saturating_sub(self.usage(ms).mapped), _held: Some(held) }
    }
}
