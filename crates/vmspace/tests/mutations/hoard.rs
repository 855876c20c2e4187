//! Another space, which takes all memory that is free.

use super::{BASE, LEAF, PAGE, RW, SpaceOf, byte_at, frame_at};
use crate::machine::Machine;
use std::ops::Range;
use vmspace::{Access, Frame, Map, MaySleep, Space, Vm};

pub struct Hoard<'vm> {
    space: SpaceOf<'vm>,
    pages: Range<u64>,
}

impl<'vm> Hoard<'vm> {
    /// Has all its tables from the beginning: what it takes later are pages alone.
    pub fn new(vm: &'vm Vm<Machine>, ms: &mut MaySleep) -> Hoard<'vm> {
        let space = Space::new(vm, ms).unwrap();
        let length = (vm.total_frames() * PAGE).next_multiple_of(LEAF);
        let map = Map { no_reserve: true, ..Map::anonymous(length, RW).at(BASE) };
        space.map(ms, map).unwrap();
        let pages = BASE..BASE + length;
        for page in pages.clone().step_by(LEAF as usize) {
            space.fault(ms, page, Access::Write).unwrap();
        }
        Hoard { space, pages }
    }

    /// Its pages, one after the other, as long as there is memory for the next.
    fn pages(&self) -> impl Iterator<Item = u64> {
        let vm = self.space.vm();
        self.pages.clone().step_by(PAGE as usize).take_while(|_| vm.free_frames() != 0)
    }

    /// Takes memory until it has `frame`; that page. None: the frame is not
    /// to be had.
    pub fn take(&self, ms: &mut MaySleep, frame: Frame) -> Option<u64> {
        self.pages().find(|&page| {
            self.space.fault(ms, page, Access::Write).unwrap();
            frame_at(&self.space, ms, page) == frame
        })
    }

    /// Fills all memory with `page`.
    pub fn fill(&self, ms: &mut MaySleep, contents: &[u8]) {
        for page in self.pages() {
            assert_eq!(self.space.write(ms, page, contents), contents.len());
        }
    }

    /// The byte at `at`.
    pub fn byte_at(&self, ms: &mut MaySleep, at: u64) -> u8 {
        byte_at(&self.space, ms, at)
    }
}
