//! A run that a seed decides: all harts on one thread of the host's.
//!
//! Guarantee: the same program, options, input and seed give the same run, instruction for
//! instruction. Nothing of the host is asked but for the bytes of its files: the clock is held and
//! goes on by a nanosecond an instruction, random bytes come from the seed, and the standard files
//! are pipes whose other end is always ahead.
//!
//! The loop: draw a hart that has a task or can have one, draw how far it goes, let it do its turn.
//! A call or a fault is served to its end within the turn. All other harts stand still meanwhile,
//! in the middle of their programs perhaps; they are outside, so a shootdown is answered at once and
//! what it names is dropped before they go on. When no hart has anything to do, the clock jumps to
//! the next time-out; when there is none either, nothing will ever happen again.

use std::time::Duration;

use vmspace::MaySleep;
use vmspace::format::Format;
use vmspace_machine::random::SplitMix64;

use crate::hart::{Turn, Worker};
use crate::kernel::{EndOnPanic, Ending, Kernel};
use crate::random;
use crate::signal::SignalSet;
use crate::stealer::Exhausted;
use crate::task::Task;

/// What streams of random numbers are for.
pub(crate) const SCHEDULE: u64 = 1;
pub(crate) const PROGRAM: u64 = 2;

/// Draws who goes on and how far.
///
/// A race shows where somebody is held up at an awkward place while others go far. How far is far
/// depends on the program, so a run goes in phases: each has a longest turn of its own, from a few
/// instructions to a hundred thousand, and lengths of every magnitude up to that. Half of the turns
/// end between two accesses, the others where a branch is taken.
struct Schedule {
    stream: SplitMix64,
    /// The longest turn of the phase is 2 to this power, in instructions.
    magnitude: u64,
    /// Turns left of the phase.
    left: u64,
}

impl Schedule {
    const PHASE: u64 = 1_000;

    fn new(seed: u64) -> Schedule {
        Schedule { stream: random::stream(seed, SCHEDULE), magnitude: 0, left: 0 }
    }

    /// One of `count`.
    fn which(&mut self, count: usize) -> usize {
        self.stream.below(count as u64) as usize
    }

    /// How far a hart goes.
    fn turn(&mut self) -> Turn {
        if self.left == 0 {
            (self.magnitude, self.left) = (2 + self.stream.below(16), Self::PHASE);
        }
        self.left -= 1;
        let magnitude = self.stream.below(self.magnitude + 1);
        let instructions = 1 + self.stream.below(1 << magnitude);
        let accesses = match self.stream.below(2) {
            0 => u64::MAX,
            _ => 1 + self.stream.below(16),
        };
        Turn { instructions, accesses }
    }
}

/// A hart, and the task that it is in the middle of.
struct Seat<'k, 'vm, F: Format> {
    worker: Worker<'k, 'vm, F>,
    task: Option<Box<Task<'vm, F>>>,
}

/// Runs the first task, and all that come of it, on all harts until the run ends.
pub(crate) fn work<'vm, F: Format>(kernel: &Kernel<'vm, F>, first: Box<Task<'vm, F>>, seed: u64) {
    let _guard = EndOnPanic(kernel);
    // SAFETY: the thread just begins: it holds no lock or guard of the library, and this is the
    // only `MaySleep` made on it.
    let mut ms = unsafe { MaySleep::assume() };
    let (mut schedule, mut exhausted) = (Schedule::new(seed), Exhausted::default());
    let workers = (0..kernel.vm.platform().harts()).map(|index| Worker::new(kernel, index));
    let seats: Option<Vec<_>> = workers.map(|w| Some(Seat { worker: w?, task: None })).collect();
    let Some(mut seats) = seats else {
        return kernel.end(&mut kernel.lock(), Ending::Broken);
    };
    kernel.start(&mut kernel.lock(), first, SignalSet::default());
    while !kernel.is_over() {
        match choose(kernel, &mut seats, &mut schedule) {
            Some(Choice::Stealer) => kernel.steal_once(&mut ms, &mut exhausted),
            Some(Choice::Hart { seat, task, turn }) => {
                let worker = &mut seat.worker;
                let retired = worker.retired();
                seat.task = worker.turn(&mut ms, task, turn);
                kernel.clock().advance(Duration::from_nanos(worker.retired() - retired));
            }
            None => await_timer(kernel),
        }
    }
    let mut state = kernel.lock();
    for task in seats.iter_mut().filter_map(|seat| seat.task.take()) {
        kernel.enqueue(&mut state, task);
    }
}

/// Who goes on.
enum Choice<'s, 'k, 'vm, F: Format> {
    /// A hart, the task that it goes on with, and how far.
    Hart { seat: &'s mut Seat<'k, 'vm, F>, task: Box<Task<'vm, F>>, turn: Turn },
    /// Memory is short.
    Stealer,
}

/// Draws a hart, which the thread is from now on. It goes on with its own task, or if it has none
/// with any that is ready. Where memory is short, who steals is one of those that are drawn from.
fn choose<'s, 'k, 'vm, F: Format>(
    kernel: &Kernel<'vm, F>,
    seats: &'s mut [Seat<'k, 'vm, F>],
    schedule: &mut Schedule,
) -> Option<Choice<'s, 'k, 'vm, F>> {
    let mut state = kernel.lock();
    kernel.expire(&mut state);
    let ready = state.ready.len();
    let begun = seats.iter().filter(|seat| seat.task.is_some()).count();
    let able = if ready > 0 { seats.len() } else { begun };
    let others = usize::from(kernel.stealer.is_wanted());
    if able + others == 0 {
        return None;
    }
    let drawn = schedule.which(able + others);
    if drawn == able {
        return Some(Choice::Stealer);
    }
    let seat = seats.iter_mut().filter(|seat| ready > 0 || seat.task.is_some()).nth(drawn)?;
    let turn = if begun + ready + others == 1 { Turn::WHOLE } else { schedule.turn() };
    seat.worker.bind();
    let task = match seat.task.take() {
        Some(task) => task,
        None => {
            let task = state.ready.remove(schedule.which(ready))?;
            seat.worker.take(&task);
            task
        }
    };
    Some(Choice::Hart { seat, task, turn })
}

/// Nobody can run: it is later now.
fn await_timer<F: Format>(kernel: &Kernel<'_, F>) {
    let mut state = kernel.lock();
    match state.timers.first() {
        Some((deadline, _)) => {
            let clock = kernel.clock();
            clock.advance(deadline.saturating_sub(clock.now()));
        }
        None => kernel.end(&mut state, Ending::Deadlock),
    }
}
