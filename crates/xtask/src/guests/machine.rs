//! The `vmspace` command with a guest to run.

use super::Setting;
use crate::process::{self, Outcome, tail};
use crate::project::{self, GUEST_TARGET, cargo, command, shown};
use crate::steps::Steps;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The variable that tells the test-only build which mutation to plant.
pub const PLANTS: &str = "VMSPACE_MUTATION";

/// What a guest gets beyond its own time limit before it is killed from outside.
const GRACE: u64 = 15;

/// A guest, its arguments and input, and the machine's setting.
pub struct Run {
    program: PathBuf,
    arguments: Vec<String>,
    setting: Setting,
    input: &'static str,
    /// The first and the last of the seeds that it is run with.
    seeds: Option<(u64, u64)>,
    /// Whether it has a folder as the root of its files.
    rooted: bool,
    /// The machine's memory, if not as usual.
    memory: Option<String>,
    /// What pages are swapped to, if to anything.
    swap: Option<String>,
    report: &'static str,
}

impl Run {
    /// A Rust guest, given as one would type it.
    pub fn rust(line: &str, setting: Setting) -> Run {
        Run::new(&format!("guests/target/{GUEST_TARGET}/release"), line, setting)
    }

    /// A C guest.
    pub fn c(line: &str, setting: Setting) -> Run {
        Run::new("guests/build/c", line, setting)
    }

    fn new(folder: &str, line: &str, setting: Setting) -> Run {
        let mut words = line.split(' ').map(str::to_owned);
        let program = Path::new(folder).join(words.next().unwrap_or_default());
        let arguments = words.collect();
        Run {
            program,
            arguments,
            setting,
            input: "",
            seeds: None,
            rooted: false,
            memory: None,
            swap: None,
            report: "none",
        }
    }

    /// The same with something to read.
    pub fn reading(self, input: &'static str) -> Run {
        Run { input, ..self }
    }

    /// The same in a schedule that a seed draws.
    pub fn seeded(self, seed: u64) -> Run {
        self.scanning(seed, seed)
    }

    /// The same with the first of these seeds that it fails with.
    pub fn scanning(self, first: u64, last: u64) -> Run {
        Run { seeds: Some((first, last)), ..self }
    }

    /// The same with a folder of its own as the root of its files, empty at the start, or without.
    pub fn rooted(self, rooted: bool) -> Run {
        Run { rooted, ..self }
    }

    /// The same on a machine with so much memory.
    pub fn with_memory(self, size: impl Into<String>) -> Run {
        Run { memory: Some(size.into()), ..self }
    }

    /// The same with a device to swap to, as `vmspace run --swap` has it.
    pub fn with_swap(self, device: String) -> Run {
        Run { swap: Some(device), ..self }
    }

    /// The same with the report for programs.
    pub fn reporting(self) -> Run {
        Run { report: "json", ..self }
    }

    /// The root of its files.
    fn root(&self) -> Option<PathBuf> {
        let name = self.program.file_name()?.to_string_lossy().into_owned();
        let words: Vec<_> = [name].into_iter().chain(options(self)).collect();
        // A swap file's path is one name here.
        self.rooted.then(|| project::folder(&words.join("-").replace('/', "_")))
    }

    /// Whether the program has been built.
    pub fn exists(&self) -> bool {
        project::root().join(&self.program).is_file()
    }
}

/// Builds the `vmspace` command.
const BUILD: &str = "build --quiet --release --package vmspace-cli";

/// The `vmspace` command, built.
pub struct Machine {
    vmspace: PathBuf,
    /// The library's mutation that it is told to plant: none but in the test-only build.
    mutation: u32,
}

impl Machine {
    /// Builds it, and the Rust guests, as a step.
    pub fn step(steps: &mut Steps) -> Option<Machine> {
        let mut machine = None;
        steps.step("build the vmspace command and the guests", || {
            machine = Some(Machine::build()?);
            Ok(())
        });
        machine
    }

    /// Builds it, and the Rust guests.
    pub fn build() -> Result<Machine, String> {
        Machine::built(cargo(BUILD), project::target())
    }

    /// The same with a `--cfg`.
    pub fn build_with(cfg: &str) -> Result<Machine, String> {
        Machine::built(project::cargo_with(cfg, BUILD), &project::target_with(cfg))
    }

