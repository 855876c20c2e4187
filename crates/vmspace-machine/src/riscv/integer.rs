//! Integer computations: the base set and M.
//!
//! [`compute`] is one table of all of them. It is inlined with a constant code into each
//! operation's function, where nothing but the one line remains.

use super::op::{Code, File, Op};

/// The sign-extended low word.
#[inline(always)]
const fn word(value: u64) -> u64 {
    value as i32 as i64 as u64
}

/// The result of an operation that only computes; `a` is its first operand, `base` the address of
/// its page.
#[inline(always)]
pub(super) fn compute(code: Code, a: u64, x: &File, op: &Op, base: u64) -> u64 {
    let b = x[usize::from(op.rs2())];
    let i = op.operand();
    match code {
        Code::Li => i,
        Code::Mv => a,
        Code::Auipc => base.wrapping_add(i),
        Code::Addi => a.wrapping_add(i),
        Code::Slti => ((a as i64) < i as i64).into(),
        Code::Sltiu => (a < i).into(),
        Code::Xori => a ^ i,
        Code::Ori => a | i,
        Code::Andi => a & i,
        Code::Slli => a.wrapping_shl(i as u32),
        Code::Srli => a.wrapping_shr(i as u32),
        Code::Srai => (a as i64).wrapping_shr(i as u32) as u64,
        Code::Addiw => word(a.wrapping_add(i)),
        Code::Slliw => word((a as u32).wrapping_shl(i as u32).into()),
        Code::Srliw => word((a as u32).wrapping_shr(i as u32).into()),
        Code::Sraiw => (a as i32).wrapping_shr(i as u32) as u64,
        Code::Add => a.wrapping_add(b),
        Code::Sub => a.wrapping_sub(b),
        Code::Sll => a.wrapping_shl(b as u32),
        Code::Slt => ((a as i64) < b as i64).into(),
        Code::Sltu => (a < b).into(),
        Code::Xor => a ^ b,
        Code::Srl => a.wrapping_shr(b as u32),
        Code::Sra => (a as i64).wrapping_shr(b as u32) as u64,
        Code::Or => a | b,
        Code::And => a & b,
        Code::Addw => word(a.wrapping_add(b)),
        Code::Subw => word(a.wrapping_sub(b)),
        Code::Sllw => word((a as u32).wrapping_shl(b as u32).into()),
        Code::Srlw => word((a as u32).wrapping_shr(b as u32).into()),
        Code::Sraw => (a as i32).wrapping_shr(b as u32) as u64,
        Code::Mul => a.wrapping_mul(b),
        Code::Mulh => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        Code::Mulhsu => (i128::from(a as i64).wrapping_mul(b.into()) >> 64) as u64,
        Code::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Code::Div => divide(a as i64, b as i64),
        Code::Divu => a.checked_div(b).unwrap_or(u64::MAX),
        Code::Rem => remainder(a as i64, b as i64),
        Code::Remu => a.checked_rem(b).unwrap_or(a),
        Code::Mulw => word(a.wrapping_mul(b)),
        Code::Divw => word(divide((a as i32).into(), (b as i32).into())),
        Code::Divuw => word((a as u32).checked_div(b as u32).unwrap_or(u32::MAX).into()),
        Code::Remw => word(remainder((a as i32).into(), (b as i32).into())),
        Code::Remuw => word((a as u32).checked_rem(b as u32).unwrap_or(a as u32).into()),
        _ => 0,
    }
}

/// Division as RISC-V defines it where others trap: by zero all ones, and the overflow wraps.
#[inline(always)]
const fn divide(a: i64, b: i64) -> u64 {
    if b == 0 { u64::MAX } else { a.wrapping_div(b) as u64 }
}

/// The remainder that goes with [`divide`].
#[inline(always)]
const fn remainder(a: i64, b: i64) -> u64 {
    if b == 0 { a as u64 } else { a.wrapping_rem(b) as u64 }
}

/// Whether a conditional branch with the first operand `a` is taken.
#[inline(always)]
pub(super) fn taken(code: Code, a: u64, x: &File, op: &Op) -> bool {
    let b = x[usize::from(op.rs2())];
    match code {
        Code::Beq => a == b,
        Code::Bne => a != b,
        Code::Blt => (a as i64) < b as i64,
        Code::Bge => a as i64 >= b as i64,
        Code::Bltu => a < b,
        Code::Bgeu => a >= b,
        _ => false,
    }
}
