//! Random units of instructions, by group.

use crate::assemble::*;
use vmspace_machine::random::SplitMix64;

/// The same instructions for the same seed, anywhere.
pub struct Random(SplitMix64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(SplitMix64::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.bits()
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bits(&mut self, count: u32) -> u32 {
        (self.next() >> (64 - count)) as u32
    }

    /// A valid fcsr; half of the time with the usual mode and the inexact flag set.
    pub fn fcsr(&mut self) -> u64 {
        match self.below(2) {
            0 => 1,
            _ => (self.below(5) << 5 | self.below(32)) as u64,
        }
    }

    /// A value for a register or for memory, with the edges that matter to `group`.
    pub fn datum(&mut self, group: Group) -> u64 {
        match group {
            Group::Single => 0xffff_ffff_0000_0000 | self.float(23, 8),
            Group::Double => self.float(52, 11),
            Group::Convert => match self.below(4) {
                0 => self.integer(),
                1 => self.float(52, 11),
                2 => self.near_integer(),
                _ if self.below(8) == 0 => self.float(23, 8),
                _ => 0xffff_ffff_0000_0000 | self.float(23, 8),
            },
            _ => self.integer(),
        }
    }

    fn integer(&mut self) -> u64 {
        let value = self.next();
        match self.below(6) {
            0 => value >> self.below(64),
            1 => (value as i64 >> self.below(64)) as u64,
            2 => 1 << (value % 64),
            3 => (1u64 << (value % 64)).wrapping_neg(),
            4 => self.choose(&[0, 1, u64::MAX, i64::MIN as u64, i64::MAX as u64, 1 << 31]),
            _ => value,
        }
    }

    /// A double around the bounds of the integer types, or with a fraction around one half.
    fn near_integer(&mut self) -> u64 {
        let bound =
            self.choose(&[0.0, 1.0, 2f64.powi(31), 2f64.powi(32), 2f64.powi(63), 2f64.powi(64)]);
        let offset = self.choose(&[0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 1024.0]);
        let value = if self.below(2) == 0 { bound + offset } else { bound - offset };
        let value = if self.below(2) == 0 { value } else { -value };
        value.to_bits()
    }

    /// A datum of a format: exponents mostly near each other or near the ends, fractions mostly
    /// with long runs.
    fn float(&mut self, fraction: u32, exponent: u32) -> u64 {
        let special = (1u64 << exponent) - 1;
        let bias = special >> 1;
        let field = match self.below(8) {
            0 => self.choose(&[0, special]),
            1 => self.below(4) as u64,
            2 => special - self.below(4) as u64,
            3 => self.next() & special,
            4 => bias / 2 + self.below(3) as u64,
            5 => bias + bias / 2 - self.below(3) as u64,
            _ => bias - 4 + self.below(8) as u64,
        };
        let mask = (1u64 << fraction) - 1;
        let random = self.next();
        let bits = match self.below(6) {
            0 => 0,
            1 => mask,
            2 => random << self.below(fraction as usize),
            3 => !(random << self.below(fraction as usize)),
            4 => 1 << self.below(fraction as usize),
            _ => random,
        };
        (random >> 63) << (fraction + exponent) | field << fraction | bits & mask
    }
}

/// What kind of instructions a program is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Integer,
    Multiply,
    Atomic,
    Compressed,
    Single,
    Double,
    Convert,
    Memory,
    Branch,
    Modify,
}

impl Group {
    pub const ALL: [Group; 10] = [
        Group::Integer,
        Group::Multiply,
        Group::Atomic,
        Group::Compressed,
        Group::Single,
        Group::Double,
        Group::Convert,
        Group::Memory,
        Group::Branch,
        Group::Modify,
    ];

    /// Append a unit of instructions, which will lie at `at`, to `code`.
    pub fn unit(self, random: &mut Random, at: u64, code: &mut Vec<u8>) {
        match self {
            Group::Integer => emit(code, &[integer(random)]),
            Group::Multiply => emit(code, &[multiply(random)]),
            Group::Atomic => emit(code, &atomic(random)),
            Group::Compressed => compressed(random, code),
            Group::Single => emit(code, &[float(random, 0)]),
            Group::Double => emit(code, &[float(random, 1)]),
            Group::Convert => emit(code, &[convert(random)]),
            Group::Memory => emit(code, &[memory(random)]),
            Group::Branch => branches(random, at, code),
            Group::Modify => modify(random, at, code),
        }
    }
}

fn emit(code: &mut Vec<u8>, words: &[u32]) {
    for word in words {
        code.extend(word.to_le_bytes());
    }
}

/// A destination: anything but the registers that the test keeps.
fn rd(random: &mut Random) -> u32 {
    random.below(SCRATCH as usize) as u32
}

fn rs(random: &mut Random) -> u32 {
    random.bits(5)
}

