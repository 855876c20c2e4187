//! `ppoll`: what files are ready for, and waiting until one is.
//!
//! Guarantee: the look at all files and the decision to wait are one step under the kernel's lock,
//! so a pipe that becomes ready in between is not missed; the host's files are looked at again by
//! the polling thread. The mask of signals is not changed while it waits.

use std::time::Duration;

use rustix::event::PollFlags;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::{Descriptor, FileKind};
use crate::pipe::{ATOMIC, Pipe};
use crate::task::{Wait, Wake};

/// One file that is asked about.
struct Asked {
    descriptor: Option<Descriptor>,
    /// A negative number: not to be looked at.
    skipped: bool,
    events: PollFlags,
}

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// `ppoll` over the standard three and pipes.
    pub(super) fn ppoll(&mut self) -> Outcome {
        let [array, count, timeout, ..] = self.args;
        if count > crate::files::MOST_FILES as u64 {
            return Err(Errno::EINVAL.into());
        }
        let deadline = match self.task.restart.deadline {
            Some(deadline) => Some(deadline),
            None => self.deadline(timeout, None)?,
        };
        self.task.restart.deadline = deadline;
        let mut entries = Vec::new();
        for n in 0..count {
            let [entry] = self.get_words(array.wrapping_add(8 * n))?;
            entries.push(entry);
        }
        let asked: Vec<Asked> = entries.iter().map(|entry| self.asked(*entry)).collect();
        let found = self.look_or_sleep(&asked, deadline);
        for descriptor in asked.into_iter().filter_map(|asked| asked.descriptor) {
            self.kernel.close(descriptor);
        }
        let found = found?;
        for (n, flags) in (0..).zip(&found) {
            self.put(array.wrapping_add(8 * n + 6), &flags.bits().to_le_bytes())?;
        }
        Ok(found.iter().filter(|flags| !flags.is_empty()).count() as u64)
    }

    /// The file that a `struct pollfd` names.
    fn asked(&self, entry: u64) -> Asked {
        let number = entry as u32;
        Asked {
            descriptor: self.task.files.get(number.into()).ok(),
            skipped: number.cast_signed() < 0,
            events: PollFlags::from_bits_truncate((entry >> 32) as u16),
        }
    }

    /// What the files are ready for, if one is or the time is over; else the thread waits.
    fn look_or_sleep(
        &self,
        asked: &[Asked],
        deadline: Option<Duration>,
    ) -> Result<Vec<PollFlags>, Stop> {
        let mut state = self.kernel.lock();
        let mut host = [0; 3];
        let mut look = |asked: &Asked| match asked.descriptor.as_ref().map(|d| &d.file.kind) {
            _ if asked.skipped => PollFlags::empty(),
            None => PollFlags::NVAL,
            Some(FileKind::Standard(number)) => {
                host[*number as usize] |= asked.events.bits();
                self.kernel.host_ready(*number, asked.events)
            }
            Some(FileKind::Pipe { id, write, .. }) => {
                let always = PollFlags::HUP | PollFlags::ERR;
                pipe_ready(state.pipes.get(id), *write) & (asked.events | always)
            }
            Some(FileKind::Path(_)) => PollFlags::NVAL,
            // Files never wait.
            Some(_) => asked.events & ALWAYS_READY,
        };
        let found: Vec<PollFlags> = asked.iter().map(&mut look).collect();
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
