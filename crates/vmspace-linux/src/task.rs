//! Threads and processes: what each one is made of.
//!
//! A thread's [`Task`] is what a hart holds while it runs it: registers, the space, the files. It
//! moves between the harts, the ready queue and its [`Thread`], so exactly one of them has it, and
//! nobody reads another thread's registers. What other threads may see or change (masks, pending
//! signals, what it waits for) is in its [`Thread`] and its [`Process`], under the kernel's lock.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use vmspace::format::Format;
use vmspace_machine::riscv::Registers;

use crate::Errno;
use crate::elf::Executable;
use crate::exec::Image;
use crate::files::locks::{Locked, Owner};
use crate::files::proc::View;
use crate::files::{Files, Place};
use crate::signal::{Action, Info, Signal, SignalSet};
use crate::space::Space;

/// A thread's number, and a process's: that of its first thread.
pub(crate) type Id = i32;

/// The initial process; its parent, and that of orphans, is [`INIT`].
pub(crate) const INITIAL: Id = 1000;

/// The parent of who has none in the machine. It does not exist, and reaps at once.
pub(crate) const INIT: Id = 1;

/// What a hart needs to run a thread.
pub(crate) struct Task<'vm, F: Format> {
    pub id: Id,
    pub process: Id,
    pub registers: Registers,
    pub space: Arc<Space<'vm, F>>,
    pub files: Arc<Files>,
    pub place: Arc<Place>,
    /// Something waits for this thread under the kernel's lock: look before going on.
    pub attention: Arc<AtomicBool>,
    /// Zeroed and woken as a futex when the thread ends (0: none).
    pub clear_child_id: u64,
    /// The head of the list of robust futexes (0: none).
    pub robust_list: u64,
    pub name: [u8; 16],
    pub restart: Restart,
    /// The mask to go back to once the handlers have run that end a wait with another mask.
    pub saved_mask: Option<SignalSet>,
    pub alternate: AlternateStack,
    /// The program that the thread goes on as, once it is its process's only one.
    pub image: Option<Box<Image<'vm, F>>>,
}

impl<'vm, F: Format> Task<'vm, F> {
    /// What /proc shows of it.
    pub fn view(&self) -> View<'vm, F> {
        View {
            space: self.space.clone(),
            files: self.files.clone(),
            place: self.place.clone(),
            name: self.name,
        }
    }

    /// The same for other processes to see, without keeping it alive.
    pub fn shown(&self) -> Shown<'vm, F> {
        Shown {
            space: Arc::downgrade(&self.space),
            files: Arc::downgrade(&self.files),
            place: Arc::downgrade(&self.place),
            name: self.name,
        }
    }
}

/// What /proc shows of a thread that another hart may be running.
pub(crate) struct Shown<'vm, F: Format> {
    space: Weak<Space<'vm, F>>,
    files: Weak<Files>,
    place: Weak<Place>,
    name: [u8; 16],
}

impl<'vm, F: Format> Shown<'vm, F> {
    /// What is shown, unless the thread has ended. Who calls gives the table of files back.
    pub fn view(&self) -> Option<View<'vm, F>> {
        let (space, place) = (self.space.upgrade()?, self.place.upgrade()?);
        Some(View { space, files: self.files.upgrade()?, place, name: self.name })
    }

    /// Its space and its name, unless the thread has ended. Who calls gives the space back by
    /// [`Kernel::leave_space`](crate::kernel::Kernel::leave_space).
    pub fn space(&self) -> Option<(Arc<Space<'vm, F>>, [u8; 16])> {
        Some((self.space.upgrade()?, self.name))
    }

    /// Whether that is its space.
    pub fn has_space(&self, space: &Arc<Space<'vm, F>>) -> bool {
        std::ptr::eq(self.space.as_ptr(), Arc::as_ptr(space))
    }
}

/// What a system call that waits and is then made again keeps from the time before.
#[derive(Clone, Copy, Default)]
pub(crate) struct Restart {
    /// Bytes moved so far.
    pub progress: u64,
    /// When to stop waiting, by the machine's clock.
    pub deadline: Option<Duration>,
    /// Where an interrupted sleep says how much was left (0: nowhere).
    pub remaining: u64,
    /// The sleep was interrupted: the rest is to be said.
    pub interrupted: bool,
}

/// `sigaltstack`: a stack for handlers. Size 0 means none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AlternateStack {
    pub base: u64,
    pub flags: u32,
    pub size: u64,
}

pub(crate) const SS_ONSTACK: u32 = 1;
pub(crate) const SS_DISABLE: u32 = 2;
pub(crate) const SS_AUTODISARM: u32 = 1 << 31;

/// The least that an alternate stack may have (MINSIGSTKSZ).
const LEAST_STACK: u64 = 2048;

impl Default for AlternateStack {
    fn default() -> AlternateStack {
        AlternateStack { base: 0, flags: SS_DISABLE, size: 0 }
    }
}