fn integer(random: &mut Random) -> u32 {
    let (rd, rs1, rs2) = (rd(random), rs(random), rs(random));
    let alternate = random.choose(&[0, 0x20]);
    match random.below(10) {
        0 => random.bits(20) << 12 | rd << 7 | random.choose(&[0x17, 0x37]),
        1 => i(0x13, random.choose(&[1, 5]), rd, rs1, random.bits(6) as i32),
        2 => i(0x13, 5, rd, rs1, 0x400 | random.bits(6) as i32),
        3 => i(0x13, random.choose(&[0, 2, 3, 4, 6, 7]), rd, rs1, random.bits(12) as i32),
        4 => r(0x1b, random.choose(&[1, 5]), 0, rd, rs1, rs2),
        5 => r(0x1b, 5, 0x20, rd, rs1, rs2),
        6 => i(0x1b, 0, rd, rs1, random.bits(12) as i32),
        7 => r(0x33, random.bits(3), 0, rd, rs1, rs2),
        8 => r(random.choose(&[0x33, 0x3b]), random.choose(&[0, 5]), alternate, rd, rs1, rs2),
        _ => r(0x3b, random.choose(&[0, 1, 5]), 0, rd, rs1, rs2),
    }
}

fn multiply(random: &mut Random) -> u32 {
    let (rd, rs1, rs2) = (rd(random), rs(random), rs(random));
    match random.below(5) {
        0 | 1 => r(0x33, random.bits(3), 1, rd, rs1, rs2),
        2 | 3 => r(0x3b, random.choose(&[0, 4, 5, 6, 7]), 1, rd, rs1, rs2),
        // Fresh operands, or everything is soon zero or all ones.
        _ => ld(rd, MEMORY, random.bits(9) as i32 * 8 - 2048),
    }
}

/// An AMO, or a load-reserved with a store-conditional that succeeds, or fails for one of several
/// reasons.
fn atomic(random: &mut Random) -> Vec<u32> {
    let (width, size) = random.choose(&[(2, 4), (3, 8)]);
    let offset = random.below(64 / size as usize) as i32 * size;
    let amo = |random: &mut Random, kind: u32| {
        let rs2 = if kind == 2 { 0 } else { rs(random) };
        r(0x2f, width, kind << 2 | random.bits(2), rd(random), SCRATCH, rs2)
    };
    let mut words = vec![addi(SCRATCH, MEMORY, offset)];
    if random.below(2) == 0 {
        let kind = random.choose(&[0, 1, 4, 8, 12, 16, 20, 24, 28]);
        words.push(amo(random, kind));
        return words;
    }
    words.push(amo(random, 2));
    match random.below(5) {
        0 => words.push(addi(SCRATCH, MEMORY, offset + size)),
        1 => words.push(s(0x23, width, SCRATCH, rs(random), 0)),
        2 => words.push(amo(random, 3)),
        _ => words.push(integer(random)),
    }
    words.push(amo(random, 3));
    words
}

/// A random compressed instruction that neither jumps nor accesses memory but by s0 or sp, which
/// are set before.
fn compressed(random: &mut Random, code: &mut Vec<u8>) {
    loop {
        let half = random.bits(16) as u16;
        let rd = half >> 7 & 31;
        let memory = match (half & 3, half >> 13) {
            (0, 1 | 2 | 3 | 5 | 6 | 7) => Some(8),
            (2, 1 | 2 | 3 | 5 | 6 | 7) => Some(2),
            _ => None,
        };
        let defined = match (half & 3, half >> 13) {
            (3, _) | (0, 4) | (1, 5..=7) => false,
            (0, 0) => half >> 5 & 0xff != 0,
            (1, 1) => rd != 0 && rd < 29,
            (1, 3) => half & 0x107c != 0 && rd < 29,
            (1, 4) => half >> 10 & 7 != 7 || half >> 6 & 1 == 0,
            (2, 4) => half >> 2 & 31 != 0 && rd < 29,
            (2, 2 | 3) => rd != 0 && rd < 29,
            (2, 0) | (1, 0 | 2) => rd < 29,
            _ => true,
        };
        if !defined {
            continue;
        }
        if let Some(base) = memory {
            emit(code, &[addi(base, MEMORY, random.bits(8) as i32 * 8 - 1024)]);
            // The base register of quadrant 0 is in bits 7–9; s0 is 0 there.
            let half = if base == 8 { half & !0x380 } else { half };
            code.extend(half.to_le_bytes());
        } else {
            code.extend(half.to_le_bytes());
        }
        return;
    }
}

fn rounding(random: &mut Random) -> u32 {
    random.choose(&[0, 1, 2, 3, 4, 7, 7, 7])
}

/// Change fflags, frm or fcsr; every mode that is set is a valid one.
fn set_fcsr(random: &mut Random) -> u32 {
    let rd = rd(random);
    match random.below(4) {
        0 => i(0x73, 5, rd, random.bits(5), 1),
        1 => i(0x73, 5, rd, random.below(5) as u32, 2),
        2 => i(0x73, 5, rd, 0, 1),
        _ => i(0x73, random.choose(&[2, 6, 7]), rd, 0, random.choose(&[1, 2, 3])),
    }
}

