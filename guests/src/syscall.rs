//! The system calls: one function in assembly, and a typed wrapper for each call that programs use.

use core::arch::asm;
use core::ffi::CStr;
use core::fmt;
use core::sync::atomic::AtomicU32;

/// An error number that a call returned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "error {}", self.0)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[allow(missing_docs)]
impl Errno {
    pub const ENOENT: Errno = Errno(2);
    pub const E2BIG: Errno = Errno(7);
    pub const ENOEXEC: Errno = Errno(8);
    pub const EPERM: Errno = Errno(1);
    pub const EBADF: Errno = Errno(9);
    pub const ECHILD: Errno = Errno(10);
    pub const EAGAIN: Errno = Errno(11);
    pub const ENOMEM: Errno = Errno(12);
    pub const EACCES: Errno = Errno(13);
    pub const EFAULT: Errno = Errno(14);
    pub const EEXIST: Errno = Errno(17);
    pub const EINVAL: Errno = Errno(22);
    pub const ENAMETOOLONG: Errno = Errno(36);
}

/// The numbers of riscv64 Linux.
#[allow(missing_docs)]
pub mod nr {
    pub const FCNTL: usize = 25;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const EXIT: usize = 93;
    pub const EXIT_GROUP: usize = 94;
    pub const FUTEX: usize = 98;
    pub const CLOCK_GETTIME: usize = 113;
    pub const KILL: usize = 129;
    pub const TGKILL: usize = 131;
    pub const SIGALTSTACK: usize = 132;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGPENDING: usize = 136;
    pub const GETPID: usize = 172;
    pub const GETTID: usize = 178;
    pub const MUNMAP: usize = 215;
    pub const MREMAP: usize = 216;
    pub const MSYNC: usize = 227;
    pub const MLOCK: usize = 228;
    pub const MUNLOCK: usize = 229;
    pub const MLOCKALL: usize = 230;
    pub const MUNLOCKALL: usize = 231;
    pub const MINCORE: usize = 232;
    pub const MLOCK2: usize = 284;
    pub const MSEAL: usize = 462;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const MMAP: usize = 222;
    pub const MPROTECT: usize = 226;
    pub const MADVISE: usize = 233;
    pub const RISCV_FLUSH_ICACHE: usize = 259;
    pub const WAIT4: usize = 260;
    pub const EXECVEAT: usize = 281;
}

#[allow(missing_docs)]
pub mod prot {
    pub const NONE: usize = 0;
    pub const READ: usize = 1;
    pub const WRITE: usize = 2;
    pub const EXEC: usize = 4;
    pub const RW: usize = READ | WRITE;
}

#[allow(missing_docs)]
pub mod flag {
    pub const SHARED: usize = 0x01;
    pub const PRIVATE: usize = 0x02;
    pub const FIXED: usize = 0x10;
    pub const ANONYMOUS: usize = 0x20;
    pub const NORESERVE: usize = 0x4000;
    pub const FIXED_NOREPLACE: usize = 0x10_0000;
}

/// mremap's flags.
#[allow(missing_docs)]
pub mod remap {
    pub const MAYMOVE: usize = 1;
    pub const FIXED: usize = 2;
    pub const DONTUNMAP: usize = 4;
}

/// `MADV_DONTNEED`.
pub const DONTNEED: usize = 4;

/// Any call with any arguments; the bare result.
///
/// # Safety
/// The call may change any memory and any mapping: the caller knows that nothing it holds is hurt.
pub unsafe fn raw(nr: usize, a: [usize; 6]) -> isize {
    let result;
    // SAFETY: an ecall changes a0 and memory, and otherwise what the caller answers for.
    unsafe {
        asm!("ecall",
            inlateout("a0") a[0] => result, in("a1") a[1], in("a2") a[2],
            in("a3") a[3], in("a4") a[4], in("a5") a[5], in("a7") nr,
            options(nostack));
    }
    result
}

/// A result of [`raw`] as Rust has it: -4095 to -1 are errors.
pub fn result(value: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&value) { Err(Errno(-value as i32)) } else { Ok(value as usize) }
}

/// A call that changes no memory that Rust knows of: of the memory calls, those on a [`Map`](crate::Map).
fn call(nr: usize, a: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: private to this file; each use below is a call as described.
    result(unsafe { raw(nr, a) })
}

/// Writes bytes to a file; how many were written.
pub fn write(fd: usize, bytes: &[u8]) -> Result<usize, Errno> {
    call(nr::WRITE, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0])
}

/// Ends this thread.
pub fn exit(status: i32) -> ! {
    let _ = call(nr::EXIT, [status as usize, 0, 0, 0, 0, 0]);
    unreachable!("exit returned")
}

/// Ends this process.
pub fn exit_group(status: i32) -> ! {
    loop {
        let _ = call(nr::EXIT_GROUP, [status as usize, 0, 0, 0, 0, 0]);
    }
}

/// Sleeps while the word holds `value`; may wake early. Shared, not private: also between processes.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    let _ = call(nr::FUTEX, [word.as_ptr() as usize, 0, value as usize, 0, 0, 0]);
}

