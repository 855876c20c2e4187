//! The library against Linux: random sequences of calls, on every format, beside a simple model.
//!
//! Guarantee: for at least 30,000 operations on each format (ranges over the bounds of two and
//! three levels of tables, forks nested three deep, all living spaces in use) the answers, the
//! listings, the totals, the entries and every byte agree with the model, those of files in the cache
//! and on disk too, and when all spaces have ended no frame and no slab object is in use.
//!
//! A failure prints its seed and a short sequence that still fails. `VMSPACE_SEED=n` runs the one
//! sequence with that seed; `VMSPACE_SEQUENCES=n` runs more or fewer.

#[macro_use]
mod host;
#[path = "model/linux.rs"]
mod linux;
#[path = "model/ops.rs"]
mod ops;
#[path = "model/run.rs"]
mod run;
#[path = "model/trial.rs"]
mod trial;

use ops::{Maker, Op};
use trial::Task;
use vmspace::format::Format;

const SEQUENCES: u64 = 150;
const OPERATIONS: usize = 220;
/// Sequences that one process runs.
const CHUNK: usize = 50;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn sequence<F: Format>(seed: u64) -> Vec<Op> {
    let mut maker = Maker::new::<F>(seed, run::arch::<F>());
    (0..OPERATIONS).map(|_| maker.op()).collect()
}

/// Runs a trial's sequences in this process.
fn run_trial<F: Format>(task: &Task) {
    let mut deepest = 0;
    for seed in task.seeds.clone() {
        println!("\n{}{seed}", trial::SEED);
        deepest = deepest.max(run::run::<F>(&task.of(sequence::<F>(seed))).unwrap());
    }
    println!("\n{}{deepest}", trial::DEEPEST);
}

fn answers_something_that_linux_does_not<F: Format>() {
    // The running test: its trials are runs of it alone.
    let thread = std::thread::current();
    let test = thread.name().expect("a test's thread has its name");
    if let Some(task) = Task::own() {
        return run_trial::<F>(&task);
    }
    let seeds = match number("VMSPACE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VMSPACE_SEQUENCES").unwrap_or(SEQUENCES),
    };
    let mut deepest = 0;
    for first in seeds.clone().step_by(CHUNK) {
        let chunk = first..seeds.end.min(first + CHUNK as u64);
        let (seed, why) = match trial::seeds(test, chunk) {
            Ok(depth) => {
                deepest = deepest.max(depth);
                continue;
            }
            Err(failure) => failure,
        };
        let (keep, why) = trial::shrink(test, seed, OPERATIONS, why);
        let ops = sequence::<F>(seed);
        let list: Vec<String> = keep.iter().map(|index| format!("{:x?}", ops[*index])).collect();
        panic!("{} with VMSPACE_SEED={seed}:\n{why}\n{}", F::NAME, list.join("\n"));
    }
    if seeds.end - seeds.start >= SEQUENCES {
        assert!(deepest >= 3, "forks were nested {deepest} deep only");
    }
}

in_every_format!(answers_something_that_linux_does_not);