/// A computation in the format `double` of F and D, or fresh operands for it.
fn float(random: &mut Random, double: u32) -> u32 {
    let (fd, fs1, fs2) = (rs(random), rs(random), rs(random));
    let rm = rounding(random);
    let op =
        |funct5: u32, rm: u32, fd: u32, fs2: u32| r(0x53, rm, funct5 << 2 | double, fd, fs1, fs2);
    match random.below(20) {
        0..=2 => op(0x00, rm, fd, fs2),
        3 => op(0x01, rm, fd, fs2),
        4..=5 => op(0x02, rm, fd, fs2),
        6..=7 => op(0x03, rm, fd, fs2),
        8 => op(0x0b, rm, fd, 0),
        9..=11 => {
            let opcode = random.choose(&[0x43, 0x47, 0x4b, 0x4f]);
            r(opcode, rm, rs(random) << 2 | double, fd, fs1, fs2)
        }
        12 => op(0x04, random.choose(&[0, 1, 2]), fd, fs2),
        13 => op(0x05, random.bits(1), fd, fs2),
        14 => op(0x14, random.choose(&[0, 1, 2]), rd(random), fs2),
        15 => op(0x1c, random.bits(1), rd(random), 0),
        16 => set_fcsr(random),
        _ => i(0x07, 2 + double, fd, MEMORY, random.bits(9) as i32 * 8 - 2048),
    }
}

fn convert(random: &mut Random) -> u32 {
    let (double, rm, fs1) = (random.bits(1), rounding(random), rs(random));
    let variant = random.bits(2);
    match random.below(10) {
        0..=2 => r(0x53, rm, 0x60 | double, rd(random), fs1, variant),
        3..=4 => r(0x53, rm, 0x68 | double, rs(random), fs1, variant),
        5 => r(0x53, rm, 0x20, rs(random), fs1, 1),
        6 => r(0x53, rm, 0x21, rs(random), fs1, 0),
        7 => set_fcsr(random),
        8 => ld(rd(random), MEMORY, random.bits(9) as i32 * 8 - 2048),
        _ => i(0x07, 2 + random.bits(1), rs(random), MEMORY, random.bits(9) as i32 * 8 - 2048),
    }
}

/// A load or store of any size and alignment, half of them near the border of two pages.
fn memory(random: &mut Random) -> u32 {
    let offset = match random.below(2) {
        0 => random.below(20) as i32 - 10,
        _ => random.bits(12) as i32 - 2048,
    };
    match random.below(6) {
        0..=2 => i(0x03, random.below(7) as u32, rd(random), MEMORY, offset),
        3..=4 => s(0x23, random.bits(2), MEMORY, rs(random), offset),
        _ => match random.below(2) {
            0 => i(0x07, random.choose(&[2, 3]), rs(random), MEMORY, offset),
            _ => s(0x27, random.choose(&[2, 3]), MEMORY, rs(random), offset),
        },
    }
}

/// Instructions of all lengths.
fn body(random: &mut Random, code: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        match random.below(3) {
            0 => compressed(random, code),
            1 => emit(code, &[memory(random)]),
            _ => emit(code, &[integer(random)]),
        }
    }
}

/// A branch or jump over some instructions, or a loop around them.
fn branches(random: &mut Random, at: u64, code: &mut Vec<u8>) {
    let mut inner = Vec::new();
    body(random, &mut inner);
    let over = inner.len() as i32 + 4;
    let condition = random.choose(&[0, 1, 4, 5, 6, 7]);
    match random.below(6) {
        0 => emit(code, &[jal(rd(random), over)]),
        1 => {
            // An odd target: the lowest bit is dropped.
            let target = (at + 12) as i32 + inner.len() as i32 + random.bits(1) as i32;
            let displacement = random.bits(11) as i32 - 1024;
            emit(code, &li(SCRATCH, target - displacement));
            emit(code, &[i(0x67, 0, rd(random), SCRATCH, displacement)]);
        }
        2 => {
            emit(code, &[addi(SCRATCH, 0, 3)]);
            code.extend(&inner);
            emit(code, &[addi(SCRATCH, SCRATCH, -1), branch(1, SCRATCH, 0, -over)]);
            return;
        }
        _ => emit(code, &[branch(condition, rs(random), rs(random), over)]),
    }
    code.extend(&inner);
}

/// Write an instruction over one that lies ahead, and execute it after a `fence.i`.
fn modify(random: &mut Random, at: u64, code: &mut Vec<u8>) {
    let new = integer(random);
    let old = integer(random);
    emit(code, &li(SCRATCH, new as i32));
    emit(code, &[sd(SCRATCH, DUMP, 560)]);
    let mut inner = Vec::new();
    body(random, &mut inner);
    // Behind two times two instructions, three more, and the body.
    let slot = at + 12 + 20 + inner.len() as u64;
    emit(code, &li(SCRATCH, slot as i32));
    emit(code, &[ld(28, DUMP, 560), s(0x23, 2, SCRATCH, 28, 0), FENCE_I]);
    code.extend(&inner);
    emit(code, &[old]);
}
