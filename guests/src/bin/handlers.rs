//! `handlers`: what a fault's handler is told and may do, to the letter of Linux on RISC-V: signal, code
//! and address of each kind of fault; alternate stacks; frames without room; faults in handlers.
#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering::*};
use guests::process::{End, child};
use guests::signal::{self, Action, Context, Info, number};
use guests::syscall::{self, flag, nr, prot};
use guests::{Args, Map, expect, fail, page_size, println};

guests::main!(main);

const MAPERR: usize = 1;
const ACCERR: usize = 2;
const ILLOPC: usize = 1;
const ADRALN: usize = 1;
const BRKPT: usize = 1;
const KERNEL: i32 = 0x80;

/// What the last handler was told: signal, code, address, and where its stack was.
static TOLD: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

/// Notes what it is told, and goes on where t0 points.
extern "C" fn note(signal: usize, info: &Info, context: &mut Context) {
    let here = 0u8;
    expect!(signal, info.signal as usize, "handlers: the signal in siginfo");
    TOLD[0].store(signal, Relaxed);
    TOLD[1].store(info.code as usize, Relaxed);
    TOLD[2].store(info.address, Relaxed);
    TOLD[3].store(black_box(&raw const here) as usize, Relaxed);
    context.registers[0] = context.registers[5];
}

/// Does something to an address that faults; what the handler was told: signal, code, address.
macro_rules! told {
    ($code:literal, $at:expr) => {{
        TOLD[0].store(0, Relaxed);
        // SAFETY: the handler ends the instruction by a jump behind it; a0 and t0 are given up.
        unsafe {
            asm!("la t0, 2f", $code, "2:", inout("a0") $at => _, out("t0") _, out("t1") _);
        }
        [TOLD[0].load(Relaxed), TOLD[1].load(Relaxed), TOLD[2].load(Relaxed)]
    }};
}

/// The same of a fault that is told by where the instruction is.
macro_rules! told_at_itself {
    ($code:literal, $at:expr) => {{
        let itself: usize;
        TOLD[0].store(0, Relaxed);
        // SAFETY: as above; t1 has the instruction's address.
        unsafe {
            asm!("la t0, 2f", "la t1, 1f", "1:", $code, "2:",
                inout("a0") $at => _, out("t0") _, out("t1") itself);
        }
        let relative = TOLD[2].load(Relaxed).wrapping_sub(itself);
        [TOLD[0].load(Relaxed), TOLD[1].load(Relaxed), relative]
    }};
}

fn main(_: Args) {
    for signal in [number::ILL, number::TRAP, number::BUS, number::SEGV] {
        signal::set(signal, Action::handler(note, 0));
    }
    faults();
    instructions();
    println!("handlers: signal, code and address of every fault");
    alternate();
    println!("handlers: alternate stacks: entered, full, disarmed");
    deadly();
    println!("handlers: what cannot be handled kills");
    println!("ok");
}

fn faults() {
    let (page, segv) = (page_size(), number::SEGV);
    let map = Map::private(8);
    map.protect(1..2, prot::READ);
    map.protect(3..4, prot::NONE);
    map.unmap(5..6);
    let [whole, read_only, closed, hole] = [0, 1, 3, 5].map(|n| map.address(n) + 24);
    let tell = |what: &str, wanted: [usize; 3], seen: [usize; 3]| {
        expect!(wanted, seen, "handlers: {what}: signal, code, address");
    };
    tell("a load from a hole", [segv, MAPERR, hole], told!("ld a0, 0(a0)", hole));
    tell("a store to a hole", [segv, MAPERR, hole], told!("sd a0, 0(a0)", hole));
    tell("a jump into a hole", [segv, MAPERR, hole], told!("jr a0", hole));
    tell("a load without rights", [segv, ACCERR, closed], told!("lb a0, 0(a0)", closed));
    tell("a store without rights", [segv, ACCERR, closed], told!("sb a0, 0(a0)", closed));
    tell("a jump without rights", [segv, ACCERR, closed], told!("jr a0", closed));
    tell("a store to a page to read", [segv, ACCERR, read_only], told!("sw a0, 0(a0)", read_only));
    let add = told!("amoadd.d a0, a0, (a0)", read_only);
    tell("an atomic on a page to read", [segv, ACCERR, read_only], add);
    tell("a jump to a page to write", [segv, ACCERR, whole], told!("jr a0", whole));
    for far in [0, 8, 1 << 47, 1 << 62, usize::MAX - 7] {
        tell("a load from nowhere", [segv, MAPERR, far], told!("ld a0, 0(a0)", far));
        tell("a store to nowhere", [segv, MAPERR, far], told!("sd a0, 0(a0)", far));
    }
    let second = map.address(5);
    tell("a load across", [segv, MAPERR, second], told!("ld a0, 0(a0)", second - 4));
    tell("a store across", [segv, MAPERR, second], told!("sd a0, 0(a0)", second - 4));
    let second = map.address(1);
    tell("a store half to read", [segv, ACCERR, second], told!("sd a0, 0(a0)", second - 4));
    tell("a load that is fine", [0, MAPERR, 0], {
        let [signal, ..] = told!("ld a0, 0(a0)", whole);
        [signal, MAPERR, 0]
    });
    expect!(Ok(()), syscall::munmap(map.address(0), 8 * page), "munmap");
}

