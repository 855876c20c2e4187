//! What scenarios work in, and what can be seen of it.

use super::host::Host;
use crate::format::{Format, Geometry, Rights};
use crate::{
    Access, Advice, Error, FaultError, Frame, Map, MaySleep, Object, Pinned, Region, Remap, Space,
    Usage, Vm,
};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub const RW: Rights = Rights::READ.union(Rights::WRITE);

/// What scenarios work in.
pub struct World<'vm, F: Format> {
    pub vm: &'vm Vm<Host<F>>,
    pub ms: MaySleep,
    pub spaces: Vec<Space<'vm, Host<F>>>,
    pub pinned: Vec<Pinned<'vm, Host<F>>>,
    pub objects: Vec<Object<'vm, Host<F>>>,
}

/// What can be seen of a space without changing it.
#[derive(Clone, PartialEq, Debug)]
pub struct View {
    pub regions: Vec<Region>,
    pub usage: Usage,
    /// For each page that is mapped to a frame: what the entry allows, and a digest of its bytes.
    pub pages: BTreeMap<u64, (Rights, u64)>,
}

/// Bytes of so many pages.
pub fn pages<F: Format>(n: u64) -> u64 {
    n << F::PAGE_SHIFT
}

/// The address of a page, counted from a bound of tables of two levels (of one, where there are
/// no three) with room for a table below.
pub fn at<F: Format>(page: i64) -> u64 {
    (2 * F::slot_pages(F::ROOT_LEVEL.min(2))).wrapping_add_signed(page) << F::PAGE_SHIFT
}

impl<'vm, F: Format> World<'vm, F> {
    pub fn new(vm: &'vm Vm<Host<F>>) -> Self {
        // SAFETY: a test's own thread, which holds nothing.
        let ms = unsafe { MaySleep::assume() };
        World { vm, ms, spaces: Vec::new(), pinned: Vec::new(), objects: Vec::new() }
    }

    /// One more space, like the others' parents.
    pub fn space(&mut self) -> bool {
        let space = Space::new(self.vm, &mut self.ms);
        space.map(|space| self.spaces.push(space)).is_ok()
    }

    pub fn fork(&mut self) -> bool {
        let child = self.spaces[0].fork(&mut self.ms);
        child.map(|child| self.spaces.push(child)).is_ok()
    }

    pub fn map(&mut self, page: i64, n: u64) -> bool {
        self.map_as(Map::anonymous(pages::<F>(n), RW).at(at::<F>(page)))
    }

    pub fn share(&mut self, page: i64, n: u64) -> bool {
        self.map_as(Map::anonymous(pages::<F>(n), RW).at(at::<F>(page)).shared())
    }

    pub fn map_as(&mut self, map: Map) -> bool {
        self.spaces[0].map(&mut self.ms, Map { no_reserve: true, ..map }).is_ok()
    }

    /// One more object of so many pages.
    pub fn object(&mut self, pager: u64, n: u64) -> bool {
        let object = self.vm.object(&mut self.ms, pages::<F>(n), pager);
        object.map(|object| self.objects.push(object)).is_ok()
    }

    /// Maps the first object from its second page on.
    pub fn map_object(&mut self, page: i64, n: u64, shared: bool) -> bool {
        let map = Map::anonymous(pages::<F>(n), RW).at(at::<F>(page));
        let map = if shared { map.shared() } else { map };
        let World { spaces, objects, ms, .. } = self;
        spaces[0].map_object(ms, map, &objects[0], pages::<F>(1)).is_ok()
    }

    /// Writes to a page of the first object.
    pub fn write_object(&mut self, page: u64) -> bool {
        let written = self.objects[0].write(&mut self.ms, pages::<F>(page), b"written");
        written.is_ok_and(|n| n == 7)
    }

    pub fn unmap(&mut self, page: i64, n: u64) -> bool {
        self.spaces[0].unmap(&mut self.ms, at::<F>(page), pages::<F>(n)).is_ok()
    }

