//! What goes wrong without each protection, step by step: one test for each mutation.
//!
//! Guarantee: each test passes on the library, and fails at once on a library that lacks the
//! protection that it is about. `cargo mutations` shows both: it builds with
//! `--cfg vmspace_mutations` and runs each test plain, then with `VMSPACE_MUTATION=<number>`, which
//! plants the mutation of that number (`src/mutation.rs`) in the process.
//!
//! Interleavings are made, not waited for: a shootdown runs the other CPUs' part before it
//! invalidates, a walk or a lock stops where it looks into a table, a backend is hardware that
//! writes an entry at the worst instant.
#![cfg(not(loom))]

#[path = "mutations/hardware.rs"]
mod hardware;
#[path = "mutations/hoard.rs"]
mod hoard;
mod host;
#[path = "mutations/machine.rs"]
mod machine;
#[path = "mutations/moves.rs"]
mod moves;
#[path = "mutations/orders.rs"]
mod orders;
#[path = "mutations/shootdowns.rs"]
mod shootdowns;
#[path = "mutations/steals.rs"]
mod steals;
#[path = "mutations/steps.rs"]
mod steps;

use machine::{Machine, on_cpu, translation};
use vmspace::format::{Geometry, Rights, Sv48};
use vmspace::{Frame, Map, MaySleep, Space};

type SpaceOf<'vm> = Space<'vm, Machine>;

const PAGE: u64 = Sv48::PAGE_SIZE;
const RW: Rights = Rights::READ.union(Rights::WRITE);
/// A table's worth of addresses, and where tests map it: the whole of one leaf table.
const LEAF: u64 = 512 * PAGE;
const BASE: u64 = 1 << 30;

/// Plants what `VMSPACE_MUTATION` asks for. The first panic then ends the process: what is left of
/// a manager without its protections is no place to unwind through.
#[cfg(vmspace_mutations)]
fn plant() {
    let Ok(number) = std::env::var("VMSPACE_MUTATION") else { return };
    vmspace::mutation::plant(number.parse().expect("VMSPACE_MUTATION is a number"));
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("caught: {panic}");
        std::process::exit(101);
    }));
}

#[cfg(not(vmspace_mutations))]
fn plant() {}

/// A space with one leaf table mapped at [`BASE`], which CPUs 0 to 2 may run; as CPU 0.
fn with_space(test: impl FnOnce(&SpaceOf<'_>, &mut MaySleep)) {
    plant();
    let vm = Machine::manager();
    on_cpu(0, |ms| {
        let space = Space::new(&vm, ms).unwrap();
        (0..3).for_each(|cpu| space.enter(cpu));
        space.map(ms, Map::anonymous(LEAF, RW).at(BASE)).unwrap();
        test(&space, ms);
    });
}

fn frame_at(space: &SpaceOf<'_>, ms: &mut MaySleep, at: u64) -> Frame {
    translation(space, ms, at).expect("the page is there").frame
}

/// What the space has at `at`, read from outside.
fn byte_at(space: &SpaceOf<'_>, ms: &mut MaySleep, at: u64) -> u8 {
    let mut byte = [0];
    assert_eq!(space.read(ms, at, &mut byte), 1);
    byte[0]
}