    fn built(mut build: Command, target: &Path) -> Result<Machine, String> {
        process::succeed(&mut build)?;
        let mut guests = cargo(&format!("build --quiet --release --target {GUEST_TARGET}"));
        // Always where guests/README.md says that they lie.
        guests.current_dir(project::root().join("guests")).env("CARGO_TARGET_DIR", "target");
        process::succeed(&mut guests)?;
        Ok(Machine { vmspace: target.join("release/vmspace"), mutation: 0 })
    }

    /// The command at that path; the Rust guests have been built.
    pub fn at(vmspace: &Path) -> Machine {
        Machine { vmspace: vmspace.to_owned(), mutation: 0 }
    }

    /// The same machine, to be told to plant that mutation.
    pub fn planting(&self, mutation: u32) -> Machine {
        Machine { vmspace: self.vmspace.clone(), mutation }
    }

    /// Runs a guest for at most so many seconds.
    pub fn run(&self, run: &Run, seconds: u64) -> Result<Outcome, String> {
        if let Some(root) = run.root() {
            project::empty(&root)?;
        }
        let mut command = command(&self.vmspace);
        command.args(arguments(run)).arg("--timeout").arg(seconds.to_string());
        command.args(program(run));
        if self.mutation != 0 {
            command.env(PLANTS, self.mutation.to_string());
        }
        process::run(&mut command, run.input, Duration::from_secs(seconds + GRACE))
    }

    /// Runs the command that a failing run has printed; none if there is none.
    pub fn replay(&self, failed: &Outcome, seconds: u64) -> Option<Result<Outcome, String>> {
        let line = failed.stderr.lines().find_map(|line| line.strip_prefix("replay: "))?;
        let mut shell = command(Path::new("sh"));
        shell.args(["-c", line]);
        if self.mutation != 0 {
            shell.env(PLANTS, self.mutation.to_string());
        }
        Some(process::run(&mut shell, "", Duration::from_secs(seconds + GRACE)))
    }

    /// Says and runs `vmspace run -- GUEST` with the terminal as it is; the exit status.
    pub fn show(&self, guest: &str) -> Result<u8, String> {
        let program = format!("guests/target/{GUEST_TARGET}/release/{guest}");
        eprintln!("$ {} run --harts 2 -- {program}", shown(&self.vmspace));
        let mut command = command(&self.vmspace);
        let status = command.args(["run", "--harts", "2", "--", &program]).status();
        let status = status.map_err(|error| format!("{}: {error}", self.vmspace.display()))?;
        Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }

    /// The command that repeats a run, to be typed in the workspace's folder.
    pub fn line(&self, run: &Run) -> String {
        let planted = (self.mutation != 0).then(|| format!("{PLANTS}={}", self.mutation));
        let words = planted.into_iter().chain([shown(&self.vmspace)]);
        let words = words.chain(arguments(run)).chain(program(run));
        words.collect::<Vec<_>>().join(" ")
    }

    /// A failure in full: what is wrong, how to see it again, what was written.
    pub fn failure(&self, run: &Run, outcome: &Outcome, wrong: &str) -> String {
        let line = self.line(run);
        let input = if run.input.is_empty() { "" } else { " (with input)" };
        let (seconds, stdout, stderr) =
            (outcome.seconds, tail(&outcome.stdout), tail(&outcome.stderr));
        format!(
            "{wrong}, after {seconds:.1} s\n  repeat: {line}{input}\n  \
             standard output:\n{stdout}\n  standard error:\n{stderr}"
        )
    }
}

/// What decides the run.
fn options(run: &Run) -> Vec<String> {
    let mut words = run.setting.options();
    if let Some(size) = &run.memory {
        words.extend(["--memory".to_owned(), size.clone()]);
    }
    if let Some(device) = &run.swap {
        words.extend(["--swap".to_owned(), device.clone()]);
    }
    if let Some((first, last)) = run.seeds {
        let seeds = if first == last { first.to_string() } else { format!("{first}..{last}") };
        words.extend(["--seed".to_owned(), seeds]);
    }
    words
}

fn arguments(run: &Run) -> Vec<String> {
    let mut words = vec!["run".to_owned()];
    words.extend(options(run));
    words.extend(["--report".to_owned(), run.report.to_owned()]);
    if let Some(root) = run.root() {
        words.extend(["--root".to_owned(), root.display().to_string()]);
    }
    words
}

fn program(run: &Run) -> Vec<String> {
    let mut words = vec!["--".to_owned(), run.program.display().to_string()];
    words.extend(run.arguments.iter().cloned());
    words
}
