//! Deeds that kill: jumps and accesses to where nothing is or may be, and instructions that are none.

use crate::Deadly;
use core::arch::asm;
use core::hint::black_box;
use guests::process::End;
use guests::syscall::{flag, prot};
use guests::{Map, page_size};

/// An instruction that traps; a0 may be named in it.
macro_rules! traps {
    ($code:literal) => {
        // SAFETY: nothing comes after it: the process ends.
        || unsafe { asm!($code, out("a0") _) }
    };
}

pub const KINDS: [Deadly; 8] = [
    Deadly {
        name: "wildjump",
        end: End::SEGV,
        deeds: &[
            || jump(0),
            || jump(8),
            || jump(0xdead_beef_0000 >> 2),
            || jump(1 << 63),
            || jump(usize::MAX - 3),
            || jump(black_box(&0u64) as *const u64 as usize),
            || jump(Map::private(1).address(0)),
            || jump(Map::new(1, prot::NONE, flag::PRIVATE).address(0)),
        ],
    },
    Deadly { name: "nullread", end: End::SEGV, deeds: &[|| read(0), || read(8), || write(0)] },
    Deadly {
        name: "badaccess",
        end: End::SEGV,
        deeds: &[
            || read(1 << 38),
            || read(1 << 47),
            || read(1 << 62),
            || read(1 << 63),
            || read(usize::MAX - 7),
            || write(usize::MAX - 7),
            || write(jump as *const () as usize & !7),
            || write(Map::new(1, prot::READ, flag::PRIVATE).address(0)),
            || read(Map::new(1, prot::NONE, flag::PRIVATE).address(0)),
            half_outside,
            add_to_read_only,
        ],
    },
    Deadly {
        name: "stackoverflow",
        end: End::SEGV,
        deeds: &[|| {
            recurse(0);
        }],
    },
    Deadly {
        name: "illegal",
        end: End::ILL,
        deeds: &[
            traps!(".2byte 0"),
            traps!(".4byte 0xffffffff"),
            traps!("csrr a0, 0x300"),    // mstatus
            traps!("csrr a0, 0x180"),    // satp
            traps!("csrw 0xc00, zero"),  // cycle is read-only
            traps!(".4byte 0x30200073"), // mret
            traps!(".4byte 0x10200073"), // sret
            traps!(".4byte 0x12000073"), // sfence.vma
            traps!(".4byte 0x0000705b"), // a custom opcode
        ],
    },
    Deadly {
        name: "ebreak",
        end: End::TRAP,
        deeds: &[traps!(".4byte 0x00100073"), traps!(".2byte 0x9002")],
    },
    Deadly {
        name: "misatomic",
        end: End::BUS,
        deeds: &[
            traps!("addi a0, sp, 4; amoadd.d a0, zero, (a0)"),
            traps!("addi a0, sp, 2; amoswap.w a0, zero, (a0)"),
            traps!("addi a0, sp, 4; lr.d a0, (a0)"),
        ],
    },
    Deadly { name: "abort", end: End::Signal(6), deeds: &[|| guests::syscall::kill_self(6)] },
];

fn jump(to: usize) {
    // SAFETY: nothing is there that could run: the process ends.
    unsafe { asm!("jalr {}", in(reg) to, clobber_abi("C")) }
}

fn read(from: usize) {
    // SAFETY: nothing may be read there: the process ends.
    unsafe { asm!("ld {}, 0({})", out(reg) _, in(reg) from) }
}

fn write(to: usize) {
    // SAFETY: nothing may be written there: the process ends.
    unsafe { asm!("sd zero, 0({})", in(reg) to) }
}

/// A store whose second half lies in a page that is not there.
fn half_outside() {
    let map = Map::private(2);
    map.unmap(1..2);
    write(map.address(0) + page_size() - 4);
}

/// An atomic addition of nothing is a write all the same.
fn add_to_read_only() {
    let map = Map::private(1);
    map.fill(0..1, 1);
    map.protect(0..1, prot::READ);
    map.word(0, 0).fetch_add(0, core::sync::atomic::Ordering::Relaxed);
}

fn recurse(depth: usize) -> usize {
    let frame = black_box([depth; 64]);
    if frame[depth % 64] == usize::MAX { 0 } else { recurse(depth + 1) + frame[0] }
}
