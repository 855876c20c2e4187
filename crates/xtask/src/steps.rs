//! Steps: what a command does, one line at the end of each, and the count of all.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

/// What has been done so far.
#[derive(Default)]
pub struct Steps {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Steps {
    /// Does a step; its result is a line, with the error below it. Whether it passed.
    pub fn step(&mut self, name: impl Display, body: impl FnOnce() -> Result<(), String>) -> bool {
        println!("== {name}");
        let started = Instant::now();
        let result = body();
        let seconds = started.elapsed().as_secs_f64();
        match &result {
            Ok(()) => {
                println!("ok      {seconds:6.1} s  {name}");
                self.passed += 1;
            }
            Err(error) => {
                println!("FAILED  {seconds:6.1} s  {name}\n{error}");
                self.failed.push(name.to_string());
            }
        }
        result.is_ok()
    }

    /// Leaves something out, and says so in one line.
    pub fn skip(&mut self, what: impl Display, why: impl Display) {
        println!("skipped: {what}, because {why}");
        self.skipped += 1;
    }

    /// The end: what failed, the counts (a line that CI reads), and the exit status.
    pub fn finish(self) -> ExitCode {
        println!();
        for name in &self.failed {
            println!("failed: {name}");
        }
        let failed = self.failed.len();
        println!("{} passed, {failed} failed, {} skipped", self.passed, self.skipped);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
