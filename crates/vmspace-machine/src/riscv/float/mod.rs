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
    // For each operation its codes in binary32 and binary64: `boxed` ones give a number of their
    // format, `plain` ones an integer, `from` ones make a number of an integer.
    macro_rules! arms {
        (
            boxed { $($s:ident $d:ident $f:ident($($o:ident)*))* }
            plain { $($ps:ident $pd:ident $pf:ident($($po:ident)*))* }
            from { $($fs:ident $fd:ident $ff:ident)* }
            $($rest:tt)*
        ) => {
            match op.code {
                $(
                    Code::$s => Single::boxed($f::<Single>(env, $(Single::unbox($o)),*)),
                    Code::$d => Double::boxed($f::<Double>(env, $(Double::unbox($o)),*)),
                )*
                $(
                    Code::$ps => $pf::<Single>(env, $(Single::unbox($po)),*),
                    Code::$pd => $pf::<Double>(env, $(Double::unbox($po)),*),
                )*
                $(
                    Code::$fs => Single::boxed($ff::<Single>(env, a)),
                    Code::$fd => Double::boxed($ff::<Double>(env, a)),
                )*
                $($rest)*
            }
        };
    }
    arms! {
        boxed {
            FaddS FaddD add(a b)
            FsubS FsubD subtract(a b)
            FmulS FmulD multiply(a b)
            FdivS FdivD divide(a b)
            FsgnjS FsgnjD sign(a b)
            FsgnjnS FsgnjnD sign_not(a b)
            FsgnjxS FsgnjxD sign_xor(a b)
            FminS FminD minimum(a b)
            FmaxS FmaxD maximum(a b)
            FmaddS FmaddD multiply_add(a b c)
            FmsubS FmsubD multiply_subtract(a b c)
            FnmsubS FnmsubD negated_multiply_subtract(a b c)
            FnmaddS FnmaddD negated_multiply_add(a b c)
            FsqrtS FsqrtD square_root(a)
        }
        plain {
            FeqS FeqD equal(a b)
            FltS FltD less(a b)
            FleS FleD less_equal(a b)
            FclassS FclassD classify(a)
            FcvtWS FcvtWD to_i32(a)
            FcvtWuS FcvtWuD to_u32(a)
            FcvtLS FcvtLD to_i64(a)
            FcvtLuS FcvtLuD to_u64(a)
        }
        from {
            FcvtSW FcvtDW from_i32
            FcvtSWu FcvtDWu from_u32
            FcvtSL FcvtDL from_i64
            FcvtSLu FcvtDLu from_u64
        }
        Code::FcvtSD => Single::boxed(narrow(env, a)),
        Code::FcvtDS => widen(env, Single::unbox(a)),
        Code::FmvXW => a as i32 as u64,
        Code::FmvWX => Single::boxed(a & 0xffff_ffff),
        _ => a,
    }
}
