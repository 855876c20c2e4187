//! The task that steals pages in the background, before who needs memory has to do it himself.
//!
//! Guarantee: it runs when the machine has said that memory is short, beside the harts and waiting for
//! none of them, and ends with the run. When nothing is left that it could steal it tries again only
//! after somebody else has stolen something, or a full machine would keep it busy. Where a seed decides the run, it is one of those whose turn is
//! drawn ([`replay`](crate::replay)).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use vmspace::MaySleep;
use vmspace::format::Format;

use crate::kernel::{EndOnPanic, Kernel};

/// Which of the CPU numbers that are no harts' it has; who starts the run has the first.
const NUMBER: usize = 1;

/// How the stealer is woken: made before the machine, which is given its [`Stealer::alarm`].
#[derive(Clone, Debug, Default)]
pub struct Stealer(Arc<Alarm>);

#[derive(Debug, Default)]
struct Alarm {
    /// Memory is short, and the stealer has not seen that yet.
    raised: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Stealer {
    /// What the machine calls when memory is short. It wakes a thread, and waits for nothing.
    pub fn alarm(&self) -> Box<dyn Fn() + Send + Sync> {
        let stealer = self.clone();
        Box::new(move || {
            // Relaxed: what is free is looked at anew.
            if !stealer.0.raised.swap(true, Ordering::Relaxed) {
                stealer.wake();
            }
        })
    }

    /// Whether the stealer has something to do.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    /// The thread that steals, told before any hart runs.
    pub(crate) fn is_run_by(&self, thread: &Thread) {
        // A run has one.
        let _ = self.0.thread.set(thread.clone());
    }

    pub(crate) fn wake(&self) {
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

/// How many pages had been stolen by everybody when the stealer found no more.
#[derive(Default)]
pub(crate) struct Exhausted(Option<u64>);

impl<F: Format> Kernel<'_, F> {
    /// Steals whenever memory is short, until the run ends.
    pub fn steal(&self) {
        let _guard = EndOnPanic(self);
        // SAFETY: the thread just begins: it holds no lock or guard of the library, and this is the
        // only `MaySleep` made on it.
        let mut ms = unsafe { MaySleep::assume() };
        let mut exhausted = Exhausted::default();
        while !self.is_over() {
            if self.stealer.is_wanted() {
                self.steal_once(&mut ms, &mut exhausted);
            } else {
                std::thread::park();
            }
        }
    }

    /// Steals until enough is free, or nothing is left to steal.
    pub fn steal_once(&self, ms: &mut MaySleep, Exhausted(before): &mut Exhausted) {
        self.vm.platform().bind_other(NUMBER);
        // Before it looks: who finds too little from now on asks again.
        self.stealer.0.raised.store(false, Ordering::Relaxed);
        let stolen = || self.vm.statistics().pages_stolen;
        if *before != Some(stolen()) {
            *before = if self.vm.balance(ms) { None } else { Some(stolen()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_that_comes_before_the_stealer_waits_would_be_lost() {
        let stealer = Stealer::default();
        let alarm = stealer.alarm();
        alarm();
        assert!(stealer.is_wanted(), "though there is no thread yet");
        stealer.0.raised.store(false, Ordering::Relaxed);
        stealer.is_run_by(&std::thread::current());
        alarm();
        alarm();
        // It would never return.
        std::thread::park();
        assert!(stealer.is_wanted());
    }
}
