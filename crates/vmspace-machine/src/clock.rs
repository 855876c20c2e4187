//! The machine's clock: the host's, or one that goes on only when it is told to.
//!
//! Guarantee: it never goes back. Held, it shows the same in every run that tells it the same.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clock.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// What a held clock shows, in nanoseconds.
    held: OnceLock<AtomicU64>,
}

impl Clock {
    /// The host's, from zero.
    pub(crate) fn new() -> Clock {
        Clock { started: Instant::now(), held: OnceLock::new() }
    }

    /// Since the machine was built; held, since the clock's zero.
    pub fn now(&self) -> Duration {
        match self.held.get() {
            Some(held) => Duration::from_nanos(held.load(Ordering::Relaxed)),
            None => self.started.elapsed(),
        }
    }

    /// Stops the clock at zero, for [`Clock::advance`] to move. To be called before anybody has
    /// looked at it.
    pub fn hold(&self) {
        self.held.get_or_init(|| AtomicU64::new(0));
    }

    /// Moves a held clock on; the host's goes by itself.
    pub fn advance(&self, time: Duration) {
        if let Some(held) = self.held.get() {
            let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            let later = held.load(Ordering::Relaxed).saturating_add(time);
            held.fetch_max(later, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_held_clock_moves_only_when_it_is_told() {
        let clock = Clock::new();
        clock.advance(Duration::from_secs(1000));
        assert!(clock.now() < Duration::from_secs(1000), "the host's clock is not ours to move");
        clock.hold();
        assert_eq!(clock.now(), Duration::ZERO);
        clock.advance(Duration::from_nanos(7));
        clock.hold();
        assert_eq!(clock.now(), Duration::from_nanos(7), "holding it again changes nothing");
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX), "it stops at its end");
    }
}
