//! A hart at work: takes ready tasks and runs them, on a thread of its own or by turns with others.
//!
//! Guarantee: a thread that computes or makes calls without end is put behind the others after its
//! turn, so everybody comes to run; one that waits gives its hart away; whatever a program does ends its process at
//! most.
//!
//! A turn: attend to what waits for the thread, run it, serve its exit (a call, a fault, a trap).
//! The hart is outside all the while but for running.

use std::sync::atomic::Ordering;
use std::time::Duration;

use syscalls::riscv64::Sysno;
use vmspace::format::Format;
use vmspace::{FaultError, MaySleep, Vm};
use vmspace_machine::riscv::Exit;
use vmspace_machine::{HartContext, MachinePlatform};

use crate::calls::{Call, Stop};
use crate::kernel::{EndOnPanic, Ending, Kernel};
use crate::signal::{Action, Attend, Info, SIGBUS, SIGILL, SIGSEGV, SIGTRAP, SignalSet};
use crate::task::{Restart, Task, Wake};
use crate::{Errno, trace};

/// How far a task goes before others get their turn.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    pub instructions: u64,
    /// Loads and stores.
    pub accesses: u64,
}

impl Turn {
    /// On a hart that has a thread of its own, or where nobody else is to have a turn.
    pub const WHOLE: Turn = Turn { instructions: 100_000, accesses: u64::MAX };
}

/// What an exit counts for in a turn, in instructions: about what it takes to serve a call.
const EXIT: u64 = 1_000;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const ILL_ILLOPC: i32 = 1;
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;
const TRAP_BRKPT: i32 = 1;

/// What becomes of the task that a hart has run.
enum Next {
    /// It goes on, here.
    Go,
    /// Others first.
    Yield,
    /// It waits.
    Park,
    /// It ends, with this code.
    End(u8),
}

/// A hart at work.
pub(crate) struct Worker<'k, 'vm, F: Format> {
    kernel: &'k Kernel<'vm, F>,
    context: HartContext<'vm, Vm<MachinePlatform<F>>>,
    /// The changes of code that this hart has seen.
    code: u64,
}

/// Runs tasks on hart `index` until the run ends.
pub(crate) fn work<'vm, F: Format>(kernel: &Kernel<'vm, F>, index: usize) {
    let _guard = EndOnPanic(kernel);
    let Some(mut worker) = Worker::new(kernel, index) else {
        return kernel.end(&mut kernel.lock(), Ending::Broken);
    };
    // SAFETY: the thread is the hart's own and just begins: it holds no lock or guard of the
    // library, and this is the only `MaySleep` made on it.
    let mut ms = unsafe { MaySleep::assume() };
    while let Some(task) = kernel.next() {
        worker.take(&task);
        let mut left = Turn::WHOLE.instructions;
        let mut running = Some(task);
        while let Some(task) = running {
            let retired = worker.retired();
            running = worker.turn(&mut ms, task, Turn { instructions: left, ..Turn::WHOLE });
            left = left.saturating_sub(worker.retired() - retired + EXIT);
            if left == 0 {
                left = Turn::WHOLE.instructions;
                running = running.and_then(|task| kernel.give_way(task));
            }
        }
    }
}

impl<'k, 'vm, F: Format> Worker<'k, 'vm, F> {
    /// Hart `index`, on the calling thread.
    pub fn new(kernel: &'k Kernel<'vm, F>, index: usize) -> Option<Self> {
        let context = HartContext::new(kernel.vm, index)?;
        Some(Worker { kernel, context, code: 0 })
    }

    /// Goes over to a task.
    pub fn take(&mut self, task: &Task<'vm, F>) {
        self.context.load(&**task.space);
        self.context.hart.clear_reservation();
    }

    /// Makes the calling thread this hart's CPU.
    pub fn bind(&self) {
        self.context.bind();
    }

    /// Instructions run so far.
    pub fn retired(&self) -> u64 {
        self.context.hart.retired()
    }

