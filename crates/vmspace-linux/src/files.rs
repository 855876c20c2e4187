//! Open files: the host's standard three, and pipes within the machine.
//!
//! Guarantee: a process has at most [`MOST_FILES`] descriptors; closing the last one of a pipe's
//! end is seen by who waits at the other end. The host's files stay open for the whole run, so a
//! program that closes its standard output closes nothing of the host's.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmspace::format::Format;

use crate::Errno;
use crate::kernel::Kernel;

/// RLIMIT_NOFILE.
pub(crate) const MOST_FILES: usize = 1024;

/// What a descriptor names; several may name one.
#[derive(Debug)]
pub(crate) struct Description {
    pub kind: FileKind,
    /// O_NONBLOCK.
    pub nonblocking: AtomicBool,
}

/// What is open.
#[derive(Debug)]
pub(crate) enum FileKind {
    /// Standard input, output or error of the host.
    Host(i32),
    /// One end of a pipe; the pipe counts its ends by the tokens that live.
    Pipe { id: u64, write: bool, token: Arc<()> },
}

/// A descriptor.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub file: Arc<Description>,
    pub close_on_exec: bool,
}

/// A process's table of descriptors.
pub(crate) struct Files(Mutex<Vec<Option<Descriptor>>>);

impl Files {
    /// The standard three, as far as the host has them.
    pub fn standard(open: [bool; 3]) -> Files {
        let descriptor = |(number, open): (i32, bool)| {
            let file =
                Description { kind: FileKind::Host(number), nonblocking: AtomicBool::new(false) };
            open.then(|| Descriptor { file: Arc::new(file), close_on_exec: false })
        };
        Files(Mutex::new((0..).zip(open).map(descriptor).collect()))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Descriptor>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table that a forked child gets.
    pub fn copy(&self) -> Files {
        Files(Mutex::new(self.lock().clone()))
    }

    pub fn get(&self, number: u64) -> Result<Descriptor, Errno> {
        let table = self.lock();
        let index = usize::try_from(number as u32).map_err(|_| Errno::EBADF)?;
        table.get(index).cloned().flatten().ok_or(Errno::EBADF)
    }

    /// Puts a descriptor at the lowest free number from `least`.
    pub fn add(&self, descriptor: Descriptor, least: usize) -> Result<u64, Errno> {
        let mut table = self.lock();
        let free = (least..MOST_FILES).find(|n| table.get(*n).is_none_or(Option::is_none));
        let number = free.ok_or(Errno::EMFILE)?;
        set(&mut table, number, Some(descriptor));
        Ok(number as u64)
    }

    /// Puts a descriptor at a number and returns what stood there.
    pub fn replace(
        &self,
        number: u64,
        descriptor: Descriptor,
    ) -> Result<Option<Descriptor>, Errno> {
        let number = number as u32 as usize;
        if number >= MOST_FILES {
            return Err(Errno::EBADF);
        }
        Ok(set(&mut self.lock(), number, Some(descriptor)))
    }

    pub fn remove(&self, number: u64) -> Result<Descriptor, Errno> {
        let mut table = self.lock();
        let slot = table.get_mut(number as u32 as usize).ok_or(Errno::EBADF)?;
        slot.take().ok_or(Errno::EBADF)
    }

    /// Takes out what a new program does not get.
    pub fn take_close_on_exec(&self) -> Vec<Descriptor> {
        let mut table = self.lock();
        let marked = table.iter_mut().filter(|d| d.as_ref().is_some_and(|d| d.close_on_exec));
        marked.filter_map(Option::take).collect()
    }

    pub fn set_close_on_exec(&self, number: u64, on: bool) -> Result<(), Errno> {
        let mut table = self.lock();
        let slot = table.get_mut(number as u32 as usize).and_then(Option::as_mut);
        slot.ok_or(Errno::EBADF)?.close_on_exec = on;
        Ok(())
    }
}

fn set(
    table: &mut Vec<Option<Descriptor>>,
    number: usize,
    descriptor: Option<Descriptor>,
) -> Option<Descriptor> {
    if table.len() <= number {
        table.resize(number + 1, None);
    }
    std::mem::replace(&mut table[number], descriptor)
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Drops a use of a description; the last one tells the other end of a pipe. Every use ends
    /// here, those of calls under way too, or a reader could wait for a writer that has gone.
    pub fn close(&self, descriptor: Descriptor) {
        let Some(file) = Arc::into_inner(descriptor.file) else { return };
        let FileKind::Pipe { id, token, .. } = file.kind else { return };
        let mut state = self.lock();
        drop(token);
        if state.pipes.get(&id).is_some_and(|pipe| !pipe.has_readers() && !pipe.has_writers()) {
            state.pipes.remove(&id);
        }
        self.wake_where(&mut state, |wait| wait.is_for_pipe(id));
    }

    /// Closes what a process has open, when this was the last to use the table.
    pub fn close_all(&self, files: Arc<Files>) {
        if let Some(files) = Arc::into_inner(files) {
            let table = files.0.into_inner().unwrap_or_else(PoisonError::into_inner);
            for descriptor in table.into_iter().flatten() {
                self.close(descriptor);
            }
        }
    }
}
