//! Compressed instructions, each expanded to the 32-bit instruction that it stands for.
//!
//! Guarantee: [`expand`] returns `None` exactly for the reserved and illegal encodings of RV64DC
//! (all-zero included); hints expand to instructions without effect.

/// Bits `low..=high` of `half`, moved to position `to`.
const fn field(half: u16, high: u32, low: u32, to: u32) -> u32 {
    ((half as u32 >> low) & ((1 << (high - low + 1)) - 1)) << to
}

/// The value of the `bits`-wide two's complement number `value`.
const fn signed(value: u32, bits: u32) -> i32 {
    ((value << (32 - bits)) as i32) >> (32 - bits)
}

const LOAD: u32 = 0x03;
const LOAD_FP: u32 = 0x07;
const OP_IMM: u32 = 0x13;
const OP_IMM_32: u32 = 0x1b;
const STORE: u32 = 0x23;
const STORE_FP: u32 = 0x27;
const OP: u32 = 0x33;
const LUI: u32 = 0x37;
const OP_32: u32 = 0x3b;
const BRANCH: u32 = 0x63;
const JALR: u32 = 0x67;
const JAL: u32 = 0x6f;

const fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn s_type(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

const fn r_type(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn b_type(funct3: u32, rs1: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 12 & 1) << 31
        | (imm >> 5 & 0x3f) << 25
        | rs1 << 15
        | funct3 << 12
        | (imm >> 1 & 15) << 8
        | (imm >> 11 & 1) << 7
        | BRANCH
}

const fn j_type(imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm >> 12 & 0xff) << 12
        | JAL
}

/// The 32-bit instruction that the compressed instruction `half` stands for.
pub(super) const fn expand(half: u16) -> Option<u32> {
    match half & 3 {
        0 => quadrant_0(half),
        1 => quadrant_1(half),
        2 => quadrant_2(half),
        _ => None,
    }
}

/// Loads and stores by the popular registers, and `addi4spn`.
const fn quadrant_0(half: u16) -> Option<u32> {
    let rd = 8 + field(half, 4, 2, 0);
    let rs1 = 8 + field(half, 9, 7, 0);
    let double = field(half, 12, 10, 3) | field(half, 6, 5, 6);
    let word = field(half, 12, 10, 3) | field(half, 6, 6, 2) | field(half, 5, 5, 6);
    Some(match half >> 13 {
        0 => {
            let imm = field(half, 12, 11, 4)
                | field(half, 10, 7, 6)
                | field(half, 6, 6, 2)
                | field(half, 5, 5, 3);
            if imm == 0 {
                return None;
            }
            i_type(OP_IMM, 0, rd, 2, imm as i32)
        }
        1 => i_type(LOAD_FP, 3, rd, rs1, double as i32),
        2 => i_type(LOAD, 2, rd, rs1, word as i32),
        3 => i_type(LOAD, 3, rd, rs1, double as i32),
        5 => s_type(STORE_FP, 3, rs1, rd, double),
        6 => s_type(STORE, 2, rs1, rd, word),
        7 => s_type(STORE, 3, rs1, rd, double),
        _ => return None,
    })
}

/// Immediates, arithmetic on the popular registers, and control flow.
const fn quadrant_1(half: u16) -> Option<u32> {
    let rd = field(half, 11, 7, 0);
    let short = 8 + field(half, 9, 7, 0);
    let imm = signed(field(half, 12, 12, 5) | field(half, 6, 2, 0), 6);
    Some(match half >> 13 {
        0 => i_type(OP_IMM, 0, rd, rd, imm),
        1 if rd == 0 => return None,
        1 => i_type(OP_IMM_32, 0, rd, rd, imm),
        2 => i_type(OP_IMM, 0, rd, 0, imm),
        3 if imm == 0 => return None,
        3 if rd == 2 => {
            let imm = field(half, 12, 12, 9)
                | field(half, 6, 6, 4)
                | field(half, 5, 5, 6)
                | field(half, 4, 3, 7)
                | field(half, 2, 2, 5);
            i_type(OP_IMM, 0, 2, 2, signed(imm, 10))
        }
        3 => (imm as u32) << 12 | rd << 7 | LUI,
        4 => return arithmetic(half, short, imm),
        5 => {
            let imm = field(half, 12, 12, 11)
                | field(half, 11, 11, 4)
                | field(half, 10, 9, 8)
                | field(half, 8, 8, 10)
                | field(half, 7, 7, 6)
                | field(half, 6, 6, 7)
                | field(half, 5, 3, 1)
                | field(half, 2, 2, 5);
            j_type(signed(imm, 12))
        }
        funct3 => {
            let imm = field(half, 12, 12, 8)
                | field(half, 11, 10, 3)
                | field(half, 6, 5, 6)
                | field(half, 4, 3, 1)
                | field(half, 2, 2, 5);
            b_type(funct3 as u32 & 1, short, signed(imm, 9))
        }
    })
}