    /// Lets the task that was taken go on up to its next exit, `turn` at the most. It comes back
    /// if it is to go on here.
    pub fn turn(
        &mut self,
        ms: &mut MaySleep,
        mut task: Box<Task<'vm, F>>,
        turn: Turn,
    ) -> Option<Box<Task<'vm, F>>> {
        match self.step(ms, &mut task, turn) {
            Next::Go if self.kernel.is_over() => {
                self.kernel.enqueue(&mut self.kernel.lock(), task);
                None
            }
            Next::Go => Some(task),
            Next::Yield => self.kernel.give_way(task),
            Next::Park => self.kernel.park(task),
            Next::End(code) => {
                self.kernel.leave(ms, task, code);
                None
            }
        }
    }

    /// Attends to what waits for the thread, then runs it up to its next exit.
    fn step(&mut self, ms: &mut MaySleep, task: &mut Task<'vm, F>, turn: Turn) -> Next {
        if task.restart.interrupted {
            self.tell_remaining(ms, task);
        }
        if task.attention.load(Ordering::Acquire) {
            match self.kernel.attend(task) {
                Attend::Go => {}
                Attend::End => return Next::End(0),
                Attend::Park => return Next::Park,
                Attend::Replace => {
                    self.kernel.replace(ms, task);
                    self.context.load(&**task.space);
                    return Next::Go;
                }
                Attend::Handle { info, action, mask } => {
                    self.begin_handler(ms, task, &info, &action, mask);
                    return Next::Go;
                }
            }
        }
        let code = self.kernel.code.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.code, code) != code {
            self.context.code_changed();
        }
        std::mem::swap(&mut self.context.hart.regs, &mut task.registers);
        let exit = match turn.accesses {
            u64::MAX => self.context.run(turn.instructions),
            accesses => self.context.run_to_access(turn.instructions, accesses),
        };
        std::mem::swap(&mut self.context.hart.regs, &mut task.registers);
        match exit {
            Ok(exit) => self.serve(ms, task, exit),
            Err(violation) => {
                self.kernel.end(&mut self.kernel.lock(), Ending::Violation(violation));
                Next::Go
            }
        }
    }

    /// Begins a handler, once the call that it comes in the way of is done with.
    fn begin_handler(
        &self,
        ms: &mut MaySleep,
        task: &mut Task<'vm, F>,
        info: &Info,
        action: &Action,
        mask: SignalSet,
    ) {
        task.break_off();
        if task.restart.interrupted {
            self.tell_remaining(ms, task);
        }
        if task.start_handler(self.kernel, ms, info, action, mask).is_err() {
            self.kernel.no_frame(task, info, mask);
        }
    }

    /// Says how much was left of an interrupted sleep.
    fn tell_remaining(&self, ms: &mut MaySleep, task: &mut Task<'vm, F>) {
        let Restart { deadline, remaining, .. } = std::mem::take(&mut task.restart);
        let now = self.kernel.clock().now();
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_sub(now));
        let mut time = [0; 16];
        time[..8].copy_from_slice(&left.as_secs().to_le_bytes());
        time[8..].copy_from_slice(&u64::from(left.subsec_nanos()).to_le_bytes());
        if self.kernel.store(ms, task, remaining, &time) != time.len() {
            task.registers.x[10] = (-i64::from(Errno::EFAULT.into_raw())).cast_unsigned();
        }
    }

    fn serve(&mut self, ms: &mut MaySleep, task: &mut Task<'vm, F>, exit: Exit) -> Next {
        let pc = task.registers.pc;
        match exit {
            Exit::Pending => {}
            Exit::Ecall => return self.call(ms, task),
            Exit::Fault { va, access } => return self.fault(ms, task, va, access.into()),
            Exit::Quota => {
                self.kernel.counts.sample(self.kernel.vm);
                return Next::Yield;
            }
            Exit::Illegal { .. } => self.trap(task, Info::fault(SIGILL, ILL_ILLOPC, pc)),
            Exit::Breakpoint => self.trap(task, Info::fault(SIGTRAP, TRAP_BRKPT, pc)),
            // RISC-V's kernel tells the instruction here, not the address.
            Exit::Misaligned { .. } => self.trap(task, Info::fault(SIGBUS, BUS_ADRALN, pc)),
        }
        Next::Go
    }

    fn trap(&self, task: &Task<'vm, F>, info: Info) {
        trace::signal(self.kernel, task, &info);
        self.kernel.force(task, info);
    }

    fn fault(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        address: u64,
        access: vmspace::Access,
    ) -> Next {
        let result = task.space.fault(ms, address, access);
        trace::fault(self.kernel, task, address, access, &result);
        match result {
            Ok(()) => {}
            Err(FaultError::Denied) => {
                self.trap(task, Info::fault(SIGSEGV, SEGV_ACCERR, address));
            }
            Err(FaultError::NoPage) => {
                self.trap(task, Info::fault(SIGBUS, BUS_ADRERR, address));
            }
            Err(FaultError::OutOfMemory) => {
                self.kernel.counts.sample(self.kernel.vm);
                self.kernel.find_memory(ms, task, address, access);
                // Who is to end may be waiting for this hart.
                return Next::Yield;
            }
            Err(_) => self.trap(task, Info::fault(SIGSEGV, SEGV_MAPERR, address)),
        }
        Next::Go
    }

    fn call(&self, ms: &mut MaySleep, task: &mut Task<'vm, F>) -> Next {
        let number = task.registers.x[17];
        let sysno = usize::try_from(number).ok().and_then(Sysno::new);
        let args = [10, 11, 12, 13, 14, 15].map(|n| task.registers.x[n]);
        let outcome = Call { kernel: self.kernel, task, ms, args }.make(sysno);
        self.kernel.counts.call(sysno, outcome);
        trace::call(self.kernel, task, sysno, number, &args, outcome);
        match outcome {
            Ok(value) => task.finish(Wake::Return(value.cast_signed())),
            Err(Stop::Errno(errno)) => task.finish(fail(errno)),
            Err(Stop::Parked) => return Next::Park,
            Err(Stop::Yield) => {
                task.finish(Wake::Return(0));
                return Next::Yield;
            }
            Err(Stop::Exit(code)) => return Next::End(code),
            Err(Stop::Resumed | Stop::Replaced | Stop::Dying) => {}
        }
        Next::Go
    }
}

impl<F: Format> Drop for Worker<'_, '_, F> {
    fn drop(&mut self) {
        self.kernel.counts.instructions.add(self.retired());
    }
}

/// A call's failure as the value that the program sees.
fn fail(errno: Errno) -> Wake {
    Wake::Return(-i64::from(errno.into_raw()))
}
