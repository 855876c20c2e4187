//! Who has the lock while the library waits.

use super::*;
use std::path::Path;
use std::sync::Barrier;

use vmspace::format::{Rights, Sv48};
use vmspace::{Advice, Map, MaySleep, Page, PagerError, SwapDevices};
use vmspace_machine::Config;
use vmspace_machine::riscv::Registers;

use crate::calls::{Call, Outcome, Stop};
use crate::elf::{Executable, Program};
use crate::space::{Limits, Space};
use crate::swap::SwapArea;
use crate::{Errno, Options, initial};

/// A device that meets the test twice whenever it is asked for a page.
struct Slow {
    devices: Box<dyn SwapDevices + Send + Sync>,
    meeting: Arc<Barrier>,
}

impl SwapDevices for Slow {
    fn read(&self, ms: &mut MaySleep, n: u64, slot: u64, page: Page<'_>) -> Result<(), PagerError> {
        self.meeting.wait();
        self.meeting.wait();
        self.devices.read(ms, n, slot, page)
    }

    fn write(
        &self,
        ms: &mut MaySleep,
        n: u64,
        slot: u64,
        page: Page<'_>,
    ) -> Result<(), PagerError> {
        self.devices.write(ms, n, slot, page)
    }

    fn discard(&self, n: u64, slot: u64) {
        self.devices.discard(n, slot);
    }
}

const WORD: u32 = 5;

/// Makes a futex call of such an operation, value and count of requeued, on a word that is on swap:
/// whether the lock was free while the device was asked for it, and what the call returned.
fn futex(operation: u64, value: u64, requeued: u64) -> (bool, Outcome) {
    let own = std::env::current_exe().expect("the test's own file");
    let swap = Swap::open::<Sv48>([&SwapArea::Compressed(1 << 20)], &own).expect("a device");
    let meeting = Arc::new(Barrier::new(2));
    let slow = Slow { devices: swap.devices(), meeting: meeting.clone() };
    let config = Config { memory: 4 << 20, ..Config::default() };
    let platform = MachinePlatform::<Sv48>::new(config).expect("a machine");
    let frames = platform.frames();
    let vm = Vm::new(platform.with_swap(Box::new(slow)), frames).expect("a manager");
    vm.platform().bind_other(0);
    // SAFETY: the test's own thread, which is no hart and holds nothing of the library.
    let mut ms = unsafe { MaySleep::assume() };
    let poller = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("events");
    let root = Root::open(None, Path::new("/")).expect("an empty root");
    let kernel = Kernel::new(&vm, &options(), root, swap, Stealer::default(), poller);
    kernel.swap_on_all(&mut ms).expect("swap");
    let space = Space::new(&vm, &mut ms, Limits::default()).expect("a space");
    let at = space.map(&mut ms, Map::anonymous(4096, Rights::READ | Rights::WRITE));
    let at = at.expect("a mapping");
    assert_eq!(space.write(&mut ms, at, &WORD.to_le_bytes()), 4);
    space.advise(&mut ms, at, 4096, Advice::PageOut).expect("advice");
    assert_eq!(space.swapped(), 1);
    let mut task = initial(&kernel, space, Registers::default(), &program(&own), &options());
    let args = [at, operation, value, requeued, at, u64::from(WORD)];
    let seen = met(&kernel, &mut task, args, &meeting);
    kernel.leave_space(&mut ms, task.space);
    seen
}

/// Makes the call on a thread of its own, and looks at the lock where the device waits.
fn met<'vm>(
    kernel: &Kernel<'vm, Sv48>,
    task: &mut Task<'vm, Sv48>,
    args: [u64; 6],
    meeting: &Barrier,
) -> (bool, Outcome) {
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            kernel.vm.platform().bind_other(1);
            // SAFETY: the thread just begins, and holds nothing of the library.
            let mut ms = unsafe { MaySleep::assume() };
            Call { kernel, task, ms: &mut ms, args }.futex()
        });
        meeting.wait();
        let free = kernel.state.try_lock().is_ok();
        meeting.wait();
        (free, call.join().expect("an outcome"))
    })
}

fn options() -> Options {
    Options {
        arguments: Vec::new(),
        environment: Vec::new(),
        processes: 1,
        trace: None,
        maps: false,
        timeout: None,
        seed: None,
        standard_files: [false; 3],
    }
}

fn program(path: &Path) -> Program {
    let file = Arc::new(std::fs::File::open(path).expect("the test's own file"));
    let executable = Executable { path: path.to_owned(), file };
    Program { executable, segments: Vec::new(), entry: 0, headers: 0, header_count: 0 }
}

#[test]
fn a_device_that_is_asked_under_the_lock_would_stop_the_whole_run() {
    // FUTEX_WAIT and FUTEX_CMP_REQUEUE.
    assert_eq!(futex(0, 1, 0), (true, Err(Stop::Errno(Errno::EAGAIN))), "another value");
    assert_eq!(futex(4, 1, 1), (true, Ok(0)), "nobody waits");
}
