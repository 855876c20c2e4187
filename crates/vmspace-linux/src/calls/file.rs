//! Calls about files: the standard three and pipes.
//!
//! Guarantee: a read or write that must wait holds no hart. The host's files are asked first
//! whether they are ready; a write to a pipe or terminal goes in pieces of 4 KiB, for which "ready"
//! means that there is room. A write that moved a part and then waits keeps how far it came
//! ([`Restart::progress`](crate::task::Restart)), so it returns only when all is written.

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::PollFlags;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::{Description, Descriptor, FileKind};
use crate::pipe::{MOST_PIPES, Pipe};
use crate::signal::{Info, SIGPIPE};
use crate::task::Wait;

/// Bytes moved at a time.
const CHUNK: usize = 64 << 10;
const IOV_MAX: u64 = 1024;
/// The most that one call moves on Linux.
const MAX_RW: u64 = 0x7fff_f000;

const AT_FDCWD: i32 = -100;
const AT_EMPTY_PATH: u64 = 0x1000;
const O_NONBLOCK: u64 = 0o4000;
const O_CLOEXEC: u64 = 0o2_000_000;

/// Parts of the guest's memory, in order.
type Parts = Vec<(u64, u64)>;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    pub(super) fn read(&mut self) -> Outcome {
        let [_, address, length, ..] = self.args;
        self.transfer(vec![(address, length.min(MAX_RW))], false)
    }

    pub(super) fn write(&mut self) -> Outcome {
        let [_, address, length, ..] = self.args;
        self.transfer(vec![(address, length.min(MAX_RW))], true)
    }

    pub(super) fn readv(&mut self) -> Outcome {
        let parts = self.parts()?;
        self.transfer(parts, false)
    }

    pub(super) fn writev(&mut self) -> Outcome {
        let parts = self.parts()?;
        self.transfer(parts, true)
    }

    /// The parts that an array of `struct iovec` names.
    fn parts(&mut self) -> Result<Parts, Errno> {
        let [_, array, count, ..] = self.args;
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut parts = Parts::new();
        let mut total: u64 = 0;
        for n in 0..count {
            let [address, length] = self.get_words(array.wrapping_add(16 * n))?;
            if length > i64::MAX as u64 {
                return Err(Errno::EINVAL);
            }
            let length = length.min(MAX_RW - total);
            total += length;
            parts.push((address, length));
        }
        Ok(parts)
    }

    /// Moves bytes between a file and parts of memory.
    fn transfer(&mut self, parts: Parts, write: bool) -> Outcome {
        let descriptor = self.task.files.get(self.args[0])?;
        let result = self.transfer_all(&descriptor.file, &parts, write);
        self.kernel.close(descriptor);
        let moved = self.task.restart.progress;
        match result {
            // What has been moved already is told before an error; it comes again the next time.
            Err(Stop::Errno(errno)) if moved > 0 && errno != Errno::EPIPE => Ok(moved),
            Err(stop) => Err(stop),
            Ok(()) => Ok(moved),
        }
    }

    fn transfer_all(&mut self, file: &Description, parts: &Parts, write: bool) -> Result<(), Stop> {
        let total: u64 = parts.iter().map(|part| part.1).sum();
        loop {
            let mut skip = self.task.restart.progress;
            let next = parts.iter().find_map(|&(address, length)| {
                let here = skip < length;
                let part = (address.wrapping_add(skip), length.saturating_sub(skip));
                skip = skip.saturating_sub(length);
                here.then_some(part)
            });
            let (address, length) = match next {
                Some(part) => part,
                None if total == 0 => (0, 0),
                None => return Ok(()),
            };
            let moved = match write {
                true => self.write_some(file, address, length)?,
                false => self.read_some(file, address, length)?,
            };
            self.task.restart.progress += moved as u64;
            if !write || moved == 0 {
                return Ok(());
            }
        }
    }

    fn read_some(&mut self, file: &Description, address: u64, length: u64) -> Result<usize, Stop> {
        let length = (length as usize).min(CHUNK);
        let bytes = match &file.kind {
            FileKind::Host(number) => {
                self.await_host(file, *number, PollFlags::IN)?;
                let mut bytes = vec![0; length];
                let read = self.kernel.read_host(*number, &mut bytes)?;
                bytes.truncate(read);
                bytes
            }
            FileKind::Pipe { write: true, .. } => return Err(Errno::EBADF.into()),
            FileKind::Pipe { id, .. } => {
                let mut state = self.kernel.lock();
                let pipe = state.pipes.get_mut(id).ok_or(Errno::EBADF)?;
                if pipe.len() == 0 && pipe.has_writers() && length > 0 {
                    if file.nonblocking.load(Ordering::Relaxed) {
                        return Err(Errno::EAGAIN.into());
                    }
                    self.kernel.sleep(&mut state, self.task.id, Wait::Pipe(*id), None);
                    return Err(Stop::Parked);
                }
                let bytes = pipe.take(length);
                self.kernel.wake_where(&mut state, |wait| wait.is_for_pipe(*id));
                bytes
            }
        };
        self.put(address, &bytes)?;
        Ok(bytes.len())
    }

    fn write_some(&mut self, file: &Description, address: u64, length: u64) -> Result<usize, Stop> {
        let mut bytes = vec![0; (length as usize).min(CHUNK)];
        let read = self.task.space.read(self.ms, address, &mut bytes);
        if read == 0 && length > 0 {
            return Err(Errno::EFAULT.into());
        }
        bytes.truncate(read);
        let result = match &file.kind {
            FileKind::Host(number) => {
                self.await_host(file, *number, PollFlags::OUT)?;
                bytes.truncate(crate::host::piece(*number));
                self.kernel.write_host(*number, &bytes)
            }
            FileKind::Pipe { write: false, .. } => Err(Errno::EBADF),
            FileKind::Pipe { id, .. } => return self.write_pipe(file, *id, &bytes),
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
        if moved > 0 || bytes.is_empty() {
            self.kernel.wake_where(&mut state, |wait| wait.is_for_pipe(id));
            return Ok(moved);
        }
        if file.nonblocking.load(Ordering::Relaxed) {
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
        if file.nonblocking.load(Ordering::Relaxed) {
            return Err(Errno::EAGAIN.into());
        }
        let write = events.contains(PollFlags::OUT);
        let wait = Wait::Host { number, write };
        self.kernel.sleep(&mut self.kernel.lock(), self.task.id, wait, None);
        Err(Stop::Parked)
    }

    pub(super) fn close(&mut self) -> Outcome {
        let descriptor = self.task.files.remove(self.args[0])?;
        self.kernel.close(descriptor);
        Ok(0)
    }

    pub(super) fn dup(&mut self) -> Outcome {
        let descriptor = self.task.files.get(self.args[0])?;
        Ok(self.task.files.add(Descriptor { close_on_exec: false, ..descriptor }, 0)?)
    }

    pub(super) fn dup3(&mut self) -> Outcome {
        let [from, to, flags, ..] = self.args;
        if from as u32 == to as u32 || flags & !O_CLOEXEC != 0 {
            return Err(Errno::EINVAL.into());
        }
        let descriptor = self.task.files.get(from)?;
        let descriptor = Descriptor { close_on_exec: flags != 0, ..descriptor };
        if let Some(before) = self.task.files.replace(to, descriptor)? {
            self.kernel.close(before);
        }
        Ok(u64::from(to as u32))
    }

    pub(super) fn pipe2(&mut self) -> Outcome {
        let [address, flags, ..] = self.args;
        if flags & !(O_NONBLOCK | O_CLOEXEC) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let (pipe, reader, writer) = Pipe::new();
        let id = {
            let mut state = self.kernel.lock();
            if state.pipes.len() >= MOST_PIPES {
                return Err(Errno::ENFILE.into());
            }
            state.last_pipe += 1;
            let id = state.last_pipe;
            state.pipes.insert(id, pipe);
            id
        };
        let end = |token, write| Descriptor {
            file: Arc::new(Description {
                kind: FileKind::Pipe { id, write, token },
                nonblocking: AtomicBool::new(flags & O_NONBLOCK != 0),
            }),
            close_on_exec: flags & O_CLOEXEC != 0,
        };
        let (reader, writer) = (end(reader, false), end(writer, true));
        let numbers = self.add_both(reader, writer)?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| (*n as u32).to_le_bytes()).collect();
        if let Err(errno) = self.put(address, &bytes) {
            for number in numbers {
                let descriptor = self.task.files.remove(number)?;
                self.kernel.close(descriptor);
            }
            return Err(errno.into());
        }
        Ok(0)
    }

    /// Adds two descriptors or none.
    fn add_both(&mut self, first: Descriptor, second: Descriptor) -> Result<[u64; 2], Errno> {
        let (first_again, second_again) = (first.clone(), second.clone());
        let result =
            self.task.files.add(first, 0).and_then(|one| match self.task.files.add(second, 0) {
                Ok(two) => Ok([one, two]),
                Err(errno) => {
                    self.kernel.close(self.task.files.remove(one)?);
                    Err(errno)
                }
            });
        self.kernel.close(first_again);
        self.kernel.close(second_again);
        result
    }

    pub(super) fn fcntl(&mut self) -> Outcome {
        let [number, command, argument, ..] = self.args;
        let descriptor = self.task.files.get(number)?;
        let result = match command {
            0 | 1030 => {
                let least = argument as u32 as usize;
                if least >= crate::files::MOST_FILES {
                    return Err(Errno::EINVAL.into());
                }
                let copy = Descriptor { close_on_exec: command != 0, ..descriptor.clone() };
                self.task.files.add(copy, least)
            }
            1 => Ok(u64::from(descriptor.close_on_exec)),
            2 => self.task.files.set_close_on_exec(number, argument & 1 != 0).map(|()| 0),
            3 => Ok(status_flags(&descriptor.file)),
            4 => {
                descriptor.file.nonblocking.store(argument & O_NONBLOCK != 0, Ordering::Relaxed);
                Ok(0)
            }
            _ => Err(Errno::EINVAL),
        };
        self.kernel.close(descriptor);
        Ok(result?)
    }

    pub(super) fn lseek(&mut self) -> Outcome {
        let descriptor = self.task.files.get(self.args[0])?;
        self.kernel.close(descriptor);
        Err(Errno::ESPIPE.into())
    }

    /// There is no file system: nothing that a path names exists.
    pub(super) fn no_file(&mut self) -> Outcome {
        let path = self.get_string(self.args[1])?;
        self.kernel.counts.refuse("a path was asked for");
        match path.is_empty() {
            true => Err(Errno::ENOENT.into()),
            false if path == b"." || path == b"/" => Err(Errno::EACCES.into()),
            false => Err(Errno::ENOENT.into()),
        }
    }

    pub(super) fn fstat(&mut self) -> Outcome {
        let [number, buffer, ..] = self.args;
        self.stat(number, buffer)
    }

    pub(super) fn newfstatat(&mut self) -> Outcome {
        let [directory, path, buffer, flags, ..] = self.args;
        let path = self.get_string(path)?;
        if path.is_empty() && flags & AT_EMPTY_PATH != 0 && directory as i32 != AT_FDCWD {
            return self.stat(directory, buffer);
        }
        Err(Errno::ENOENT.into())
    }

    /// `struct stat` of the generic ABI.
    fn stat(&mut self, number: u64, buffer: u64) -> Outcome {
        let descriptor = self.task.files.get(number)?;
        let bytes = match &descriptor.file.kind {
            FileKind::Host(number) => self.kernel.host_stat(*number),
            FileKind::Pipe { id, .. } => Ok(crate::host::pipe_stat(*id)),
        };
        self.kernel.close(descriptor);
        self.put(buffer, &bytes?)?;
        Ok(0)
    }

    /// Only /proc/self/exe is a link.
    pub(super) fn readlinkat(&mut self) -> Outcome {
        let [_, path, buffer, length, ..] = self.args;
        if (length as i32) <= 0 {
            return Err(Errno::EINVAL.into());
        }
        if self.get_string(path)? != b"/proc/self/exe" {
            return Err(Errno::ENOENT.into());
        }
        let path = self.executable()?.path.into_os_string().into_vec();
        let target = &path[..path.len().min(length as usize)];
        self.put(buffer, target)?;
        Ok(target.len() as u64)
    }

    pub(super) fn ioctl(&mut self) -> Outcome {
        let [number, request, address, ..] = self.args;
        let descriptor = self.task.files.get(number)?;
        let result = match descriptor.file.kind {
            FileKind::Host(number) => self.kernel.host_terminal(number, request),
            FileKind::Pipe { .. } => Err(Errno::ENOTTY),
        };
        self.kernel.close(descriptor);
        self.put(address, &result?)?;
        Ok(0)
    }
}

/// F_GETFL.
fn status_flags(file: &Description) -> u64 {
    let access = match &file.kind {
        FileKind::Host(0) | FileKind::Pipe { write: false, .. } => 0,
        FileKind::Host(_) | FileKind::Pipe { .. } => 1,
    };
    let nonblocking = file.nonblocking.load(Ordering::Relaxed);
    access | if nonblocking { O_NONBLOCK } else { 0 }
}
