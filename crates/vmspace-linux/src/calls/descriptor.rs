//! Calls about descriptors: closing, duplicating, their flags, pipes.

use std::sync::Arc;

use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::node::Node;
use crate::files::{Description, Descriptor, FileKind, flag};
use crate::pipe::{MOST_PIPES, Pipe};

const CLOSE_RANGE_UNSHARE: u64 = 2;
const CLOSE_RANGE_CLOEXEC: u64 = 4;

const F_DUPFD: u64 = 0;
const F_GETFD: u64 = 1;
const F_SETFD: u64 = 2;
const F_GETFL: u64 = 3;
const F_SETFL: u64 = 4;
const F_GETLK: u64 = 5;
const F_SETLKW: u64 = 7;
const F_OFD_GETLK: u64 = 36;
const F_OFD_SETLKW: u64 = 38;
const F_DUPFD_CLOEXEC: u64 = 1030;
const F_ADD_SEALS: u64 = 1033;
const F_GET_SEALS: u64 = 1034;
/// All seals but the one against execution.
const SEALS: u64 = 0x1f;

const FIONCLEX: u64 = 0x5450;
const FIOCLEX: u64 = 0x5451;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// Uses what a descriptor names.
    pub(super) fn with_file<R>(
        &mut self,
        number: u64,
        body: impl FnOnce(&mut Self, &Arc<Description>) -> Result<R, Stop>,
    ) -> Result<R, Stop> {
        let descriptor = self.task.files.get(number)?;
        let result = body(self, &descriptor.file);
        self.kernel.close(descriptor);
        result
    }

    /// A new descriptor, the lowest that is free.
    pub(super) fn new_descriptor(&mut self, file: Arc<Description>, flags: u64) -> Outcome {
        let close_on_exec = flags & flag::CLOEXEC != 0;
        let descriptor = Descriptor { file, close_on_exec };
        let added = self.task.files.add(descriptor.clone(), 0);
        self.kernel.close(descriptor);
        Ok(added?)
    }

    pub(super) fn close(&mut self) -> Outcome {
        let descriptor = self.task.files.remove(self.args[0])?;
        self.kernel.close_of(&self.task.files, descriptor);
        self.kernel.drop_unused(self.ms);
        Ok(0)
    }

    pub(super) fn close_range(&mut self) -> Outcome {
        let [first, last, flags, ..] = self.args;
        let (first, last) = (u64::from(first as u32), u64::from(last as u32));
        if first > last || flags & !(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) != 0 {
            return Err(Errno::EINVAL.into());
        }
        if flags & CLOSE_RANGE_UNSHARE != 0 {
            let files = Arc::new(self.task.files.copy());
            self.kernel.close_all(std::mem::replace(&mut self.task.files, files));
            self.show();
        }
        for (number, descriptor) in self.task.files.open() {
            if (first..=last).contains(&number) {
                // Another thread may have closed it meanwhile.
                let _ = match flags & CLOSE_RANGE_CLOEXEC {
                    0 => self.task.files.remove(number).map(|descriptor| {
                        self.kernel.close_of(&self.task.files, descriptor);
                    }),
                    _ => self.task.files.set_close_on_exec(number, true),
                };
            }
            self.kernel.close(descriptor);
        }
        Ok(0)
    }

    /// Lets /proc show what has become of the thread.
    pub(super) fn show(&mut self) {
        let shown = self.task.shown();
        if let Some(thread) = self.kernel.lock().threads.get_mut(&self.task.id) {
            thread.shown = shown;
        }
    }

    pub(super) fn dup(&mut self) -> Outcome {
        let descriptor = self.task.files.get(self.args[0])?;
        self.new_descriptor(descriptor.file, 0)
    }

    pub(super) fn dup3(&mut self) -> Outcome {
        let [from, to, flags, ..] = self.args;
        if from as u32 == to as u32 || flags & !flag::CLOEXEC != 0 {
            return Err(Errno::EINVAL.into());
        }
        let descriptor = self.task.files.get(from)?;
        let copy = Descriptor { close_on_exec: flags != 0, ..descriptor.clone() };
        let before = self.task.files.replace(to, copy);
        self.kernel.close(descriptor);
        if let Some(before) = before? {
            self.kernel.close_of(&self.task.files, before);
        }
        Ok(u64::from(to as u32))
    }

    pub(super) fn pipe2(&mut self) -> Outcome {
        let [address, flags, ..] = self.args;
        if flags & !(flag::NONBLOCK | flag::CLOEXEC) != 0 {
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
        let end = |token, write: bool| Descriptor {
            file: Description::new(
                FileKind::Pipe { id, write, token },
                flags & flag::NONBLOCK | u64::from(write),
            ),
            close_on_exec: flags & flag::CLOEXEC != 0,
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
        let file = &descriptor.file;
        let only_a_place = file.has(flag::PATH);
        let result = match command {
            F_DUPFD | F_DUPFD_CLOEXEC => self.dup_from(&descriptor, argument, command != F_DUPFD),
            F_GETFD => Ok(u64::from(descriptor.close_on_exec)),
            F_SETFD => {
                let on = argument & 1 != 0;
                self.task.files.set_close_on_exec(number, on).map(|()| 0).map_err(Stop::from)
            }
            F_GETFL => Ok(file.flags()),
            _ if only_a_place => Err(Errno::EBADF.into()),
            F_SETFL => {
                file.set_flags(argument);
                Ok(0)
            }
            F_GETLK..=F_SETLKW | F_OFD_GETLK..=F_OFD_SETLKW => self.record_lock(file),
            F_ADD_SEALS | F_GET_SEALS => self.seals(file).map_err(Stop::from),
            _ => Err(Errno::EINVAL.into()),
        };
        self.kernel.close(descriptor);
        result
    }

    /// F_ADD_SEALS and F_GET_SEALS, on files in memory.
    fn seals(&self, file: &Description) -> Result<u64, Errno> {
        let [_, command, seals, ..] = self.args;
        let FileKind::File(inode) = &file.kind else { return Err(Errno::EINVAL) };
        let Node::Memory(node) = &inode.node else { return Err(Errno::EINVAL) };
        match command {
            F_GET_SEALS => Ok(node.seals().into()),
            _ if !file.is_writable() => Err(Errno::EPERM),
            _ if seals & !SEALS != 0 => Err(Errno::EINVAL),
            _ => node.add_seals(seals as u32).map(|()| 0),
        }
    }

    fn dup_from(&mut self, descriptor: &Descriptor, least: u64, close_on_exec: bool) -> Outcome {
        let least = least as u32 as usize;
        if least >= crate::files::MOST_FILES {
            return Err(Errno::EINVAL.into());
        }
        Ok(self.task.files.add(Descriptor { close_on_exec, ..descriptor.clone() }, least)?)
    }

    pub(super) fn ioctl(&mut self) -> Outcome {
        let [number, request, address, ..] = self.args;
        if matches!(request, FIOCLEX | FIONCLEX) {
            self.task.files.set_close_on_exec(number, request == FIOCLEX)?;
            return Ok(0);
        }
        self.with_file(number, |call, file| {
            let bytes = match file.kind {
                FileKind::Standard(number) => self.kernel.host_terminal(number, request)?,
                FileKind::Path(_) => return Err(Errno::EBADF.into()),
                _ => return Err(Errno::ENOTTY.into()),
            };
            call.put(address, &bytes)?;
            Ok(0)
        })
    }
}
