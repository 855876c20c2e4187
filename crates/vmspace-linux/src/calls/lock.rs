//! Calls that lock files: the commands of fcntl(2), and flock(2).
//!
//! Guarantee: who must wait is parked, and looks again when a lock on the file has gone; a lock that
//! was taken while another thread closed the descriptor goes as on Linux.

use std::sync::Arc;

use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::files::locks::{Lock, Locked, Owner, deadlock};
use crate::files::{Description, FileKind};
use crate::kernel::State;
use crate::task::Wait;

const F_GETLK: u64 = 5;
const F_SETLKW: u64 = 7;
const F_OFD_GETLK: u64 = 36;
const F_OFD_SETLKW: u64 = 38;

const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;

const LOCK_SH: u64 = 1;
const LOCK_EX: u64 = 2;
const LOCK_NB: u64 = 4;
const LOCK_UN: u64 = 8;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// F_GETLK, F_SETLK, F_SETLKW and their open-file-description kin, on `struct flock`.
    pub(super) fn record_lock(&mut self, file: &Arc<Description>) -> Outcome {
        let [number, command, address, ..] = self.args;
        let mut words = self.get_words::<4>(address)?;
        let (kind, whence) = (words[0] as u16, (words[0] >> 16) as u16);
        let by_description = command >= F_OFD_GETLK;
        if by_description && words[3] as u32 != 0 {
            return Err(Errno::EINVAL.into());
        }
        let owner = match by_description {
            true => Owner::Description(Arc::as_ptr(file).addr()),
            false => Owner::Files(Arc::as_ptr(&self.task.files).addr()),
        };
        let FileKind::File(inode) = &file.kind else { return Err(Errno::EINVAL.into()) };
        let base = match whence {
            0 => 0,
            1 => *file.position(),
            2 => inode.size()?,
            _ => return Err(Errno::EINVAL.into()),
        };
        let (start, last) = range(base, words[1].cast_signed(), words[2].cast_signed())?;
        let write = kind == F_WRLCK;
        let lock = Lock { owner, process: self.task.process, start, last, write };
        let at = Locked { file: inode.identity(), whole: false };
        if command == F_GETLK || command == F_OFD_GETLK {
            if kind > F_WRLCK {
                return Err(Errno::EINVAL.into());
            }
            let conflict = self.kernel.lock().locks.conflict(at, &lock);
            tell(&mut words, conflict);
            self.put_words(address, &words)?;
            return Ok(0);
        }
        match kind {
            F_RDLCK if !file.is_readable() => return Err(Errno::EBADF.into()),
            F_WRLCK if !file.is_writable() => return Err(Errno::EBADF.into()),
            F_RDLCK | F_WRLCK => {
                self.take_lock(at, lock, command == F_SETLKW || command == F_OFD_SETLKW)?;
            }
            F_UNLCK => self.release_lock(at, &lock),
            _ => return Err(Errno::EINVAL.into()),
        }
        // Had the descriptor been closed meanwhile, the lock would stay behind.
        let again = self.task.files.get(number);
        let same = again.as_ref().is_ok_and(|again| Arc::ptr_eq(&again.file, file));
        if let Ok(again) = again {
            self.kernel.close(again);
        }
        if !same {
            self.release_lock(at, &lock);
        }
        Ok(0)
    }

    /// Takes a lock, or waits for it, or gives EAGAIN.
    fn take_lock(&mut self, at: Locked, lock: Lock, wait: bool) -> Result<(), Stop> {
        let mut state = self.kernel.lock();
        let Some(conflict) = state.locks.conflict(at, &lock) else {
            state.locks.take(at, lock)?;
            // A lock that became a weaker one, or a shorter one, lets others in.
            self.kernel.wake_lockers(&mut state, at.file);
            return Ok(());
        };
        if !wait {
            return Err(Errno::EAGAIN.into());
        }
        let classic = matches!(lock.owner, Owner::Files(_));
        if classic && deadlock(lock.owner, conflict.owner, |owner| waits_for(&state, owner)) {
            return Err(Errno::EDEADLK.into());
        }
        let wait = Wait::Lock { at, owner: lock.owner, blocker: conflict.owner };
        self.kernel.sleep(&mut state, self.task.id, wait, None);
        Err(Stop::Parked)
    }

    fn release_lock(&mut self, at: Locked, lock: &Lock) {
        let mut state = self.kernel.lock();
        if state.locks.release(at, lock.owner, lock.start, lock.last) {
            self.kernel.wake_lockers(&mut state, at.file);
        }
    }

    /// flock(2)
    pub(super) fn flock(&mut self) -> Outcome {
        let [number, operation, ..] = self.args;
        self.with_file(number, |call, file| {
            let FileKind::File(inode) = &file.kind else { return Err(Errno::EBADF.into()) };
            let at = Locked { file: inode.identity(), whole: true };
            let lock = Lock {
                owner: Owner::Description(Arc::as_ptr(file).addr()),
                process: call.task.process,
                start: 0,
                last: u64::MAX,
                write: operation & LOCK_EX != 0,
            };
            match operation & !LOCK_NB {
                LOCK_UN => call.release_lock(at, &lock),
                LOCK_SH | LOCK_EX => {
                    // A change of kind gives up the old lock first, as on Linux.
                    let waits = operation & LOCK_NB == 0;
                    call.take_lock(at, lock, waits)
                        .inspect_err(|_| call.release_lock(at, &lock))?;
                }
                _ => return Err(Errno::EINVAL.into()),
            }
            Ok(0)
        })
    }
}

