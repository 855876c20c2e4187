//! A program that runs on the interpreter is shot at, kicked, and has its code replaced.
#![cfg(not(loom))]

mod common;

use common::{TestSpace, World, at, host, read_only, read_write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use vmspace::format::{Aarch64Granule64K, Format, Rights, Sv48, X86_64};
use vmspace::{Cell, Frame};
use vmspace_machine::riscv::Exit;
use vmspace_machine::{Config, HartContext, TlbTraits};

/// `ld a0, 0(a1); addi a0, a0, 1; sd a0, 0(a1); j .-12`
const COUNT: [u32; 4] = [0x0005_b503, 0x0015_0513, 0x00a5_b023, 0xff5f_f06f];
/// `ebreak`, four times.
const STOP: [u32; 4] = [0x0010_0073; 4];
const CODE: u64 = 0x400;
const DATA: u64 = 0x777;

fn executable() -> Rights {
    read_only() | Rights::EXECUTE
}

fn program<F: Format>(world: &World<F>, code: [u32; 4]) -> Frame {
    let frame = world.frame();
    for (i, word) in code.into_iter().enumerate() {
        // SAFETY: in the frame, aligned, and nobody else can reach it yet.
        unsafe { host(world, frame).cast::<u32>().add(i).write(word) };
    }
    frame
}

/// Maps [`COUNT`] at `CODE`; the word at `DATA` that it counts in.
fn counting<'m, F: Format>(space: &TestSpace<'m, F>) -> &'m AtomicU64 {
    space.map(0, CODE, program(space.world, COUNT), executable());
    let data = space.map_fresh(DATA, read_write());
    // SAFETY: in the machine's memory, reached by all as an atomic.
    unsafe { &*host(space.world, data).cast::<AtomicU64>() }
}

/// A hart that is about to run it.
fn at_its_start<'m, F: Format>(space: &TestSpace<'m, F>) -> HartContext<'m, World<F>> {
    let mut hart = HartContext::new(space.world, 0).unwrap();
    hart.hart.regs.pc = at::<F>(CODE);
    hart.hart.regs.x[11] = at::<F>(DATA);
    hart.load(space);
    hart
}

fn interrupted_kicked_and_replaced<F: Format>(tlb: TlbTraits, check: bool) {
    let world = World::<F>::new(Config { tlb, check, ..Config::default() });
    let space = world.space(1);
    let counter = counting(&space);
    let counts_on = || {
        let from = counter.load(Ordering::Relaxed);
        while counter.load(Ordering::Relaxed) < from + 1_000 {
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        let hart = scope.spawn(|| {
            let mut hart = at_its_start(&space);
            let first = hart.run(u64::MAX).unwrap();
            (first, hart.run(u64::MAX).unwrap(), hart.counts())
        });
        counts_on();
        space.shoot(&[DATA]);
        counts_on();
        world.machine.kick(0);
        counts_on();
        // The code goes and other code comes, as a library does it.
        world.locked.store(true, Ordering::Release);
        space.slot(0, CODE).0.swap(0);
        space.shoot(&[CODE]);
        space.map(0, CODE, program(&world, STOP), executable());
        world.locked.store(false, Ordering::Release);
        let (first, second, counts) = hart.join().unwrap();
        assert_eq!(first, Exit::Pending);
        let fault = matches!(second, Exit::Fault { va, .. } if va >> F::PAGE_SHIFT == CODE);
        assert!(second == Exit::Breakpoint || fault, "{second:?}");
        assert!(counts.instructions > 4_000 && counts.pages_dropped == 2);
    });
    let statistics = world.machine.statistics();
    assert_eq!(statistics.shootdowns, 2);
    assert!(statistics.harts_interrupted >= 1);
    assert!(statistics.tlb_hits > 1_000);
}

#[test]
fn in_every_format_and_mode() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::STICKY, false), (TlbTraits::STICKY, true)]
    {
        interrupted_kicked_and_replaced::<Sv48>(tlb, check);
        interrupted_kicked_and_replaced::<X86_64>(tlb, check);
        interrupted_kicked_and_replaced::<Aarch64Granule64K>(tlb, check);
    }
}

/// Where a counted run of [`COUNT`] stands after each of some runs of one access.
fn stops<F: Format>(tlb: TlbTraits, check: bool) {
    let world = World::<F>::new(Config { tlb, check, ..Config::default() });
    let space = world.space(1);
    let counter = counting(&space);
    let mut hart = at_its_start(&space);
    for round in 0..4 {
        for (accesses, offset, value) in [(1, 8, 0), (0, 8, 0), (1, 0, 1)] {
            assert_eq!(hart.run_to_access(1_000, accesses).unwrap(), Exit::Quota);
            assert_eq!(hart.hart.regs.pc, at::<F>(CODE) + offset, "round {round}");
            assert_eq!(counter.load(Ordering::Relaxed), round + value);
        }
    }
    assert_eq!(hart.hart.retired(), 4 * 4);
    assert_eq!(hart.counts().faults, 0, "holding back is no fault");
    assert_eq!(hart.run_to_access(8, u64::MAX).unwrap(), Exit::Quota);
    assert_eq!((hart.hart.retired(), counter.load(Ordering::Relaxed)), (6 * 4, 6));
    assert_eq!(hart.run(8).unwrap(), Exit::Quota);
    assert_eq!((hart.hart.retired(), counter.load(Ordering::Relaxed)), (8 * 4, 8));
}

#[test]
fn a_run_can_end_between_a_load_and_the_store_behind_it() {
    for (tlb, check) in
        [(TlbTraits::NORMAL, false), (TlbTraits::NORMAL, true), (TlbTraits::STICKY, true)]
    {
        stops::<Sv48>(tlb, check);
        stops::<Aarch64Granule64K>(tlb, check);
    }
}
