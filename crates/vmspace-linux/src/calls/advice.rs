//! Calls about memory that map and unmap nothing: madvise, mincore, the mlock family, mseal, msync.

use vmspace::format::{Format, Geometry};
use vmspace::{Advice, LockAll};

use super::memory::errno;
use super::{Call, Outcome};
use crate::Errno;

const MADV_POPULATE_READ: u64 = 22;
const MADV_POPULATE_WRITE: u64 = 23;

const MLOCK_ONFAULT: u64 = 1;

const MCL_CURRENT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;

impl<F: Format> Call<'_, '_, F> {
    pub(super) fn madvise(&mut self) -> Outcome {
        let [address, length, number, ..] = self.args;
        self.kernel.counts.sample(self.kernel.vm);
        match (number, Advice::from_number(number)) {
            (MADV_POPULATE_READ | MADV_POPULATE_WRITE, _) => {
                let write = number == MADV_POPULATE_WRITE;
                self.task.space.populate(self.ms, address, length, write).map_err(errno)?;
            }
            (_, Some(advice)) => {
                if advice.stays() {
                    self.check_splits(address, length)?;
                }
                let space = &self.task.space;
                space.advise(self.ms, address, length, advice).map_err(errno)?;
            }
            _ => return Err(Errno::EINVAL.into()),
        }
        Ok(0)
    }

    pub(super) fn mincore(&mut self) -> Outcome {
        let [address, length, vector, ..] = self.args;
        if !address.is_multiple_of(F::PAGE_SIZE) {
            return Err(Errno::EINVAL.into());
        }
        let size = F::USER_PAGES << F::PAGE_SHIFT;
        if address > size || length > size - address {
            return Err(Errno::ENOMEM.into());
        }
        let pages = length.div_ceil(F::PAGE_SIZE);
        // As much at once as Linux does.
        let mut chunk = vec![0; pages.min(F::PAGE_SIZE) as usize];
        let mut done = 0;
        while done < pages {
            let part = &mut chunk[..(pages - done).min(F::PAGE_SIZE) as usize];
            let at = address + (done << F::PAGE_SHIFT);
            let there = self.task.space.residency(self.ms, at, part).map_err(errno)?;
            self.put(vector + done, &chunk[..there])?;
            done += there as u64;
            if there < chunk.len().min((pages - done + there as u64) as usize) {
                return Err(Errno::ENOMEM.into());
            }
        }
        Ok(0)
    }

    pub(super) fn mlock(&mut self, flags: u64) -> Outcome {
        let [address, length, ..] = self.args;
        if flags & !MLOCK_ONFAULT != 0 {
            return Err(Errno::EINVAL.into());
        }
        let on_fault = flags & MLOCK_ONFAULT != 0;
        self.check_splits(address, length)?;
        self.task.space.lock(self.ms, address, length, on_fault).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn munlock(&mut self) -> Outcome {
        let [address, length, ..] = self.args;
        self.check_splits(address, length)?;
        self.task.space.unlock(self.ms, address, length).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn mlockall(&mut self) -> Outcome {
        let flags = self.args[0];
        if flags & !(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let all = LockAll {
            current: flags & MCL_CURRENT != 0,
            future: flags & MCL_FUTURE != 0,
            on_fault: flags & MCL_ONFAULT != 0,
        };
        self.task.space.lock_all(self.ms, all).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn munlockall(&mut self) -> Outcome {
        self.task.space.unlock_all(self.ms).map_err(errno)?;
        Ok(0)
    }

    pub(super) fn mseal(&mut self) -> Outcome {
        let [address, length, flags, ..] = self.args;
        if flags != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.check_splits(address, length)?;
        self.task.space.seal(self.ms, address, length).map_err(errno)?;
        Ok(0)
    }
}
