//! Hand-made tables, and a manager that is told what to answer.

#![allow(dead_code, unused_macros)] // each test file uses a part

/// Makes a test of each of these functions, which are generic over the format, for every format.
macro_rules! in_every_format {
    ($($test:ident),* $(,)?) => { vmspace::every_format!(in_formats $(, $test)*); };
}

macro_rules! in_formats {
    ($tests:tt $($format:ident $module:ident,)*) => { $(in_format! { $tests $format $module })* };
}

macro_rules! in_format {
    ([$($test:ident)*] $format:ident $module:ident) => {
        mod $module { $(#[test] fn $test() { super::$test::<vmspace::format::$format>(); })* }
    };
}

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use vmspace::flush::ActiveSet;
use vmspace::format::{Entry, Format, Geometry, Leaf, Rights};
use vmspace::{Batch, Cell, Frame, Platform, Shot, SpaceId};
use vmspace_machine::{AddressSpace, Config, Hardware, MachinePlatform, Manager};

/// Read, write and execute from user mode.
pub const ALL: Rights = Rights::all();

/// Read from user mode.
pub fn read_only() -> Rights {
    Rights::READ | Rights::USER
}

/// Read and write from user mode.
pub fn read_write() -> Rights {
    read_only() | Rights::WRITE
}

/// A machine and what a library would know about it.
pub struct World<F: Format> {
    pub machine: MachinePlatform<F>,
    next: AtomicU64,
    pub generations: Mutex<HashMap<u64, u64>>,
    pub unsettled: Mutex<HashSet<u64>>,
    /// Set: every table is unsettled.
    pub locked: AtomicBool,
    pub left: Mutex<Vec<(SpaceId, usize)>>,
}

impl<F: Format> World<F> {
    pub fn new(config: Config) -> World<F> {
        let machine = MachinePlatform::new(Config { memory: 64 << 20, ..config }).unwrap();
        World {
            next: AtomicU64::new(machine.frames().start),
            machine,
            generations: Mutex::default(),
            unsettled: Mutex::default(),
            locked: AtomicBool::new(false),
            left: Mutex::default(),
        }
    }

    /// A fresh frame, zero.
    pub fn frame(&self) -> Frame {
        Frame(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// `1 << order` fresh contiguous frames, aligned to their number.
    pub fn frames(&self, order: u32) -> Frame {
        let size = 1 << order;
        let start = self.next.load(Ordering::Relaxed).next_multiple_of(size);
        assert!(start + size <= self.machine.frames().end);
        self.next.store(start + size, Ordering::Relaxed);
        Frame(start)
    }

    pub fn space(&self, id: u64) -> TestSpace<'_, F> {
        let root = self.frame();
        TestSpace { world: self, id: SpaceId(id), root, set: ActiveSet::default() }
    }
}

impl<F: Format> Manager for World<F> {
    type Format = F;

    fn hardware(&self) -> &Hardware {
        self.machine.hardware()
    }

    fn leave(&self, space: SpaceId, hart: usize) {
        self.left.lock().unwrap().push((space, hart));
    }

    fn generation(&self, frame: Frame) -> Option<u64> {
        Some(self.generations.lock().unwrap().get(&frame.0).copied().unwrap_or(0))
    }

    fn is_unsettled(&self, table: Frame) -> bool {
        // Acquire: as the library's own, after the entry was read.
        self.locked.load(Ordering::Acquire) || self.unsettled.lock().unwrap().contains(&table.0)
    }
}

/// A space whose tables are made by hand.
pub struct TestSpace<'w, F: Format> {
    pub world: &'w World<F>,
    pub id: SpaceId,
    pub root: Frame,
    pub set: ActiveSet,
}

impl<F: Format> AddressSpace for TestSpace<'_, F> {
    fn id(&self) -> SpaceId {
        self.id
    }

    fn root(&self) -> Frame {
        self.root
    }

    fn enter(&self, hart: usize) {
        self.set.enter(hart);
    }
}

impl<F: Format> TestSpace<'_, F> {
    /// The slot for `page` at `level`, and its table; tables are made on the way.
    pub fn slot(&self, level: usize, page: u64) -> (&F::Cell, Frame) {
        let memory = self.world.hardware().memory();
        let (mut table, mut at) = (self.root, F::ROOT_LEVEL);
        loop {
            let cell = memory.cell::<F>(table, F::index(at, page)).unwrap();
            if at == level {
                return (cell, table);
            }
            table = match F::decode(at, cell.load(Ordering::Acquire)) {
                Entry::Table(next) => next,
                _ => {
                    let next = self.world.frame();
                    cell.swap(F::table(at, next));
                    next
                }
            };
            at -= 1;
        }
    }

    /// Maps a leaf, neither accessed nor dirty.
    pub fn map(&self, level: usize, page: u64, frame: Frame, rights: Rights) {
        let leaf = Leaf { frame, rights, accessed: false, dirty: false };
        self.slot(level, page).0.swap(F::leaf(level, leaf));
    }

    /// Maps a fresh frame, and says which.
    pub fn map_fresh(&self, page: u64, rights: Rights) -> Frame {
        let frame = self.world.frame();
        self.map(0, page, frame, rights);
        frame
    }

    /// The entry of `page` at `level`, decoded.
    pub fn entry(&self, level: usize, page: u64) -> Entry {
        F::decode(level, self.slot(level, page).0.load(Ordering::Acquire))
    }

    /// Makes every hart that may have it forget `pages`.
    pub fn shoot(&self, pages: &[u64]) {
        let shots: Vec<_> = pages.iter().map(|&page| Shot { page, frame: Frame(0) }).collect();
        let batch = Batch { pages: Some(&shots), tables: false };
        self.world.machine.shootdown(&self.set.snapshot(), self.id, &batch);
    }

    /// Makes every hart that may have it forget all of its pages.
    pub fn shoot_all(&self) {
        let batch = Batch { pages: None, tables: false };
        self.world.machine.shootdown(&self.set.snapshot(), self.id, &batch);
    }

    /// Makes every hart that may have it forget where its tables are.
    pub fn shoot_tables(&self) {
        let batch = Batch { pages: Some(&[]), tables: true };
        self.world.machine.shootdown(&self.set.snapshot(), self.id, &batch);
    }
}

/// The address of a page.
pub fn at<F: Format>(page: u64) -> u64 {
    page << F::PAGE_SHIFT
}

/// Where a frame is in host memory.
pub fn host<F: Format>(world: &World<F>, frame: Frame) -> *mut u8 {
    world.hardware().memory().get::<F>(frame).unwrap()
}