fn instructions() {
    let tell = |what: &str, wanted: [usize; 2], seen: [usize; 3]| {
        expect!([wanted[0], wanted[1], 0], seen, "handlers: {what}: signal, code, distance");
    };
    let word = Map::private(1).address(0);
    let illegal = [number::ILL, ILLOPC];
    tell("an illegal instruction", illegal, told_at_itself!(".4byte 0xffffffff", 0));
    tell("a short one", illegal, told_at_itself!(".2byte 0", 0));
    tell("a machine's register", illegal, told_at_itself!("csrr a0, 0x300", 0));
    tell("a breakpoint", [number::TRAP, BRKPT], told_at_itself!("ebreak", 0));
    let misaligned = [number::BUS, ADRALN];
    tell("an atomic askew", misaligned, told_at_itself!("amoadd.w a0, a0, (a0)", word + 2));
    tell("a reservation askew", misaligned, told_at_itself!("lr.d a0, (a0)", word + 4));
}

/// Says whether the handler of a load from nowhere ran on the map.
fn runs_on(map: Map) -> bool {
    told!("ld a0, 0(a0)", 0usize);
    let here = TOLD[3].load(Relaxed);
    (map.address(0)..map.address(0) + map.pages() * page_size()).contains(&here)
}

/// A handler on the alternate stack that asks for the stack, and faults once more on it.
extern "C" fn ask(signal: usize, info: &Info, context: &mut Context) {
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    let stack = [0, signal::NO_STACK, 0];
    let armed = context.registers[10];
    let seen = signal::alternate_stack(stack);
    if armed == 1 {
        expect!(true, seen.is_err(), "handlers: a stack in use was changed");
    } else {
        expect!(Ok(stack), seen, "handlers: a stack that disarms itself, in its handler");
    }
    if DEPTH.fetch_add(1, Relaxed) == 0 {
        let before = core::hint::black_box(info.address);
        told!("ld a0, 0(a0)", armed);
        expect!(before, info.address, "handlers: the outer frame, after an inner one");
    }
    DEPTH.fetch_sub(1, Relaxed);
    note(signal, info, context);
}

fn alternate() {
    let map = Map::private(4);
    let stack = |flags| [map.address(0), flags, 4 * page_size()];
    let on = |flags| {
        signal::set(number::SEGV, Action::handler(note, flags));
        runs_on(map)
    };
    expect!(true, signal::alternate_stack(stack(0)).is_ok(), "sigaltstack");
    expect!(false, on(0), "handlers: a handler that did not ask for the stack");
    expect!(true, on(signal::ONSTACK), "handlers: a handler that did");
    signal::set(number::SEGV, Action::handler(ask, signal::ONSTACK | signal::NODEFER));
    told!("ld a0, 0(a0)", 1usize);
    expect!(Ok(stack(0)), signal::alternate_stack(stack(signal::AUTODISARM)), "sigaltstack");
    told!("ld a0, 0(a0)", 2usize);
    let left = signal::alternate_stack([0, signal::NO_STACK, 0]);
    expect!(Ok(stack(signal::AUTODISARM)), left, "handlers: a stack that was disarmed is back");
    for (wrong, what) in [([0, 0, 2047], "too small"), ([0, 4, 1 << 20], "of unknown flags")] {
        expect!(true, signal::alternate_stack(wrong).is_err(), "handlers: a stack {what}");
    }
}

extern "C" fn fault_again(_: usize, _: &Info, _: &mut Context) {
    told!("ld a0, 0(a0)", 8usize);
}

extern "C" fn no_frame(signal: usize, info: &Info, _: &mut Context) {
    expect!((number::SEGV, KERNEL), (signal, info.code), "handlers: a frame without room");
    syscall::exit_group(9)
}

/// Gets a signal while the stack pointer points to nowhere.
fn poke_without_stack() {
    let args = [syscall::getpid(), number::USR1];
    // SAFETY: the stack pointer comes back when the call returns, if it does.
    unsafe {
        asm!("mv t1, sp", "li sp, 64", "ecall", "mv sp, t1",
            inout("a0") args[0] => _, in("a1") args[1], in("a7") nr::KILL, out("t1") _);
    }
}

fn deadly() {
    let segv = |action: Action| {
        signal::set(number::SEGV, action);
        told!("ld a0, 0(a0)", 8usize);
        0
    };
    let within = |name: &str, end: End, deed: &dyn Fn() -> i32| {
        child(deed).expect(end, format_args!("handlers: {name}"));
    };
    let stack = || {
        let map = Map::new(4, prot::RW, flag::PRIVATE);
        if signal::alternate_stack([map.address(0), 0, 4 * page_size()]).is_err() {
            fail!("sigaltstack");
        }
    };
    let ignored = Action { handler: signal::IGNORE, ..Action::default() };
    within("a fault that is ignored", End::SEGV, &|| segv(ignored));
    within("a fault that is held back", End::SEGV, &|| {
        signal::set_mask(signal::bit(number::SEGV));
        segv(Action::handler(note, 0))
    });
    within("a fault in its handler", End::SEGV, &|| segv(Action::handler(fault_again, 0)));
    let shared = Map::shared(8);
    within("an alternate stack that is full", End::SEGV, &|| {
        let given = signal::alternate_stack([shared.address(4), 0, 4 * page_size()]);
        expect!(true, given.is_ok(), "sigaltstack");
        segv(Action::handler(fault_again, signal::ONSTACK | signal::NODEFER))
    });
    // What a handler itself takes may lie below it, but no frame.
    shared.check(0..3, 0, format_args!("handlers: memory below a stack that is full"));
    within("a frame without room", End::SEGV, &|| {
        signal::set(number::USR1, Action::handler(note, 0));
        poke_without_stack();
        0
    });
    within("a frame without room, handled", End::Exit(9), &|| {
        stack();
        signal::set(number::USR1, Action::handler(note, 0));
        signal::set(number::SEGV, Action::handler(no_frame, signal::ONSTACK));
        poke_without_stack();
        0
    });
}