/// Whom a thread of this owner waits for.
fn waits_for<F: Format>(state: &State<'_, F>, asked: Owner) -> Option<Owner> {
    state.threads.values().find_map(|thread| match thread.wait {
        Some(Wait::Lock { owner, blocker, .. }) if owner == asked => Some(blocker),
        _ => None,
    })
}

/// First and last byte: a negative length reaches backwards, 0 to the end.
fn range(base: u64, start: i64, length: i64) -> Result<(u64, u64), Errno> {
    let base = i64::try_from(base).map_err(|_| Errno::EOVERFLOW)?;
    let start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    let (first, last) = match length {
        0 => (start, i64::MAX),
        1.. => (start, start.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?),
        _ => (start.checked_add(length).ok_or(Errno::EINVAL)?, start - 1),
    };
    if first < 0 {
        return Err(Errno::EINVAL);
    }
    Ok((first.cast_unsigned(), last.cast_unsigned()))
}

/// Writes what is in the way into a `struct flock`, or that nothing is.
fn tell(words: &mut [u64; 4], conflict: Option<Lock>) {
    let kind = |words: &mut [u64; 4], kind: u16| words[0] = words[0] & !0xffff | u64::from(kind);
    let Some(lock) = conflict else { return kind(words, F_UNLCK) };
    let whole = lock.last >= i64::MAX as u64;
    let process = match lock.owner {
        Owner::Files(_) => lock.process,
        Owner::Description(_) => -1,
    };
    // l_whence is SEEK_SET.
    words[0] &= !0xffff_ffff;
    kind(words, if lock.write { F_WRLCK } else { F_RDLCK });
    words[1] = lock.start;
    words[2] = if whole { 0 } else { lock.last - lock.start + 1 };
    words[3] = words[3] & !0xffff_ffff | u64::from(process.cast_unsigned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_linuxs() {
        assert_eq!(range(0, 10, 5), Ok((10, 14)));
        assert_eq!(range(100, 10, 0), Ok((110, i64::MAX as u64)));
        assert_eq!(range(0, 10, -5), Ok((5, 9)));
        assert_eq!(range(0, 3, -5), Err(Errno::EINVAL));
        assert_eq!(range(0, -1, 5), Err(Errno::EINVAL));
        assert_eq!(range(0, i64::MAX, 5), Err(Errno::EOVERFLOW));
    }
}
