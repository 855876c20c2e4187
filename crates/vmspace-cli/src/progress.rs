//! `--progress`: a live line on standard error.
//!
//! Guarantee: the run is the same with it and without it: memory's counts are looked at, now and
//! then, by a thread that nobody waits for but the end. Nothing is shown where standard error is no
//! terminal.

use std::io::IsTerminal;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vmspace_linux::Sample;

use crate::report::size;

/// How often the line is drawn anew.
const PERIOD: Duration = Duration::from_millis(250);

/// Does `body`, with the line beside it if it is wanted and somebody can see it.
pub fn beside<R>(wanted: bool, take: impl Fn() -> Sample + Send, body: impl FnOnce() -> R) -> R {
    if !wanted || !std::io::stderr().is_terminal() {
        return body();
    }
    std::thread::scope(|scope| {
        let (running, ended) = mpsc::channel();
        // Where the host refuses a thread, there is no line.
        let _ = std::thread::Builder::new().spawn_scoped(scope, move || show(take, &ended));
        let result = body();
        drop(running);
        result
    })
}

/// Draws the line until the run has ended.
fn show(take: impl Fn() -> Sample, ended: &Receiver<()>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg}") {
        bar.set_style(style);
    }
    let (mut before, mut then) = (take(), Instant::now());
    while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
        let (sample, now) = (take(), Instant::now());
        bar.set_message(line(&before, &sample, now - then));
        (before, then) = (sample, now);
    }
    bar.finish_and_clear();
}

/// What is so now, and how much has happened in a second since `before`.
fn line(before: &Sample, now: &Sample, time: Duration) -> String {
    let rate = |before: u64, now: u64| {
        now.saturating_sub(before) as f64 / time.as_secs_f64().max(f64::EPSILON)
    };
    format!(
        "resident {}, swapped {}, free {}, {:.0} faults/s, {:.0} stolen/s",
        size(now.used),
        size(now.swapped),
        size(now.free),
        rate(before.faults, now.faults),
        rate(before.stolen, now.stolen),
    )
}
