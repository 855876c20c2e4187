//! How long faults take, one by one: alone, and beside a thread that steals without end.
//!
//! The stealer has a space of four times the memory, whose pages it touches; when it
//! is told that memory is low it does what a background stealer does. So there is always memory for the
//! thread whose faults are timed, which gives back what it takes.

use crate::world::{self, Machine, Manager, Nothing, World};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;
use vmspace::format::{Geometry, Rights, Sv48};
use vmspace::{Access, Advice, Map, MaySleep, Space};

const AT: u64 = 1 << 40;
const PAGE: u64 = Sv48::PAGE_SIZE;
const RW: Rights = Rights::READ.union(Rights::WRITE);
const FRAMES: u64 = 8_192;
/// Faults that are timed.
const FAULTS: usize = 200_000;
/// Pages that the timed thread takes before it gives them back.
const WINDOW: u64 = 64;

/// Nanoseconds that half of the faults, all but one in a hundred and all but one in a thousand took at most.
pub type Times = [u64; 3];

/// Faults alone and beside the stealer, and how many pages it stole per second.
pub struct Latency {
    pub alone: Times,
    pub beside: Times,
    pub stolen: u64,
}

/// Measures both.
pub fn measure() -> Latency {
    eprintln!("timing faults beside a busy stealer");
    let vm = Machine::new(FRAMES, Box::new(Nothing), true).manager();
    // SAFETY: this thread may sleep, and holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    vm.swap_on(ms, 1, 8 * FRAMES, 0).expect("there is memory for the slots");
    let space = space(&vm, ms, WINDOW, 0);
    faults(&space, ms);
    let alone = faults(&space, ms);
    let (before, began, done) = (vm.statistics(), Instant::now(), AtomicBool::new(false));
    let beside = thread::scope(|scope| {
        scope.spawn(|| steal(&vm, &done));
        // The stealer is at work.
        while vm.statistics().pages_stolen < before.pages_stolen + FRAMES {
            thread::yield_now();
        }
        let times = faults(&space, ms);
        done.store(true, Ordering::Relaxed);
        times
    });
    let stolen = vm.statistics().pages_stolen - before.pages_stolen;
    let stolen = (stolen as f64 / began.elapsed().as_secs_f64()) as u64;
    space.exit(ms);
    Latency { alone, beside, stolen }
}

/// A space with so many pages, entered by a CPU.
fn space<'vm>(vm: &'vm Manager, ms: &mut MaySleep, pages: u64, cpu: usize) -> World<'vm> {
    let space = Space::new(vm, ms).expect("there is memory");
    space.enter(cpu);
    let map = Map { no_reserve: true, ..Map::anonymous(pages * PAGE, RW).at(AT) };
    space.map(ms, map).expect("there is memory");
    space
}

/// Times faults, one by one.
fn faults(space: &World<'_>, ms: &mut MaySleep) -> Times {
    let mut times = Vec::with_capacity(FAULTS);
    while times.len() < FAULTS {
        for page in 0..WINDOW {
            let began = Instant::now();
            space.fault(ms, AT + page * PAGE, Access::Write).expect("there is memory");
            times.push(began.elapsed().as_nanos() as u64);
        }
        space.advise(ms, AT, WINDOW * PAGE, Advice::DontNeed).expect("it is mapped");
    }
    times.sort_unstable();
    [500, 990, 999].map(|share| times[times.len() * share / 1000])
}

/// Fills memory and steals it again, until somebody is done.
fn steal(vm: &Manager, done: &AtomicBool) {
    world::be_cpu(1);
    // SAFETY: the thread has just begun, and holds nothing.
    let ms = &mut unsafe { MaySleep::assume() };
    let space = space(vm, ms, 4 * FRAMES, 1);
    for page in (0..4 * FRAMES).cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        if vm.platform().low.swap(false, Ordering::Relaxed) {
            vm.balance(ms);
        }
        world::touch(&space, ms, AT + page * PAGE, Access::Write);
    }
    space.exit(ms);
}
