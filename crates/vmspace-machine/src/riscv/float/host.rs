//! Floating point by the host's arithmetic, where its answer is certain.
//!
//! Guarantee: `Some` is what the exact path would give, flags included; `None` says nothing.
//!
//! Mechanism: Rust's f32 and f64 operations round to nearest even, once, and leave no flags that
//! could be read. With that mode in force and the inexact flag set already, all that could differ
//! is another flag or a NaN's bits. A result with an exponent above the smallest normal one and
//! below infinity's excludes both: it came from finite operands, and was neither tiny nor too
//! large. Comparisons of numbers raise nothing in any mode.

use super::compare::{equal, less, less_equal};
use super::format::{Double, Format, Single, is_nan};
use super::round::{Env, NX, Rounding};
use crate::riscv::op::{Code, File, Op};

/// Does the host compute in the formats themselves? The old x86 unit does not.
const EXACT: bool = cfg!(not(all(target_arch = "x86", not(target_feature = "sse2"))));

/// Is rounding to nearest even in force, with nothing to say about inexactness?
#[inline(always)]
fn permitted(op: &Op, fcsr: u32) -> bool {
    // Dynamic rounding is field 7, and frm is above the flags.
    let nearest = op.rounding() == 0 || op.rounding() == 7 && fcsr >> 5 & 7 == 0;
    EXACT && nearest && fcsr & NX != 0
}

/// Is the datum so normal that it came about without any exception but inexactness?
#[inline(always)]
fn certain<F: Format>(bits: u64) -> bool {
    (bits >> F::FRACTION & F::SPECIAL).wrapping_sub(2) < F::SPECIAL - 2
}

/// Arithmetic in binary64.
#[inline(always)]
pub(in crate::riscv) fn double(code: Code, x: &File, op: &Op, fcsr: u32) -> Option<u64> {
    let [a, b, c] = [op.rs1, op.rs2(), op.rs3()].map(|r| f64::from_bits(x[usize::from(r)]));
    if !permitted(op, fcsr) {
        return None;
    }
    let result = match code {
        Code::FaddD => a + b,
        Code::FsubD => a - b,
        Code::FmulD => a * b,
        Code::FdivD => a / b,
        Code::FsqrtD => a.sqrt(),
        Code::FmaddD => a.mul_add(b, c),
        Code::FmsubD => a.mul_add(b, -c),
        Code::FnmsubD => (-a).mul_add(b, c),
        Code::FnmaddD => (-a).mul_add(b, -c),
        _ => return None,
    };
    certain::<Double>(result.to_bits()).then_some(result.to_bits())
}

/// Arithmetic in binary32.
#[inline(always)]
pub(in crate::riscv) fn single(code: Code, x: &File, op: &Op, fcsr: u32) -> Option<u64> {
    let [a, b, c] = [op.rs1, op.rs2(), op.rs3()]
        .map(|r| f32::from_bits(Single::unbox(x[usize::from(r)]) as u32));
    if !permitted(op, fcsr) {
        return None;
    }
    let result = match code {
        Code::FaddS => a + b,
        Code::FsubS => a - b,
        Code::FmulS => a * b,
        Code::FdivS => a / b,
        Code::FsqrtS => a.sqrt(),
        Code::FmaddS => a.mul_add(b, c),
        Code::FmsubS => a.mul_add(b, -c),
        Code::FnmsubS => (-a).mul_add(b, c),
        Code::FnmaddS => (-a).mul_add(b, -c),
        Code::FcvtSD => f64::from_bits(x[usize::from(op.rs1)]) as f32,
        _ => return None,
    };
    let bits = result.to_bits().into();
    certain::<Single>(bits).then_some(Single::boxed(bits))
}

/// Comparisons, and conversions that are exact or truncate what fits.
#[inline(always)]
pub(in crate::riscv) fn other(code: Code, x: &File, op: &Op, fcsr: u32) -> Option<u64> {
    let a = x[usize::from(op.rs1)];
    let b = x[usize::from(op.rs2())];
    let env = &mut Env { rounding: Rounding::NearestEven, flags: 0 };
    let truncates = op.rounding() == 1 && fcsr & NX != 0;
    let result = match code {
        Code::FeqD => equal::<Double>(env, a, b),
        Code::FltD => less::<Double>(env, a, b),
        Code::FleD => less_equal::<Double>(env, a, b),
        Code::FeqS => equal::<Single>(env, Single::unbox(a), Single::unbox(b)),
        Code::FltS => less::<Single>(env, Single::unbox(a), Single::unbox(b)),
        Code::FleS => less_equal::<Single>(env, Single::unbox(a), Single::unbox(b)),
        Code::FcvtDW if op.rounding() != 7 || fcsr >> 5 == 0 => f64::from(a as i32).to_bits(),
        Code::FcvtDWu if op.rounding() != 7 || fcsr >> 5 == 0 => f64::from(a as u32).to_bits(),
        Code::FcvtDL if permitted(op, fcsr) => (a as i64 as f64).to_bits(),
        Code::FcvtDLu if permitted(op, fcsr) => (a as f64).to_bits(),
        Code::FcvtWD if truncates && in_range(a, i32::MAX) => f64::from_bits(a) as i32 as u64,
        Code::FcvtDS if !is_nan::<Single>(Single::unbox(a)) && permitted(op, fcsr) => {
            f64::from(f32::from_bits(Single::unbox(a) as u32)).to_bits()
        }
        _ => return None,
    };
    (env.flags == 0).then_some(result)
}

/// Is the number `bits` certainly within ±`bound`?
#[inline(always)]
fn in_range(bits: u64, bound: i32) -> bool {
    f64::from_bits(bits).abs() < f64::from(bound)
}
