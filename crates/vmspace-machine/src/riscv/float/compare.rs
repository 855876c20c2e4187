//! What needs no rounding: signs, minimum and maximum, comparisons, classes.

use super::format::{Format, is_nan, is_signaling};
use super::round::{Env, NV};

pub(super) fn sign<F: Format>(_: &mut Env, a: u64, b: u64) -> u64 {
    a & !F::SIGN | b & F::SIGN
}

pub(super) fn sign_not<F: Format>(_: &mut Env, a: u64, b: u64) -> u64 {
    a & !F::SIGN | !b & F::SIGN
}

pub(super) fn sign_xor<F: Format>(_: &mut Env, a: u64, b: u64) -> u64 {
    a ^ b & F::SIGN
}

/// A number whose order is that of the data, with −0 just below +0.
#[inline(always)]
fn order<F: Format>(bits: u64) -> i64 {
    if bits & F::SIGN != 0 { !((bits & !F::SIGN) as i64) } else { bits as i64 }
}

/// The lesser, or the greater, as IEEE 754-2019's minimumNumber and maximumNumber.
fn choose<F: Format>(env: &mut Env, a: u64, b: u64, lesser: bool) -> u64 {
    if is_signaling::<F>(a) || is_signaling::<F>(b) {
        env.flags |= NV;
    }
    match (is_nan::<F>(a), is_nan::<F>(b)) {
        (true, true) => F::NAN,
        (true, false) => b,
        (false, true) => a,
        _ if (order::<F>(a) < order::<F>(b)) == lesser => a,
        _ => b,
    }
}

pub(super) fn minimum<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    choose::<F>(env, a, b, true)
}

pub(super) fn maximum<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    choose::<F>(env, a, b, false)
}

#[inline(always)]
fn both_zero<F: Format>(a: u64, b: u64) -> bool {
    (a | b) & !F::SIGN == 0
}

/// Equal; invalid only for signalling NaNs.
#[inline(always)]
pub(super) fn equal<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    if is_nan::<F>(a) || is_nan::<F>(b) {
        if is_signaling::<F>(a) || is_signaling::<F>(b) {
            env.flags |= NV;
        }
        return 0;
    }
    (a == b || both_zero::<F>(a, b)).into()
}

/// Less; invalid for any NaN.
#[inline(always)]
pub(super) fn less<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    if is_nan::<F>(a) || is_nan::<F>(b) {
        env.flags |= NV;
        return 0;
    }
    (order::<F>(a) < order::<F>(b) && !both_zero::<F>(a, b)).into()
}

/// Less or equal; invalid for any NaN.
#[inline(always)]
pub(super) fn less_equal<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    if is_nan::<F>(a) || is_nan::<F>(b) {
        env.flags |= NV;
        return 0;
    }
    (order::<F>(a) <= order::<F>(b) || both_zero::<F>(a, b)).into()
}

/// The bit that says what kind of datum this is.
pub(super) fn classify<F: Format>(_: &mut Env, a: u64) -> u64 {
    let negative = a & F::SIGN != 0;
    let field = a >> F::FRACTION & F::SPECIAL;
    let fraction = a & ((1 << F::FRACTION) - 1);
    if is_nan::<F>(a) {
        return if is_signaling::<F>(a) { 1 << 8 } else { 1 << 9 };
    }
    let magnitude = match (field, fraction) {
        (0, 0) => 0,
        (0, _) => 1,
        (field, _) if field == F::SPECIAL => 3,
        _ => 2,
    };
    1 << if negative { 3 - magnitude } else { 4 + magnitude }
}
