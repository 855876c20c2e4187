//! What an operation is measured in: a manager over host memory that is not zeroed on faults (the
//! bounds exclude zeroing), one space, one CPU.

use crate::operations::Operation;
#[path = "../../vmspace/tests/host/mod.rs"]
mod host;

pub use host::{Host, be_cpu};
use vmspace::format::Sv48;
use vmspace::{MaySleep, Space, Vm};

pub type Manager = Vm<Host<Sv48>>;
pub type World<'vm> = Space<'vm, Host<Sv48>>;

/// Frames of the measured machine: 128 MiB.
const FRAMES: u64 = 32_768;

/// A manager for measuring.
pub fn manager() -> Manager {
    let mut host = Host::<Sv48>::new(FRAMES, 2);
    host.zeroing = false;
    host.manager()
}

/// Sets an operation up and runs it `n` times; what valgrind counts.
pub fn run(operation: &Operation, n: u64) {
    let vm = manager();
    // SAFETY: this thread may sleep, and holds nothing.
    let mut ms = unsafe { MaySleep::assume() };
    let Ok(space) = Space::new(&vm, &mut ms) else { return };
    space.enter(0);
    (operation.run)(&space, &mut ms, n);
    // What ending the space would cost belongs to no operation.
    std::process::exit(0);
}
