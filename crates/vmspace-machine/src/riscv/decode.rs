//! 32-bit instructions to operations.
//!
//! Guarantee: every encoding that RV64GC user mode does not define becomes [`Code::Illegal`];
//! nothing panics. Displacements of branches and jumps stay in bytes of guest code here;
//! [`super::page`] resolves them, because only it knows where the targets are.

use super::compressed::expand;
use super::op::{Code, F0, Op, SINK};

/// The length in bytes of the instruction that starts with `half`.
pub(super) const fn length(half: u16) -> u16 {
    if half & 3 == 3 { 4 } else { 2 }
}

/// Decode the compressed instruction `half`.
pub(super) fn decode_half(half: u16) -> Op {
    match expand(half) {
        Some(word) => match decode(word) {
            op if op.code == Code::Illegal => Op::illegal(half.into()),
            op => op,
        },
        None => Op::illegal(half.into()),
    }
}

/// The fields of an instruction.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const fn rd(self) -> u8 {
        match (self.0 >> 7 & 31) as u8 {
            0 => SINK,
            rd => rd,
        }
    }

    const fn rs1(self) -> u8 {
        (self.0 >> 15 & 31) as u8
    }

    const fn rs2(self) -> u8 {
        (self.0 >> 20 & 31) as u8
    }

    const fn fd(self) -> u8 {
        (self.0 >> 7 & 31) as u8 + F0
    }

    const fn fs1(self) -> u8 {
        self.rs1() + F0
    }

    const fn fs2(self) -> u8 {
        self.rs2() + F0
    }

    const fn funct3(self) -> u32 {
        self.0 >> 12 & 7
    }

    const fn funct7(self) -> u32 {
        self.0 >> 25
    }

    const fn i(self) -> i32 {
        self.0 as i32 >> 20
    }

    const fn s(self) -> i32 {
        (self.0 as i32 >> 25) << 5 | (self.0 >> 7 & 31) as i32
    }

    const fn b(self) -> i32 {
        (self.0 as i32 >> 31) << 12
            | ((self.0 >> 7 & 1) << 11) as i32
            | ((self.0 >> 25 & 0x3f) << 5) as i32
            | ((self.0 >> 8 & 15) << 1) as i32
    }

    const fn u(self) -> i32 {
        (self.0 & 0xffff_f000) as i32
    }

    const fn j(self) -> i32 {
        (self.0 as i32 >> 31) << 20
            | (self.0 & 0xf_f000) as i32
            | ((self.0 >> 20 & 1) << 11) as i32
            | ((self.0 >> 21 & 0x3ff) << 1) as i32
    }

    /// rd = f(rs1, imm).
    const fn immediate(self, code: Code) -> Op {
        Op::new(code, self.rd(), self.rs1(), self.i())
    }

    /// rd = f(rs1, imm) with a shift count of `bits` bits.
    const fn shift(self, code: Code, bits: u32) -> Op {
        Op::new(code, self.rd(), self.rs1(), self.i() & ((1 << bits) - 1))
    }

    /// rd = f(rs1, rs2).
    const fn register(self, code: Code) -> Op {
        Op::with_two(code, self.rd(), self.rs1(), self.rs2(), 0)
    }
}

/// Decode the 32-bit instruction `bits`.
pub(super) fn decode(bits: u32) -> Op {
    let word = Word(bits);
    let op = match bits & 0x7f {
        0x03 => load(word),
        0x07 => match word.funct3() {
            2 => Some(Op::new(Code::Flw, word.fd(), word.rs1(), word.i())),
            3 => Some(Op::new(Code::Ld, word.fd(), word.rs1(), word.i())),
            _ => None,
        },
        0x0f => match word.funct3() {
            0 => Some(Op::new(Code::Fence, SINK, 0, word.i())),
            1 => Some(Op::new(Code::FenceI, SINK, 0, 0)),
            _ => None,
        },
        0x13 => op_imm(word),
        0x17 => Some(Op::new(Code::Auipc, word.rd(), 0, word.u())),
        0x1b => op_imm_32(word),
        0x23 => store(word),
        0x27 => match word.funct3() {
            2 => Some(Op::with_two(Code::Sw, SINK, word.rs1(), word.fs2(), word.s())),
            3 => Some(Op::with_two(Code::Sd, SINK, word.rs1(), word.fs2(), word.s())),
            _ => None,
        },
        0x2f => amo(word),
        0x33 => op_register(word),
        0x37 => Some(Op::new(Code::Li, word.rd(), 0, word.u())),
        0x3b => op_register_32(word),
        0x43 => multiply_add(word, Code::FmaddS, Code::FmaddD),
        0x47 => multiply_add(word, Code::FmsubS, Code::FmsubD),
        0x4b => multiply_add(word, Code::FnmsubS, Code::FnmsubD),
        0x4f => multiply_add(word, Code::FnmaddS, Code::FnmaddD),
        0x53 => op_fp(word),
        0x63 => branch(word),
        0x67 if word.funct3() == 0 => {
            let code = if word.rd() == SINK { Code::Jr } else { Code::Jalr };
            Some(Op::new(code, word.rd(), word.rs1(), word.i() << 16))
        }
        0x6f => Some(Op::new(Code::Jal, word.rd(), 0, word.j() << 5)),
        0x73 => system(word),
        _ => None,
    };
    op.unwrap_or(Op::illegal(bits))
}

