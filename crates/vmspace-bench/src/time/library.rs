//! The library: the same through transactions, and lock-free translation under one guard.

use super::rivals::{Row, rounds};
use super::{PAGE, PAGES, Subject, shuffled};
use crate::world::{Manager, World};
use std::hint::black_box;
use vmspace::format::Rights;
use vmspace::{Error, Frame, MaySleep, Space, Transaction};

const AT: u64 = 1 << 40;
/// Frames beyond the manager's.
const DEVICE: Frame = Frame(1 << 30);
const RW: Rights = Rights::READ.union(Rights::WRITE);

pub struct Library<'vm> {
    space: World<'vm>,
    ms: MaySleep,
}

impl<'vm> Library<'vm> {
    pub fn new(vm: &'vm Manager) -> Library<'vm> {
        // SAFETY: this thread may sleep, and holds nothing.
        let mut ms = unsafe { MaySleep::assume() };
        let space = Space::new(vm, &mut ms).expect("the manager is fresh");
        space.reserve(&mut ms, AT, PAGES * PAGE, RW).expect("the manager is fresh");
        let mut library = Library { space, ms };
        // Makes the tables.
        library.map_range();
        library.unmap_range();
        library
    }

    fn edit(&mut self, body: impl FnOnce(&mut Range<'_, 'vm, '_>) -> Result<(), Error>) {
        let edited = self.space.transaction(&mut self.ms, AT, PAGES * PAGE, body);
        edited.expect("the tables exist");
    }
}

type Range<'t, 'vm, 'c> = Transaction<'t, 'vm, 'c, crate::world::Machine>;

impl Subject for Library<'_> {
    fn map_each(&mut self) {
        self.edit(|range| (0..PAGES).try_for_each(|n| range.set(AT + n * PAGE, DEVICE.add(n), RW)));
    }

    fn translate(&mut self) {
        let guard = self.space.vm().walk(&mut self.ms);
        for n in shuffled() {
            black_box(self.space.translate(&guard, AT + n * PAGE));
        }
    }

    fn protect_each(&mut self) {
        self.edit(|range| (0..PAGES).try_for_each(|n| range.protect(AT + n * PAGE, Rights::READ)));
    }

    fn unmap_each(&mut self) {
        self.edit(|range| {
            for n in 0..PAGES {
                black_box(range.clear(AT + n * PAGE)?);
            }
            Ok(())
        });
    }

    fn map_range(&mut self) {
        self.edit(|range| range.set_range(AT, PAGES, DEVICE, RW));
    }

    fn protect_range(&mut self) {
        self.edit(|range| range.protect_range(AT, PAGES, Rights::READ));
    }

    fn unmap_range(&mut self) {
        self.edit(|range| range.clear_range(AT, PAGES));
    }
}

/// Our row of the rivals' table: on two threads each locks a gigabyte of one space.
pub fn row() -> Row {
    let vm = crate::world::manager();
    let mut library = Library::new(&vm);
    let one = rounds(|step| {
        single(&library.space, &mut library.ms, step, AT);
        PAGES
    });
    let beside = AT + PAGES * PAGE;
    let Library { space, ms } = &mut library;
    space.reserve(ms, beside, PAGES * PAGE, RW).expect("there is room");
    let two = rounds(|step| {
        std::thread::scope(|threads| {
            for (cpu, at) in [AT, beside].into_iter().enumerate() {
                let space = &*space;
                threads.spawn(move || {
                    crate::world::be_cpu(cpu);
                    // SAFETY: the thread has just begun, and holds nothing.
                    single(space, &mut unsafe { MaySleep::assume() }, step, at);
                });
            }
        });
        2 * PAGES
    });
    Row { name: "vmspace", one, two }
}

/// A step, page by page, over the gigabyte at `at`.
fn single(space: &World<'_>, ms: &mut MaySleep, step: usize, at: u64) {
    if step == 1 {
        let guard = space.vm().walk(ms);
        for n in shuffled() {
            black_box(space.translate(&guard, at + n * PAGE));
        }
        return;
    }
    let edited = space.transaction(ms, at, PAGES * PAGE, |range| {
        (0..PAGES).try_for_each(|n| match step {
            0 => range.set(at + n * PAGE, DEVICE.add(n), RW),
            2 => range.protect(at + n * PAGE, Rights::READ),
            _ => range.clear(at + n * PAGE).map(|found| {
                black_box(found);
            }),
        })
    });
    edited.expect("there is memory for the tables");
}
