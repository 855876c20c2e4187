//! Calls about time: clocks, sleeping, and the deadlines of other calls.
//!
//! The clocks are the host's, unless a seed decides the run: then all of them show the machine's,
//! and the calendar starts at [`EPOCH`]. Processor times count from the start of the run.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::task::{Wait, Wake};

const TIMER_ABSTIME: u64 = 1;
const NANOSECONDS: u64 = 1_000_000_000;

/// What the calendar shows at the start of a run that a seed decides: the first second of 2000.
pub(crate) const EPOCH: Duration = Duration::from_secs(946_684_800);

impl<F: Format> Call<'_, '_, F> {
    /// What a clock shows.
    fn clock(&self, id: u64) -> Result<Duration, Errno> {
        let now = self.kernel.clock().now();
        let clock = match id as i32 {
            0 | 5 | 11 if self.kernel.seed.is_some() => return Ok(EPOCH + now),
            1 | 4 | 6 | 7 if self.kernel.seed.is_some() => return Ok(now),
            0 | 5 | 11 => ClockId::Realtime,
            1 | 4 | 6 => ClockId::Monotonic,
            7 => ClockId::Boottime,
            2 | 3 => return Ok(now),
            _ => return Err(Errno::EINVAL),
        };
        let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
        Ok(Duration::new(tv_sec.max(0).cast_unsigned(), tv_nsec as u32))
    }

    pub(super) fn clock_gettime(&mut self) -> Outcome {
        let time = self.clock(self.args[0])?;
        self.put_words(self.args[1], &[time.as_secs(), time.subsec_nanos().into()])?;
        Ok(0)
    }

    pub(super) fn clock_getres(&mut self) -> Outcome {
        self.clock(self.args[0])?;
        if self.args[1] != 0 {
            self.put_words(self.args[1], &[0, 1])?;
        }
        Ok(0)
    }

    pub(super) fn gettimeofday(&mut self) -> Outcome {
        let time = self.clock(0)?;
        if self.args[0] != 0 {
            self.put_words(self.args[0], &[time.as_secs(), time.subsec_micros().into()])?;
        }
        if self.args[1] != 0 {
            self.put_words(self.args[1], &[0])?;
        }
        Ok(0)
    }

    pub(super) fn times(&mut self) -> Outcome {
        let ticks = self.kernel.clock().now().as_millis() as u64 / 10;
        if self.args[0] != 0 {
            self.put_words(self.args[0], &[ticks, 0, 0, 0])?;
        }
        Ok(ticks)
    }

    /// A `struct timespec`.
    fn timespec(&mut self, address: u64) -> Result<Duration, Errno> {
        let [seconds, nanoseconds] = self.get_words(address)?;
        if nanoseconds >= NANOSECONDS || seconds.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Duration::new(seconds, nanoseconds as u32))
    }

    /// When a timeout at `address` is over, by the machine's clock: from now, or absolute on a clock.
    /// `None` is never: no timeout, or one beyond what 64 bits of nanoseconds can count.
    pub(crate) fn deadline(
        &mut self,
        address: u64,
        clock: Option<u64>,
    ) -> Result<Option<Duration>, Errno> {
        if address == 0 {
            return Ok(None);
        }
        let mut time = self.timespec(address)?;
        if let Some(clock) = clock {
            time = time.saturating_sub(self.clock(clock)?);
        }
        let deadline = self.kernel.clock().now().checked_add(time);
        Ok(deadline.filter(|deadline| deadline.as_nanos() < u64::MAX.into()))
    }

    pub(super) fn nanosleep(&mut self) -> Outcome {
        let [time, remaining, ..] = self.args;
        self.sleep_until(None, time, remaining)
    }

    pub(super) fn clock_nanosleep(&mut self) -> Outcome {
        let [clock, flags, time, remaining, ..] = self.args;
        self.clock(clock)?;
        match flags & TIMER_ABSTIME {
            0 => self.sleep_until(None, time, remaining),
            _ => self.sleep_until(Some(clock), time, 0),
        }
    }

    fn sleep_until(&mut self, clock: Option<u64>, time: u64, remaining: u64) -> Outcome {
        if time == 0 {
            return Err(Errno::EFAULT.into());
        }
        let deadline = match self.task.restart.deadline {
            Some(deadline) => Some(deadline),
            None => self.deadline(time, clock)?,
        };
        if deadline.is_some_and(|deadline| deadline <= self.kernel.clock().now()) {
            return Ok(0);
        }
        self.task.restart.deadline = deadline;
        self.task.restart.remaining = remaining;
        let timer = deadline.map(|deadline| (deadline, Wake::Return(0)));
        self.kernel.sleep(&mut self.kernel.lock(), self.task.id, Wait::Sleep, timer);
        Err(Stop::Parked)
    }
}
