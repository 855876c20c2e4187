//! The Linux personality of the vmspace machine: statically linked programs for 64-bit RISC-V run
//! on it unchanged.
//!
//! Guarantee: whatever a program does, it ends as Linux would end it; it cannot take the machine
//! down, nor make it use more of the host than its memory, its swap devices, its threads' records,
//! its pipes and the names of its files. Calls about memory go to the library, faults too; files are
//! the host's standard three, those beneath the root that it was given, and those in memory.
//!
//! | module | what is done there |
//! |---|---|
//! | `elf` | reads and checks a program's file |
//! | `stack` | arguments, environment, auxiliary vector |
//! | `space`, `load` | a program's space; putting the program into it |
//! | `exec`, `script` | a process's program replaced; `#!` |
//! | `task` | what threads and processes are made of |
//! | `kernel` | the one lock, and what is under it |
//! | `scheduler` | who waits, and how waits end |
//! | `hart` | a hart at work: run, serve, give away |
//! | `replay`, `random` | runs that a seed decides; random numbers |
//! | `process` | births and deaths |
//! | `signal`, `deliver` | who gets a signal; a handler's frame |
//! | `stealer` | pages stolen in the background |
//! | `oom` | who ends when memory is over |
//! | `swap` | the devices that pages are swapped to |
//! | `futex` | futexes, robust ones too |
//! | `files`, `pipe`, `host` | what can be opened; pipes; the standard three and who polls them |
//! | `calls` | the system calls, a file for each subject |
//! | `trace`, `report` | what is told about it |

mod addresses;
mod calls;
mod deliver;
mod elf;
mod error;
mod exec;
mod files;
mod futex;
mod hart;
mod host;
mod kernel;
mod load;
mod oom;
mod pipe;
mod process;
mod random;
mod replay;
mod report;
mod scheduler;
mod script;
mod signal;
mod space;
mod stack;
mod stealer;
mod swap;
mod task;
mod trace;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::{Duration, Instant};

use vmspace::format::Format;
use vmspace::{MaySleep, Vm};
use vmspace_machine::MachinePlatform;

pub use crate::addresses::Addresses;
use crate::elf::Executable;
pub use crate::elf::Program;
pub use crate::error::{ProgramError, in_words};
pub use crate::files::Root;
pub use crate::files::root::RootError;
use crate::files::{Files, Place};
pub use crate::kernel::Ending;
use crate::kernel::{Kernel, attention};
pub use crate::report::{Report, Sample};
use crate::signal::{Action, SIGCHLD, SignalSet};
use crate::space::Limits;
use crate::stack::Start;
pub use crate::stealer::Stealer;
pub use crate::swap::{Compression, Swap, SwapArea, SwapError, SwapReport};
use crate::task::{AlternateStack, INIT, INITIAL, Process, Restart, Task};

pub(crate) use syscalls::Errno;

/// What is traced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trace {
    /// System calls.
    Calls,
    /// Page faults.
    Faults,
}

/// How a program is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's arguments, its name first.
    pub arguments: Vec<OsString>,
    /// Its environment, `NAME=value` each.
    pub environment: Vec<OsString>,
    /// The most threads and unreaped processes together.
    pub processes: usize,
    /// What is traced.
    pub trace: Option<Trace>,
    /// Whether the initial process's mappings at its end are told.
    pub maps: bool,
    /// When to give up.
    pub timeout: Option<Duration>,
    /// All harts run on one thread of the host's, in a schedule that this seed draws: the same
    /// seed gives the same run.
    pub seed: Option<u64>,
    /// Which of standard input, output and error are open.
    pub standard_files: [bool; 3],
}

/// Refuses what cannot be run: looked at before a machine is built.
pub fn check(
    program: &Path,
    addresses: Addresses,
    options: &Options,
) -> Result<Program, ProgramError> {
    let program = Program::open(program, addresses)?;
    stack::check_arguments(&options.arguments, &options.environment)?;
    Ok(program)
}

/// A program in the memory of the machine, about to begin.
pub struct Loaded<'vm, F: Format> {
    kernel: Kernel<'vm, F>,
    first: Box<Task<'vm, F>>,
    timeout: Option<Duration>,
}

/// Loads a program into the machine below `vm`, with files beneath `root`; the machine was built with
/// the devices of `swap` and the alarm of `stealer`.
///
/// The caller's thread must be one that may sleep, and is no hart's.
pub fn load<'vm, F: Format>(
    vm: &'vm Vm<MachinePlatform<F>>,
    program: &Program,
    root: Root,
    swap: Swap,
    stealer: Stealer,
    options: &Options,
) -> Result<Loaded<'vm, F>, ProgramError> {
    vm.platform().bind_other(0);
    // SAFETY: the caller's thread may sleep, says this function's contract; nothing of the library
    // is held here, and the `MaySleep` does not leave this function.
    let mut ms = unsafe { MaySleep::assume() };
    let poller = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK)
        .map_err(|error| ProgramError::Open(error.into()))?;
    let kernel = Kernel::new(vm, options, root, swap, stealer, poller);
    if options.seed.is_some() {
        kernel.clock().hold();
    }
    let start = Start {
        name: program.executable.path.clone().into_os_string(),
        arguments: options.arguments.clone(),
        environment: options.environment.clone(),
        random: kernel.random.sixteen(),
    };
    kernel.swap_on_all(&mut ms)?;
    let (space, registers) = load::load(vm, &mut ms, program, &start, Limits::default())?;
    let first = initial(&kernel, space, registers, program, options);
    Ok(Loaded { kernel, first, timeout: options.timeout })
}

