//! `--trace`: a line on standard error for each call or each fault.
//!
//! Lines are whole, whoever writes at the same time, and a standard error that is closed or full
//! stops nothing.

use std::io::Write;

use syscalls::riscv64::Sysno;
use vmspace::format::Format;
use vmspace::{Access, FaultError};

use crate::Trace;
use crate::calls::{Outcome, Stop};
use crate::kernel::Kernel;
use crate::signal::Info;
use crate::task::Task;

/// Writes one line.
pub(crate) fn line(text: String) {
    // Nobody is there to hear that nobody is there.
    let _ = std::io::stderr().write_all((text + "\n").as_bytes());
}

/// A system call and what became of it.
pub(crate) fn call<F: Format>(
    kernel: &Kernel<'_, F>,
    task: &Task<'_, F>,
    call: Option<Sysno>,
    number: u64,
    args: &[u64; 6],
    outcome: Outcome,
) {
    if kernel.trace != Some(Trace::Calls) {
        return;
    }
    let name = call.map_or_else(|| format!("call {number}"), |call| call.name().to_string());
    let args: Vec<String> = args[..arity(call)].iter().map(|n| argument(*n)).collect();
    let result = match outcome {
        Ok(value) => argument(value),
        Err(Stop::Errno(errno)) => match errno.name_and_description() {
            Some((name, text)) => format!("-1 {name} ({text})"),
            None => format!("-1 errno {}", errno.into_raw()),
        },
        Err(Stop::Parked) => "? waits".to_string(),
        Err(Stop::Yield | Stop::Replaced) => "0".to_string(),
        Err(Stop::Resumed | Stop::Exit(_) | Stop::Dying) => "?".to_string(),
    };
    line(format!("[{}] {name}({}) = {result}", task.id, args.join(", ")));
}

/// Small numbers, and small negative ones, are decimal; the rest looks like an address.
fn argument(value: u64) -> String {
    match value.cast_signed() {
        small @ -4096..=65_535 => small.to_string(),
        _ if value >> 32 == 0xffff_ffff => (value as i32).to_string(),
        _ => format!("{value:#x}"),
    }
}

/// How many arguments a call has.
fn arity(call: Option<Sysno>) -> usize {
    use Sysno as S;
    let Some(call) = call else { return 6 };
    match call {
        S::getpid | S::gettid | S::getppid | S::getuid | S::geteuid | S::getgid | S::getegid => 0,
        S::sched_yield | S::setsid | S::rt_sigreturn => 0,
        S::brk | S::exit | S::exit_group | S::close | S::dup | S::set_tid_address => 1,
        S::uname | S::sysinfo | S::times | S::getpgid | S::getsid | S::umask => 1,
        S::munmap | S::fstat | S::kill | S::tkill | S::nanosleep | S::clock_gettime => 2,
        S::clock_getres | S::gettimeofday | S::set_robust_list | S::sigaltstack | S::pipe2 => 2,
        S::getrlimit | S::getrusage | S::setpgid | S::getcwd | S::rt_sigsuspend => 2,
        S::read | S::write | S::readv | S::writev | S::mprotect | S::madvise | S::ioctl => 3,
        S::fcntl | S::lseek | S::dup3 | S::tgkill | S::getrandom | S::sched_getaffinity => 3,
        S::membarrier | S::getcpu | S::get_robust_list | S::riscv_flush_icache => 3,
        S::wait4 | S::rt_sigaction | S::rt_sigprocmask | S::prlimit64 | S::newfstatat => 4,
        S::readlinkat | S::openat | S::clock_nanosleep | S::rt_sigtimedwait | S::rseq => 4,
        S::clone | S::waitid | S::mremap | S::ppoll | S::prctl | S::riscv_hwprobe => 5,
        S::clone3 => 2,
        _ => 6,
    }
}

/// A page fault and how it was resolved.
pub(crate) fn fault<F: Format>(
    kernel: &Kernel<'_, F>,
    task: &Task<'_, F>,
    address: u64,
    access: Access,
    result: &Result<(), FaultError>,
) {
    if kernel.trace != Some(Trace::Faults) {
        return;
    }
    let result = match result {
        Ok(()) => "resolved".to_string(),
        Err(error) => format!("{error:?}"),
    };
    let (id, pc) = (task.id, task.registers.pc);
    line(format!("[{id}] fault: {access:?} at {address:#x}, pc {pc:#x}: {result}"));
}

/// A signal that the machine itself sends.
pub(crate) fn signal<F: Format>(kernel: &Kernel<'_, F>, task: &Task<'_, F>, info: &Info) {
    if kernel.trace.is_some() {
        let (id, pc) = (task.id, task.registers.pc);
        line(format!("[{id}] signal {} at {:#x}, pc {pc:#x}", info.signal, info.address));
    }
}
