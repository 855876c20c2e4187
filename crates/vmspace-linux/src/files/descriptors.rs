//! A process's table of descriptors.
//!
//! Guarantee: a process has at most [`MOST_FILES`] descriptors, and a new one gets the lowest free
//! number. Who takes a descriptor out of a table, or a copy of one, gives it to
//! [`Kernel::close`](crate::kernel::Kernel::close) in the end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Description, FileKind};
use crate::Errno;

/// RLIMIT_NOFILE.
pub(crate) const MOST_FILES: usize = 1024;

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
            let file = Description::new(FileKind::Standard(number), crate::host::access(number));
            open.then(|| Descriptor { file, close_on_exec: false })
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

    /// EMFILE when there is no number left: looked at before a file is made.
    pub fn check_room(&self) -> Result<(), Errno> {
        let table = self.lock();
        let free = (0..MOST_FILES).any(|n| table.get(n).is_none_or(Option::is_none));
        free.then_some(()).ok_or(Errno::EMFILE)
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

    /// The descriptors that are open, ascending.
    pub fn open(&self) -> Vec<(u64, Descriptor)> {
        let table = self.lock();
        let open = (0..).zip(table.iter());
        open.filter_map(|(number, slot)| Some((number, slot.clone()?))).collect()
    }

    /// All descriptors, out of the table that nobody uses any more.
    pub fn into_all(self) -> Vec<Descriptor> {
        let table = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        table.into_iter().flatten().collect()
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