impl<F: Format> Loaded<'_, F> {
    /// Runs the program to its end, or until `interrupted` becomes true; who sets it unparks the
    /// calling thread, which is as for [`load`].
    pub fn run(self, interrupted: &AtomicBool) -> Result<(Ending, Report), ProgramError> {
        let Loaded { kernel, first, timeout } = self;
        let kernel = &kernel;
        let began = kernel.clock().now();
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let spawned = std::thread::scope(|scope| {
            let spawned = match kernel.seed {
                Some(seed) => std::thread::Builder::new()
                    .spawn_scoped(scope, move || replay::work(kernel, first, seed))
                    .map(drop),
                None => spawn(kernel, scope)
                    .map(|()| kernel.start(&mut kernel.lock(), first, SignalSet::default())),
            };
            match &spawned {
                Ok(()) => wait(kernel, deadline, interrupted),
                Err(_) => kernel.end(&mut kernel.lock(), Ending::Broken),
            }
            spawned
        });
        spawned.map_err(ProgramError::Threads)?;
        let time = kernel.clock().now() - began;
        kernel.counts.sample(kernel.vm);
        // SAFETY: the caller's thread may sleep, says `load`'s contract, and holds nothing of the
        // library; the harts' threads have ended.
        let mut ms = unsafe { MaySleep::assume() };
        kernel.keep_maps(&mut ms);
        kernel.sync_all(&mut ms);
        let ending = kernel.lock().ended.take().unwrap_or(Ending::Broken);
        Ok((ending, kernel.report(time)))
    }
}

/// Makes a thread for each hart, the one that polls and the one that steals: all of them, before the program begins,
/// since the host may refuse one.
fn spawn<'scope, 'vm, F: Format>(
    kernel: &'scope Kernel<'vm, F>,
    scope: &'scope Scope<'scope, '_>,
) -> std::io::Result<()> {
    let thread = || std::thread::Builder::new();
    thread().spawn_scoped(scope, || kernel.poll_host())?;
    let stealer = thread().spawn_scoped(scope, || kernel.steal())?;
    kernel.stealer.is_run_by(stealer.thread());
    for index in 0..kernel.vm.platform().harts() {
        thread().spawn_scoped(scope, move || hart::work(kernel, index))?;
    }
    Ok(())
}

/// The first thread, of the first process.
fn initial<'vm, F: Format>(
    kernel: &Kernel<'vm, F>,
    space: space::Space<'vm, F>,
    registers: vmspace_machine::riscv::Registers,
    program: &Program,
    options: &Options,
) -> Box<Task<'vm, F>> {
    let executable = program.executable.clone();
    let path = std::path::absolute(&executable.path).unwrap_or(executable.path);
    let task = Task {
        id: INITIAL,
        process: INITIAL,
        registers,
        space: Arc::new(space),
        files: Arc::new(Files::standard(options.standard_files)),
        place: Arc::new(Place::new(kernel.files.start.clone())),
        attention: attention(),
        clear_child_id: 0,
        robust_list: 0,
        name: exec::thread_name(&path),
        restart: Restart::default(),
        saved_mask: None,
        alternate: AlternateStack::default(),
        image: None,
    };
    let process = Process {
        parent: INIT,
        group: INITIAL,
        session: INITIAL,
        threads: Vec::new(),
        actions: [Action::default(); 65],
        pending: Default::default(),
        dying: None,
        successor: None,
        executed: false,
        executable: Executable { path, file: executable.file },
        zombie: None,
        stopped: false,
        news: None,
        exit_signal: SIGCHLD,
        exit_code: 0,
        vfork: None,
        oom_adjustment: 0,
        victim: None,
    };
    let mut state = kernel.lock();
    state.last_id = INITIAL;
    state.processes.insert(INITIAL, process);
    Box::new(task)
}

/// Waits for the end of the run, and brings it about when its time is over.
fn wait<F: Format>(kernel: &Kernel<'_, F>, deadline: Option<Instant>, interrupted: &AtomicBool) {
    while !kernel.is_over() {
        if interrupted.load(Ordering::Acquire) {
            kernel.end(&mut kernel.lock(), Ending::Interrupted);
        } else if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                kernel.end(&mut kernel.lock(), Ending::TimedOut);
            } else {
                std::thread::park_timeout(left);
            }
        } else {
            std::thread::park();
        }
    }
}
