//! Trials: sequences that run in a process of their own, since a library that is wrong may panic,
//! abort or never return; and the search for a short sequence that still fails.
//!
//! A trial is this test's own executable, told by `VMSPACE_TRIAL` which seeds to run and, for one
//! seed, which operations of its sequence to keep. It says each seed before it runs it.

use super::ops::Op;
use std::io::Read;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const VARIABLE: &str = "VMSPACE_TRIAL";

/// What a trial's process is to do.
pub struct Task {
    pub seeds: Range<u64>,
    /// The indices of the operations to run; none: all.
    keep: Option<Vec<usize>>,
}

impl Task {
    /// This process's task, if it is a trial's.
    pub fn own() -> Option<Task> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut parts = text.split(':');
        let mut number = || parts.next()?.parse().ok();
        let seeds = number()?..number()?;
        let keep = parts.next().map(|list| list.split(',').flat_map(str::parse).collect());
        Some(Task { seeds, keep })
    }

    /// The operations to run of a sequence.
    pub fn of(&self, ops: Vec<Op>) -> Vec<Op> {
        match &self.keep {
            None => ops,
            Some(keep) => keep.iter().filter_map(|index| ops.get(*index).copied()).collect(),
        }
    }

    fn text(&self) -> String {
        let Task { seeds, keep } = self;
        let all = format!("{}:{}", seeds.start, seeds.end);
        match keep {
            None => all,
            Some(keep) => {
                let list: Vec<String> = keep.iter().map(usize::to_string).collect();
                format!("{all}:{}", list.join(","))
            }
        }
    }
}

/// What a trial's process says before it runs a seed, and of the deepest nesting when all is well.
pub const SEED: &str = "seed ";
pub const DEEPEST: &str = "deepest ";

/// The last number that a trial said after a mark.
fn said(output: &str, mark: &str) -> Option<u64> {
    output.lines().rev().find_map(|line| line.strip_prefix(mark)?.trim().parse().ok())
}

/// Runs seeds in another process: how deep forks were nested, or the seed that fails and how.
pub fn seeds(test: &str, seeds: Range<u64>) -> Result<u64, (u64, String)> {
    let limit = Duration::from_secs(60 + (seeds.end - seeds.start));
    let first = seeds.start;
    trial(test, Task { seeds, keep: None }, limit)
        .map(|output| said(&output, DEEPEST).unwrap_or(0))
        .map_err(|output| (said(&output, SEED).unwrap_or(first), output))
}

fn trial(test: &str, task: Task, limit: Duration) -> Result<String, String> {
    let (end, output) = std::io::pipe().expect("a pipe");
    let executable = std::env::current_exe().expect("the test's executable");
    let mut child = Command::new(executable)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(VARIABLE, task.text())
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second end"))
        .stderr(output)
        .spawn()
        .expect("a process of its own");
    let (done, when_done) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let mut end = end;
        let _ = end.read_to_end(&mut text);
        let _ = done.send(());
        String::from_utf8_lossy(&text).into_owned()
    });
    let hangs = when_done.recv_timeout(limit).is_err();
    if hangs {
        let _ = child.kill();
    }
    let status = child.wait().expect("the process's end");
    let text = reader.join().expect("its output");
    match (hangs, status.success()) {
        (true, _) => Err(format!("{text}\nit did not return within {limit:?}")),
        (false, true) => Ok(text),
        (false, false) => Err(format!("{text}\n{status}")),
    }
}

/// The operations of a short failing subsequence of a seed's `count`, and its output.
pub fn shrink(test: &str, seed: u64, count: usize, why: String) -> (Vec<usize>, String) {
    let (mut keep, mut why): (Vec<usize>, _) = ((0..count).collect(), why);
    let mut size = count / 2;
    while size > 0 {
        let mut at = 0;
        while at < keep.len() {
            let mut fewer = keep.clone();
            fewer.drain(at..keep.len().min(at + size));
            let task = Task { seeds: seed..seed + 1, keep: Some(fewer.clone()) };
            match trial(test, task, Duration::from_secs(3)) {
                Ok(_) => at += size,
                Err(output) => (keep, why) = (fewer, output),
            }
        }
        size /= 2;
    }
    (keep, why)
}