fn load(word: Word) -> Option<Op> {
    use Code::*;
    let code = *[Lb, Lh, Lw, Ld, Lbu, Lhu, Lwu].get(word.funct3() as usize)?;
    Some(word.immediate(code))
}

fn store(word: Word) -> Option<Op> {
    use Code::*;
    let code = *[Sb, Sh, Sw, Sd].get(word.funct3() as usize)?;
    Some(Op::with_two(code, SINK, word.rs1(), word.rs2(), word.s()))
}

fn branch(word: Word) -> Option<Op> {
    use Code::*;
    let code = match word.funct3() {
        0 => Beq,
        1 => Bne,
        4 => Blt,
        5 => Bge,
        6 => Bltu,
        7 => Bgeu,
        _ => return None,
    };
    Some(Op::with_two(code, SINK, word.rs1(), word.rs2(), word.b()))
}

fn op_imm(word: Word) -> Option<Op> {
    use Code::*;
    Some(match (word.funct3(), word.funct7() >> 1) {
        (0, _) if word.rs1() == 0 => word.immediate(Li),
        (0, _) if word.i() == 0 => word.immediate(Mv),
        (0, _) => word.immediate(Addi),
        (1, 0) => word.shift(Slli, 6),
        (2, _) => word.immediate(Slti),
        (3, _) => word.immediate(Sltiu),
        (4, _) => word.immediate(Xori),
        (5, 0) => word.shift(Srli, 6),
        (5, 0x10) => word.shift(Srai, 6),
        (6, _) => word.immediate(Ori),
        (7, _) => word.immediate(Andi),
        _ => return None,
    })
}

fn op_imm_32(word: Word) -> Option<Op> {
    use Code::*;
    Some(match (word.funct3(), word.funct7()) {
        (0, _) => word.immediate(Addiw),
        (1, 0) => word.shift(Slliw, 5),
        (5, 0) => word.shift(Srliw, 5),
        (5, 0x20) => word.shift(Sraiw, 5),
        _ => return None,
    })
}

fn op_register(word: Word) -> Option<Op> {
    use Code::*;
    let code = match (word.funct7(), word.funct3()) {
        (0, 0) if word.rs1() == 0 => {
            return Some(Op::new(Mv, word.rd(), word.rs2(), 0));
        }
        (0, funct3) => [Add, Sll, Slt, Sltu, Xor, Srl, Or, And][funct3 as usize],
        (1, funct3) => [Mul, Mulh, Mulhsu, Mulhu, Div, Divu, Rem, Remu][funct3 as usize],
        (0x20, 0) => Sub,
        (0x20, 5) => Sra,
        _ => return None,
    };
    Some(word.register(code))
}

fn op_register_32(word: Word) -> Option<Op> {
    use Code::*;
    Some(word.register(match (word.funct7(), word.funct3()) {
        (0, 0) => Addw,
        (0, 1) => Sllw,
        (0, 5) => Srlw,
        (0x20, 0) => Subw,
        (0x20, 5) => Sraw,
        (1, 0) => Mulw,
        (1, 4) => Divw,
        (1, 5) => Divuw,
        (1, 6) => Remw,
        (1, 7) => Remuw,
        _ => return None,
    }))
}

/// Load-reserved, store-conditional and the read-modify-writes; `imm` keeps funct7.
fn amo(word: Word) -> Option<Op> {
    let code = match word.funct3() {
        2 => Code::AmoW,
        3 => Code::AmoD,
        _ => return None,
    };
    let defined = match word.funct7() >> 2 {
        0x02 => word.rs2() == 0,
        0x00 | 0x01 | 0x03 | 0x04 | 0x08 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c => true,
        _ => false,
    };
    defined.then(|| {
        let funct7 = word.funct7() as i32;
        Op::with_two(code, word.rd(), word.rs1(), word.rs2(), funct7)
    })
}

