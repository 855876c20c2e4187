//! System calls: the table, and what all of them share.
//!
//! Guarantee: whatever a program passes, a call ends: with a value, with Linux's error, or parked
//! without a hart. Every pointer is the guest's and every access goes through the library's
//! tables, so a bad one is EFAULT; every length is bounded before anything is allocated for it. A
//! call that is not in the table gives ENOSYS and is counted by name.
//!
//! Numbers and names are Linux's generic ones, from the `syscalls` crate.

mod advice;
mod descriptor;
mod exec;
mod identity;
mod life;
mod lock;
mod map_file;
mod memory;
mod open;
mod path;
mod poll;
mod select;
mod signal;
mod status;
mod system;
mod time;

pub(crate) use time::EPOCH;
mod transfer;

pub(crate) use system::LOCK_LIMIT;

use syscalls::riscv64::Sysno;
use vmspace::MaySleep;
use vmspace::format::Format;

use crate::Errno;
use crate::kernel::Kernel;
use crate::task::Task;

/// A call being made.
pub(crate) struct Call<'a, 'vm, F: Format> {
    pub kernel: &'a Kernel<'vm, F>,
    pub task: &'a mut Task<'vm, F>,
    pub ms: &'a mut MaySleep,
    pub args: [u64; 6],
}

/// How a call ends other than with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// With an error.
    Errno(Errno),
    /// It waits; the kernel knows for what.
    Parked,
    /// With a value that others are let run before.
    Yield,
    /// The registers are as the thread shall find them.
    Resumed,
    /// The thread goes on as another program.
    Replaced,
    /// The thread ends.
    Exit(u8),
    /// The thread's process is ending.
    Dying,
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Stop {
        Stop::Errno(errno)
    }
}

/// A value or another end.
pub(crate) type Outcome = Result<u64, Stop>;

impl<F: Format> Call<'_, '_, F> {
    /// Makes the call.
    pub fn make(&mut self, call: Option<Sysno>) -> Outcome {
        let Some(call) = call else { return Err(Errno::ENOSYS.into()) };
        match call {
            Sysno::brk => self.brk(),
            Sysno::mmap => self.mmap(),
            Sysno::munmap => self.munmap(),
            Sysno::mprotect => self.mprotect(),
            Sysno::madvise => self.madvise(),
            Sysno::mremap => self.mremap(),
            Sysno::mincore => self.mincore(),
            Sysno::mlock => self.mlock(0),
            Sysno::mlock2 => self.mlock(self.args[2]),
            Sysno::munlock => self.munlock(),
            Sysno::mlockall => self.mlockall(),
            Sysno::munlockall => self.munlockall(),
            Sysno::mseal => self.mseal(),
            Sysno::msync => self.msync(),
            Sysno::membarrier => self.membarrier(),
            Sysno::riscv_flush_icache => self.flush_code(),

            Sysno::execve => self.execve(),
            Sysno::execveat => self.execveat(),
            Sysno::clone => self.clone(),
            Sysno::exit => Err(Stop::Exit(self.args[0] as u8)),
            Sysno::exit_group => self.exit_group(),
            Sysno::wait4 => self.wait4(),
            Sysno::waitid => self.waitid(),
            Sysno::set_tid_address => self.set_tid_address(),
            Sysno::set_robust_list => self.set_robust_list(),
            Sysno::get_robust_list => self.get_robust_list(),
            Sysno::futex => self.futex(),
            Sysno::sched_yield => Err(Stop::Yield),
            Sysno::sched_getaffinity => self.sched_getaffinity(),
            Sysno::sched_setaffinity => Ok(0),

            Sysno::rt_sigaction => self.rt_sigaction(),
            Sysno::rt_sigprocmask => self.rt_sigprocmask(),
            Sysno::rt_sigpending => self.rt_sigpending(),
            Sysno::rt_sigsuspend => self.rt_sigsuspend(),
            Sysno::rt_sigtimedwait => self.rt_sigtimedwait(),
            Sysno::rt_sigreturn => self.rt_sigreturn(),
            Sysno::sigaltstack => self.sigaltstack(),
            Sysno::kill => self.kill(),
            Sysno::tkill => self.tkill(None, self.args[0], self.args[1]),
            Sysno::tgkill => self.tkill(Some(self.args[0]), self.args[1], self.args[2]),

            Sysno::read | Sysno::write => self.read_write(call == Sysno::write),
            Sysno::readv | Sysno::writev => self.vector(call == Sysno::writev),
            Sysno::pread64 | Sysno::pwrite64 => self.at_offset(call == Sysno::pwrite64),
            Sysno::preadv | Sysno::pwritev => self.vector_at_offset(call == Sysno::pwritev),
            Sysno::preadv2 | Sysno::pwritev2 => self.vector_with_flags(call == Sysno::pwritev2),
            Sysno::close => self.close(),
            Sysno::close_range => self.close_range(),
            Sysno::dup => self.dup(),
            Sysno::dup3 => self.dup3(),
            Sysno::pipe2 => self.pipe2(),
            Sysno::fcntl => self.fcntl(),
            Sysno::flock => self.flock(),
            Sysno::ioctl => self.ioctl(),
            Sysno::ppoll => self.ppoll(),
            Sysno::pselect6 => self.pselect6(),

            Sysno::openat => self.openat(),
            Sysno::memfd_create => self.memfd_create(),
            Sysno::fstat => self.fstat(),
            Sysno::newfstatat => self.newfstatat(),
            Sysno::statx => self.statx(),
            Sysno::statfs => self.statfs(),
            Sysno::fstatfs => self.fstatfs(),
            Sysno::getdents64 => self.getdents64(),
            Sysno::lseek => self.lseek(),
            Sysno::ftruncate => self.ftruncate(),
            Sysno::truncate => self.truncate(),
            Sysno::fallocate => self.fallocate(),
            Sysno::fsync | Sysno::fdatasync => self.fsync(call == Sysno::fdatasync),
            Sysno::sync_file_range | Sysno::fadvise64 | Sysno::readahead => self.advice(),

            Sysno::mkdirat => self.mkdirat(),
            Sysno::mknodat => self.mknodat(),
            Sysno::unlinkat => self.unlinkat(),
            Sysno::renameat2 => self.renameat2(),
            Sysno::linkat => self.linkat(),
            Sysno::symlinkat => self.symlinkat(),
            Sysno::readlinkat => self.readlinkat(),
            Sysno::faccessat => self.faccessat(0),
            Sysno::faccessat2 => self.faccessat(self.args[3]),
            Sysno::fchmod => self.fchmod(),
            Sysno::fchmodat => self.fchmodat(0),
            Sysno::fchmodat2 => self.fchmodat(self.args[3]),
            Sysno::fchown => self.fchown(),
            Sysno::fchownat => self.fchownat(),
            Sysno::utimensat => self.utimensat(),
            Sysno::getcwd => self.getcwd(),
            Sysno::chdir => self.chdir(),
            Sysno::fchdir => self.fchdir(),
            Sysno::umask => Ok(self.task.place.set_mask(self.args[0])),

            Sysno::clock_gettime => self.clock_gettime(),
            Sysno::clock_getres => self.clock_getres(),
            Sysno::gettimeofday => self.gettimeofday(),
            Sysno::times => self.times(),
            Sysno::nanosleep => self.nanosleep(),
            Sysno::clock_nanosleep => self.clock_nanosleep(),

            Sysno::getpid => Ok(self.task.process.cast_unsigned().into()),
            Sysno::gettid => Ok(self.task.id.cast_unsigned().into()),
            Sysno::getppid => self.getppid(),
            Sysno::getpgid => self.getpgid(),
            Sysno::setpgid => self.setpgid(),
            Sysno::getsid => self.getsid(),
            Sysno::setsid => self.setsid(),
            Sysno::getuid | Sysno::geteuid | Sysno::getgid | Sysno::getegid => {
                Ok(crate::stack::ID.into())
            }
            Sysno::getgroups => Ok(0),

            Sysno::uname => self.uname(),
            Sysno::sysinfo => self.sysinfo(),
            Sysno::getrandom => self.getrandom(),
            Sysno::getrusage => self.getrusage(),
            Sysno::getrlimit => self.getrlimit(),
            Sysno::prlimit64 => self.prlimit64(),
            Sysno::prctl => self.prctl(),
            Sysno::getcpu => self.getcpu(),
            _ => Err(Errno::ENOSYS.into()),
        }
    }

