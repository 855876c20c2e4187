//! Add, multiply, divide, square root, fused multiply-add: exact, then rounded once.

use super::format::{Format, Number, Value, is_signaling, unpack, with_sign};
use super::round::{DZ, Env, NV, round, shift_jam};

/// The canonical NaN, invalid if one of the operands signals.
fn nan_of<F: Format>(env: &mut Env, operands: &[u64]) -> u64 {
    if operands.iter().any(|&bits| is_signaling::<F>(bits)) {
        env.flags |= NV;
    }
    F::NAN
}

/// A term of a sum: `significand / 2^126 * 2^exponent`.
struct Term {
    sign: bool,
    exponent: i32,
    significand: u128,
}

impl From<Number> for Term {
    fn from(number: Number) -> Self {
        let significand = u128::from(number.significand) << 63;
        Term { sign: number.sign, exponent: number.exponent, significand }
    }
}

/// The rounded sum of two terms. At most 107 of their upper bits are used, so a shift that loses
/// bits makes a term so much smaller than the other that the sticky bit stays below the rounding
/// point.
fn sum<F: Format>(env: &mut Env, a: Term, b: Term) -> u64 {
    let (large, small) = if a.exponent >= b.exponent { (a, b) } else { (b, a) };
    let aligned = shift_jam(small.significand, large.exponent.abs_diff(small.exponent));
    let exponent = large.exponent + 1;
    if large.sign == small.sign {
        return round::<F>(env, large.sign, exponent, large.significand + aligned);
    }
    let sign = if large.significand >= aligned { large.sign } else { small.sign };
    match large.significand.abs_diff(aligned) {
        0 => with_sign::<F>(env.sign_of_zero(), 0),
        difference => round::<F>(env, sign, exponent, difference),
    }
}

pub(super) fn add<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    match (unpack::<F>(a), unpack::<F>(b)) {
        (Value::Nan, _) | (_, Value::Nan) => nan_of::<F>(env, &[a, b]),
        (Value::Infinite(sign), Value::Infinite(other)) if sign != other => env.invalid::<F>(),
        (Value::Infinite(_), _) => a,
        (_, Value::Infinite(_)) => b,
        (Value::Zero(sign), Value::Zero(other)) if sign != other => {
            with_sign::<F>(env.sign_of_zero(), 0)
        }
        (Value::Zero(_), _) => b,
        (_, Value::Zero(_)) => a,
        (Value::Finite(a), Value::Finite(b)) => sum::<F>(env, a.into(), b.into()),
    }
}

pub(super) fn subtract<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    add::<F>(env, a, b ^ F::SIGN)
}

pub(super) fn multiply<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    let sign = (a ^ b) & F::SIGN != 0;
    match (unpack::<F>(a), unpack::<F>(b)) {
        (Value::Nan, _) | (_, Value::Nan) => nan_of::<F>(env, &[a, b]),
        (Value::Infinite(_), Value::Zero(_)) | (Value::Zero(_), Value::Infinite(_)) => {
            env.invalid::<F>()
        }
        (Value::Infinite(_), _) | (_, Value::Infinite(_)) => with_sign::<F>(sign, F::INFINITY),
        (Value::Zero(_), _) | (_, Value::Zero(_)) => with_sign::<F>(sign, 0),
        (Value::Finite(a), Value::Finite(b)) => {
            let product = u128::from(a.significand) * u128::from(b.significand);
            round::<F>(env, sign, a.exponent + b.exponent + 1, product)
        }
    }
}

