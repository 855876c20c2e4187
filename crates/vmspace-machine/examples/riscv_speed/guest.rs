//! The workload: a sieve, a checksum, matrices of integers and of doubles, a sort, a hash table.
//!
//! Prints nothing; its exit status is a digest of all results, so that two machines can be
//! compared.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(255)
}

fn exit(status: u64) -> ! {
    // SAFETY: Linux's exit does not return.
    unsafe { asm!("ecall", in("a7") 93, in("a0") status, options(noreturn)) }
}

/// Entry point. Nothing here needs the stack that a loader gives, but the compiler does.
// SAFETY: the name is the linker's entry point, and nothing else has it.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let mut digest = 0;
    for round in 0..black_box(12) {
        digest ^= sieve() ^ checksum(round) ^ matrix() ^ doubles() ^ sort(round) ^ table(round);
    }
    exit((digest ^ digest >> 8 ^ digest >> 16 ^ digest >> 32) & 0x7f)
}

static mut BYTES: [u8; 1 << 20] = [0; 1 << 20];
static mut WORDS: [u64; 1 << 15] = [0; 1 << 15];

fn sieve() -> u64 {
    // SAFETY: the guest has one thread, and nobody holds another reference.
    let bytes = unsafe { &mut *&raw mut BYTES };
    bytes.fill(1);
    let mut count = 0;
    for n in 2..bytes.len() {
        if bytes[n] != 0 {
            count += 1;
            for multiple in (n * 2..bytes.len()).step_by(n) {
                bytes[multiple] = 0;
            }
        }
    }
    count
}

fn checksum(seed: u64) -> u64 {
    let mut crc = seed as u32;
    // SAFETY: as in `sieve`.
    for &byte in unsafe { &*&raw const BYTES }.iter().take(1 << 18) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ 0xedb8_8320 & (crc & 1).wrapping_neg();
        }
    }
    crc.into()
}

fn matrix() -> u64 {
    const N: usize = 64;
    let mut a = [[0i32; N]; N];
    let mut b = [[0i32; N]; N];
    for i in 0..N {
        for j in 0..N {
            a[i][j] = (i * j) as i32;
            b[i][j] = (i + j) as i32;
        }
    }
    let (a, b) = (black_box(&a), black_box(&b));
    let mut sum = 0i32;
    for i in 0..N {
        for j in 0..N {
            let mut dot = 0i32;
            for k in 0..N {
                dot = dot.wrapping_add(a[i][k].wrapping_mul(b[k][j]));
            }
            sum = sum.wrapping_add(dot);
        }
    }
    sum as u64
}

fn doubles() -> u64 {
    let mut x = 0.5f64;
    let mut sum = 0.0;
    for i in 0..black_box(200_000) {
        x = 3.7 * x * (1.0 - x);
        sum += x / (i as f64 + 1.0);
    }
    sum.to_bits()
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn sort(seed: u64) -> u64 {
    // SAFETY: as in `sieve`.
    let words = unsafe { &mut *&raw mut WORDS };
    let mut state = seed + 1;
    words.iter_mut().for_each(|word| *word = random(&mut state));
    words.sort_unstable();
    words[1000] ^ words[words.len() / 2]
}

fn table(seed: u64) -> u64 {
    // SAFETY: as in `sieve`.
    let words = unsafe { &mut *&raw mut WORDS };
    words.fill(0);
    let mut state = seed + 7;
    let mut collisions = 0;
    for _ in 0..24_000 {
        let key = random(&mut state) | 1;
        let mut slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 49) as usize;
        while words[slot] != 0 && words[slot] != key {
            slot = (slot + 1) % words.len();
            collisions += 1;
        }
        words[slot] = key;
    }
    collisions
}
