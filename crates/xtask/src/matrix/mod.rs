//! The matrix: programs at a quarter of the memory that they touch, on both swap devices, over formats
//! and TLB modes.
//!
//! What a program touches is measured: it runs once with memory enough, and what it writes then it
//! must write with a quarter of that, while pages are stolen from it. Settings come in an order in
//! which everything soon meets everything else; something that met nothing in the time that there was
//! is a failure. Rounds behind the first vary the harts, and every other one is in a schedule that a
//! seed draws.

mod programs;
mod wheels;

use crate::guests::{Machine, Setting};
use crate::process::{Outcome, two_at_a_time};
use crate::project;
use crate::steps::Steps;
use programs::{PROGRAMS, Program};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wheels::{Cell, Wheels};

/// Options of `matrix`.
#[derive(clap::Args)]
pub struct Arguments {
    /// No setting is begun later; if not given, each is done once
    #[arg(long)]
    minutes: Option<u64>,
    /// How many seconds a run may take
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

impl Arguments {
    /// So many minutes, the rest as by default.
    pub fn within(minutes: u64) -> Arguments {
        Arguments { minutes: Some(minutes), timeout: 120 }
    }
}

/// A program with memory enough.
struct Measured {
    /// A quarter of what it touched, as an option.
    memory: String,
    /// As much as it touched, and again, for what is swapped.
    swap: String,
    stdout: String,
}

/// What runs are made from, and what is known of programs by format.
struct Matrix<'a> {
    machine: &'a Machine,
    timeout: u64,
    programs: Vec<&'static Program>,
    wheels: Wheels,
    measured: Vec<OnceLock<Result<Measured, String>>>,
}

/// Runs it.
pub fn run(steps: &mut Steps, arguments: &Arguments) {
    let Some(machine) = Machine::step(steps) else { return };
    let mut programs = Vec::new();
    for program in &PROGRAMS {
        match program.run(Setting::nth(0, 1)).exists() {
            true => programs.push(program),
            false => steps.skip(
                format!("matrix of {}", program.name),
                "it is not built (make -C guests/c all sqlite)",
            ),
        }
    }
    let wheels = Wheels::new(programs.iter().map(|program| program.name).collect());
    let measured = (0..programs.len() * Setting::formats().len()).map(|_| OnceLock::new());
    let (timeout, measured) = (arguments.timeout, measured.collect());
    let matrix = Matrix { machine: &machine, timeout, programs, wheels, measured };
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    steps.step("matrix of a quarter of memory", || matrix.all(limit));
}

impl Matrix<'_> {
    fn all(&self, limit: Option<Duration>) -> Result<(), String> {
        let (began, done) = (Instant::now(), AtomicUsize::new(0));
        let round = self.cells().take_while(|cell| cell.round == 0).count();
        let in_time = self.cells().take_while(|cell| match limit {
            Some(limit) => began.elapsed() < limit,
            None => cell.round == 0,
        });
        let results = two_at_a_time(in_time, |cell| {
            let result = self.cell(cell);
            let number = done.fetch_add(1, Ordering::Relaxed) + 1;
            let line = result.as_ref().unwrap_or_else(|error| error);
            println!("{number:4} of {round} {line}");
            (cell, result)
        });
        let left = round.saturating_sub(results.len());
        println!("{} settings in {:.1?}; {left} left out", results.len(), began.elapsed());
        let (cells, results): (Vec<_>, Vec<_>) = results.into_iter().unzip();
        let met = self.wheels.met(&cells).map(|line| println!("{line}"));
        let failures = results.into_iter().filter_map(Result::err).chain(met.err());
        let failures: Vec<_> = failures.collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    /// The settings in which a program touches enough, without end.
    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.wheels.cells().filter(|cell| {
            self.programs[cell.program()].fills(Setting::strict(cell.format(), 0, 1).page_size)
        })
    }

    /// One run: a line that says how it went, and how to repeat it.
    fn cell(&self, cell: Cell) -> Result<String, String> {
        let program = self.programs[cell.program()];
        let harts = [2, 3, 1, 4][cell.round as usize % 4];
        let setting = Setting::strict(cell.format(), cell.tlb(), harts);
        let known = &self.measured[cell.format() * self.programs.len() + cell.program()];
        let measured = known.get_or_init(|| self.measure(program, setting.plain()));
        let measured = measured.as_ref().map_err(String::clone)?;
        let device = match cell.file() {
            true => file(&format!("{}-{}", program.name, setting.name()), &measured.swap)?,
            false => format!("zram:{}", measured.swap),
        };
        let mut run = program.run(setting).with_memory(&*measured.memory).with_swap(device);
        if cell.round % 2 == 1 {
            run = run.seeded(cell.round);
        }
        let run = run.reporting();
        let outcome = self.machine.run(&run, self.timeout)?;
        let line = self.machine.line(&run);
        match wrong(&outcome, &measured.stdout) {
            None => Ok(format!("{:6.2} s  {line}", outcome.seconds)),
            Some(why) => Err(format!("FAILED {why}: {line}")),
        }
    }

    /// Runs a program with memory enough.
    fn measure(&self, program: &Program, setting: Setting) -> Result<Measured, String> {
        let run = program.run(setting).with_memory("512M").reporting();
        let outcome = self.machine.run(&run, self.timeout)?;
        let touched = number(&outcome.stderr, "\"peak_frames\":").filter(|_| outcome.status == 0);
        let Some(frames) = touched else {
            let why = "fails with memory enough";
            return Err(self.machine.failure(&run, &outcome, why));
        };
        let kib = (frames * setting.page_size) >> 10;
        let (memory, swap) = (format!("{}K", kib.div_ceil(4)), format!("{}K", 2 * kib));
        Ok(Measured { memory, swap, stdout: outcome.stdout })
    }
}

/// A file to swap to, which is made for the run.
fn file(name: &str, size: &str) -> Result<String, String> {
    let folder = project::folder("matrix");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(format!("file:{}:{size}", folder.join(name).display()))
}

/// What is wrong, in a line.
fn wrong(outcome: &Outcome, stdout: &str) -> Option<String> {
    // The report is one line.
    let told = outcome.stderr.lines().rfind(|line| !line.starts_with('{')).unwrap_or_default();
    match outcome.status {
        _ if outcome.late => Some("hangs".to_owned()),
        0 if outcome.stdout != stdout => {
            Some("writes something else than with memory enough".to_owned())
        }
        0 if number(&outcome.stderr, "\"stolen\":") == Some(0) => {
            Some("has memory enough: nothing was stolen".to_owned())
        }
        0 => None,
        status => Some(format!("exit status {status} ({told})")),
    }
}

/// The number behind a key.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.split_once(key)?.1.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_has_memory_enough_would_pass() {
        let run = |status, stolen| {
            let stderr = format!("why\n{{\"reclaim\":{{\"stolen\":{stolen},\"aged\":7}}}}\n");
            let stdout = "ok".to_owned();
            Outcome { status, stdout, stderr, seconds: 0.0, late: false }
        };
        assert_eq!(wrong(&run(0, 1), "ok"), None);
        assert!(wrong(&run(0, 0), "ok").is_some_and(|why| why.contains("nothing was stolen")));
        assert!(wrong(&run(0, 1), "other").is_some_and(|why| why.contains("something else")));
        assert_eq!(wrong(&run(3, 1), "ok").as_deref(), Some("exit status 3 (why)"));
    }
}
