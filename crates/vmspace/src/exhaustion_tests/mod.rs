//! The k-th request for memory fails, for every k, through every operation.
//!
//! Guarantee tested: an operation that says that memory ran out has not happened (listing, totals,
//! entries and contents are what they were, but for what its documentation names), everything is
//! consistent, the same operation succeeds when there is memory again, and after the end of all
//! spaces nothing has leaked. An operation that succeeds although requests failed has done all of
//! its work.
//!
//! Each scenario is set up from nothing for each k, in two ways: from the k-th request on all fail,
//! as when memory is gone; and the k-th alone fails, as when somebody frees some in time.

#[macro_use]
#[path = "../../tests/host/mod.rs"]
mod host;

mod before;
mod faults;
mod objects;
mod others;
mod ranges;
mod swap;
mod world;

use crate::Vm;
use crate::format::{Format, Geometry, Rights};
use crate::mutation::{Failing, fail_allocations};
use host::Host;
use world::{View, World};

/// What may differ after an operation has failed.
#[derive(Clone, Copy, PartialEq)]
enum Keeps {
    /// Nothing.
    All,
    /// Entries may deny writing until the next fault.
    AllButWriting,
    /// A stack may have grown: the page that it grew for is another step.
    AllButGrowth,
}

/// Whether an operation may ask for memory at all.
#[derive(Clone, Copy, PartialEq)]
enum Memory {
    Asks,
    Never,
}

struct Scenario<F: Format> {
    name: &'static str,
    keeps: Keeps,
    memory: Memory,
    before: for<'vm> fn(&mut World<'vm, F>),
    what: for<'vm> fn(&mut World<'vm, F>) -> bool,
}

impl Keeps {
    /// Whether `now` is what a failed operation may leave of `before`.
    fn allows(self, before: &View, now: &View) -> bool {
        match self {
            Keeps::All => before == now,
            Keeps::AllButWriting => {
                let fewer = |(rights, digest): (Rights, u64)| (rights - Rights::WRITE, digest);
                let pages = |view: &View| -> Vec<_> {
                    view.pages.iter().map(|(page, what)| (*page, fewer(*what))).collect()
                };
                before.regions == now.regions
                    && before.usage == now.usage
                    && pages(before) == pages(now)
            }
            Keeps::AllButGrowth => {
                before.regions.len() == now.regions.len()
                    && before.usage.resident == now.usage.resident
                    && before.pages == now.pages
            }
        }
    }
}

fn new_manager<F: Format>() -> Vm<Host<F>> {
    let host = Host::<F>::new(512, 1);
    // What is stored comes back when it was stolen meanwhile.
    let page = |index: u8| core::iter::repeat_n(index + 1, F::PAGE_SIZE as usize);
    host.files.bytes.lock().unwrap().insert(1, (0..12).flat_map(page).collect());
    host.manager()
}

/// What the operation leaves when nothing fails.
fn undisturbed<F: Format>(scenario: &Scenario<F>) -> Vec<View> {
    let vm = new_manager();
    let frames = vm.free_frames();
    let mut world = World::new(&vm);
    (scenario.before)(&mut world);
    assert!((scenario.what)(&mut world), "{} fails with all memory", scenario.name);
    let views = world.views();
    world.end(frames);
    views
}

/// One round; false: no request failed any more.
fn disturbed<F: Format>(scenario: &Scenario<F>, failing: Failing, wanted: &[View]) -> bool {
    let vm = new_manager();
    let frames = vm.free_frames();
    let mut world = World::new(&vm);
    (scenario.before)(&mut world);
    let before = world.views();
    let (done, failed) = fail_allocations(failing, || (scenario.what)(&mut world));
    let name = scenario.name;
    vm.check(&mut world.ms).unwrap_or_else(|what| panic!("{name}, {failing:?}: {what:?}"));
    if !done {
        assert!(failed > 0, "{name} fails though no request did");
        world.bring_back(&before);
        let now = world.views();
        assert_eq!(before.len(), now.len(), "{name}, {failing:?}");
        for (before, now) in before.iter().zip(&now) {
            let kept = scenario.keeps.allows(before, now);
            assert!(kept, "{name}, {failing:?}: was {before:#x?}\nis {now:#x?}");
        }
        assert!((scenario.what)(&mut world), "{name}, {failing:?}: fails again, with memory");
        vm.check(&mut world.ms).unwrap_or_else(|what| panic!("{name}, {failing:?}: {what:?}"));
    }
    world.bring_back(wanted);
    assert_eq!(world.views(), wanted, "{name}, {failing:?}");
    assert!(scenario.memory == Memory::Asks || failed == 0, "{name} asks for memory");
    world.end(frames);
    failed > 0
}

/// More requests than any operation makes.
const ENOUGH: u64 = 1000;

fn an_operation_is_half_done_or_leaks_when_memory_runs_out<F: Format>() {
    let mut asked = 0;
    for scenario in scenarios::<F>() {
        let wanted = undisturbed(&scenario);
        for way in [Failing::From, Failing::Only] {
            let rounds = (0..ENOUGH).take_while(|k| disturbed(&scenario, way(*k), &wanted)).count();
            assert!((rounds as u64) < ENOUGH, "{} never succeeds", scenario.name);
            asked += rounds;
        }
    }
    println!("{}: {asked} failing requests", F::NAME);
}

in_every_format!(an_operation_is_half_done_or_leaks_when_memory_runs_out);

/// A scenario whose failure leaves everything, and whose operation may ask for memory.
fn scenario<F: Format>(
    name: &'static str,
    before: for<'vm> fn(&mut World<'vm, F>),
    what: for<'vm> fn(&mut World<'vm, F>) -> bool,
) -> Scenario<F> {
    Scenario { name, keeps: Keeps::All, memory: Memory::Asks, before, what }
}

fn scenarios<F: Format>() -> Vec<Scenario<F>> {
    let families = [ranges::all(), faults::all(), objects::all(), others::all(), swap::all()];
    families.into_iter().flatten().collect()
}
