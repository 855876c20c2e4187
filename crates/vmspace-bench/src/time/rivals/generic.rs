//! page-table-generic, with entries like x86-64's, which it leaves to its users.

use super::{PAGE, Rival, table_page};
use page_table_generic::{
    FrameAllocator, PageTable, PageTableEntry, PhysAddr, TableMeta, VirtAddr,
};
use std::hint::black_box;

const PRESENT: u64 = 1;
const WRITE: u64 = 2;
const HUGE: u64 = 1 << 7;
const ADDRESS: u64 = ((1 << 52) - 1) & !(PAGE - 1);

/// An entry; its configuration is its flags.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Word(u64);

impl PageTableEntry for Word {
    type PteConfig = u64;

    fn new_page(paddr: PhysAddr, flags: u64, is_huge: bool) -> Word {
        Word(paddr.as_usize() as u64 | flags | if is_huge { HUGE } else { 0 })
    }

    fn new_table(paddr: PhysAddr) -> Word {
        Word(paddr.as_usize() as u64 | PRESENT | WRITE)
    }

    fn paddr(&self, _: bool) -> PhysAddr {
        PhysAddr::from_usize((self.0 & ADDRESS) as usize)
    }

    fn config(&self, _: bool) -> u64 {
        self.0 & (PRESENT | WRITE)
    }

    fn present(&self) -> bool {
        self.0 & PRESENT != 0
    }

    fn huge(&self, is_dir: bool) -> bool {
        is_dir && self.0 & HUGE != 0
    }

    fn unused(&self) -> bool {
        self.0 == 0
    }

    fn clear(&mut self) {
        self.0 = 0;
    }
}

/// Four levels; nothing is flushed.
#[derive(Clone, Copy)]
pub struct Levels;

impl TableMeta for Levels {
    type P = Word;
    const PAGE_SIZE: usize = PAGE as usize;
    const LEVEL_BITS: &[usize] = &[9, 9, 9, 9];
    const MAX_BLOCK_LEVEL: usize = 3;

    fn flush(_: Option<VirtAddr>) {}
}

/// Tables are the host's.
#[derive(Clone)]
pub struct Memory;

impl FrameAllocator for Memory {
    fn alloc_frame(&self) -> Option<PhysAddr> {
        Some(PhysAddr::from_usize(table_page()))
    }

    fn dealloc_frame(&self, _: PhysAddr) {}

    fn phys_to_virt(&self, paddr: PhysAddr) -> *mut u8 {
        paddr.as_usize() as *mut u8
    }
}

pub struct Table(PageTable<Levels, Memory>);

fn at(page: u64) -> VirtAddr {
    VirtAddr::from_usize((page * PAGE) as usize)
}

impl Default for Table {
    fn default() -> Table {
        Table(PageTable::new(Memory).expect("memory"))
    }
}

impl Rival for Table {
    fn map(&mut self, page: u64) {
        let frame = PhysAddr::from_usize((page * PAGE) as usize);
        self.0.map_page(at(page), frame, PAGE as usize, PRESENT | WRITE).expect("it is free");
    }

    fn translate(&self, page: u64) {
        black_box(self.0.translate_phys(at(page)).expect("it is mapped"));
    }

    fn protect(&mut self, page: u64) {
        self.0.protect_page(at(page), PRESENT).expect("it is mapped");
    }

    fn unmap(&mut self, page: u64) {
        self.0.unmap_page(at(page)).expect("it is mapped");
    }
}
