//! Code that changes itself, and accesses that are not aligned.

use core::arch::asm;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, Ordering::*};
use guests::process::{End, child};
use guests::syscall::{flag, flush_icache, prot};
use guests::{Args, Map, expect, page_size, println, thread};

/// `li a0, value; ret`.
fn store_function(code: Map, value: u32) {
    code.word(0, 0).store(u64::from(value << 20 | 0x513) | 0x8067 << 32, Relaxed);
}

fn call(code: Map) -> u64 {
    let value;
    // SAFETY: the page holds what `store_function` wrote.
    unsafe { asm!("jalr {}", in(reg) code.address(0), lateout("a0") value, clobber_abi("C")) }
    value
}

fn fence_i() {
    // SAFETY: makes this hart fetch what it has written.
    unsafe { asm!("fence.i") }
}

/// Rewrites a function in place, by turns writable and executable, in a new page at the same address,
/// and under the feet of a thread that calls it.
pub fn selfmod(_: Args) {
    let code = Map::new(1, prot::RW | prot::EXEC, flag::PRIVATE);
    for value in 1..100 {
        store_function(code, value);
        fence_i();
        expect!(u64::from(value), call(code), "selfmod: rewritten in place");
    }
    for value in 100..200 {
        code.protect(0..1, prot::RW);
        store_function(code, value);
        code.protect(0..1, prot::READ | prot::EXEC);
        fence_i();
        expect!(u64::from(value), call(code), "selfmod: by turns writable and executable");
    }
    for value in 200..300 {
        code.replace(0..1);
        store_function(code, value);
        code.protect(0..1, prot::READ | prot::EXEC);
        fence_i();
        expect!(u64::from(value), call(code), "selfmod: a new page at the same address");
    }
    in_child(code);
    across_threads(code);
    code.free();
    println!("selfmod: the new code ran every time");
}

/// Copy-on-write of code: the child's rewriting is its own.
fn in_child(code: Map) {
    let rewriter = child(|| {
        expect!(299, call(code), "selfmod: the child's inherited code");
        code.protect(0..1, prot::RW | prot::EXEC);
        store_function(code, 300);
        fence_i();
        expect!(300, call(code), "selfmod: the child's own code");
        0
    });
    rewriter.expect(End::Exit(0), format_args!("selfmod: the child"));
    expect!(299, call(code), "selfmod: the parent's code after the child's rewriting");
}

/// One thread calls the function until it sees the new one, which another thread has made visible to all.
fn across_threads(code: Map) {
    code.protect(0..1, prot::RW | prot::EXEC);
    let running = AtomicBool::new(false);
    thread::run(2, |thread| {
        if thread == 0 {
            while call(code) != 301 {
                running.store(true, Release);
            }
            return;
        }
        while !running.load(Acquire) {
            spin_loop();
        }
        store_function(code, 301);
        fence_i();
        let flushed = flush_icache(code.address(0), code.address(0) + page_size());
        expect!(Ok(()), flushed, "selfmod: riscv_flush_icache");
    });
}

/// Loads and stores of 2, 4 and 8 bytes at every offset across a page's end: Linux makes them work.
pub fn misaligned(_: Args) {
    let map = Map::private(2);
    let edge = map.address(1);
    for offset in 1..8 {
        let at = edge - offset;
        for (size, value) in [(2, 0xa1b2), (4, 0xc3d4_e5f6), (8, 0x0123_4567_89ab_cdefu64)] {
            let seen: u64;
            // SAFETY: within the two pages.
            unsafe {
                match size {
                    2 => {
                        asm!("sh {1}, 0({2})", "lhu {0}, 0({2})", out(reg) seen, in(reg) value, in(reg) at)
                    }
                    4 => {
                        asm!("sw {1}, 0({2})", "lwu {0}, 0({2})", out(reg) seen, in(reg) value, in(reg) at)
                    }
                    _ => {
                        asm!("sd {1}, 0({2})", "ld {0}, 0({2})", out(reg) seen, in(reg) value, in(reg) at)
                    }
                }
            }
            expect!(value, seen, "misaligned: {size} bytes, {offset} before a page's end");
            for byte in 0..size {
                // SAFETY: within the two pages.
                let seen = unsafe { ((at + byte) as *const u8).read_volatile() };
                let expected = value.to_le_bytes()[byte];
                expect!(
                    expected,
                    seen,
                    "misaligned: byte {byte} of {size}, {offset} before the end"
                );
            }
        }
    }
    map.free();
    println!("misaligned: every access across a page's end was whole");
}