pub(super) fn divide<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    let sign = (a ^ b) & F::SIGN != 0;
    match (unpack::<F>(a), unpack::<F>(b)) {
        (Value::Nan, _) | (_, Value::Nan) => nan_of::<F>(env, &[a, b]),
        (Value::Infinite(_), Value::Infinite(_)) | (Value::Zero(_), Value::Zero(_)) => {
            env.invalid::<F>()
        }
        (Value::Infinite(_), _) => with_sign::<F>(sign, F::INFINITY),
        (Value::Zero(_), _) | (_, Value::Infinite(_)) => with_sign::<F>(sign, 0),
        (_, Value::Zero(_)) => {
            env.flags |= DZ;
            with_sign::<F>(sign, F::INFINITY)
        }
        (Value::Finite(a), Value::Finite(b)) => {
            let dividend = u128::from(a.significand) << 64;
            let divisor = u128::from(b.significand);
            let sticky = u128::from(dividend % divisor != 0);
            // Bit 64 of the quotient has the weight of the difference of the exponents.
            let quotient = (dividend / divisor) << 62 | sticky;
            round::<F>(env, sign, a.exponent - b.exponent + 1, quotient)
        }
    }
}

pub(super) fn square_root<F: Format>(env: &mut Env, a: u64) -> u64 {
    match unpack::<F>(a) {
        Value::Nan => nan_of::<F>(env, &[a]),
        Value::Zero(_) | Value::Infinite(false) => a,
        Value::Infinite(true) | Value::Finite(Number { sign: true, .. }) => env.invalid::<F>(),
        Value::Finite(Number { exponent, significand, .. }) => {
            // An even exponent and 126 or 127 bits, so that the root has 64.
            let square = u128::from(significand) << (63 + (exponent & 1));
            let root = square.isqrt();
            let sticky = u128::from(root * root != square);
            round::<F>(env, false, exponent >> 1, root << 64 | sticky)
        }
    }
}

/// a × b + c, rounded once.
pub(super) fn multiply_add<F: Format>(env: &mut Env, a: u64, b: u64, c: u64) -> u64 {
    let sign = (a ^ b) & F::SIGN != 0;
    match (unpack::<F>(a), unpack::<F>(b), unpack::<F>(c)) {
        // Even if c is a quiet NaN, which otherwise silences everything.
        (Value::Infinite(_), Value::Zero(_), _) | (Value::Zero(_), Value::Infinite(_), _) => {
            env.invalid::<F>()
        }
        (Value::Nan, ..) | (_, Value::Nan, _) | (_, _, Value::Nan) => nan_of::<F>(env, &[a, b, c]),
        (Value::Infinite(_), _, addend) | (_, Value::Infinite(_), addend) => match addend {
            Value::Infinite(other) if other != sign => env.invalid::<F>(),
            _ => with_sign::<F>(sign, F::INFINITY),
        },
        (_, _, Value::Infinite(_)) => c,
        (Value::Zero(_), ..) | (_, Value::Zero(_), _) => add::<F>(env, with_sign::<F>(sign, 0), c),
        (Value::Finite(a), Value::Finite(b), addend) => {
            let product = u128::from(a.significand) * u128::from(b.significand);
            let exponent = a.exponent + b.exponent + 1;
            match addend {
                Value::Finite(c) => {
                    // The lowest bits of the product are zero: the shift loses nothing.
                    let product = Term { sign, exponent, significand: product >> 1 };
                    sum::<F>(env, product, c.into())
                }
                _ => round::<F>(env, sign, exponent, product),
            }
        }
    }
}

/// a × b − c.
pub(super) fn multiply_subtract<F: Format>(env: &mut Env, a: u64, b: u64, c: u64) -> u64 {
    multiply_add::<F>(env, a, b, c ^ F::SIGN)
}

/// −(a × b) + c.
pub(super) fn negated_multiply_subtract<F: Format>(env: &mut Env, a: u64, b: u64, c: u64) -> u64 {
    multiply_add::<F>(env, a ^ F::SIGN, b, c)
}

/// −(a × b) − c.
pub(super) fn negated_multiply_add<F: Format>(env: &mut Env, a: u64, b: u64, c: u64) -> u64 {
    multiply_add::<F>(env, a ^ F::SIGN, b, c ^ F::SIGN)
}
