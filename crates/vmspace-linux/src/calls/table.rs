//! The table of system calls, by family.
//!
//! Numbers and names are Linux's generic ones, from the `syscalls` crate. A call that is in no
//! family gives ENOSYS; who asks counts it by name.

use syscalls::riscv64::Sysno;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;

impl<F: Format> Call<'_, '_, F> {
    /// Makes the call.
    pub fn make(&mut self, call: Option<Sysno>) -> Outcome {
        let Some(call) = call else { return Err(Errno::ENOSYS.into()) };
        self.about_memory(call)
            .or_else(|| self.about_processes(call))
            .or_else(|| self.about_signals(call))
            .or_else(|| self.about_descriptors(call))
            .or_else(|| self.about_files(call))
            .or_else(|| self.about_names(call))
            .or_else(|| self.about_time(call))
            .or_else(|| self.about_identity(call))
            .or_else(|| self.about_system(call))
            .unwrap_or(Err(Errno::ENOSYS.into()))
    }

    /// Memory.
    fn about_memory(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// Programs, processes and threads.
    fn about_processes(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// Signals.
    fn about_signals(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// Descriptors, and bytes through them.
    fn about_descriptors(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// Open files.
    fn about_files(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            Sysno::sync_file_range => self.sync_file_range(),
            Sysno::fadvise64 => self.fadvise(),
            Sysno::readahead => self.readahead(),
            _ => return None,
        })
    }

    /// Names of files.
    fn about_names(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// Time.
    fn about_time(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
            Sysno::clock_gettime => self.clock_gettime(),
            Sysno::clock_getres => self.clock_getres(),
            Sysno::gettimeofday => self.gettimeofday(),
            Sysno::times => self.times(),
            Sysno::nanosleep => self.nanosleep(),
            Sysno::clock_nanosleep => self.clock_nanosleep(),
            _ => return None,
        })
    }

    /// Who the process is.
    fn about_identity(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
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
            _ => return None,
        })
    }

    /// The system as a whole.
    fn about_system(&mut self, call: Sysno) -> Option<Outcome> {
        Some(match call {
            Sysno::uname => self.uname(),
            Sysno::sysinfo => self.sysinfo(),
            Sysno::getrandom => self.getrandom(),
            Sysno::getrusage => self.getrusage(),
            Sysno::getrlimit => self.getrlimit(),
            Sysno::prlimit64 => self.prlimit64(),
            Sysno::prctl => self.prctl(),
            Sysno::swapon => self.swapon(),
            Sysno::swapoff => self.swapoff(),
            Sysno::getcpu => self.getcpu(),
            _ => return None,
        })
    }
}
