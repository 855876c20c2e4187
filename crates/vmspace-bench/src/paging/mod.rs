//! A program at a quarter of its memory: pages stolen and brought back per second by the host's own
//! kernel, by the library, and on the machine. The same accesses three times: `guests/src/paging.rs`.

mod guest;
mod host;
mod library;
pub mod native;
#[path = "../../../../guests/src/paging.rs"]
mod program;
mod undo;

use crate::built::Built;
use host::Device;
use program::Progress;
use std::path::PathBuf;
use std::process::Command;

/// What the program touches.
pub const BYTES: u64 = 64 << 20;
/// Room for all of it on each device.
const SWAP: u64 = 2 * BYTES;
const PAGE: usize = 4096;
/// Rounds in each order.
const ROUNDS: usize = 2;
/// How often everybody runs it, in turns; the median counts.
const TURNS: usize = 3;

/// All rounds in one order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Phase {
    /// Pages touched per second.
    pub touched: f64,
    /// Pages written to the device per second.
    pub out: f64,
    /// Pages brought back from it per second.
    pub back: f64,
}

/// The program's run: in order, and at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run(pub [Phase; 2]);

impl From<[Progress; 2]> for Run {
    fn from(phases: [Progress; 2]) -> Run {
        Run(phases.map(|phase| {
            let touches = BYTES as usize / PAGE * ROUNDS;
            let rate = |count: u64| count as f64 / (phase.nanoseconds as f64 / 1e9);
            Phase { touched: rate(touches as u64), out: rate(phase.out), back: rate(phase.back) }
        }))
    }
}

impl Run {
    /// From what a program prints.
    fn of(command: &mut Command) -> Result<Run, String> {
        let output = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let phases = parse(&text).ok_or_else(|| format!("the program `paging` said {text:?}"))?;
        Ok(Run::from(phases))
    }
}

fn parse(text: &str) -> Option<[Progress; 2]> {
    let phase = |what: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(what))?;
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
        let mut next = || numbers.next();
        Some(Progress { nanoseconds: next()?, out: next()?, back: next()? })
    };
    Some([phase("in order ")?, phase("at random ")?])
}

/// Who ran the program, and what came of it or why it did not run.
pub struct Row {
    pub who: &'static str,
    pub run: Result<Run, String>,
}

/// What was swapped to, and everybody's rows; the host's kernel first.
pub struct Table {
    pub device: &'static str,
    pub rows: Vec<Row>,
}

/// Who runs the program, and how.
type Runner<'a> = (&'static str, &'a dyn Fn(Device) -> Result<Run, String>);

/// Measures everything.
pub fn measure(built: &Result<Built, String>) -> [Table; 2] {
    let runners: [Runner; 3] = [
        ("the host's kernel", &native::measure),
        ("the library", &library::measure),
        ("the machine", &|device| guest::measure(built, device)),
    ];
    let devices = [("compressed memory", Device::Zram), ("a file", Device::File)];
    devices.map(|(name, device)| Table { device: name, rows: rows(&runners, name, device) })
}

fn rows(runners: &[Runner], name: &str, device: Device) -> Vec<Row> {
    let mut runs: Vec<_> = runners.iter().map(|_| Ok(Vec::new())).collect();
    for turn in 1..=TURNS {
        eprintln!("timing a program that swaps to {name}: turn {turn} of {TURNS}");
        for (runs, (_, run)) in runs.iter_mut().zip(runners) {
            // Who cannot run it is not asked again.
            if let Ok(done) = runs {
                match run(device) {
                    Ok(run) => done.push(run),
                    Err(why) => *runs = Err(why),
                }
            }
        }
    }
    let row = |(runs, (who, _)): (Result<_, _>, &Runner)| Row { who, run: runs.map(median) };
    runs.into_iter().zip(runners).map(row).collect()
}

/// For each phase, that of the run that stands in the middle.
fn median(mut runs: Vec<Run>) -> Run {
    Run(std::array::from_fn(|phase| {
        runs.sort_by(|a, b| a.0[phase].touched.total_cmp(&b.0[phase].touched));
        runs[runs.len() / 2].0[phase]
    }))
}

/// Where a swap file may be.
fn scratch() -> PathBuf {
    PathBuf::from(format!("/var/tmp/vmspace-bench-{}.swap", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read() {
        let text = "in order 2000000000 ns, 7 out, 8 back\nat random 5 ns, 9 out, 10 back\nok\n";
        let [in_order, at_random] = parse(text).expect("it is complete");
        assert_eq!(in_order, Progress { nanoseconds: 2_000_000_000, out: 7, back: 8 });
        assert_eq!(at_random, Progress { nanoseconds: 5, out: 9, back: 10 });
        assert_eq!(in_order.to_string(), "2000000000 ns, 7 out, 8 back");
        assert_eq!(Run::from([in_order; 2]).0[0].out, 3.5);
        assert_eq!(parse("in order 1 ns, 2 out, 3 back\n"), None);
    }
}
