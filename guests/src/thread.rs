//! Threads: `run` starts some, each with the same closure and its own number, and joins them all;
//! `vfork` starts a process that shares memory.

use crate::syscall::{self, Errno, flag, futex_wait, nr, prot, result};
use crate::{Map, fail, page_size};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering::*};

/// VM, FS, FILES, SIGHAND, THREAD, SYSVSEM: what Linux (and qemu) want of a thread; CHILD_CLEARTID: at
/// the thread's end the kernel clears its word and wakes the one who joins.
const THREAD: usize = 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000 | 0x4_0000 | 0x20_0000;

const STACK: usize = 64 << 10;

/// At the top of a thread's stack: what it is to do, and the word that says that it still runs.
#[repr(C, align(16))]
struct Seat<F> {
    work: *const F,
    index: usize,
    running: AtomicU32,
}

extern "C" fn enter<F: Fn(usize)>(seat: *const Seat<F>) -> ! {
    // SAFETY: `run` wrote the seat, and neither it nor the closure goes before this thread is joined.
    let (work, index) = unsafe { (&*(*seat).work, (*seat).index) };
    work(index);
    syscall::exit(0)
}

/// Runs `work(0)` to `work(count - 1)`, each on a thread of its own; returns when all have ended.
pub fn run<F: Fn(usize) + Sync>(count: usize, work: F) {
    // Below each stack lies a page without rights, so that an overflow kills instead of corrupting.
    let stack = STACK.div_ceil(page_size());
    let stacks = Map::new(count * (stack + 1), prot::NONE, flag::PRIVATE);
    let seat = |index: usize| {
        let top = stacks.address(index * (stack + 1)) + (stack + 1) * page_size();
        (top - size_of::<Seat<F>>()) as *mut Seat<F>
    };
    for index in 0..count {
        let first = index * (stack + 1) + 1;
        stacks.protect(first..first + stack, prot::RW);
        // SAFETY: the seat is aligned and lies in this thread's stack, which nobody uses yet.
        let started = unsafe {
            seat(index).write(Seat { work: &work, index, running: AtomicU32::new(1) });
            clone(THREAD, seat(index))
        };
        if let Err(error) = result(started) {
            fail!("thread {index} of {count}: clone: {error}");
        }
    }
    for index in 0..count {
        // SAFETY: written above; the kernel only clears it.
        let running = unsafe { &(*seat(index)).running };
        while running.load(Acquire) != 0 {
            futex_wait(running, 1);
        }
    }
    stacks.free();
}

/// Runs `work` as a child process that shares this one's memory, which waits until the child ends or
/// executes a program (vfork): the child's number.
pub fn vfork<F: Fn(usize)>(work: F) -> Result<usize, Errno> {
    const VFORK: usize = 0x100 | 0x4000 | 17;
    let pages = STACK.div_ceil(page_size());
    let stack = Map::private(pages);
    let seat = (stack.address(0) + pages * page_size() - size_of::<Seat<F>>()) as *mut Seat<F>;
    // SAFETY: the seat is aligned and lies in a fresh stack, and this process waits for the child.
    let started = unsafe {
        seat.write(Seat { work: &work, index: 0, running: AtomicU32::new(0) });
        clone(VFORK, seat)
    };
    stack.free();
    result(started)
}

/// Starts a thread on the stack below its seat.
///
/// # Safety
/// The seat is written, lies at the top of a stack, and outlives the thread, as does what it points to.
unsafe fn clone<F: Fn(usize)>(flags: usize, seat: *mut Seat<F>) -> isize {
    let started;
    // SAFETY: the new thread has a copy of the registers and its own sp; it never comes back here.
    unsafe {
        asm!("ecall",
            "bnez a0, 2f",
            "mv a0, sp",
            "jr {enter}",
            "2:",
            enter = in(reg) enter::<F> as extern "C" fn(*const Seat<F>) -> !,
            inlateout("a0") flags => started, in("a1") seat, in("a2") 0, in("a3") 0,
            in("a4") &raw const (*seat).running, in("a7") nr::CLONE);
    }
    started
}
