//! Listing what a space maps, and how much.

use super::{Sharing, Space};
use crate::context::MaySleep;
use crate::format::{Format, Geometry, Rights};
use crate::object::ObjectId;
use crate::platform::Platform;
use crate::region::Attributes;
use crate::sync::Ordering;
use crate::tree::walk;
use bitflags::bitflags;

/// A mapping as Linux's /proc/PID/maps would show it: neighbours that agree are one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    /// Its first address.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
    /// What user code may do.
    pub rights: Rights,
    /// Who sees the stores.
    pub sharing: Sharing,
    /// It grows to cover faults just below it.
    pub grows_down: bool,
    /// The object behind it; none for private anonymous memory and devices.
    pub object: Option<ObjectId>,
    /// Where in the object it begins, in bytes; 0 without one.
    pub offset: u64,
    /// Its pages are locked.
    pub locked: bool,
    /// What else was said of it.
    pub traits: Traits,
}

bitflags! {
    /// What was said of a mapping when it was made, or since. (The bits stand where a piece's
    /// attributes have them.)
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Traits: u32 {
        /// It is not counted against memory (MAP_NORESERVE).
        const NO_RESERVE = Attributes::NO_RESERVE.bits();
        /// Its pages are locked as they are touched (MLOCK_ONFAULT).
        const LOCK_ON_FAULT = Attributes::LOCK_ON_FAULT.bits();
        /// It can be neither unmapped, moved, replaced nor protected (mseal(2)).
        const SEALED = Attributes::SEALED.bits();
        /// A fork's child does not have it (MADV_DONTFORK).
        const DONT_FORK = Attributes::DONT_FORK.bits();
        /// A fork's child finds zeros (MADV_WIPEONFORK).
        const WIPE_ON_FORK = Attributes::WIPE_ON_FORK.bits();
        /// It is accessed in any order (MADV_RANDOM).
        const RANDOM = Attributes::RANDOM.bits();
        /// It is accessed from its start on (MADV_SEQUENTIAL).
        const SEQUENTIAL = Attributes::SEQUENTIAL.bits();
        /// Stores may never be allowed: it shows a file that was not opened for writing.
        const NEVER_WRITE = Attributes::NEVER_WRITE.bits();
    }
}

/// How much a space uses, in pages.
///
/// ```
/// # mod host { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/platform.rs")); }
/// # use vmspace::{format::*, *};
/// # let vm = host::Host::<Sv48>::new(1024, 2).manager();
/// # let mut ms = unsafe { MaySleep::assume() };
/// # let space = Space::new(&vm, &mut ms)?;
/// # let rw = Rights::READ | Rights::WRITE;
///
/// space.map(&mut ms, Map { locked: true, ..Map::anonymous(8192, rw) })?;
/// assert_eq!(space.usage(&mut ms), Usage { mapped: 2, resident: 2, locked: 2 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Pages mapped.
    pub mapped: u64,
    /// Pages of memory behind them (the zero page and devices not counted).
    pub resident: u64,
    /// Pages that are locked (VmLck).
    pub locked: u64,
}

impl<P: Platform> Space<'_, P> {
    /// The first mapping that ends above `from` (in bytes), from `from` on, without locks: what it
    /// was at one instant.
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
    /// let found = space.next_region(&mut ms, 0).expect("something is mapped");
    /// assert_eq!((found.start, found.end, found.rights), (at, at + 8192, rw));
    /// assert_eq!(space.next_region(&mut ms, at + 4096).map(|rest| rest.start), Some(at + 4096));
    /// assert_eq!(space.next_region(&mut ms, at + 8192), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_region(&self, ms: &mut MaySleep, from: u64) -> Option<Region> {
        let shift = P::Format::PAGE_SHIFT;
        let guard = self.vm.walk(ms);
        let page = from >> shift;
        let run = walk::next_mapping(&guard, self.root(), page, P::Format::USER_PAGES)?;
        let attributes = run.key.attributes;
        Some(Region {
            start: run.range.start << shift,
            end: run.range.end << shift,
            rights: attributes.rights().difference(Rights::USER),
            sharing: if run.key.is_private() { Sharing::Private } else { Sharing::Shared },
            grows_down: attributes.contains(Attributes::GROWS_DOWN),
            object: (run.key.object != 0).then_some(ObjectId(run.key.object)),
            offset: match run.key.object {
                0 => 0,
                _ => run.range.start.wrapping_sub(run.key.origin) << shift,
            },
            locked: attributes.contains(Attributes::LOCKED),
            traits: Traits::from_bits_truncate(attributes.bits()),
        })
    }

    /// Calls `visit` for each mapping, ascending.
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
    /// space.protect(&mut ms, at, 4096, Rights::READ)?;
    /// space.for_each_region(&mut ms, |region| {
    ///     println!("{:x}-{:x} {:?}", region.start, region.end, region.rights);
    /// });
    /// assert_eq!(space.next_region(&mut ms, at).unwrap().end, at + 4096);
    /// assert_eq!(space.usage(&mut ms).mapped, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each_region(&self, ms: &mut MaySleep, mut visit: impl FnMut(Region)) {
        let mut from = 0;
        while let Some(region) = self.next_region(ms, from) {
            from = region.end;
            visit(region);
        }
    }

    /// How much the space uses: a walk over its mappings. Exact when nothing runs in it.
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
    /// space.write(&mut ms, at, b"touched");
    /// let usage = space.usage(&mut ms);
    /// assert_eq!((usage.mapped, usage.resident), (4, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn usage(&self, ms: &mut MaySleep) -> Usage {
        let mut bytes = 0;
        self.for_each_region(ms, |region| bytes += region.end - region.start);
        Usage {
            mapped: bytes >> P::Format::PAGE_SHIFT,
            resident: self.vm.resident(self.id()),
            locked: self.header().locked.load(Ordering::Relaxed),
        }
    }
}
