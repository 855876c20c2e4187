//! Calls that move bytes between files and the program's memory.
//!
//! Guarantee: regular files, devices and /proc never wait; for others see `stream`. Bytes go through a
//! buffer of ours, so the program's memory is touched with no lock of the file held but that of its
//! position and of its writers; a fault on a page of the same file takes neither.

use vmspace::format::Format;

use super::{Call, Outcome};
use crate::Errno;
use crate::files::{Description, FileKind, flag};

/// Bytes moved at a time.
pub(super) const CHUNK: usize = 64 << 10;
const IOV_MAX: u64 = 1024;
/// The most that one call moves on Linux.
const MAX_RW: u64 = 0x7fff_f000;

/// Parts of the guest's memory, in order.
pub(super) type Parts = Vec<(u64, u64)>;

impl<F: Format> Call<'_, '_, F> {
    /// `read` and `write`.
    pub(super) fn read_write(&mut self, write: bool) -> Outcome {
        let [_, address, length, ..] = self.args;
        self.transfer(vec![(address, length.min(MAX_RW))], write, None)
    }

    /// `readv` and `writev`.
    pub(super) fn vector(&mut self, write: bool) -> Outcome {
        let parts = self.parts()?;
        self.transfer(parts, write, None)
    }

    /// `pread64` and `pwrite64`.
    pub(super) fn at_offset(&mut self, write: bool) -> Outcome {
        let [_, address, length, offset, ..] = self.args;
        self.transfer(vec![(address, length.min(MAX_RW))], write, Some(offset))
    }

    /// `preadv` and `pwritev`; the offset's high half is not used on 64-bit machines.
    pub(super) fn vector_at_offset(&mut self, write: bool) -> Outcome {
        let offset = self.args[3];
        let parts = self.parts()?;
        self.transfer(parts, write, Some(offset))
    }

    /// `preadv2` and `pwritev2`: offset -1 is the file's own position; no flags are there.
    pub(super) fn vector_with_flags(&mut self, write: bool) -> Outcome {
        let [_, _, _, offset, _, flags] = self.args;
        if flags != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let parts = self.parts()?;
        self.transfer(parts, write, Some(offset).filter(|offset| *offset != u64::MAX))
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

    /// Moves bytes between a file and parts of memory, at the file's position or at an offset.
    fn transfer(&mut self, parts: Parts, write: bool, offset: Option<u64>) -> Outcome {
        if offset.is_some_and(|offset| offset > i64::MAX as u64) {
            return Err(Errno::EINVAL.into());
        }
        let number = self.args[0];
        self.with_file(number, |call, file| {
            if !(if write { file.is_writable() } else { file.is_readable() }) {
                return Err(Errno::EBADF.into());
            }
            match &file.kind {
                FileKind::Standard(_) | FileKind::Pipe { .. } if offset.is_some() => {
                    Err(Errno::ESPIPE.into())
                }
                FileKind::Standard(_) | FileKind::Pipe { .. } => call.stream(file, &parts, write),
                FileKind::Directory(..) => Err(Errno::EISDIR.into()),
                FileKind::File(inode) if write => {
                    let _writing = inode.writing();
                    Ok(call.seekable(file, &parts, write, offset)?)
                }
                _ => Ok(call.seekable(file, &parts, write, offset)?),
            }
        })
    }

    /// Moves bytes of a file that never waits.
    fn seekable(
        &mut self,
        file: &Description,
        parts: &Parts,
        write: bool,
        offset: Option<u64>,
    ) -> Result<u64, Errno> {
        let mut position = offset.is_none().then(|| file.position());
        let mut at = offset.unwrap_or_else(|| position.as_deref().copied().unwrap_or(0));
        if let (FileKind::File(inode), true) = (&file.kind, write && file.has(flag::APPEND)) {
            at = inode.size()?;
        }
        let start = at;
        let result = parts
            .iter()
            .try_for_each(|&(address, length)| self.part(file, (address, length), write, &mut at));
        if let Some(position) = &mut position {
            **position = at;
        }
        match (at - start, result) {
            (0, Err(Some(errno))) => Err(errno),
            (moved, _) => Ok(moved),
        }
    }

    /// Moves one part, and `at` with it. An error ends the call; none of the errors is: no more.
    fn part(
        &mut self,
        file: &Description,
        (address, length): (u64, u64),
        write: bool,
        at: &mut u64,
    ) -> Result<(), Option<Errno>> {
        if let FileKind::Text(proc, _) = file.kind {
            proc.check_read(*at, length)?;
        }
        let mut done = 0;
        // A long transfer is no reason not to end with the run.
        while done < length && !self.kernel.is_over() {
            let mut bytes = vec![0; ((length - done) as usize).min(CHUNK)];
            let here = address.wrapping_add(done);
            let moved = match write {
                true => self.write_piece(file, here, &mut bytes, *at)?,
                false => self.read_piece(file, here, &mut bytes, *at)?,
            };
            *at += moved as u64;
            done += moved as u64;
            if moved < bytes.len() {
                return Err(None);
            }
        }
        Ok(())
    }

    fn read_piece(
        &mut self,
        file: &Description,
        address: u64,
        bytes: &mut [u8],
        at: u64,
    ) -> Result<usize, Errno> {
        let kernel = self.kernel;
        let read = match &file.kind {
            FileKind::File(inode) => kernel.read_at(self.ms, inode, at, bytes)?,
            FileKind::Device(device) => {
                device.read(bytes, |bytes| self.kernel.random.fill(bytes))?
            }
            FileKind::Text(proc, text) => {
                kernel.read_proc(self.ms, self.task, (*proc, text), at, bytes)?
            }
            _ => return Err(Errno::EBADF),
        };
        let put = self.store(address, &bytes[..read]);
        if put == 0 && read > 0 { Err(Errno::EFAULT) } else { Ok(put) }
    }

    fn write_piece(
        &mut self,
        file: &Description,
        address: u64,
        bytes: &mut [u8],
        at: u64,
    ) -> Result<usize, Errno> {
        let asked = bytes.len();
        let got = self.load(address, bytes);
        if got == 0 && asked > 0 {
            return Err(Errno::EFAULT);
        }
        let kernel = self.kernel;
        let written = match &file.kind {
            FileKind::File(inode) => {
                let room = (i64::MAX as u64).saturating_sub(at).min(got as u64) as usize;
                if room == 0 && got > 0 {
                    return Err(Errno::EFBIG);
                }
                kernel.write_at(self.ms, inode, at, &bytes[..room])?
            }
            FileKind::Device(device) => device.write(&bytes[..got])?,
            FileKind::Text(proc, _) => kernel.write_proc(*proc, &bytes[..got])?,
            _ => return Err(Errno::EBADF),
        };
        Ok(written)
    }
}