/// The group of quadrant 1 that computes on one or two popular registers.
const fn arithmetic(half: u16, rd: u32, imm: i32) -> Option<u32> {
    let rs2 = 8 + field(half, 4, 2, 0);
    let shift = imm & 63;
    Some(match (field(half, 11, 10, 0), field(half, 12, 12, 0), field(half, 6, 5, 0)) {
        (0, _, _) => i_type(OP_IMM, 5, rd, rd, shift),
        (1, _, _) => i_type(OP_IMM, 5, rd, rd, shift | 0x400),
        (2, _, _) => i_type(OP_IMM, 7, rd, rd, imm),
        (3, 0, 0) => r_type(OP, 0, 0x20, rd, rd, rs2),
        (3, 0, 1) => r_type(OP, 4, 0, rd, rd, rs2),
        (3, 0, 2) => r_type(OP, 6, 0, rd, rd, rs2),
        (3, 0, 3) => r_type(OP, 7, 0, rd, rd, rs2),
        (3, 1, 0) => r_type(OP_32, 0, 0x20, rd, rd, rs2),
        (3, 1, 1) => r_type(OP_32, 0, 0, rd, rd, rs2),
        _ => return None,
    })
}

/// Stack-relative loads and stores, moves, and jumps by register.
const fn quadrant_2(half: u16) -> Option<u32> {
    let rd = field(half, 11, 7, 0);
    let rs2 = field(half, 6, 2, 0);
    let load_double = field(half, 12, 12, 5) | field(half, 6, 5, 3) | field(half, 4, 2, 6);
    let load_word = field(half, 12, 12, 5) | field(half, 6, 4, 2) | field(half, 3, 2, 6);
    let store_double = field(half, 12, 10, 3) | field(half, 9, 7, 6);
    let store_word = field(half, 12, 9, 2) | field(half, 8, 7, 6);
    Some(match half >> 13 {
        0 => i_type(OP_IMM, 1, rd, rd, (field(half, 12, 12, 5) | rs2) as i32),
        1 => i_type(LOAD_FP, 3, rd, 2, load_double as i32),
        2 if rd != 0 => i_type(LOAD, 2, rd, 2, load_word as i32),
        3 if rd != 0 => i_type(LOAD, 3, rd, 2, load_double as i32),
        4 => match (half >> 12 & 1, rd, rs2) {
            (0, 0, 0) => return None,
            (0, _, 0) => i_type(JALR, 0, 0, rd, 0),
            (0, _, _) => r_type(OP, 0, 0, rd, 0, rs2),
            (_, 0, 0) => 0x0010_0073, // ebreak
            (_, _, 0) => i_type(JALR, 0, 1, rd, 0),
            _ => r_type(OP, 0, 0, rd, rd, rs2),
        },
        5 => s_type(STORE_FP, 3, 2, rs2, store_double),
        6 => s_type(STORE, 2, 2, rs2, store_word),
        7 => s_type(STORE, 3, 2, rs2, store_double),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn reserved_encodings_are_refused() {
        for half in
            [0x0000, 0x0004, 0x8000, 0x2001, 0x6001, 0x6101, 0x9c41, 0x9c61, 0x4002, 0x6002, 0x8002]
        {
            assert_eq!(expand(half), None, "{half:#06x}");
        }
    }

    #[test]
    fn expansions_match_the_manual() {
        for (half, word) in [
            (0x0001, 0x0000_0013), // nop
            (0x1141, 0xff01_0113), // addi sp, sp, -16
            (0xe406, 0x0011_3423), // sd ra, 8(sp)
            (0x60a2, 0x0081_3083), // ld ra, 8(sp)
            (0x8082, 0x0000_8067), // ret
            (0x6105, 0x0201_0113), // addi sp, sp, 32
            (0x7139, 0xfc01_0113), // addi sp, sp, -64
            (0x852e, 0x00b0_0533), // mv a0, a1
            (0x9002, 0x0010_0073), // ebreak
            (0x9782, 0x0007_80e7), // jalr a5
            (0x57fd, 0xfff0_0793), // li a5, -1
            (0xc119, 0x0005_0363), // beqz a0, +6
            (0xbfc5, 0xff1f_f06f), // j -16
        ] {
            assert_eq!(
                expand(half),
                Some(word),
                "{half:#06x}: {:#010x}",
                expand(half).unwrap_or(0)
            );
        }
    }
}
