//! Tables that move (R25): who had reached one by its old address starts again.

use super::orders::{beside, stop_at};
use super::{BASE, LEAF, PAGE, RW, SpaceOf, byte_at, with_space};
use crate::machine::{Machine, leaf_table, translation};
use crate::steps::Steps;
use vmspace::{Access, Map, MaySleep, Remap};

/// Where the table at [`BASE`] goes, whole.
const TO: u64 = BASE + (7 << 30);

/// CPU 0 has found the table at [`BASE`], and does `here` with it; before it looks into the table,
/// CPU 1 moves that, maps new memory where it was, and does `then`.
fn while_it_moves(
    space: &SpaceOf<'_>,
    ms: &mut MaySleep,
    then: impl FnOnce(&mut MaySleep) + Send,
    here: impl FnOnce(&mut MaySleep),
) {
    let steps = Steps::default();
    Machine::store(space, ms, 0, BASE, 7);
    let table = leaf_table(space, ms, BASE).unwrap();
    let on_cpu_1 = |ms: &mut MaySleep| {
        steps.after(1);
        let remap = Remap {
            address: BASE,
            old_length: LEAF,
            new_length: LEAF,
            may_move: true,
            fixed: true,
            keep_source: true,
            new_address: TO,
        };
        assert_eq!(space.remap(ms, remap), Ok(TO));
        assert_eq!(leaf_table(space, ms, TO), Some(table), "the table moves, not its pages");
        then(ms);
        steps.done(2);
    };
    beside(1, on_cpu_1, || {
        stop_at(table, &steps);
        here(ms);
    });
}

#[test]
fn a_fault_fills_a_table_that_has_moved_away_from_its_address() {
    with_space(|space, ms| {
        while_it_moves(
            space,
            ms,
            |_| {},
            |ms| {
                space.fault(ms, BASE + PAGE, Access::Write).unwrap();
            },
        );
        assert!(translation(space, ms, BASE + PAGE).is_some(), "the page that was asked for");
        assert!(translation(space, ms, TO + PAGE).is_none(), "a page that nobody asked for");
        assert_eq!(byte_at(space, ms, TO), 7);
    });
}

#[test]
fn a_walker_finds_what_a_table_got_at_its_new_address() {
    with_space(|space, ms| {
        let then = |ms: &mut MaySleep| space.fault(ms, TO + PAGE, Access::Write).unwrap();
        while_it_moves(space, ms, then, |ms| {
            assert_eq!(translation(space, ms, BASE + PAGE), None);
        });
    });
}

#[test]
fn a_change_hits_a_table_that_has_moved_away_from_its_address() {
    with_space(|space, ms| {
        while_it_moves(
            space,
            ms,
            |_| {},
            |ms| {
                space.map(ms, Map::anonymous(PAGE, RW).at(BASE)).unwrap();
            },
        );
        assert_eq!(byte_at(space, ms, TO), 7, "a page that nobody touched");
        assert_eq!(byte_at(space, ms, BASE), 0);
    });
}
