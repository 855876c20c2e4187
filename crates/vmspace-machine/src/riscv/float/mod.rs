//! F and D: every floating-point computation, exact in value and flags.
//!
//! [`execute`] does any of them by integers alone. [`host`] does the common ones by the host's
//! arithmetic when that provably gives the same; the dispatch loop tries it first.

mod arithmetic;
mod compare;
mod convert;
mod format;
pub(super) mod host;
mod round;

use super::op::{Code, File, Op};
use arithmetic::*;
use compare::*;
use convert::*;
use format::{Double, Format, Single};
use round::{Env, Rounding};

/// Execute a floating-point computation; `None` if its rounding mode is reserved.
#[inline(never)]
pub(super) fn execute(x: &mut File, fcsr: &mut u32, op: &Op) -> Option<()> {
    let mut env = Env { rounding: Rounding::new(op.rounding(), *fcsr)?, flags: 0 };
    x[usize::from(op.rd)] = compute(&mut env, x, op);
    *fcsr |= env.flags;
    Some(())
}

/// The value of the destination register.
fn compute(env: &mut Env, x: &File, op: &Op) -> u64 {
    let a = x[usize::from(op.rs1)];
    let b = x[usize::from(op.rs2())];
    let c = x[usize::from(op.rs3())];
    // The result of `$f` in one of the formats: boxed if it is of that format itself.
    macro_rules! boxed {
        ($format:ident $f:ident $($operand:ident)*) => {
            $format::boxed($f::<$format>(env, $($format::unbox($operand)),*))
        };
    }
    macro_rules! plain {
        ($format:ident $f:ident $($operand:ident)*) => {
            $f::<$format>(env, $($format::unbox($operand)),*)
        };
    }
    match op.code {
        Code::FaddS => boxed!(Single add a b),
        Code::FsubS => boxed!(Single subtract a b),
        Code::FmulS => boxed!(Single multiply a b),
        Code::FdivS => boxed!(Single divide a b),
        Code::FsgnjS => boxed!(Single sign a b),
        Code::FsgnjnS => boxed!(Single sign_not a b),
        Code::FsgnjxS => boxed!(Single sign_xor a b),
        Code::FminS => boxed!(Single minimum a b),
        Code::FmaxS => boxed!(Single maximum a b),
        Code::FmaddS => boxed!(Single multiply_add a b c),
        Code::FmsubS => boxed!(Single multiply_subtract a b c),
        Code::FnmsubS => boxed!(Single negated_multiply_subtract a b c),
        Code::FnmaddS => boxed!(Single negated_multiply_add a b c),
        Code::FsqrtS => boxed!(Single square_root a),
        Code::FeqS => plain!(Single equal a b),
        Code::FltS => plain!(Single less a b),
        Code::FleS => plain!(Single less_equal a b),
        Code::FclassS => plain!(Single classify a),
        Code::FcvtWS => plain!(Single to_i32 a),
        Code::FcvtSW => Single::boxed(from_i32::<Single>(env, a)),
        Code::FcvtWuS => plain!(Single to_u32 a),
        Code::FcvtSWu => Single::boxed(from_u32::<Single>(env, a)),
        Code::FcvtLS => plain!(Single to_i64 a),
        Code::FcvtSL => Single::boxed(from_i64::<Single>(env, a)),
        Code::FcvtLuS => plain!(Single to_u64 a),
        Code::FcvtSLu => Single::boxed(from_u64::<Single>(env, a)),
        Code::FaddD => boxed!(Double add a b),
        Code::FsubD => boxed!(Double subtract a b),
        Code::FmulD => boxed!(Double multiply a b),
        Code::FdivD => boxed!(Double divide a b),
        Code::FsgnjD => boxed!(Double sign a b),
        Code::FsgnjnD => boxed!(Double sign_not a b),
        Code::FsgnjxD => boxed!(Double sign_xor a b),
        Code::FminD => boxed!(Double minimum a b),
        Code::FmaxD => boxed!(Double maximum a b),
        Code::FmaddD => boxed!(Double multiply_add a b c),
        Code::FmsubD => boxed!(Double multiply_subtract a b c),
        Code::FnmsubD => boxed!(Double negated_multiply_subtract a b c),
        Code::FnmaddD => boxed!(Double negated_multiply_add a b c),
        Code::FsqrtD => boxed!(Double square_root a),
        Code::FeqD => plain!(Double equal a b),
        Code::FltD => plain!(Double less a b),
        Code::FleD => plain!(Double less_equal a b),
        Code::FclassD => plain!(Double classify a),
        Code::FcvtWD => plain!(Double to_i32 a),
        Code::FcvtDW => Double::boxed(from_i32::<Double>(env, a)),
        Code::FcvtWuD => plain!(Double to_u32 a),
        Code::FcvtDWu => Double::boxed(from_u32::<Double>(env, a)),
        Code::FcvtLD => plain!(Double to_i64 a),
        Code::FcvtDL => Double::boxed(from_i64::<Double>(env, a)),
        Code::FcvtLuD => plain!(Double to_u64 a),
        Code::FcvtDLu => Double::boxed(from_u64::<Double>(env, a)),
        Code::FcvtSD => Single::boxed(narrow(env, a)),
        Code::FcvtDS => widen(env, Single::unbox(a)),
        Code::FmvXW => a as i32 as u64,
        Code::FmvWX => Single::boxed(a & 0xffff_ffff),
        _ => a,
    }
}
