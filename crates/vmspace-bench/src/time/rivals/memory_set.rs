//! memory_set over page_table_multiarch: areas of 2 MiB, since each call looks through all areas.

use super::multiarch::{Pages, READ, RW, address};
use super::{PAGE, Rival};
use memory_addr::{PhysAddr, VirtAddr};
use memory_set::{MappingBackend, MemoryArea, MemorySet};
use page_table_entry::MappingFlags;
use std::hint::black_box;

/// Pages of an area.
const AREA: u64 = 512;
const BYTES: usize = (AREA * PAGE) as usize;

/// Maps an area at once, each page to the frame of its number.
#[derive(Clone)]
struct Populated;

impl MappingBackend for Populated {
    type Addr = VirtAddr;
    type Flags = MappingFlags;
    type PageTable = Pages;

    fn map(&self, start: VirtAddr, size: usize, flags: MappingFlags, pages: &mut Pages) -> bool {
        let frame = |at: VirtAddr| PhysAddr::from(at.as_usize());
        pages.cursor().map_region(start, frame, size, flags, false).is_ok()
    }

    fn unmap(&self, start: VirtAddr, size: usize, pages: &mut Pages) -> bool {
        pages.cursor().unmap_region(start, size).is_ok()
    }

    fn protect(&self, at: VirtAddr, size: usize, flags: MappingFlags, pages: &mut Pages) -> bool {
        pages.cursor().protect_region(at, size, flags).is_ok()
    }
}

pub struct Set {
    areas: MemorySet<Populated>,
    pages: Pages,
}

impl Default for Set {
    fn default() -> Set {
        Set { areas: MemorySet::new(), pages: Pages::try_new().expect("memory") }
    }
}

/// Does an area with its first page, and nothing with the others.
impl Rival for Set {
    fn map(&mut self, page: u64) {
        if page.is_multiple_of(AREA) {
            let area = MemoryArea::new(address(page), BYTES, RW, Populated);
            self.areas.map(area, &mut self.pages, false).expect("it is free");
        }
    }

    fn translate(&self, page: u64) {
        black_box(self.areas.find(address(page)).expect("it is mapped").flags());
        black_box(self.pages.query(address(page)).expect("it is mapped"));
    }

    fn protect(&mut self, page: u64) {
        if page.is_multiple_of(AREA) {
            let done = self.areas.protect(address(page), BYTES, |_| Some(READ), &mut self.pages);
            done.expect("it is mapped");
        }
    }

    fn unmap(&mut self, page: u64) {
        if page.is_multiple_of(AREA) {
            self.areas.unmap(address(page), BYTES, &mut self.pages).expect("it is mapped");
        }
    }
}
