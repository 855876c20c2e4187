//! `ppoll`: what files are ready for, and waiting until one is.
//!
//! Guarantee: the look at all files and the decision to wait are one step under the kernel's lock,
//! so a pipe that becomes ready in between is not missed; the host's files are looked at again by
//! the polling thread.

use std::time::Duration;

use rustix::event::PollFlags;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::{Descriptor, FileKind};
use crate::pipe::{ATOMIC, Pipe};
use crate::task::{Wait, Wake};

/// One file that is asked about.
pub(super) struct Asked {
    pub descriptor: Option<Descriptor>,
    /// A negative number: not to be looked at.
    pub skipped: bool,
    pub events: PollFlags,
    /// What ends the waiting.
    pub answers: PollFlags,
}

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// `ppoll` over the standard three and pipes.
    pub(super) fn ppoll(&mut self) -> Outcome {
        let [array, count, timeout, mask, size, _] = self.args;
        if count > crate::files::MOST_FILES as u64 {
            return Err(Errno::EINVAL.into());
        }
        let deadline = self.polling_deadline(timeout)?;
        let mut entries = Vec::new();
        for n in 0..count {
            let [entry] = self.get_words(array.wrapping_add(8 * n))?;
            entries.push(entry);
        }
        let found = self.with_mask(mask, size, |call| {
            let asked = entries.iter().map(|entry| call.asked(*entry)).collect();
            call.look_or_sleep(asked, deadline)
        })?;
        for (n, flags) in (0..).zip(&found) {
            self.put(array.wrapping_add(8 * n + 6), &flags.bits().to_le_bytes())?;
        }
        Ok(found.iter().filter(|flags| !flags.is_empty()).count() as u64)
    }

    /// When the waiting is over: as it was the first time that the call was made.
    pub(super) fn polling_deadline(&mut self, timeout: u64) -> Result<Option<Duration>, Errno> {
        if self.task.restart.deadline.is_none() {
            self.task.restart.deadline = self.deadline(timeout, None)?;
        }
        Ok(self.task.restart.deadline)
    }

    /// The file that a `struct pollfd` names.
    fn asked(&self, entry: u64) -> Asked {
        let number = entry as u32;
        let events = PollFlags::from_bits_truncate((entry >> 32) as u16);
        Asked {
            descriptor: self.task.files.get(number.into()).ok(),
            skipped: number.cast_signed() < 0,
            events,
            answers: events | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL,
        }
    }

    /// What the files are ready for, if one is or the time is over; else the thread waits.
    pub(super) fn look_or_sleep(
        &self,
        asked: Vec<Asked>,
        deadline: Option<Duration>,
    ) -> Result<Vec<PollFlags>, Stop> {
        let found = self.look(&asked, deadline);
        for descriptor in asked.into_iter().filter_map(|asked| asked.descriptor) {
            self.kernel.close(descriptor);
        }
        found
    }

    fn look(&self, asked: &[Asked], deadline: Option<Duration>) -> Result<Vec<PollFlags>, Stop> {
        let mut state = self.kernel.lock();
        let mut host = [0; 3];
        let mut look = |asked: &Asked| match asked.descriptor.as_ref().map(|d| &d.file.kind) {
            _ if asked.skipped => PollFlags::empty(),
            None => PollFlags::NVAL,
            Some(FileKind::Standard(number)) => {
                host[*number as usize] |= asked.events.bits();
                self.kernel.host_ready(*number, asked.events)
            }
            Some(FileKind::Pipe { id, write, .. }) => pipe_ready(state.pipes.get(id), *write),
            Some(FileKind::Path(_)) => PollFlags::NVAL,
            // Files never wait.
            Some(_) => ALWAYS_READY,
        };
        let found: Vec<PollFlags> = asked.iter().map(|one| look(one) & one.answers).collect();
        let over = deadline.is_some_and(|deadline| deadline <= self.kernel.clock().now());
        if over || found.iter().any(|flags| !flags.is_empty()) {
            return Ok(found);
        }
        let timer = deadline.map(|deadline| (deadline, Wake::Again));
        self.kernel.sleep(&mut state, self.task.id, Wait::Poll(host), timer);
        Err(Stop::Parked)
    }
}

/// What regular files, directories and devices are ready for.
const ALWAYS_READY: PollFlags =
    PollFlags::IN.union(PollFlags::OUT).union(PollFlags::RDNORM).union(PollFlags::WRNORM);

/// What a pipe's end is ready for.
fn pipe_ready(pipe: Option<&Pipe>, write: bool) -> PollFlags {
    let Some(pipe) = pipe else { return PollFlags::NVAL };
    let mut flags = PollFlags::empty();
    if write {
        flags.set(PollFlags::OUT, pipe.room() >= ATOMIC);
        flags.set(PollFlags::ERR, !pipe.has_readers());
    } else {
        flags.set(PollFlags::IN, pipe.len() > 0);
        flags.set(PollFlags::HUP, !pipe.has_writers());
    }
    flags
}
