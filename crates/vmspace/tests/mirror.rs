//! A backend sees every change of every entry, in the same lock hold (R16, R49).
//!
//! Guarantee: whenever a table's lock is free, who keeps a copy of it from what the backend was
//! told has the table, accessed and dirty apart. So a shadow, a hash table, a hypervisor's validated
//! table can be in step; and nothing in the library writes an entry that others can reach past the
//! backend.

#![cfg(not(loom))]

#[path = "mirror/backend.rs"]
mod backend;
#[macro_use]
mod host;

use backend::Mirror;
use host::{Host, be_cpu};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use vmspace::format::{Format, Geometry, Rights, Sv48};
use vmspace::{Access, Advice, Frame, Map, MaySleep, Platform, Remap, Space, Vm};

type Machine<F> = Host<F, Mirror<F>>;

const RIGHTS: [Rights; 3] =
    [Rights::READ, Rights::READ.union(Rights::WRITE), Rights::READ.union(Rights::EXECUTE)];

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

fn mirror<F: Format>(vm: &Vm<Machine<F>>) -> &Mirror<F> {
    vm.platform().backend()
}

fn machine<F: Format>() -> Vm<Machine<F>> {
    let vm = Host::<F, _>::with_backend(2048, 3, Mirror::new()).manager();
    mirror(&vm).learn(vm.platform().frame_ptr(Frame(0)));
    vm
}

/// A frame beyond the manager's, aligned as the page `near`.
fn foreign<F: Format>(near: u64) -> Frame {
    let half = 1 << (F::FRAME_BITS - 1);
    Frame(half | near & (half / 2 - 1))
}

/// Operations on a few tables around a bound of the level above.
struct Random<F> {
    state: u64,
    format: std::marker::PhantomData<F>,
}

impl<F: Format> Random<F> {
    fn new(seed: u64) -> Self {
        Random { state: seed.wrapping_mul(2) + 1, format: std::marker::PhantomData }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.state >> 33) % end
    }

    /// A page of four tables, half of them in the two of another parent.
    fn page(&mut self) -> u64 {
        let table = F::table_pages(0);
        let parent = F::slot_pages(F::ROOT_LEVEL.min(2)).max(3 * table);
        let bound = parent - 2 * table + self.below(5) * table;
        bound + self.below(7) - 3
    }

    fn rights(&mut self) -> Rights {
        RIGHTS[self.below(3) as usize]
    }

    /// A range, in bytes: often a whole table or more.
    fn range(&mut self) -> (u64, u64) {
        let (one, two) = (self.page(), self.page());
        let (start, end) = (one.min(two), one.max(two) + 1);
        (start << F::PAGE_SHIFT, (end - start) << F::PAGE_SHIFT)
    }

    /// One operation; what it answers does not matter, only that the mirror stays in step.
    fn operate(&mut self, space: &Space<'_, Machine<F>>, ms: &mut MaySleep) {
        let (at, length) = self.range();
        match self.below(12) {
            10 | 11 => {
                let to = self.page() << F::PAGE_SHIFT;
                // Every second move could move whole tables.
                let table = (F::table_pages(0) << F::PAGE_SHIFT) - 1;
                let near = if self.below(2) == 0 { to } else { to & !table | at & table };
                let _ = space.remap(
                    ms,
                    Remap {
                        address: at,
                        old_length: length,
                        new_length: length,
                        may_move: true,
                        fixed: true,
                        keep_source: self.below(4) == 0,
                        new_address: near,
                    },
                );
            }
            0 => {
                let map = Map { no_reserve: true, ..Map::anonymous(length, self.rights()) };
                let _ = space.map(ms, map.at(at));
            }
            1 => {
                let map = Map { no_reserve: true, ..Map::anonymous(length, RIGHTS[1]) };
                let _ = space.map(ms, map.at(at).shared());
            }
            2 => _ = space.unmap(ms, at, length),
            3 => _ = space.protect(ms, at, length, self.rights()),
            4 => _ = space.advise(ms, at, length, Advice::DontNeed),
            5 => {
                // Largest leaves where they fit: the operations to come split them.
                let first = foreign::<F>(at >> F::PAGE_SHIFT);
                let _ = space.map_device(ms, at, length, first, self.rights());
            }
            6 => self.transact(space, ms),
            7 => _ = space.fault(ms, at, Access::Read),
            _ => {
                let _ = space.write(ms, at, &[1; 32]);
                let _ = space.write(ms, at + length - 1, b"x");
            }
        }
    }

    fn transact(&mut self, space: &Space<'_, Machine<F>>, ms: &mut MaySleep) {
        let (at, length) = self.range();
        let _ = space.reserve(ms, at, length.min(64 << F::PAGE_SHIFT), RIGHTS[1]);
        let (first, second) = (self.below(8) << F::PAGE_SHIFT, self.below(8) << F::PAGE_SHIFT);
        let rights = self.rights();
        let _ = space.transaction(ms, at, length, |range| {
            range.set(at + first, foreign::<F>(1 << 16), rights)?;
            range.set(at + second, foreign::<F>(2 << 16), rights)?;
            range.protect(at + first, Rights::READ)?;
            range.clear(at + second)?;
            range.set_range(at, 4, foreign::<F>(3 << 16), rights)?;
            range.clear_range(at, 2)?;
            range.protect_range(at, 8, Rights::READ)
        });
    }
}

