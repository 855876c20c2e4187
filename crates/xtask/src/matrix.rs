//! The matrix: programs at a quarter of the memory that they touch, on both swap devices, over formats
//! and TLB modes.
//!
//! What a program touches is measured: it runs once with memory enough, and what it writes then it
//! must write with a quarter of that. Where a format cannot run in so little, its least is taken, and
//! a line says so. Formats take turns from the outermost, so whenever time is over, those that were
//! done were done whole; rounds behind the first vary the harts, and every other one is in a schedule
//! that a seed draws.

use crate::guests::{Machine, Run, Setting};
use crate::process::{Outcome, two_at_a_time};
use crate::project;
use crate::steps::Steps;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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

/// A program, with arguments for pages of a size.
struct Program {
    name: &'static str,
    run: fn(&str, Setting) -> Run,
    arguments: fn(u64) -> String,
    /// Whether it has a fresh directory of the host's for its `/`.
    rooted: bool,
}

/// How many pages those programs touch that can be told.
const PAGES: u64 = 512;

/// So many pages of a size, in KiB.
fn kib(page: u64) -> u64 {
    (PAGES * page) >> 10
}

const PROGRAMS: [Program; 6] = [
    Program {
        name: "pressure",
        run: Run::rust,
        arguments: |page| format!("{} 2 2", kib(page)),
        rooted: false,
    },
    Program {
        name: "forkpressure",
        run: Run::rust,
        arguments: |page| format!("{}", kib(page)),
        rooted: false,
    },
    Program {
        name: "shmpressure",
        run: Run::rust,
        arguments: |page| format!("{} 2", kib(page)),
        rooted: false,
    },
    Program {
        name: "filepressure",
        run: Run::rust,
        arguments: |page| format!("{} 2", kib(page)),
        rooted: true,
    },
    Program {
        name: "malloc_threads",
        run: Run::c,
        arguments: |_| "4 500".to_owned(),
        rooted: false,
    },
    Program {
        name: "sqlite",
        run: Run::c,
        arguments: |_| "test.db 150 2 3".to_owned(),
        rooted: true,
    },
];

impl Program {
    fn run(&self, setting: Setting) -> Run {
        let line = format!("{} {}", self.name, (self.arguments)(setting.page_size));
        (self.run)(&line, setting).rooted(self.rooted)
    }
}

/// A program with memory enough.
struct Measured {
    /// A quarter of what it touched, or the least of the format, as an option.
    memory: String,
    /// As much as it touched, for what is swapped.
    swap: String,
    stdout: String,
}

/// What runs are made from, and what is known of programs by format.
struct Matrix<'a> {
    machine: &'a Machine,
    timeout: u64,
    programs: Vec<&'static Program>,
    measured: Vec<OnceLock<Result<Measured, String>>>,
}

/// A cell of it.
#[derive(Clone, Copy)]
struct Cell {
    round: u64,
    format: usize,
    setting: Setting,
    program: usize,
    /// Whether what is swapped goes to a file, or is compressed.
    file: bool,
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
    let known = programs.len() * Setting::FORMATS;
    let measured = (0..known).map(|_| OnceLock::new()).collect();
    let matrix = Matrix { machine: &machine, timeout: arguments.timeout, programs, measured };
    let limit = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    steps.step("matrix of a quarter of memory", || matrix.all(limit));
}

impl Matrix<'_> {
    fn all(&self, limit: Option<Duration>) -> Result<(), String> {
        let (began, done) = (Instant::now(), AtomicUsize::new(0));
        let rounds = if limit.is_some() { u64::MAX } else { 1 };
        let round: Vec<Cell> = self.round();
        let cells = (0..rounds).flat_map(|number| {
            let mut cells = round.clone();
            for cell in &mut cells {
                cell.round = number;
                cell.setting.harts = [2, 3, 1, 4][number as usize % 4];
            }
            cells
        });
        let in_time = cells.take_while(|_| limit.is_none_or(|limit| began.elapsed() < limit));
        let results = two_at_a_time(in_time, |cell| {
            let result = self.cell(cell);
            let number = done.fetch_add(1, Ordering::Relaxed) + 1;
            let line = result.as_ref().unwrap_or_else(|error| error);
            println!("{number:4} of {} {line}", round.len());
            result
        });
        let failures: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        if results.len() < round.len() {
            println!("time is over: {} settings were left out", round.len() - results.len());
        }
        match failures.len() {
            0 => {
                println!("{} settings, no failure", results.len());
                Ok(())
            }
            count => {
                let lines: Vec<_> = failures.iter().map(|line| line.as_str()).collect();
                Err(format!("{}\n{} settings, {count} failed", lines.join("\n"), results.len()))
            }
        }
    }

    /// Each setting once, format by format.
    fn round(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for format in 0..Setting::FORMATS {
            for setting in Setting::strict(format, 2) {
                for program in 0..self.programs.len() {
                    for file in [false, true] {
                        cells.push(Cell { round: 0, format, setting, program, file });
                    }
                }
            }
        }
        cells
    }

    /// One run: a line that says how it went, and how to repeat it.
    fn cell(&self, cell: Cell) -> Result<String, String> {
        let program = self.programs[cell.program];
        let known = &self.measured[cell.format * self.programs.len() + cell.program];
        let measured = known.get_or_init(|| self.measure(program, cell.setting));
        let measured = measured.as_ref().map_err(String::clone)?;
        let mut run = program.run(cell.setting).with_memory(&*measured.memory);
        run = run.with_swap(device(&cell, program, &measured.swap)?);
        if cell.round % 2 == 1 {
            run = run.seeded(cell.round);
        }
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
        let (quarter, swap) = (format!("{}K", kib.div_ceil(4)), format!("{}K", 2 * kib));
        let least = self.least(setting, &quarter)?;
        if let Some(least) = &least {
            let format = setting.name();
            println!("{} on {format}: {least}, its least, not {quarter}", program.name);
        }
        Ok(Measured { memory: least.unwrap_or(quarter), swap, stdout: outcome.stdout })
    }

    /// The least memory that the format runs in, if so little is refused.
    fn least(&self, setting: Setting, memory: &str) -> Result<Option<String>, String> {
        let outcome = self.machine.run(&Run::rust("hello", setting).with_memory(memory), 120)?;
        let Some((_, rest)) = outcome.stderr.split_once("give at least ") else { return Ok(None) };
        let mut words = rest.split([' ', ')']);
        let (digits, unit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok(Some(format!("{digits}{}", unit.get(..1).unwrap_or_default())))
    }
}

/// Where the cell's pages are swapped to: a file that is there for the run.
fn device(cell: &Cell, program: &Program, size: &str) -> Result<String, String> {
    if !cell.file {
        return Ok(format!("zram:{size}"));
    }
    let folder = project::folder("matrix");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = format!("{}-{}-{}", program.name, cell.setting.name(), cell.round);
    let file = folder.join(name);
    // What a run that was killed has left is refused: it holds something.
    let _ = std::fs::remove_file(&file);
    Ok(format!("file:{}:{size}", file.display()))
}

/// What is wrong, in a line.
fn wrong(outcome: &Outcome, stdout: &str) -> Option<String> {
    let last = outcome.stderr.lines().last().unwrap_or_default();
    match outcome.status {
        _ if outcome.late => Some("hangs".to_owned()),
        0 if outcome.stdout == stdout => None,
        0 => Some("writes something else than with memory enough".to_owned()),
        status => Some(format!("exit status {status} ({last})")),
    }
}

/// The number behind a key.
fn number(text: &str, key: &str) -> Option<u64> {
    let rest = text.split_once(key)?.1.trim_start();
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}