/// Wakes up to `count` sleepers on the word.
pub fn futex_wake(word: &AtomicU32, count: usize) {
    let _ = call(nr::FUTEX, [word.as_ptr() as usize, 1, count, 0, 0, 0]);
}

/// The monotonic clock: seconds and nanoseconds.
pub fn clock_gettime(time: &mut [u64; 2]) -> Result<(), Errno> {
    call(nr::CLOCK_GETTIME, [1, time.as_mut_ptr() as usize, 0, 0, 0, 0]).map(drop)
}

/// This process's number.
pub fn getpid() -> usize {
    call(nr::GETPID, [0; 6]).unwrap_or(0)
}

/// This thread's number.
pub fn gettid() -> usize {
    call(nr::GETTID, [0; 6]).unwrap_or(0)
}

/// Goes on as another program, with at most fifteen arguments and one string as its environment;
/// returns only when that fails.
pub fn execve(path: &CStr, arguments: &[&CStr], environment: &CStr) -> Errno {
    let mut argv = [core::ptr::null(); 16];
    assert!(arguments.len() < argv.len(), "too many arguments");
    argv.iter_mut().zip(arguments).for_each(|(to, string)| *to = string.as_ptr());
    let envp = [environment.as_ptr(), core::ptr::null()];
    let args = [path.as_ptr() as usize, argv.as_ptr() as usize, envp.as_ptr() as usize, 0, 0, 0];
    call(nr::EXECVE, args).err().unwrap_or(Errno(0))
}

/// Makes a pipe: the end to read from, the end to write to.
pub fn pipe2(flags: usize) -> Result<[i32; 2], Errno> {
    let mut ends = [0; 2];
    call(nr::PIPE2, [ends.as_mut_ptr() as usize, flags, 0, 0, 0, 0])?;
    Ok(ends)
}

/// Reads bytes from a file; how many there were.
pub fn read(fd: usize, bytes: &mut [u8]) -> Result<usize, Errno> {
    call(nr::READ, [fd, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0, 0])
}

/// Whether a descriptor is closed when another program is executed.
pub fn close_on_exec(fd: usize) -> Result<bool, Errno> {
    const F_GETFD: usize = 1;
    call(nr::FCNTL, [fd, F_GETFD, 0, 0, 0, 0]).map(|flags| flags & 1 != 0)
}

/// Sends this process a signal.
pub fn kill_self(signal: usize) {
    let _ = call(nr::KILL, [getpid(), signal, 0, 0, 0, 0]);
}

/// Maps anonymous memory; where it is.
pub fn mmap(at: usize, len: usize, prot: usize, flags: usize) -> Result<usize, Errno> {
    call(nr::MMAP, [at, len, prot, flags | flag::ANONYMOUS, usize::MAX, 0])
}

/// Unmaps.
pub fn munmap(at: usize, len: usize) -> Result<(), Errno> {
    call(nr::MUNMAP, [at, len, 0, 0, 0, 0]).map(drop)
}

/// Changes rights.
pub fn mprotect(at: usize, len: usize, prot: usize) -> Result<(), Errno> {
    call(nr::MPROTECT, [at, len, prot, 0, 0, 0]).map(drop)
}

/// Moves a mapping, or changes its length; where it is then.
pub fn mremap(at: usize, old: usize, new: usize, flags: usize, to: usize) -> Result<usize, Errno> {
    call(nr::MREMAP, [at, old, new, flags, to, 0])
}

/// Gives advice.
pub fn madvise(at: usize, len: usize, advice: usize) -> Result<(), Errno> {
    call(nr::MADVISE, [at, len, advice, 0, 0, 0]).map(drop)
}

/// Whether each page is in memory, a byte each.
pub fn mincore(at: usize, len: usize, into: &mut [u8]) -> Result<(), Errno> {
    call(nr::MINCORE, [at, len, into.as_mut_ptr() as usize, 0, 0, 0]).map(drop)
}

/// Any of mlock, munlock, mlock2, mseal, msync: address, length and flags.
pub fn about(nr: usize, at: usize, len: usize, flags: usize) -> Result<(), Errno> {
    call(nr, [at, len, flags, 0, 0, 0]).map(drop)
}

/// mlockall or munlockall.
pub fn about_all(nr: usize, flags: usize) -> Result<(), Errno> {
    call(nr, [flags, 0, 0, 0, 0, 0]).map(drop)
}

/// Forks: the child's number in the parent, 0 in the child.
pub fn fork() -> Result<usize, Errno> {
    const SIGCHLD: usize = 17;
    call(nr::CLONE, [SIGCHLD, 0, 0, 0, 0, 0])
}

/// Waits for the end of a child (-1: of any): its number and status.
pub fn wait4(pid: isize) -> Result<(usize, i32), Errno> {
    let mut status = 0i32;
    let pid = call(nr::WAIT4, [pid as usize, &raw mut status as usize, 0, 0, 0, 0])?;
    Ok((pid, status))
}

/// Makes code that was written visible to every thread of the process.
pub fn flush_icache(start: usize, end: usize) -> Result<(), Errno> {
    call(nr::RISCV_FLUSH_ICACHE, [start, end, 0, 0, 0, 0]).map(drop)
}
