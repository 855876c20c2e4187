//! Programs run to their end, or to a limit of time.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a running program is looked at.
const PAUSE: Duration = Duration::from_millis(2);

/// What came of a program.
pub struct Outcome {
    /// The exit status as a shell has it: 128 and the signal's number when a signal ended it.
    pub status: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub seconds: f64,
    /// It was killed at the limit.
    pub late: bool,
}

/// Runs a command to its end with output shared; an error unless it succeeds.
pub fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| failed(command, error))?;
    if status.success() { Ok(()) } else { Err(failed(command, status)) }
}

/// Runs a command to its end: its standard output. An error, with its standard error, unless it
/// succeeds.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(command, error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}\n{stderr}", failed(command, output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn failed(command: &Command, why: impl std::fmt::Display) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("{}: {why}", line.join(" "))
}

/// Runs a command that starts no others, gives it `input`, keeps what it writes, and kills it when
/// it takes longer than `limit`.
pub fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Outcome, String> {
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(command, error))?;
    let stdout = child.stdout.take().map(reading);
    let stderr = child.stderr.take().map(reading);
    // It may end without having read: that is no error of ours.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(command, error))? {
            break status;
        }
        if !late && started.elapsed() > limit {
            late = true;
            // It may have ended just now: then it is waited for all the same.
            let _ = child.kill();
        }
        thread::sleep(PAUSE);
    };
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    let seconds = started.elapsed().as_secs_f64();
    Ok(Outcome { status: shell(status), stdout: text(stdout), stderr: text(stderr), seconds, late })
}

fn reading(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn shell(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// The last lines of a text, to show what went wrong.
pub fn tail(text: &str) -> String {
    const LINES: usize = 20;
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Whether a program of that name can be run.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs `each` on every job, two at a time; the results that it gave, in no order.
pub fn two_at_a_time<J: Send, R: Send>(
    jobs: impl IntoIterator<Item = J, IntoIter: Send>,
    each: impl Fn(J) -> R + Sync,
) -> Vec<R> {
    let jobs = std::sync::Mutex::new(jobs.into_iter());
    let next = || jobs.lock().ok()?.next();
    let work = || std::iter::from_fn(next).map(&each).collect::<Vec<_>>();
    thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut results = work();
        results.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results
    })
}
