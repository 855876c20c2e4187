//! The calls about files, by their numbers, and what they answer: as in the manual pages.
#![allow(missing_docs)]

use crate::syscall::{self, Errno};
use core::ffi::CStr;

pub const CREATE: usize = 0o100;
pub const EXCLUSIVE: usize = 0o200;
pub const TRUNCATE: usize = 0o1000;
pub const APPEND: usize = 0o2000;
pub const DIRECTORY: usize = 0o200_000;
pub const NOFOLLOW: usize = 0o400_000;
pub const WRITE_ONLY: usize = 1;
pub const READ_WRITE: usize = 2;

pub const EPERM: Errno = Errno(1);
pub const ENOENT: Errno = Errno(2);
pub const ENXIO: Errno = Errno(6);
pub const EBADF: Errno = Errno(9);
pub const EAGAIN: Errno = Errno(11);
pub const EACCES: Errno = Errno(13);
pub const EFAULT: Errno = Errno(14);
pub const EBUSY: Errno = Errno(16);
pub const EEXIST: Errno = Errno(17);
pub const EXDEV: Errno = Errno(18);
pub const ENODEV: Errno = Errno(19);
pub const ENOTDIR: Errno = Errno(20);
pub const EISDIR: Errno = Errno(21);
pub const EINVAL: Errno = Errno(22);
pub const EMFILE: Errno = Errno(24);
pub const ENOSPC: Errno = Errno(28);
pub const ESPIPE: Errno = Errno(29);
pub const EDEADLK: Errno = Errno(35);
pub const ERANGE: Errno = Errno(34);
pub const ENAMETOOLONG: Errno = Errno(36);
pub const ENOTEMPTY: Errno = Errno(39);
pub const ELOOP: Errno = Errno(40);
pub const EOVERFLOW: Errno = Errno(75);

pub const HERE: usize = -100isize as usize;

pub type Answer = Result<usize, Errno>;

/// A call by its number. The arguments' memory is the caller's, shared or mapped for it.
pub fn call(number: usize, arguments: [usize; 6]) -> Answer {
    // SAFETY: the program passes buffers of its own that the call may fill, or addresses that the
    // call refuses.
    syscall::result(unsafe { syscall::raw(number, arguments) })
}

fn at(path: &CStr) -> usize {
    path.as_ptr() as usize
}

pub fn open(path: &CStr, flags: usize) -> Answer {
    call(56, [HERE, at(path), flags, 0o644, 0, 0])
}

pub fn close(file: usize) -> Answer {
    call(57, [file, 0, 0, 0, 0, 0])
}

pub fn mkdir(path: &CStr) -> Answer {
    call(34, [HERE, at(path), 0o755, 0, 0, 0])
}

pub fn unlink(path: &CStr) -> Answer {
    call(35, [HERE, at(path), 0, 0, 0, 0])
}

pub fn rmdir(path: &CStr) -> Answer {
    call(35, [HERE, at(path), 0x200, 0, 0, 0])
}

pub fn symlink(target: &CStr, path: &CStr) -> Answer {
    call(36, [at(target), HERE, at(path), 0, 0, 0])
}

pub fn link(path: &CStr, other: &CStr) -> Answer {
    call(37, [HERE, at(path), HERE, at(other), 0, 0])
}

pub fn rename(path: &CStr, other: &CStr, flags: usize) -> Answer {
    call(276, [HERE, at(path), HERE, at(other), flags, 0])
}

pub fn chdir(path: &CStr) -> Answer {
    call(49, [at(path), 0, 0, 0, 0, 0])
}

pub fn getcwd(buffer: &mut [u8]) -> Answer {
    call(17, [buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0, 0])
}

pub fn readlink(path: &CStr, buffer: &mut [u8]) -> Answer {
    call(78, [HERE, at(path), buffer.as_mut_ptr() as usize, buffer.len(), 0, 0])
}

pub fn read(file: usize, buffer: &mut [u8]) -> Answer {
    call(63, [file, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0])
}

pub fn write(file: usize, bytes: &[u8]) -> Answer {
    call(64, [file, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0])
}

pub fn pread(file: usize, buffer: &mut [u8], offset: usize) -> Answer {
    call(67, [file, buffer.as_mut_ptr() as usize, buffer.len(), offset, 0, 0])
}

pub fn pwrite(file: usize, bytes: &[u8], offset: usize) -> Answer {
    call(68, [file, bytes.as_ptr() as usize, bytes.len(), offset, 0, 0])
}

pub fn seek(file: usize, offset: isize, whence: usize) -> Answer {
    call(62, [file, offset as usize, whence, 0, 0, 0])
}

pub fn truncate(file: usize, length: usize) -> Answer {
    call(46, [file, length, 0, 0, 0, 0])
}

pub fn entries(file: usize, buffer: &mut [u8]) -> Answer {
    call(61, [file, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0])
}

pub fn map(file: usize, length: usize, rights: usize, flags: usize, offset: usize) -> Answer {
    call(222, [0, length, rights, flags, file, offset])
}

pub fn sync(address: usize, length: usize, flags: usize) -> Answer {
    call(227, [address, length, flags, 0, 0, 0])
}

pub fn memory_file(name: &CStr) -> Answer {
    call(279, [at(name), 0, 0, 0, 0, 0])
}

/// What fstat says: mode, links, size.
pub fn stat(file: usize) -> Result<(u32, u32, u64), Errno> {
    let mut words = [0u64; 16];
    call(80, [file, words.as_mut_ptr() as usize, 0, 0, 0, 0])?;
    Ok((words[2] as u32, (words[2] >> 32) as u32, words[6]))
}

/// A fresh file for reading and writing.
pub fn fresh(path: &CStr) -> usize {
    match open(path, READ_WRITE | CREATE | TRUNCATE) {
        Ok(file) => file,
        Err(error) => crate::fail!("open of a fresh file {path:?}: {error}"),
    }
}