    /// To `to`, or wherever there is room (and in place if that is longer) for 0.
    pub fn remap(&mut self, page: i64, n: i64, to: i64, new: i64) -> bool {
        let remap = Remap {
            address: at::<F>(page),
            old_length: pages::<F>(n as u64),
            new_length: pages::<F>(new as u64),
            may_move: true,
            fixed: to != 0,
            keep_source: false,
            new_address: at::<F>(to),
        };
        // Where it goes depends on what is free, not on memory.
        match self.spaces[0].remap(&mut self.ms, remap) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, Error::OutOfMemory);
                false
            }
        }
    }

    pub fn protect(&mut self, page: i64, n: u64, rights: Rights) -> bool {
        self.spaces[0].protect(&mut self.ms, at::<F>(page), pages::<F>(n), rights).is_ok()
    }

    pub fn fault(&mut self, page: i64, access: Access) -> bool {
        self.fault_of(0, page, access)
    }

    pub fn fault_of(&mut self, space: usize, page: i64, access: Access) -> bool {
        match self.spaces[space].fault(&mut self.ms, at::<F>(page), access) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error, FaultError::OutOfMemory);
                false
            }
        }
    }

    /// Writes each page's number into it.
    pub fn touch(&mut self, page: i64, n: i64) {
        for page in page..page + n {
            let bytes = page.to_le_bytes();
            assert_eq!(self.spaces[0].write(&mut self.ms, at::<F>(page), &bytes), bytes.len());
        }
    }

    /// A swap device.
    pub fn swap_on(&mut self, device: u64) -> bool {
        self.vm.swap_on(&mut self.ms, device, 64, 0).is_ok()
    }

    /// Pages of the first space go to swap.
    pub fn page_out(&mut self, page: i64, n: u64) -> bool {
        let (from, length) = (at::<F>(page), pages::<F>(n));
        self.spaces[0].advise(&mut self.ms, from, length, Advice::PageOut).is_ok()
    }

    pub fn pin(&mut self, page: i64, write: bool) -> bool {
        let pinned = self.spaces[0].pin(&mut self.ms, at::<F>(page), write);
        pinned.map(|pinned| self.pinned.push(pinned)).is_ok()
    }

    pub fn views(&mut self) -> Vec<View> {
        let World { vm, ms, spaces, .. } = self;
        spaces.iter().map(|space| view(vm, space, ms)).collect()
    }

    /// Touches what was there, for reading: pages that were stolen come back as they were.
    pub fn bring_back(&mut self, views: &[View]) {
        for (space, view) in self.spaces.iter().zip(views) {
            for address in view.pages.keys() {
                if space.translate(&self.vm.walk(&mut self.ms), *address).is_none() {
                    // It may have been unmapped.
                    let _ = space.fault(&mut self.ms, *address, Access::Read);
                }
            }
        }
    }

    /// Ends everything; nothing is left.
    pub fn end(mut self, frames: u64) {
        self.pinned.clear();
        self.objects.clear();
        for space in self.spaces.drain(..) {
            space.exit(&mut self.ms);
        }
        for swap in self.vm.swaps() {
            assert_eq!(self.vm.swap_off(&mut self.ms, swap.device, || Ok(())), Ok(()));
        }
        self.vm.synchronize(&mut self.ms);
        assert_eq!(self.vm.slab_in_use(), 0, "slab objects leaked");
        assert_eq!(self.vm.free_frames(), frames, "frames leaked");
    }
}

pub fn view<F: Format>(vm: &Vm<Host<F>>, space: &Space<'_, Host<F>>, ms: &mut MaySleep) -> View {
    let mut regions = Vec::new();
    // An object that is made again may lie elsewhere.
    space.for_each_region(ms, |region| regions.push(Region { object: None, ..region }));
    let usage = space.usage(ms);
    let guard = vm.walk(ms);
    let mut found = BTreeMap::new();
    for region in &regions {
        // The ends are looked at where it is too large to look at whole.
        let look = pages::<F>(700).min(region.end - region.start);
        let ends = [region.start..region.start + look, region.end - look..region.end];
        for address in ends.into_iter().flat_map(|end| end.step_by(F::PAGE_SIZE as usize)) {
            if let Some(entry) = space.translate(&guard, address) {
                found.insert(address, (entry.rights, digest(vm, entry.frame)));
            }
        }
    }
    View { regions, usage, pages: found }
}

/// A digest of a frame's bytes; of its number, where it is not the manager's.
pub fn digest<F: Format>(vm: &Vm<Host<F>>, frame: Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    match vm.generation(frame) {
        None => frame.hash(&mut hasher),
        Some(_) => {
            let at = crate::Platform::frame_ptr(vm.platform(), frame);
            // SAFETY: a frame of the manager's, which nothing else touches while this test looks.
            unsafe { std::slice::from_raw_parts(at, F::PAGE_SIZE as usize) }.hash(&mut hasher);
        }
    }
    hasher.finish()
}