impl AlternateStack {
    /// What a program asks for.
    pub fn new(base: u64, flags: u32, size: u64) -> Result<AlternateStack, Errno> {
        match flags & !SS_AUTODISARM {
            SS_DISABLE => Ok(AlternateStack { base: 0, flags, size: 0 }),
            0 | SS_ONSTACK if size < LEAST_STACK => Err(Errno::ENOMEM),
            0 | SS_ONSTACK => Ok(AlternateStack { base, flags, size }),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether a stack pointer is on it. One that disarms itself is never known to be in use.
    pub fn holds(&self, pointer: u64) -> bool {
        let armed = self.flags & SS_AUTODISARM == 0;
        armed && pointer.wrapping_sub(1).wrapping_sub(self.base) < self.size
    }
}

/// What a thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    Futex {
        key: (u64, u64),
        mask: u32,
    },
    Child,
    Sleep,
    /// A child that shares the parent's space until it ends.
    Vfork(Id),
    Pipe(u64),
    /// The host's file becoming ready.
    Host {
        number: i32,
        write: bool,
    },
    /// A lock on a file that the blocker has.
    Lock {
        at: Locked,
        owner: Owner,
        blocker: Owner,
    },
    /// Any of several files: pipes, and the host's with these events of `poll`.
    Poll([u16; 3]),
    /// A signal, taken by a handler.
    Signal,
    /// A signal of this set, taken by the call itself.
    SignalOf(SignalSet),
    /// SIGCONT.
    Stopped,
    /// The end of the process's other threads.
    Alone,
}

impl Wait {
    /// Whether bytes to read from the host's file may end it.
    pub fn is_for_host(&self, wanted: i32) -> bool {
        match self {
            Wait::Host { number, .. } => *number == wanted,
            Wait::Poll(host) => host[wanted as usize] != 0,
            _ => false,
        }
    }

    /// Whether a change of the pipe may end it.
    pub fn is_for_pipe(&self, id: u64) -> bool {
        matches!(self, Wait::Poll(_)) || *self == Wait::Pipe(id)
    }
}

/// How a wait ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    /// The call returns this.
    Return(i64),
    /// The call is made again.
    Again,
}

/// What others see of a thread.
pub(crate) struct Thread<'vm, F: Format> {
    pub process: Id,
    pub blocked: SignalSet,
    pub pending: Pending,
    pub attention: Arc<AtomicBool>,
    pub wait: Option<Wait>,
    /// When the wait ends by itself, and how.
    pub timer: Option<(Duration, Wake)>,
    /// How a wait ended whose task was not parked yet.
    pub woken: Option<Wake>,
    pub parked: Option<Box<Task<'vm, F>>>,
    /// For /proc.
    pub shown: Shown<'vm, F>,
}

/// Signals that wait to be taken, with what is known about each.
#[derive(Clone, Default)]
pub(crate) struct Pending {
    pub set: SignalSet,
    pub info: BTreeMap<Signal, Info>,
}

impl Pending {
    pub fn add(&mut self, info: Info) {
        if !self.set.contains(info.signal) {
            self.set.insert(info.signal);
            self.info.insert(info.signal, info);
        }
    }

    /// Takes a signal that `blocked` lets through: a fault's first, whose handler is to find the
    /// registers of the fault, then the lowest.
    pub fn take(&mut self, blocked: SignalSet) -> Option<Info> {
        let free = self.set.without(blocked);
        let signal = free.intersection(SignalSet::FAULTS).first().or_else(|| free.first())?;
        self.set.remove(signal);
        self.info.remove(&signal)
    }

    pub fn discard(&mut self, signal: Signal) {
        self.set.remove(signal);
        self.info.remove(&signal);
    }
}

/// A process: threads that end together.
pub(crate) struct Process {
    pub parent: Id,
    pub group: Id,
    pub session: Id,
    pub threads: Vec<Id>,
    pub actions: [Action; 65],
    pub pending: Pending,
    /// It is ending, with this status.
    pub dying: Option<Status>,
    /// The thread that replaces its program; the others end.
    pub successor: Option<Id>,
    /// It has replaced its program since it was born.
    pub executed: bool,
    /// What it runs: /proc/self/exe.
    pub executable: Executable,
    /// It has ended and its parent has not asked yet.
    pub zombie: Option<Status>,
    pub stopped: bool,
    /// A stop or a continuation that the parent has not heard of.
    pub news: Option<Status>,
    /// What the parent gets when it ends (0: nothing).
    pub exit_signal: Signal,
    /// What the first thread passed to `exit`.
    pub exit_code: u8,
    /// The thread that waits for it in `vfork`.
    pub vfork: Option<Id>,
    /// /proc/PID/oom_score_adj
    pub oom_adjustment: i16,
    /// It ends because memory is over: how often others may still find none before its own is taken.
    pub victim: Option<u32>,
}

/// How a process ended or changed, as `wait` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Exited(u8),
    Killed(Signal),
    Stopped(Signal),
    Continued,
}

impl Status {
    /// The word that `wait4` stores.
    pub fn word(self) -> u32 {
        match self {
            Status::Exited(code) => u32::from(code) << 8,
            Status::Killed(signal) => u32::from(signal),
            Status::Stopped(signal) => u32::from(signal) << 8 | 0x7f,
            Status::Continued => 0xffff,
        }
    }
}

impl Status {
    /// What a parent is told about it (`siginfo_t`).
    pub fn info(self, child: Id) -> Info {
        let (code, status) = match self {
            Status::Exited(code) => (1, i32::from(code)),
            Status::Killed(signal) => (2, i32::from(signal)),
            Status::Stopped(signal) => (5, i32::from(signal)),
            Status::Continued => (6, i32::from(crate::signal::SIGCONT)),
        };
        Info { signal: crate::signal::SIGCHLD, code, process: child, status, address: 0 }
    }
}
