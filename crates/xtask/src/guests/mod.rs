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
            matrix(steps, &machine, &name, case.harts, run, &case.expected());
        }
    }
    if arguments.sort != Sort::Rust {
        c::run(steps, &machine);
        sqlite::run(steps, &machine);
    }
}

/// A program over every setting, and over some once more with a seed.
fn matrix(
    steps: &mut Steps,
    machine: &Machine,
    name: &str,
    harts: u64,
    run: impl Fn(Setting) -> Run + Sync,
    expected: &Expected,
) {
    let mut runs: Vec<_> = Setting::all(harts).into_iter().map(|s| (s, None)).collect();
    // Five apart, they differ in format, TLB and check.
    runs.extend((0..SEEDED).map(|seed| (Setting::nth(5 * seed, harts), Some(seed))));
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
