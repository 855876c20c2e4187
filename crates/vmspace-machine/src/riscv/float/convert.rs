//! Between the formats, and to and from the integers.

use super::format::{Double, Format, Number, Single, Value, is_signaling, unpack, with_sign};
use super::round::{Env, NV, NX, round, shift_jam};

fn format_to_format<From: Format, To: Format>(env: &mut Env, a: u64) -> u64 {
    match unpack::<From>(a) {
        Value::Nan => {
            if is_signaling::<From>(a) {
                env.flags |= NV;
            }
            To::NAN
        }
        Value::Infinite(sign) => with_sign::<To>(sign, To::INFINITY),
        Value::Zero(sign) => with_sign::<To>(sign, 0),
        Value::Finite(Number { sign, exponent, significand }) => {
            round::<To>(env, sign, exponent, u128::from(significand) << 64)
        }
    }
}

pub(super) fn narrow(env: &mut Env, a: u64) -> u64 {
    format_to_format::<Double, Single>(env, a)
}

pub(super) fn widen(env: &mut Env, a: u64) -> u64 {
    format_to_format::<Single, Double>(env, a)
}

/// The integer nearest to `a` in `low..=high`; what lies outside, after rounding, is invalid and
/// saturates.
fn to_integer<F: Format>(env: &mut Env, a: u64, low: i128, high: i128) -> u64 {
    let (sign, rounded) = match unpack::<F>(a) {
        Value::Nan => (false, None),
        Value::Infinite(sign) => (sign, None),
        Value::Zero(_) => return 0,
        Value::Finite(Number { sign, exponent: 64.., .. }) => (sign, None),
        Value::Finite(Number { sign, exponent, significand }) => {
            // Fixed point, 64 bits on either side.
            let fixed = shift_jam(u128::from(significand) << 64, exponent.abs_diff(63));
            (sign, Some(env.cut(sign, fixed, 64)))
        }
    };
    let integer = rounded.map(|(magnitude, inexact)| {
        let magnitude = magnitude as i128;
        (if sign { -magnitude } else { magnitude }, inexact)
    });
    match integer {
        Some((integer, inexact)) if (low..=high).contains(&integer) => {
            env.flags |= if inexact { NX } else { 0 };
            integer as u64
        }
        _ => {
            env.flags |= NV;
            if sign { low as u64 } else { high as u64 }
        }
    }
}

pub(super) fn to_i32<F: Format>(env: &mut Env, a: u64) -> u64 {
    to_integer::<F>(env, a, i32::MIN.into(), i32::MAX.into())
}

/// 32 bits of result are sign-extended, unsigned or not.
pub(super) fn to_u32<F: Format>(env: &mut Env, a: u64) -> u64 {
    to_integer::<F>(env, a, 0, u32::MAX.into()) as i32 as u64
}

pub(super) fn to_i64<F: Format>(env: &mut Env, a: u64) -> u64 {
    to_integer::<F>(env, a, i64::MIN.into(), i64::MAX.into())
}

pub(super) fn to_u64<F: Format>(env: &mut Env, a: u64) -> u64 {
    to_integer::<F>(env, a, 0, u64::MAX.into())
}

fn from_integer<F: Format>(env: &mut Env, sign: bool, magnitude: u64) -> u64 {
    if magnitude == 0 { 0 } else { round::<F>(env, sign, 127, magnitude.into()) }
}

pub(super) fn from_i32<F: Format>(env: &mut Env, a: u64) -> u64 {
    from_i64::<F>(env, a as i32 as u64)
}

pub(super) fn from_u32<F: Format>(env: &mut Env, a: u64) -> u64 {
    from_integer::<F>(env, false, a as u32 as u64)
}

pub(super) fn from_i64<F: Format>(env: &mut Env, a: u64) -> u64 {
    from_integer::<F>(env, (a as i64) < 0, (a as i64).unsigned_abs())
}

pub(super) fn from_u64<F: Format>(env: &mut Env, a: u64) -> u64 {
    from_integer::<F>(env, false, a)
}