const SEEDS: u64 = if cfg!(miri) { 1 } else { 16 };

fn changes_an_entry_past_the_backend<F: Format>() {
    let vm = machine::<F>();
    let ms = &mut token();
    let free = vm.free_frames();
    let kernel = AtomicU64::new(F::KERNEL_SLOTS.start as u64);
    for seed in 0..SEEDS {
        let mut random = Random::<F>::new(seed);
        let mut spaces = vec![Space::new(&vm, ms).unwrap()];
        mirror(&vm).load_root(spaces[0].root());
        for _ in 0..150 {
            let which = random.below(spaces.len() as u64) as usize;
            match random.below(20) {
                0 if spaces.len() < 5 => {
                    let child = spaces[which].fork(ms).unwrap();
                    mirror(&vm).load_root(child.root());
                    spaces.push(child);
                }
                1 if spaces.len() > 1 => spaces.swap_remove(which).exit(ms),
                2 if random.below(10) == 0 => {
                    let index = kernel.fetch_add(1, Ordering::Relaxed) as usize;
                    let _ = vm.add_kernel_table(index, foreign::<F>(0));
                }
                _ => random.operate(&spaces[which], ms),
            }
            mirror(&vm).assert_in_step();
        }
        vm.check(ms).unwrap();
        spaces.into_iter().for_each(|space| space.exit(ms));
    }
    vm.synchronize(ms);
    mirror(&vm).assert_in_step();
    let (changes, tables) = mirror(&vm).counts();
    assert!(changes > 100 * SEEDS, "too little was changed to say anything: {changes}");
    assert_eq!((tables, vm.free_frames()), (0, free), "tables or frames leaked");
}

in_every_format!(changes_an_entry_past_the_backend);

#[test]
fn a_table_is_unlocked_before_it_is_closed() {
    let vm = machine::<Sv48>();
    let ms = &mut token();
    for seed in 0..SEEDS {
        let space = Space::new(&vm, ms).unwrap();
        mirror(&vm).load_root(space.root());
        thread::scope(|scope| {
            for cpu in 0..3 {
                let space = &space;
                scope.spawn(move || {
                    be_cpu(cpu);
                    let mut random = Random::<Sv48>::new(seed << 8 | cpu as u64);
                    (0..100).for_each(|_| random.operate(space, &mut token()));
                });
            }
        });
        mirror(&vm).assert_in_step();
        vm.check(ms).unwrap();
        space.exit(ms);
    }
    mirror(&vm).assert_in_step();
}

#[test]
#[should_panic = "slot 3"]
fn the_mirror_misses_a_plain_store() {
    let vm = machine::<Sv48>();
    let ms = &mut token();
    let space = Space::new(&vm, ms).unwrap();
    mirror(&vm).load_root(space.root());
    let root = vm.platform().frame_ptr(space.root()).cast::<u64>();
    // SAFETY: the root is a table of the platform's memory, and no other thread runs.
    unsafe { root.add(3).write_volatile(Sv48::soft(vmspace::format::Soft::InTransit)) };
    let _ = space.map(ms, Map::anonymous(1 << 40, RIGHTS[0]));
    // SAFETY: as above; the space must be able to end.
    unsafe { root.add(3).write_volatile(0) };
    mirror(&vm).assert_in_step();
}
