//! `pie`: a position-independent program without an interpreter, which relocates itself, as static-pie
//! programs do. It uses none of the library, whose constants need to know where they are.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

global_asm!(
    ".weak _DYNAMIC",
    ".hidden _DYNAMIC",
    ".globl _start",
    "_start:",
    "lla a0, __ehdr_start", // where the program's first byte has come to lie
    "lla a1, _DYNAMIC",
    "andi sp, sp, -16",
    "call {start}",
    start = sym start,
);

/// An entry of the dynamic section.
#[repr(C)]
struct Dynamic {
    tag: usize,
    value: usize,
}

/// A relocation with an addend.
#[repr(C)]
struct Rela {
    offset: usize,
    info: usize,
    addend: usize,
}

/// Pointers, each of which wants a relocation; mutable, so that they lie where it can be written.
static mut LINES: [&str; 3] =
    ["pie: relocated itself\n", "pie: its pointers lead to text\n", "ok\n"];

extern "C" fn start(base: usize, mut dynamic: *const Dynamic) -> ! {
    let (mut table, mut size) = (0, 0);
    // SAFETY: the linker's section, which ends with tag 0, and its table of relocations; each is of a
    // word in this program's writable data.
    unsafe {
        while (*dynamic).tag != 0 {
            match (*dynamic).tag {
                7 => table = base + (*dynamic).value,
                8 => size = (*dynamic).value,
                _ => {}
            }
            dynamic = dynamic.add(1);
        }
        for at in (table..table + size).step_by(size_of::<Rela>()) {
            let rela = &*(at as *const Rela);
            if rela.info != 3 {
                exit(2); // not R_RISCV_RELATIVE
            }
            ((base + rela.offset) as *mut usize).write_volatile(base + rela.addend);
        }
        for nth in 0..3 {
            // Volatile: the compiler knows nothing of relocations.
            let line = (&raw const LINES as *const &str).add(nth).read_volatile();
            asm!("ecall", inlateout("a0") 1usize => _, in("a1") line.as_ptr(), in("a2") line.len(),
                in("a7") 64);
        }
    }
    exit(if size == 0 { 1 } else { 0 })
}

fn exit(status: usize) -> ! {
    // SAFETY: exit_group does not return.
    unsafe { asm!("ecall", in("a0") status, in("a7") 94, options(noreturn)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(101)
}
