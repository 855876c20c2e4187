//! The kernel-half contract: a kernel table that was added is in every root, those to come included.

mod host;

use host::Host;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::Duration;
use vmspace::backend::NoTable;
use vmspace::format::{
    Aarch64Granule64K, Format, Geometry, I386, I386Pae, I386PaeSplit, Sv32, Sv48, X86_64,
};
use vmspace::{Backend, Cell, Frame, KernelSlotError, MaySleep, Native, Platform, Slot, Space, Vm};

fn token() -> MaySleep {
    // SAFETY: a test's own thread, which holds nothing.
    unsafe { MaySleep::assume() }
}

/// The word in slot `index` of a root, as a processor would read it.
fn slot<F: Format, B: Backend>(vm: &Vm<Host<F, B>>, root: Frame, index: usize) -> u64 {
    let table = vm.platform().frame_ptr(root).cast::<F::Cell>();
    // SAFETY: roots are whole tables of live spaces; nobody changes this slot at the same time.
    unsafe { (*table.add(index)).load(Ordering::Relaxed) }
}

fn every_root_has_it<F: Format>() {
    let vm = Host::<F>::new(512, 2).manager();
    let (index, table) = (F::KERNEL_SLOTS.end - 1, Frame(77));
    let word = F::table(F::ROOT_LEVEL, table);
    let before = Space::new(&vm, &mut token()).unwrap();
    assert_eq!(slot(&vm, before.root(), index), 0);
    vm.add_kernel_table(index, table).unwrap();
    let after = Space::new(&vm, &mut token()).unwrap();
    let child = before.fork(&mut token()).unwrap();
    for space in [&before, &after, &child] {
        assert_eq!(slot(&vm, space.root(), index), word);
    }
    assert_eq!(vm.add_kernel_table(index, Frame(78)), Err(KernelSlotError::Full));
    assert_eq!(vm.add_kernel_table(0, table), Err(KernelSlotError::NotKernel));
    assert_eq!(slot(&vm, after.root(), index), word);
}

#[test]
fn a_root_without_the_kernels_table_would_oops() {
    every_root_has_it::<Sv48>();
    every_root_has_it::<Sv32>();
    every_root_has_it::<I386>();
    every_root_has_it::<I386Pae>();
    every_root_has_it::<I386PaeSplit>();
    every_root_has_it::<X86_64>();
}

#[test]
fn a_format_whose_kernel_has_its_own_root_has_no_slots_to_add() {
    let vm = Host::<Aarch64Granule64K>::new(512, 1).manager();
    for index in [0, 31, 63, usize::MAX] {
        assert_eq!(vm.add_kernel_table(index, Frame(7)), Err(KernelSlotError::NotKernel));
    }
}

/// R03, R05, R06: a root that is made while a table is added must not miss it.
#[test]
fn a_root_made_while_a_table_is_added_does_not_miss_it() {
    const SLOTS: usize = 200;
    let vm = Host::<Sv48>::new(2048, 3).manager();
    let start = Barrier::new(3);
    let first = Sv48::KERNEL_SLOTS.start;
    let make = |cpu| {
        host::be_cpu(cpu);
        let mut spaces = Vec::new();
        start.wait();
        for round in 0..SLOTS {
            if round % 3 == 2 {
                spaces.pop();
            }
            spaces.push(Space::new(&vm, &mut token()).unwrap());
        }
        spaces
    };
    let spaces = std::thread::scope(|scope| {
        let makers = [scope.spawn(|| make(1)), scope.spawn(|| make(2))];
        start.wait();
        for n in 0..SLOTS {
            vm.add_kernel_table(first + n, Frame(1000 + n as u64)).unwrap();
        }
        makers.map(|maker| maker.join().unwrap())
    });
    for space in spaces.iter().flatten() {
        for n in 0..SLOTS {
            let word = Sv48::table(Sv48::ROOT_LEVEL, Frame(1000 + n as u64));
            assert_eq!(slot(&vm, space.root(), first + n), word, "slot {n} is missing");
        }
    }
    // Spaces end on the thread that drops them.
    host::be_cpu(0);
}

/// A point that one thread reaches once: it says so, and goes on when it is told.
struct Stop(Mutex<Option<(Sender<()>, Receiver<()>)>>);

impl Stop {
    /// The stop; what tells that it was reached; and what lets go on.
    fn new() -> (Stop, Receiver<()>, Sender<()>) {
        let ((reached, is_reached), (go_on, may_go_on)) = (channel(), channel());
        (Stop(Mutex::new(Some((reached, may_go_on)))), is_reached, go_on)
    }

    fn reach(&self) {
        let ends = self.0.lock().unwrap().take();
        if let Some((reached, may_go_on)) = ends {
            reached.send(()).unwrap();
            wait(&may_go_on);
        }
    }
}

/// Not for ever: a thread that is waited for has failed, or the library has become another.
fn wait(told: &Receiver<()>) {
    told.recv_timeout(Duration::from_secs(20)).expect("the other thread does not come");
}

/// The native backend, with a stop before the first swap of an entry.
struct StopAtSwap(Stop);

impl Backend for StopAtSwap {
    fn prepare_table(&self, _: Frame, _: usize) -> Result<(), NoTable> {
        Ok(())
    }

    fn release_table(&self, _: Frame) {}

    fn compare_exchange<C: Cell>(&self, slot: Slot<'_, C>, old: u64, new: u64) -> Result<(), u64> {
        Native.compare_exchange(slot, old, new)
    }

    fn swap<C: Cell>(&self, slot: Slot<'_, C>, new: u64) -> u64 {
        self.0.reach();
        Native.swap(slot, new)
    }

    fn clear_accessed<C: Cell>(&self, slot: Slot<'_, C>, mask: u64) -> u64 {
        Native.clear_accessed(slot, mask)
    }

    fn close(&self, _: Frame) {}
}

/// R03, step by step: a first table's walk over the roots stands still; a root is made, as far as
/// it can be meanwhile; a second table is added; the root is completed.
#[test]
fn a_root_copies_the_kernels_half_before_it_can_be_walked() {
    let (at_swap, walking, end_walk) = Stop::new();
    let (at_relax, waiting, join) = Stop::new();
    let mut host = Host::<Sv48, _>::with_backend(512, 2, StopAtSwap(at_swap));
    host.on_relax = Some(Box::new(move || at_relax.reach()));
    let vm = host.manager();
    let first = Sv48::KERNEL_SLOTS.start;
    let walked = Space::new(&vm, &mut token()).unwrap();
    let made = thread::scope(|scope| {
        let adder = scope.spawn(|| {
            vm.add_kernel_table(first, Frame(1000)).unwrap();
            vm.add_kernel_table(first + 1, Frame(1001)).unwrap();
        });
        wait(&walking);
        let maker = scope.spawn(|| {
            host::be_cpu(1);
            Space::new(&vm, &mut token()).unwrap()
        });
        wait(&waiting);
        end_walk.send(()).unwrap();
        adder.join().unwrap();
        join.send(()).unwrap();
        maker.join().unwrap()
    });
    for space in [&walked, &made] {
        for n in 0..2 {
            let word = Sv48::table(Sv48::ROOT_LEVEL, Frame(1000 + n as u64));
            assert_eq!(slot(&vm, space.root(), first + n), word, "table {n} is missing");
        }
    }
}
