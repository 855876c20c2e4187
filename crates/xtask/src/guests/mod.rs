//! The guests over formats × TLB modes × check on and off: output and exit status.

mod c;
mod cases;
mod machine;
mod setting;
mod sqlite;

pub use machine::{Machine, PLANTS, Run};
pub use setting::Setting;

use crate::process::two_at_a_time;
use crate::steps::Steps;
use cases::Expected;
use std::path::Path;
use vmspace::mutation::Mutation;

/// How long a guest may take before it has failed.
const SECONDS: u64 = 120;

/// How many runs of a program are in schedules that seeds draw.
const SEEDED: u64 = 4;

/// Options of `guests`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which programs
    #[arg(value_enum, default_value = "all")]
    pub sort: Sort,
}

/// The language that a guest is written in.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The Rust programs, which need cargo alone
    Rust,
    /// The C programs, which need a cross compiler; qemu-riscv64 says what they should print
    C,
    /// Both
    All,
}

/// Runs the guests, a step for each.
pub fn run(steps: &mut Steps, arguments: &Arguments) {
    let Some(machine) = Machine::step(steps) else { return };
    if arguments.sort != Sort::C {
        for case in cases::RUST {
            let run = |setting| Run::rust(case.line, setting).rooted(case.root);
            let name = format!("{}{}", case.line, if case.root { " beneath a root" } else { "" });
            let mut runs = seeded(case.harts);
            runs.retain(|(setting, _)| !case.runs_data || setting.denies_fetches());
            matrix(steps, &machine, &name, runs, run, &case.expected());
        }
    }
    if arguments.sort != Sort::Rust {
        c::run(steps, &machine);
        sqlite::run(steps, &machine);
    }
}

/// Guests with threads and processes, on a machine that the thread sanitizer was built into.
const SANITIZED: [&str; 4] = ["threads 4 10", "forks 2 3", "spin 33", "stale all 6"];

/// The settings that these are run over: those of one format, since races are no format's.
const SANITIZED_SETTINGS: usize = 6;

/// What the thread sanitizer says first.
const RACE: &str = "WARNING: ThreadSanitizer: data race";

/// How often a planted race is looked for: it shows in most runs, when both threads run at once.
const TRIES: usize = 8;

/// Two threads in no order with each other reach one frame if a shootdown is missing, and nothing if
/// none is; in so little memory that the frame is soon used again.
fn planted(machine: &Machine) -> Result<(), String> {
    let run = Run::rust("planted reuse 2 2000", Setting::nth(0, 2)).with_memory("1M");
    let sees_race = |machine: &Machine| {
        let outcome = machine.run(&run, SECONDS)?;
        let seen = outcome.stderr.contains(RACE);
        let wrong = "the sanitizer does not see what is there";
        Ok::<_, String>((seen, machine.failure(&run, &outcome, wrong)))
    };
    if let (true, failure) = sees_race(machine)? {
        return Err(failure);
    }
    let without = machine.planting(Mutation::NoShootdownAtDontNeed.number());
    let mut last = String::new();
    for _ in 0..TRIES {
        match sees_race(&without)? {
            (true, _) => return Ok(()),
            (false, failure) => last = failure,
        }
    }
    Err(last)
}

/// Runs the guests that show races of the host's threads on that machine, which is the test-only
/// build, once it has shown that a race is seen.
pub fn sanitized(steps: &mut Steps, vmspace: &Path) {
    let machine = Machine::at(vmspace);
    if !steps.step("ThreadSanitizer sees a race that is planted", || planted(&machine)) {
        return;
    }
    for case in cases::RUST.iter().filter(|case| SANITIZED.contains(&case.line)) {
        let settings: Vec<_> = Setting::all(3).into_iter().take(SANITIZED_SETTINGS).collect();
        let name = format!("{}, with ThreadSanitizer", case.line);
        let run = |setting| Run::rust(case.line, setting);
        matrix(steps, &machine, &name, unseeded(settings), run, &case.expected());
    }
}

/// Every setting, and some once more with a seed: five apart, they differ in format, TLB and check.
fn seeded(harts: u64) -> Vec<(Setting, Option<u64>)> {
    let seeded = (0..SEEDED).map(|seed| (Setting::nth(5 * seed, harts), Some(seed)));
    unseeded(Setting::all(harts)).into_iter().chain(seeded).collect()
}

fn unseeded(settings: Vec<Setting>) -> Vec<(Setting, Option<u64>)> {
    settings.into_iter().map(|setting| (setting, None)).collect()
}

/// A program over settings, with seeds where there are some.
fn matrix(
    steps: &mut Steps,
    machine: &Machine,
    name: &str,
    runs: Vec<(Setting, Option<u64>)>,
    run: impl Fn(Setting) -> Run + Sync,
    expected: &Expected,
) {
    steps.step(format!("guest {name}, {} settings", runs.len()), || {
        let results = two_at_a_time(runs, |(setting, seed)| {
            let run = match seed {
                Some(seed) => run(setting).seeded(seed),
                None => run(setting),
            };
            let outcome = machine.run(&run, SECONDS)?;
            expected
                .compare(&outcome, setting)
                .map_err(|error| machine.failure(&run, &outcome, &error))
        });
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    });
}
