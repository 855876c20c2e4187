//! What there is before an operation.

use super::world::{RW, World, at, pages};
use crate::format::{Format, Geometry};
use crate::{Access, Advice, Frame, Map};

pub fn empty<F: Format>(world: &mut World<'_, F>) {
    world.space();
}

/// A space with a touched range over a bound of two levels of tables.
pub fn touched<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.map(-8, 16);
    world.touch(-6, 12);
}

/// The same, shared.
pub fn shared<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.share(-8, 16);
    world.touch(-6, 12);
}

/// Everything that a fork copies: touched, zero, pinned and shared pages, a stack, a device.
pub fn everything<F: Format>(world: &mut World<'_, F>) {
    touched(world);
    world.share(40, 600);
    world.touch(600, 3);
    world.fault(-8, Access::Read);
    world.pin(-6, true);
    world.pin(600, false);
    device(world, 2000);
}

/// As many pieces as the root takes: the next bound pushes them down.
pub fn crowd<F: Format>(world: &mut World<'_, F>) {
    world.space();
    for page in 0..21 {
        world.map(16 + 3 * page, 1);
        world.share(17 + 3 * page, 1);
    }
}

/// A file of ten pages, mapped shared, three of them touched.
pub fn mapped_object<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.object(1, 10);
    world.map_object(-4, 8, true);
    world.touch(-4, 3);
}

/// The same, mapped privately as well, with copies of three pages, one of them cut off with two.
pub fn copied_object<F: Format>(world: &mut World<'_, F>) {
    mapped_object(world);
    world.map_object(20, 8, false);
    world.touch(20, 3);
}

/// Memory of one page that was written to.
pub fn memory_object<F: Format>(world: &mut World<'_, F>) {
    world.space();
    world.object(0, 1);
    world.write_object(0);
}

/// Two whole tables of private memory below and above a bound of two levels, and two of shared memory.
pub fn whole<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let table = F::table_pages(0) as i64;
    world.map(-table, 2 * table as u64);
    world.share(2 * table - 8, table as u64 + 16);
    for page in [-table, -1, 0, table - 1, 2 * table - 8, 2 * table, 3 * table - 1, 3 * table] {
        world.touch(page, 1);
    }
}

/// A frame beyond the manager's.
pub fn foreign<F: Format>() -> Frame {
    Frame(1 << (F::FRAME_BITS - 1))
}

/// Device frames in leaves as large as the format allows.
pub fn large<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let (length, first) = (2 * pages::<F>(F::slot_pages(1)), foreign::<F>());
    world.spaces[0].map_device(&mut world.ms, at::<F>(0), length, first, RW).unwrap();
}

/// A page that eight spaces map, so that its records fill a block.
pub fn many<F: Format>(world: &mut World<'_, F>) {
    shared(world);
    for _ in 0..7 {
        assert!(world.fork());
    }
    world.spaces[7].advise(&mut world.ms, at::<F>(0), pages::<F>(1), Advice::DontNeed).unwrap();
}

pub fn device<F: Format>(world: &mut World<'_, F>, page: i64) -> bool {
    let (length, first) = (pages::<F>(1100), foreign::<F>());
    world.spaces[0].map_device(&mut world.ms, at::<F>(page), length, first, RW).is_ok()
}

pub fn stack<F: Format>(world: &mut World<'_, F>) {
    world.space();
    let map = Map { grows_down: true, ..Map::anonymous(pages::<F>(2), RW).at(at::<F>(2)) };
    world.map_as(map);
    world.touch(3, 1);
}
