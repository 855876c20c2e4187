//! page_table_multiarch, with x86-64's entries.

use super::{PAGE, Rival, table_page};
use memory_addr::{PhysAddr, VirtAddr};
use page_table_entry::{MappingFlags, x86_64::X64PTE};
use page_table_multiarch::{PageSize, PageTable64, PagingHandler, PagingMetaData};
use std::hint::black_box;

/// Four levels; nothing is flushed.
pub struct Levels;

impl PagingMetaData for Levels {
    const LEVELS: usize = 4;
    const PA_MAX_BITS: usize = 52;
    const VA_MAX_BITS: usize = 48;
    type VirtAddr = VirtAddr;

    fn flush_tlb(_: Option<VirtAddr>) {}
}

/// Tables are the host's.
pub struct Memory;

impl PagingHandler for Memory {
    fn alloc_frames(_: usize, _: usize) -> Option<PhysAddr> {
        Some(PhysAddr::from(table_page()))
    }

    fn dealloc_frames(_: PhysAddr, _: usize) {}

    fn phys_to_virt(paddr: PhysAddr) -> VirtAddr {
        VirtAddr::from(paddr.as_usize())
    }
}

pub type Pages = PageTable64<Levels, X64PTE, Memory>;

pub struct Table(Pages);

pub const RW: MappingFlags =
    MappingFlags::READ.union(MappingFlags::WRITE).union(MappingFlags::USER);
pub const READ: MappingFlags = MappingFlags::READ.union(MappingFlags::USER);

pub fn address(page: u64) -> VirtAddr {
    VirtAddr::from((page * PAGE) as usize)
}

impl Default for Table {
    fn default() -> Table {
        Table(Pages::try_new().expect("memory"))
    }
}

impl Rival for Table {
    fn map(&mut self, page: u64) {
        let frame = PhysAddr::from((page * PAGE) as usize);
        self.0.cursor().map(address(page), frame, PageSize::Size4K, RW).expect("it is free");
    }

    fn translate(&self, page: u64) {
        black_box(self.0.query(address(page)).expect("it is mapped"));
    }

    fn protect(&mut self, page: u64) {
        self.0.cursor().protect(address(page), READ).expect("it is mapped");
    }

    fn unmap(&mut self, page: u64) {
        self.0.cursor().unmap(address(page)).expect("it is mapped");
    }
}