fn system(word: Word) -> Option<Op> {
    match word.funct3() {
        0 => match word.0 {
            0x0000_0073 => Some(Op::new(Code::Ecall, SINK, 0, 0)),
            0x0010_0073 => Some(Op::new(Code::Ebreak, SINK, 0, 0)),
            _ => None,
        },
        4 => None,
        funct3 => {
            let imm = (word.0 >> 20 | funct3 << 12) as i32;
            Some(Op::new(Code::Csr, word.rd(), word.rs1(), imm))
        }
    }
}

/// The rounding mode of `word`, unless it is one of the reserved ones.
fn rounding(word: Word) -> Option<i32> {
    match word.funct3() {
        5 | 6 => None,
        mode => Some(mode as i32),
    }
}

fn multiply_add(word: Word, single: Code, double: Code) -> Option<Op> {
    let code = match word.0 >> 25 & 3 {
        0 => single,
        1 => double,
        _ => return None,
    };
    let fs3 = i32::from(F0) + (word.0 >> 27) as i32;
    Some(Op::with_two(code, word.fd(), word.fs1(), word.fs2(), rounding(word)? | fs3 << 8))
}

/// Floating-point computations: funct7 names the operation, rs2 or funct3 the variant.
fn op_fp(word: Word) -> Option<Op> {
    use Code::*;
    let pick = |single, double| if word.funct7() & 1 == 0 { single } else { double };
    let variant = |codes: &[Code], index: u32| codes.get(index as usize).copied();
    let rs2 = u32::from(word.rs2());
    let (fd, fs1, fs2) = (word.fd(), word.fs1(), word.fs2());
    let binary = |code| Some(Op::with_two(code, fd, fs1, fs2, rounding(word)?));
    let plain = |rd, code| Some(Op::with_two(code, rd, fs1, fs2, 0));
    match word.funct7() {
        0x00 | 0x01 => binary(pick(FaddS, FaddD)),
        0x04 | 0x05 => binary(pick(FsubS, FsubD)),
        0x08 | 0x09 => binary(pick(FmulS, FmulD)),
        0x0c | 0x0d => binary(pick(FdivS, FdivD)),
        0x2c | 0x2d if rs2 == 0 => binary(pick(FsqrtS, FsqrtD)),
        0x20 if rs2 == 1 => binary(FcvtSD),
        0x21 if rs2 == 0 => binary(FcvtDS),
        0x10 => plain(fd, variant(&[FsgnjS, FsgnjnS, FsgnjxS], word.funct3())?),
        0x11 if word.funct3() == 0 && fs1 == fs2 => plain(fd, Mv),
        0x11 => plain(fd, variant(&[FsgnjD, FsgnjnD, FsgnjxD], word.funct3())?),
        0x14 => plain(fd, variant(&[FminS, FmaxS], word.funct3())?),
        0x15 => plain(fd, variant(&[FminD, FmaxD], word.funct3())?),
        0x50 => plain(word.rd(), variant(&[FleS, FltS, FeqS], word.funct3())?),
        0x51 => plain(word.rd(), variant(&[FleD, FltD, FeqD], word.funct3())?),
        0x60 | 0x61 => {
            let codes = pick_four(word.funct7() == 0x60, true);
            Some(Op::with_two(variant(&codes, rs2)?, word.rd(), fs1, 0, rounding(word)?))
        }
        0x68 | 0x69 => {
            let codes = pick_four(word.funct7() == 0x68, false);
            Some(Op::with_two(variant(&codes, rs2)?, fd, word.rs1(), 0, rounding(word)?))
        }
        0x70 | 0x71 if rs2 == 0 => match word.funct3() {
            0 => plain(word.rd(), pick(FmvXW, Mv)),
            1 => plain(word.rd(), pick(FclassS, FclassD)),
            _ => None,
        },
        0x78 | 0x79 if rs2 == 0 && word.funct3() == 0 => {
            Some(Op::new(pick(FmvWX, Mv), fd, word.rs1(), 0))
        }
        _ => None,
    }
}

/// The four conversions between a format and the integers.
const fn pick_four(single: bool, to_integer: bool) -> [Code; 4] {
    use Code::*;
    match (single, to_integer) {
        (true, true) => [FcvtWS, FcvtWuS, FcvtLS, FcvtLuS],
        (true, false) => [FcvtSW, FcvtSWu, FcvtSL, FcvtSLu],
        (false, true) => [FcvtWD, FcvtWuD, FcvtLD, FcvtLuD],
        (false, false) => [FcvtDW, FcvtDWu, FcvtDL, FcvtDLu],
    }
}
