//! The soak: the thread and fork programs, over and over, with settings and arguments drawn.
//!
//! The settings take turns, so that two dozen rounds of a program meet every format, TLB mode and
//! check; where a program begins, the harts and the arguments are drawn from the seed. The same seed
//! draws the same runs; what the harts' threads do in them is the host's affair, but for every third
//! round, whose schedule is drawn too.

use crate::guests::{Machine, Run, Setting};
use crate::process::two_at_a_time;
use crate::steps::Steps;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use vmspace_machine::random::SplitMix64;

/// Options of `soak`.
#[derive(clap::Args)]
pub struct Arguments {
    /// How often each program runs
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Draws the settings and arguments; the clock's, if not given
    #[arg(long)]
    seed: Option<u64>,
    /// How many seconds a run may take
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

impl Arguments {
    /// That many rounds, the rest as by default.
    pub fn short(rounds: u64) -> Arguments {
        Arguments { rounds, seed: None, timeout: 120 }
    }
}

/// A program that is soaked, with arguments for one run.
struct Program {
    name: &'static str,
    run: fn(&str, Setting) -> Run,
    arguments: fn(&mut SplitMix64) -> String,
}

const PROGRAMS: [Program; 6] = [
    Program {
        name: "threads",
        run: Run::rust,
        arguments: |random| format!("{} {}", random.among(2, 8), random.among(2, 20)),
    },
    Program {
        name: "forks",
        run: Run::rust,
        arguments: |random| format!("{} {}", random.among(1, 3), random.among(1, 3)),
    },
    Program {
        name: "spin",
        run: Run::rust,
        arguments: |random| format!("{}", random.among(2, 64)),
    },
    Program {
        name: "stale",
        run: Run::rust,
        arguments: |random| format!("all {}", random.among(3, 9)),
    },
    Program {
        name: "malloc_threads",
        run: Run::c,
        arguments: |random| format!("{} {}", random.among(2, 8), random.among(100, 1000)),
    },
    Program {
        name: "fork_tree",
        run: Run::c,
        arguments: |random| format!("{} {}", random.among(1, 3), random.among(1, 3)),
    },
];

/// Runs them all.
pub fn run(steps: &mut Steps, arguments: &Arguments) {
    let Some(machine) = Machine::step(steps) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = arguments.seed.unwrap_or(now.as_micros() as u64 % 1_000_000_000);
    let rounds = arguments.rounds;
    println!("cargo soak --rounds {rounds} --seed {seed}");
    for (number, program) in PROGRAMS.iter().enumerate() {
        let name = program.name;
        if !(program.run)(name, Setting::nth(0, 1)).exists() {
            steps.skip(format!("soak of {name}"), "it is not built (make -C guests/c)");
            continue;
        }
        let mut random = SplitMix64::new(seed.wrapping_mul(PROGRAMS.len() as u64) + number as u64);
        let runs = draw(program, rounds, &mut random);
        let what = format!("soak {name}: {rounds} runs, seed {seed}");
        steps.step(what, || soak(&machine, runs, arguments.timeout));
    }
}

fn draw(program: &Program, rounds: u64, random: &mut SplitMix64) -> Vec<Run> {
    let first = random.among(0, Setting::COUNT - 1);
    let run = |round| {
        let setting = Setting::nth(first + round, random.among(1, 4));
        let line = format!("{} {}", program.name, (program.arguments)(random));
        match round % 3 {
            2 => (program.run)(&line, setting).seeded(random.among(0, u64::from(u32::MAX))),
            _ => (program.run)(&line, setting),
        }
    };
    (0..rounds).map(run).collect()
}

fn soak(machine: &Machine, runs: Vec<Run>, timeout: u64) -> Result<(), String> {
    let (all, done) = (runs.len(), AtomicU64::new(0));
    let results = two_at_a_time(runs, |run| {
        let outcome = machine.run(&run, timeout)?;
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        println!("{number:4}/{all} {:6.2} s  {}", outcome.seconds, machine.line(&run));
        match outcome.status {
            0 if outcome.stdout.ends_with("ok\n") => Ok(()),
            0 => Err(machine.failure(&run, &outcome, "does not end with 'ok'")),
            status => Err(machine.failure(&run, &outcome, &format!("exit status {status}"))),
        }
    });
    let failures: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    match failures.len() {
        0 => Ok(()),
        count => Err(format!("{}\n{count} of {all} failed", failures.join("\n"))),
    }
}
