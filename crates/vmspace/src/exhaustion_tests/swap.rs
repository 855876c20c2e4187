//! Pages that go to swap, and come back.

use super::before::{shared, touched};
use super::world::{World, at, pages};
use super::{Keeps, Memory, Scenario, scenario};
use crate::format::Format;
use crate::{Access, Advice};

/// The touched range, with its pages on swap.
fn on_swap<F: Format>(world: &mut World<'_, F>) {
    world.swap_on(1);
    touched(world);
    assert!(world.page_out(-6, 12));
}

/// The same, with a child that has them too.
fn forked<F: Format>(world: &mut World<'_, F>) {
    on_swap(world);
    assert!(world.fork());
}

/// The same in memory that is shared.
fn shared_on_swap<F: Format>(world: &mut World<'_, F>) {
    world.swap_on(1);
    shared(world);
    assert!(world.page_out(-6, 12));
}

pub fn all<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("swapon", touched, |w| w.swap_on(1)),
        Scenario {
            memory: Memory::Never,
            ..scenario(
                "a page out",
                |w| {
                    w.swap_on(1);
                    touched(w);
                },
                |w| w.page_out(-6, 12) && w.spaces[0].swapped() == 12,
            )
        },
        Scenario {
            memory: Memory::Never,
            ..scenario(
                "a page out of shared memory",
                |w| {
                    w.swap_on(1);
                    shared(w);
                },
                |w| w.page_out(-6, 12),
            )
        },
        scenario("a read fault on swap", on_swap, |w| w.fault(-6, Access::Read)),
        scenario("a write fault on swap", on_swap, |w| w.fault(-6, Access::Write)),
        scenario("a read fault on what a child has on swap", forked, |w| w.fault(-6, Access::Read)),
        scenario("a fault on shared memory on swap", shared_on_swap, |w| w.fault(-6, Access::Read)),
        Scenario { keeps: Keeps::AllButWriting, ..scenario("fork on swap", on_swap, |w| w.fork()) },
        scenario("a move of what is on swap", on_swap, |w| w.remap(-8, 16, 100, 16)),
        Scenario {
            memory: Memory::Never,
            ..scenario("don't-need on swap", forked, |w| {
                let (from, length) = (at::<F>(-8), pages::<F>(16));
                w.spaces[0].advise(&mut w.ms, from, length, Advice::DontNeed).is_ok()
            })
        },
    ]
}
