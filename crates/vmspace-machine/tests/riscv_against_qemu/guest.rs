//! A guest program: blocks of random instructions, each run on several sets of registers, all of
//! which it writes out.

use crate::assemble::*;
use crate::generate::{Group, Random};

/// Where the program lies; everything is readable, writable and executable.
pub const BASE: u64 = 0x10000;
/// Registers written out after each run of a block: x0–x31, f0–f31, fcsr.
pub const RECORD: usize = 65 * 8;
/// Sets of registers that each block runs on.
const RUNS: u64 = 8;
const SETS: usize = 64;
/// Pages of values that x30 may point into the middle of.
const POOLS: usize = 8;
const POOL: usize = 8192;

const POOL_AT: u64 = BASE + 0x1000;
const SETS_AT: u64 = POOL_AT + (POOLS * POOL) as u64;
const DUMP_AT: u64 = SETS_AT + 0x9000;
const CODE_AT: u64 = DUMP_AT + 0x1000;
// Behind the record: which set is next, and how many runs are left.
const NEXT: i32 = 544;
const LEFT: i32 = 552;

/// A program and what is needed to explain a difference.
pub struct Guest {
    /// The whole ELF file; its one segment is the file itself, at [`BASE`].
    pub elf: Vec<u8>,
    /// Where each block's random instructions begin and end, as addresses.
    pub blocks: Vec<(u64, u64)>,
}

impl Guest {
    pub const ENTRY: u64 = CODE_AT;

    pub fn new(group: Group, random: &mut Random, instructions: u64) -> Guest {
        let mut guest = Guest { elf: vec![0; (CODE_AT - BASE) as usize], blocks: Vec::new() };
        guest.fill_pools(group, random);
        guest.fill_sets(group, random);
        let mut executed = 0;
        while executed < instructions {
            executed += RUNS * guest.block(group, random);
        }
        guest.write_out(POOL_AT, POOLS * POOL);
        guest.words(&[addi(17, 0, 93), addi(10, 0, 0), ECALL]);
        guest.write_header();
        guest
    }

    /// The run of a block that wrote record `number`: its block and the set that it started from.
    pub fn block_of(&self, number: usize) -> Option<(u64, u64)> {
        self.blocks.get(number / RUNS as usize).copied()
    }

    fn here(&self) -> u64 {
        BASE + self.elf.len() as u64
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.elf.extend(word.to_le_bytes());
        }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = (at - BASE) as usize;
        self.elf[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn fill_pools(&mut self, group: Group, random: &mut Random) {
        for at in 0..POOLS * POOL / 8 {
            let value = random.datum(group);
            self.put(POOL_AT + at as u64 * 8, &value.to_le_bytes());
        }
    }

    fn fill_sets(&mut self, group: Group, random: &mut Random) {
        for set in 0..SETS {
            for register in 0..65 {
                let value = match register {
                    30 => POOL_AT + (random.below(POOLS) * POOL + POOL / 2) as u64,
                    64 => random.fcsr(),
                    _ => random.datum(group),
                };
                self.put(SETS_AT + (set * RECORD + register * 8) as u64, &value.to_le_bytes());
            }
        }
    }

    /// One block with its frame; gives how many random instructions a run of it executes, about.
    fn block(&mut self, group: Group, random: &mut Random) -> u64 {
        let first = SETS_AT + (random.below(SETS - RUNS as usize) * RECORD) as u64;
        self.words(&li(DUMP, DUMP_AT as i32));
        self.words(&li(1, first as i32));
        self.words(&[sd(1, DUMP, NEXT), addi(1, 0, RUNS as i32), sd(1, DUMP, LEFT)]);

        let start = self.here();
        self.words(&[ld(30, DUMP, NEXT), ld(1, 30, 64 * 8), i(0x73, 1, 0, 1, 3)]);
        for register in 0..32 {
            self.words(&[i(0x07, 3, register, 30, 256 + register as i32 * 8)]);
        }
        for register in 1..=30 {
            self.words(&[ld(register, 30, register as i32 * 8)]);
        }
        let body = self.here();
        let mut code = Vec::new();
        while code.len() < 480 {
            let at = body + code.len() as u64;
            group.unit(random, at, &mut code);
        }
        self.elf.extend(&code);
        self.blocks.push((body, self.here()));

        for register in 0..32 {
            self.words(&[sd(register, DUMP, register as i32 * 8)]);
            self.words(&[s(0x27, 3, DUMP, register, 256 + register as i32 * 8)]);
        }
        self.words(&[i(0x73, 2, 1, 0, 3), sd(1, DUMP, 64 * 8)]);
        self.write_out(DUMP_AT, RECORD);
        self.words(&[ld(5, DUMP, LEFT), addi(5, 5, -1), sd(5, DUMP, LEFT), ld(6, DUMP, NEXT)]);
        self.words(&[addi(6, 6, RECORD as i32), sd(6, DUMP, NEXT), branch(0, 5, 0, 8)]);
        let back = start as i32 - self.here() as i32;
        self.words(&[jal(0, back)]);
        code.len() as u64 / 4
    }

    /// write(1, at, length)
    fn write_out(&mut self, at: u64, length: usize) {
        self.words(&[addi(17, 0, 64), addi(10, 0, 1)]);
        self.words(&li(11, at as i32));
        self.words(&li(12, length as i32));
        self.words(&[ECALL]);
    }

    fn write_header(&mut self) {
        let size = self.elf.len() as u64;
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let half = |header: &mut Vec<u8>, value: u16| header.extend(value.to_le_bytes());
        let word = |header: &mut Vec<u8>, value: u32| header.extend(value.to_le_bytes());
        let double = |header: &mut Vec<u8>, value: u64| header.extend(value.to_le_bytes());
        half(&mut header, 2); // executable
        half(&mut header, 243); // RISC-V
        word(&mut header, 1);
        double(&mut header, Self::ENTRY);
        double(&mut header, 64); // program headers
        double(&mut header, 0);
        word(&mut header, 5); // compressed, double-float ABI
        for value in [64, 56, 1, 64, 0, 0] {
            half(&mut header, value);
        }
        word(&mut header, 1); // load
        word(&mut header, 7); // readable, writable, executable
        for value in [0, BASE, BASE, size, size, 0x1000] {
            double(&mut header, value);
        }
        self.put(BASE, &header);
    }
}
