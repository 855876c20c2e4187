//! mincore(2).

use super::Space;
use crate::context::MaySleep;
use crate::error::Error;
use crate::format::{Entry, Format, Geometry};
use crate::object;
use crate::platform::Platform;
use crate::tree::walk;

impl<P: Platform> Space<'_, P> {
    /// Whether each page from `address` on, as many as `into` has bytes, could be loaded from without
    /// a pager: 1 or 0; how many there are before the first hole. Without locks; each answer is right
    /// at an instant of its own. See mincore(2).
    ///
    /// # Errors
    /// [`Error::Misaligned`].
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
    /// space.write(&mut ms, at + 0x1000, b"here");
    /// let mut pages = [0; 8];
    /// assert_eq!(space.residency(&mut ms, at, &mut pages)?, 4); // then comes a hole
    /// assert_eq!(pages[..4], [0, 1, 0, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn residency(
        &self,
        ms: &mut MaySleep,
        address: u64,
        into: &mut [u8],
    ) -> Result<usize, Error> {
        let shift = P::Format::PAGE_SHIFT;
        if !address.is_multiple_of(<P::Format as Geometry>::PAGE_SIZE) {
            return Err(Error::Misaligned);
        }
        for (nth, byte) in into.iter_mut().enumerate() {
            let page = (address >> shift) + nth as u64;
            let resident = (page < P::Format::USER_PAGES).then(|| self.is_resident(ms, page));
            let Some(resident) = resident.flatten() else { return Ok(nth) };
            *byte = u8::from(resident);
        }
        Ok(into.len())
    }

    /// None: a hole.
    fn is_resident(&self, ms: &mut MaySleep, page: u64) -> Option<bool> {
        let guard = self.vm.walk(ms);
        let seen = walk::page(&guard, self.root(), page);
        if !seen.key.is_mapped() {
            return None;
        }
        let there = matches!(P::Format::decode(seen.level, seen.word), Entry::Leaf(_));
        if there || seen.key.object == 0 || !object::try_get(&guard, seen.key.object) {
            return Some(there);
        }
        drop(guard);
        let index = page.wrapping_sub(seen.key.origin);
        let cached = object::is_there(self.vm, seen.key.object, index);
        object::put(self.vm, ms, seen.key.object, 1);
        Some(cached)
    }
}
