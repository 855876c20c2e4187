//! The whole manager under shuttle: operations at once on one small space, in interleavings drawn
//! from a seed (`--cfg shuttle`).
//!
//! Guarantee: each pair of the operations of `shuttle/operations.rs`, and some triples, was run in
//! so many interleavings, each atomic access of the library and of the hardware being a point where
//! another thread may go on; half of them at random at each point, half with few preemptions at
//! random points (PCT), which finds what needs one thread to stand still for long.
//!
//! Oracles: no translation is used, or left at rest, that the tables do not say (O1); each thread's
//! words are what it stored; a child's are those of the fork; the manager's own `check`; no frame
//! and no object is left at the end; nobody waits for ever.
//!
//! A failure prints the command that repeats it: `VMSPACE_SHUTTLE` names operations,
//! `VMSPACE_SEED` the seed of the interleavings; `VMSPACE_ROUNDS` (100: as they are) multiplies
//! their number. Ordering is sequentially consistent here: weak memory is loom's part.
#![cfg(shuttle)]

#[allow(unused)]
mod host;
#[path = "shuttle/machine.rs"]
mod machine;
#[path = "shuttle/operations.rs"]
mod operations;

use machine::Machine;
use operations::{OPERATIONS, Operation, Scene, TRIPLES, Thread};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner, thread};
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use vmspace::{Map, MaySleep, Space};

/// Executions of a set of operations with each scheduler.
const EXECUTIONS: usize = 250;
/// How often PCT preempts, and once more.
const DEPTH: usize = 4;
/// Bytes of a thread's stack.
const STACK: usize = 1 << 18;

