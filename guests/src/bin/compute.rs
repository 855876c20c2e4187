//! `compute [SCALE]`: integer work with known results, to compare the interpreter's speed with that of
//! qemu-riscv64. Scale 1, the default, takes qemu about two seconds.
#![no_std]
#![no_main]

use guests::time::{millis_since, now};
use guests::{Args, Rng, expect, println};

guests::main!(main);

type Kernel = fn() -> u64;

fn main(args: Args) {
    let scale = args.number(1, 1);
    let began = now();
    let mut sum = 0u64;
    let kernels: [(&str, Kernel, usize, u64); 4] = [
        ("sieve", sieve, 600, 0x6_5e67_02d0_4640),
        ("crc32", crc32, 2000, 0xaa88_85af),
        ("matrix", matrix, 400, 0x767e_d6d2_07af_cef3),
        ("sort", sort, 400, 0xd57f_86f6_8f80_5b44),
    ];
    for (name, kernel, times, expected) in kernels {
        let began = now();
        for time in 0..times * scale {
            let result = core::hint::black_box(kernel)();
            expect!(expected, result, "{name}, run {time}");
            sum = sum.rotate_left(7) ^ result;
        }
        println!("{name:<7} {expected:>12x} x {:<5} {:>6} ms", times * scale, millis_since(began));
    }
    println!("checksum {sum:016x} ({} ms)", millis_since(began));
    println!("ok");
}

/// How many primes lie below 200,000, and their sum.
fn sieve() -> u64 {
    const LIMIT: usize = 200_000;
    let mut composite = [0u64; LIMIT / 64 + 1];
    let (mut count, mut sum) = (0, 0);
    for n in 2..LIMIT {
        if composite[n / 64] >> (n % 64) & 1 == 0 {
            count += 1;
            sum += n as u64;
            for multiple in (n * n..LIMIT).step_by(n) {
                composite[multiple / 64] |= 1 << (multiple % 64);
            }
        }
    }
    sum << 20 | count
}

/// CRC-32 of 64 KiB of random bytes, by table.
fn crc32() -> u64 {
    let table: [u32; 256] = core::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    let mut rng = Rng::new(1);
    let crc = (0..8192).fold(!0u32, |crc, _| {
        let bytes = rng.draw().to_le_bytes();
        bytes.iter().fold(crc, |crc, byte| crc >> 8 ^ table[(crc as u8 ^ byte) as usize])
    });
    u64::from(!crc)
}

/// A hash of the product of two 96 by 96 matrices.
fn matrix() -> u64 {
    const N: usize = 96;
    let mut rng = Rng::new(2);
    let mut random = || -> [[u32; N]; N] {
        core::array::from_fn(|_| core::array::from_fn(|_| rng.draw() as u32))
    };
    let (a, b) = (random(), random());
    let mut hash = 0u64;
    for row in &a {
        for column in 0..N {
            let products = row.iter().zip(&b).map(|(x, b_row)| x.wrapping_mul(b_row[column]));
            let cell = products.fold(0, u32::wrapping_add);
            hash = hash.wrapping_mul(31).wrapping_add(u64::from(cell));
        }
    }
    hash
}

/// A hash of 20,000 random numbers after sorting.
fn sort() -> u64 {
    let mut rng = Rng::new(3);
    let mut numbers: [u32; 20_000] = core::array::from_fn(|_| rng.draw() as u32);
    numbers.sort_unstable();
    numbers.iter().fold(0, |hash, n| hash.wrapping_mul(31).wrapping_add(u64::from(*n)))
}
