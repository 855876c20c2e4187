//! The guests over formats × TLB modes × check on and off: output and exit status.

mod c;
mod cases;
mod machine;
mod setting;

pub use machine::{Machine, PLANTS, Run};
pub use setting::Setting;

use crate::process::two_at_a_time;
use crate::steps::Steps;
use cases::Expected;
use std::path::Path;

/// How long a guest may take before it has failed.
const SECONDS: u64 = 120;

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
            let run = |setting| Run::rust(case.line, setting);
            matrix(steps, &machine, case.line, Setting::all(case.harts), run, &case.expected());
        }
    }
    if arguments.sort != Sort::Rust {
        c::run(steps, &machine);
    }
}

/// Guests with threads and processes, on a machine that the thread sanitizer was built into.
const SANITIZED: [&str; 4] = ["threads 4 10", "forks 2 3", "spin 33", "stale all 6"];

/// The settings that these are run over: those of one format, since races are no format's.
const SANITIZED_SETTINGS: usize = 4;

/// Runs the guests that show races of the host's threads on that machine.
pub fn sanitized(steps: &mut Steps, vmspace: &Path) {
    let machine = Machine::at(vmspace);
    for case in cases::RUST.iter().filter(|case| SANITIZED.contains(&case.line)) {
        let settings: Vec<_> = Setting::all(3).into_iter().take(SANITIZED_SETTINGS).collect();
        let name = format!("{}, with ThreadSanitizer", case.line);
        let run = |setting| Run::rust(case.line, setting);
        matrix(steps, &machine, &name, settings, run, &case.expected());
    }
}

/// A program over settings.
fn matrix(
    steps: &mut Steps,
    machine: &Machine,
    name: &str,
    settings: Vec<Setting>,
    run: impl Fn(Setting) -> Run + Sync,
    expected: &Expected,
) {
    steps.step(format!("guest {name}, {} settings", settings.len()), || {
        let results = two_at_a_time(settings, |setting| {
            let run = run(setting);
            let outcome = machine.run(&run, SECONDS)?;
            expected
                .compare(&outcome, setting)
                .map_err(|error| machine.failure(&run, &outcome, &error))
        });
        let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    });
}
