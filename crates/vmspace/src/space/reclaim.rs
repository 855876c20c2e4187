//! What a space says of its pages to the stealer: cold, not needed for long; and a space whose memory
//! is wanted back at once.

use super::Space;
use crate::addr::PageRange;
use crate::context::MaySleep;
use crate::format::Rights;
use crate::mutation::Mutation;
use crate::platform::Platform;
use crate::reclaim::Within;
use crate::region::Attributes;
use crate::rmap;
use crate::sync::Ordering;
use crate::tree::locking::Cover;
use crate::tree::walk;

/// How many pages are stolen at a time by address.
const AT_A_TIME: usize = 64;

impl<P: Platform> Space<'_, P> {
    /// How many pages of the space are on swap (VmSwap): entries that say so, those of objects of
    /// memory not among them.
    pub fn swapped(&self) -> u64 {
        self.vm.swapped(self.id())
    }

    /// How many frames the space's tables take (VmPTE).
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// let space = Space::new(&vm, &mut ms)?;
    /// assert_eq!(space.table_frames(), 1); // the root
    /// let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ))?;
    /// space.fault(&mut ms, at, Access::Read).expect("it is mapped");
    /// assert_eq!(space.table_frames(), 4); // one a level
    /// # Ok::<(), Error>(())
    /// ```
    pub fn table_frames(&self) -> u64 {
        self.vm.table_frames(self.id())
    }

    /// The pages of a range that this space alone maps are old from now on: MADV_COLD.
    pub(super) fn cool(&self, ms: &mut MaySleep, range: PageRange) {
        let mut from = range.start;
        while from < range.end {
            let guard = self.vm.walk(ms);
            from = walk::leaves(&guard, self.root(), PageRange::new(from, range.end), |met| {
                if let Some(meta) = self.vm.mapped_meta(met.leaf.frame)
                    && rmap::has_one(meta)
                {
                    met.clear_accessed();
                    self.vm.deprive(meta);
                }
                true
            });
        }
    }

    /// The pages of a range that this space alone maps are stolen: MADV_PAGEOUT.
    pub(super) fn page_out(&self, ms: &mut MaySleep, range: PageRange) {
        let mut from = range.start;
        while from < range.end {
            let mut pages = arrayvec::ArrayVec::<_, AT_A_TIME>::new();
            {
                let guard = self.vm.walk(ms);
                let rest = PageRange::new(from, range.end);
                from = walk::leaves(&guard, self.root(), rest, |met| {
                    let alone = self.vm.mapped_meta(met.leaf.frame).is_some_and(rmap::has_one);
                    if alone && !pages.is_full() {
                        met.clear_accessed();
                        pages.push((met.pages.start, met.leaf.frame));
                    }
                    true
                });
            }
            if let (true, Some((last, _))) = (pages.is_full(), pages.last()) {
                from = last + 1;
            }
            let frames = pages.into_iter().map(|(_, frame)| frame);
            self.vm.steal_these(ms, frames, Within::Range(self.id(), range));
        }
    }

    /// Takes all that the space has mapped away from it, for who needs memory more, and lets nobody
    /// bring it back: from now on every access is refused, and every change of what is mapped
    /// ([`Error::Sealed`](crate::Error::Sealed)). The mappings stay until the space ends. It waits for
    /// none of the space's threads; see Linux's oom_reaper.
    ///
    /// ```
    /// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
    /// # use vmspace::{format::*, *};
    /// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
    /// # let mut ms = unsafe { MaySleep::assume() };
    /// # let space = Space::new(&vm, &mut ms)?;
    /// # let rw = Rights::READ | Rights::WRITE;
    /// let at = space.map(&mut ms, Map::anonymous(64 << 12, rw))?;
    /// space.populate(&mut ms, at, 64 << 12, true)?;
    /// let free = vm.free_frames();
    /// space.reap(&mut ms);
    /// assert_eq!(vm.free_frames(), free + 64);
    /// assert_eq!(space.fault(&mut ms, at, Access::Read), Err(FaultError::Denied));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn reap(&self, ms: &mut MaySleep) {
        let user = self.user();
        // The edit changes every piece, so it splits none: it needs no memory.
        let _ = self.edit(ms, user, Cover::Lowest, Mutation::NoShootdownAtDontNeed, |cursor| {
            // Nor may who is already waiting to change it give the rights back.
            self.header().has_seals.store(1, Ordering::Relaxed);
            cursor.change_attributes(user, |now| {
                now.with_rights(Rights::empty()) | Attributes::SEALED
            });
            cursor.clear(user);
            Some(())
        });
    }
}