/// One execution: the operations at once, each on a thread and a CPU of its own.
fn execute(operations: &[&'static Operation]) {
    let vm = Machine::manager();
    // SAFETY: the execution's first thread, which holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    let free = vm.free_frames();
    let space = Space::new(&vm, ms).unwrap();
    let shared = operations::prepare(&space, ms);
    let scene = Scene { space: &space, shared: &shared, operations };
    let known = thread::scope(|scope| {
        let threads: Vec<_> = (0..operations.len())
            .map(|cpu| {
                scope.spawn(move || {
                    // SAFETY: the thread has just begun, and holds nothing.
                    let ms = &mut unsafe { MaySleep::assume() };
                    scene.space.enter(cpu);
                    Thread::new(scene, ms, cpu).run()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    vm.check(ms).unwrap();
    Machine::assert_nothing_is_stale(&space, ms);
    for (cpu, known) in known.into_iter().enumerate() {
        Thread::new(scene, ms, cpu).finish(known);
    }
    space.exit(ms);
    shared.close(ms);
    assert_eq!(vm.swaps().next().unwrap().used, 0, "slots leaked");
    vm.swap_off(ms, 1, || Ok(())).unwrap();
    vm.synchronize(ms);
    assert_eq!(vm.slab_in_use(), 0, "slab objects leaked");
    assert_eq!(vm.free_frames(), free, "frames leaked");
}

/// What the environment asks for, if anything.
fn asked<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: {value:?} is no number")))
}

/// Runs operations of these names in many interleavings.
fn explore(names: &[&str], pct: bool) {
    let operations: Vec<&'static Operation> =
        names.iter().map(|name| operations::find(name)).collect();
    explore_body(&names.join(" "), pct, EXECUTIONS, move || execute(&operations));
}

/// Runs what goes by the name of `line` in many interleavings.
fn explore_body(line: &str, pct: bool, executions: usize, body: impl Fn() + Send + Sync + 'static) {
    if env::var("VMSPACE_SHUTTLE").is_ok_and(|asked| asked != line) {
        return;
    }
    let seed = asked("VMSPACE_SEED").unwrap_or(1);
    let executions = executions * asked::<usize>("VMSPACE_ROUNDS").unwrap_or(100) / 100;
    let mut config = Config::new();
    config.stack_size = STACK;
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    let run = AssertUnwindSafe(|| match pct {
        true => Runner::new(PctScheduler::new_from_seed(seed, DEPTH, executions), config).run(body),
        false => Runner::new(RandomScheduler::new_from_seed(seed, executions), config).run(body),
    });
    if let Err(panic) = catch_unwind(run) {
        eprintln!(
            "to repeat: RUSTFLAGS='--cfg shuttle' VMSPACE_SHUTTLE='{line}' VMSPACE_SEED={seed} \
             cargo test --release --package vmspace --test shuttle"
        );
        resume_unwind(panic);
    }
}

/// Every pair, an operation with itself too.
fn pairs(pct: bool) {
    plant();
    for (n, one) in OPERATIONS.iter().enumerate() {
        for other in &OPERATIONS[n..] {
            explore(&[one.name, other.name], pct);
        }
    }
}

fn triples(pct: bool) {
    plant();
    TRIPLES.iter().for_each(|names| explore(names, pct));
}

#[test]
fn two_operations_at_once_disturb_each_other() {
    pairs(false);
}

#[test]
fn two_operations_disturb_each_other_when_one_stands_still() {
    pairs(true);
}

#[test]
fn three_operations_at_once_disturb_each_other() {
    triples(false);
}

#[test]
fn three_operations_disturb_each_other_when_some_stand_still() {
    triples(true);
}

/// A file is appended to while its last page is read for the first time.
fn append_and_read() {
    let vm = Machine::manager();
    // SAFETY: the execution's first thread, which holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    let file = vm.object(ms, 0, 1).unwrap();
    file.set_len(ms, 100).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            machine::be_cpu(1);
            // SAFETY: the thread has just begun, and holds nothing.
            let ms = &mut unsafe { MaySleep::assume() };
            let mut last = [1; 4];
            let read = file.read(ms, 98, &mut last).unwrap();
            let appended: &[u8] = if read == 2 { &[] } else { b"ab" };
            assert_eq!(&last[2..read], appended);
        });
        assert_eq!(file.write(ms, 100, b"ab"), Ok(2));
    });
    let mut last = [0; 3];
    assert_eq!(file.read(ms, 100, &mut last), Ok(2));
    assert_eq!(&last[..2], b"ab");
    file.close(ms);
    vm.synchronize(ms);
    assert_eq!(vm.slab_in_use(), 0, "slab objects leaked");
}

#[test]
fn what_is_appended_is_zeroed_by_who_reads_the_page_meanwhile() {
    plant();
    for pct in [false, true] {
        explore_body("append", pct, EXECUTIONS, append_and_read);
    }
}

/// A device stores to a page that is held, if it is, while the space forks and both write the page.
fn pin_and_fork() {
    let vm = Machine::manager();
    // SAFETY: the execution's first thread, which holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    let space = Space::new(&vm, ms).unwrap();
    let at = space.map(ms, Map::anonymous(machine::PAGE, operations::RW)).unwrap();
    space.write(ms, at, &[0]);
    thread::scope(|scope| {
        scope.spawn(|| {
            machine::be_cpu(1);
            // SAFETY: the thread has just begun, and holds nothing.
            let ms = &mut unsafe { MaySleep::assume() };
            for value in 1..3 {
                let pinned = space.pin_fast(&vm.walk(ms), at, true);
                if let Some(pinned) = pinned {
                    vm.platform().store_by_frame(pinned.frame(), 0, value);
                    let mut found = [0];
                    space.read(ms, at, &mut found);
                    assert_eq!(u64::from(found[0]), value, "the space has another page");
                }
            }
        });
        let child = space.fork(ms).unwrap();
        space.write(ms, at + 8, &[1]);
        child.write(ms, at + 8, &[2]);
        child.exit(ms);
    });
    space.exit(ms);
    vm.synchronize(ms);
}

#[test]
fn a_page_held_without_locks_is_the_childs() {
    plant();
    for pct in [false, true] {
        explore_body("pin_and_fork", pct, 12 * EXECUTIONS, pin_and_fork);
    }
}

/// Plants what `VMSPACE_MUTATION` asks for; the first panic then ends the process.
#[cfg(vmspace_mutations)]
fn plant() {
    let Some(number) = asked("VMSPACE_MUTATION") else { return };
    vmspace::mutation::plant(number);
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("caught: {panic}");
        std::process::exit(101);
    }));
}

#[cfg(not(vmspace_mutations))]
fn plant() {}
