//! Encodings of the instructions that the test writes itself.

/// The register that points at the dump, and is never overwritten by random instructions.
pub const DUMP: u32 = 31;
/// The register that points at memory for random loads and stores; also kept.
pub const MEMORY: u32 = 30;
/// The register that random units use for addresses and counters.
pub const SCRATCH: u32 = 29;

pub fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub fn s(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

pub fn branch(funct3: u32, rs1: u32, rs2: u32, distance: i32) -> u32 {
    let imm = distance as u32;
    let high = (imm >> 12 & 1) << 6 | imm >> 5 & 0x3f;
    let low = imm & 0x1e | imm >> 11 & 1;
    high << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | low << 7 | 0x63
}

pub fn jal(rd: u32, distance: i32) -> u32 {
    let imm = distance as u32;
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 0xff) << 12
        | rd << 7
        | 0x6f
}

pub fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x13, 0, rd, rs1, imm)
}

pub fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x03, 3, rd, rs1, imm)
}

pub fn sd(rs2: u32, rs1: u32, imm: i32) -> u32 {
    s(0x23, 3, rs1, rs2, imm)
}

/// rd = value, sign-extended, in two instructions.
pub fn li(rd: u32, value: i32) -> [u32; 2] {
    let upper = (value.wrapping_add(0x800) as u32) & 0xffff_f000;
    [upper | rd << 7 | 0x37, i(0x1b, 0, rd, rd, value.wrapping_sub(upper as i32))]
}

pub const ECALL: u32 = 0x73;
pub const FENCE_I: u32 = 0x100f;
