//! Reading and writing what may make a thread wait: pipes, and the host's standard files.
//!
//! Guarantee: a read or write that must wait holds no hart. The host's files are asked first whether
//! they are ready; a write to a pipe or terminal goes in pieces of 4 KiB, for which "ready" means that
//! there is room. A write that moved a part and then waits keeps how far it came
//! ([`Restart::progress`](crate::task::Restart)), so it returns only when all is written. What cannot be
//! stored where a program wants to read it is not lost.

use rustix::event::PollFlags;
use vmspace::format::Format;

use super::transfer::{CHUNK, Parts};
use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::{Description, FileKind, flag};
use crate::pipe::ATOMIC;
use crate::signal::{Info, SIGPIPE};
use crate::task::Wait;

/// The parts without their first `skip` bytes, and without those that are empty.
fn behind(parts: &Parts, mut skip: u64) -> Parts {
    let left = parts.iter().map(|&(address, length)| {
        let gone = skip.min(length);
        skip -= gone;
        (address.wrapping_add(gone), length - gone)
    });
    left.filter(|(_, length)| *length > 0).collect()
}

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// Moves bytes of a file that may make the thread wait.
    pub(super) fn stream(&mut self, file: &Description, parts: &Parts, write: bool) -> Outcome {
        let result = self.stream_all(file, parts, write);
        let moved = self.task.restart.progress;
        match result {
            // What has been moved already is told before an error; it comes again the next time.
            Err(Stop::Errno(errno)) if moved > 0 && errno != Errno::EPIPE => Ok(moved),
            Err(stop) => Err(stop),
            Ok(()) => Ok(moved),
        }
    }

    fn stream_all(&mut self, file: &Description, parts: &Parts, write: bool) -> Result<(), Stop> {
        loop {
            let left = behind(parts, self.task.restart.progress);
            let Some(&(address, length)) = left.first() else { return Ok(()) };
            let moved = match write {
                true => self.write_some(file, address, length)?,
                false => self.read_some(file, &left)?,
            };
            self.task.restart.progress += moved as u64;
            if !write || moved == 0 {
                return Ok(());
            }
        }
    }

    fn read_some(&mut self, file: &Description, parts: &Parts) -> Result<usize, Stop> {
        let length = parts.iter().map(|(_, length)| length).sum::<u64>().min(CHUNK as u64);
        match &file.kind {
            FileKind::Standard(number) => self.read_standard(file, *number, parts, length as usize),
            FileKind::Pipe { id, .. } => self.read_pipe(file, *id, parts, length as usize),
            _ => Err(Errno::EBADF.into()),
        }
    }

    /// Stores bytes in the parts, one after the other, as far as that can be done; how many.
    fn scatter(&mut self, parts: &Parts, bytes: &[u8]) -> usize {
        let mut done = 0;
        for &(address, length) in parts {
            let left = &bytes[done..];
            let piece = &left[..left.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
            let stored = self.store(address, piece);
            done += stored;
            if stored < piece.len() || done == bytes.len() {
                break;
            }
        }
        done
    }

    /// What the host gave and could not be stored stays for who reads next.
    fn read_standard(
        &mut self,
        file: &Description,
        number: i32,
        parts: &Parts,
        length: usize,
    ) -> Result<usize, Stop> {
        let kernel = self.kernel;
        let unread = kernel.unread.of(number);
        let mut bytes = unread.lock();
        if bytes.is_empty() {
            self.await_host(file, number, PollFlags::IN)?;
            let mut fresh = vec![0; length];
            let read = kernel.read_host(number, &mut fresh)?;
            fresh.truncate(read);
            *bytes = fresh;
        }
        let wanted = bytes.len().min(length);
        let stored = self.scatter(parts, &bytes[..wanted]);
        bytes.drain(..stored);
        unread.note(&bytes);
        if !bytes.is_empty() {
            kernel.wake_where(&mut kernel.lock(), |wait| wait.is_for_host(number));
        }
        if stored == 0 && wanted > 0 { Err(Errno::EFAULT.into()) } else { Ok(stored) }
    }

    /// Bytes stay in the pipe until they have been stored: a bad address loses none. Linux's pipes are
    /// made of pages, and one that cannot be stored whole stays. When another reader was faster, the
    /// bytes are those of another place, and it begins again.
    fn read_pipe(
        &mut self,
        file: &Description,
        id: u64,
        parts: &Parts,
        length: usize,
    ) -> Result<usize, Stop> {
        loop {
            let (from, bytes) = {
                let mut state = self.kernel.lock();
                let pipe = state.pipes.get_mut(&id).ok_or(Errno::EBADF)?;
                if pipe.len() == 0 && pipe.has_writers() {
                    if file.has(flag::NONBLOCK) {
                        return Err(Errno::EAGAIN.into());
                    }
                    self.kernel.sleep(&mut state, self.task.id, Wait::Pipe(id), None);
                    return Err(Stop::Parked);
                }
                pipe.look(length)
            };
            let stored = match self.scatter(parts, &bytes) {
                all if all == bytes.len() => all,
                some => some / ATOMIC * ATOMIC,
            };
            if stored == 0 && !bytes.is_empty() {
                return Err(Errno::EFAULT.into());
            }
            let mut state = self.kernel.lock();
            let pipe = state.pipes.get_mut(&id).ok_or(Errno::EBADF)?;
            if pipe.take(from, stored) {
                self.kernel.wake_where(&mut state, |wait| wait.is_for_pipe(id));
                return Ok(stored);
            }
        }
    }

    fn write_some(&mut self, file: &Description, address: u64, length: u64) -> Result<usize, Stop> {
        let mut bytes = vec![0; (length as usize).min(CHUNK)];
        let read = self.load(address, &mut bytes);
        if read == 0 && length > 0 {
            return Err(Errno::EFAULT.into());
        }
        bytes.truncate(read);
        let result = match &file.kind {
            FileKind::Standard(number) => {
                self.await_host(file, *number, PollFlags::OUT)?;
                bytes.truncate(crate::host::piece(*number));
                self.kernel.write_host(*number, &bytes)
            }
            FileKind::Pipe { id, .. } => return self.write_pipe(file, *id, &bytes),
            _ => Err(Errno::EBADF),
        };
        if result == Err(Errno::EPIPE) {
            self.broken_pipe();
        }
        Ok(result?)
    }

    fn write_pipe(&mut self, file: &Description, id: u64, bytes: &[u8]) -> Result<usize, Stop> {
        let mut state = self.kernel.lock();
        let pipe = state.pipes.get_mut(&id).ok_or(Errno::EBADF)?;
        if !pipe.has_readers() {
            drop(state);
            self.broken_pipe();
            return Err(Errno::EPIPE.into());
        }
        let moved = pipe.put(bytes);
        if moved > 0 {
            self.kernel.wake_where(&mut state, |wait| wait.is_for_pipe(id));
            return Ok(moved);
        }
        if file.has(flag::NONBLOCK) {
            return Err(Errno::EAGAIN.into());
        }
        self.kernel.sleep(&mut state, self.task.id, Wait::Pipe(id), None);
        Err(Stop::Parked)
    }

    fn broken_pipe(&self) {
        let info = Info::user(SIGPIPE, self.task.process, false);
        let mut state = self.kernel.lock();
        self.kernel.send(&mut state, self.task.process, Some(self.task.id), info);
    }

    /// Parks the thread until the host's file is ready.
    fn await_host(&self, file: &Description, number: i32, events: PollFlags) -> Result<(), Stop> {
        if !self.kernel.host_ready(number, events).is_empty() {
            return Ok(());
        }
        if file.has(flag::NONBLOCK) {
            return Err(Errno::EAGAIN.into());
        }
        let write = events.contains(PollFlags::OUT);
        let wait = Wait::Host { number, write };
        self.kernel.sleep(&mut self.kernel.lock(), self.task.id, wait, None);
        Err(Stop::Parked)
    }
}