    /// Copies bytes from the guest.
    pub fn get(&mut self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        match self.task.space.read(self.ms, address, into) == into.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// Copies bytes to the guest.
    pub fn put(&mut self, address: u64, from: &[u8]) -> Result<(), Errno> {
        match self.task.space.write(self.ms, address, from) == from.len() {
            true => Ok(()),
            false => Err(Errno::EFAULT),
        }
    }

    /// Copies words from the guest.
    pub fn get_words<const N: usize>(&mut self, address: u64) -> Result<[u64; N], Errno> {
        let mut words = [0; N];
        let mut bytes = vec![0; N * 8];
        self.get(address, &mut bytes)?;
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(words)
    }

    /// Copies words to the guest.
    pub fn put_words(&mut self, address: u64, words: &[u64]) -> Result<(), Errno> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(address, &bytes)
    }

    /// Copies a path from the guest, without its zero; ENAMETOOLONG beyond Linux's PATH_MAX.
    pub fn get_string(&mut self, address: u64) -> Result<Vec<u8>, Errno> {
        const PATH_MAX: usize = 4096;
        self.get_bounded(address, PATH_MAX)?.ok_or(Errno::ENAMETOOLONG)
    }

    /// Copies a string from the guest, without its zero; `None` when that is not among the first
    /// `most` bytes.
    pub fn get_bounded(&mut self, address: u64, most: usize) -> Result<Option<Vec<u8>>, Errno> {
        const PIECE: usize = 4096;
        let mut string = Vec::new();
        while string.len() < most {
            let mut piece = [0; PIECE];
            let piece = &mut piece[..PIECE.min(most - string.len())];
            let at = address.wrapping_add(string.len() as u64);
            let read = self.task.space.read(self.ms, at, piece);
            if let Some(end) = piece[..read].iter().position(|byte| *byte == 0) {
                string.extend(&piece[..end]);
                return Ok(Some(string));
            }
            if read < piece.len() {
                return Err(Errno::EFAULT);
            }
            string.extend(&*piece);
        }
        Ok(None)
    }
}
