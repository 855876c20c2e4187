//! The one place where results are rounded and exceptions of rounding found.

use super::format::{Format, with_sign};

/// The inexact flag.
pub(in crate::riscv) const NX: u32 = 1;
/// The underflow flag.
pub(super) const UF: u32 = 2;
/// The overflow flag.
pub(super) const OF: u32 = 4;
/// The division-by-zero flag.
pub(super) const DZ: u32 = 8;
/// The invalid flag.
pub(super) const NV: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    NearestEven,
    TowardZero,
    Down,
    Up,
    NearestAway,
}

impl Rounding {
    /// The mode that an instruction's field names, `fcsr` deciding when it is dynamic. `None` for
    /// reserved ones.
    pub fn new(field: u32, fcsr: u32) -> Option<Self> {
        Some(match if field == 7 { fcsr >> 5 & 7 } else { field } {
            0 => Rounding::NearestEven,
            1 => Rounding::TowardZero,
            2 => Rounding::Down,
            3 => Rounding::Up,
            4 => Rounding::NearestAway,
            _ => return None,
        })
    }
}

/// How to round, and the exceptions raised so far.
pub(super) struct Env {
    pub rounding: Rounding,
    pub flags: u32,
}

impl Env {
    /// The operation is invalid: its result is the canonical NaN.
    pub fn invalid<F: Format>(&mut self) -> u64 {
        self.flags |= NV;
        F::NAN
    }

    /// Cut the low `extra` bits off `value`, rounding. Also tells whether anything was cut off.
    pub fn cut(&self, sign: bool, value: u128, extra: u32) -> (u128, bool) {
        let rest = value & ((1 << extra) - 1);
        let half = 1 << (extra - 1);
        let kept = value >> extra;
        let up = match self.rounding {
            Rounding::NearestEven => rest > half || rest == half && kept & 1 != 0,
            Rounding::TowardZero => false,
            Rounding::Down => sign && rest != 0,
            Rounding::Up => !sign && rest != 0,
            Rounding::NearestAway => rest >= half,
        };
        (kept + u128::from(up), rest != 0)
    }

    /// The sign of an exact sum that is zero although its terms are not both zeros of the other
    /// sign.
    pub fn sign_of_zero(&self) -> bool {
        self.rounding == Rounding::Down
    }
}

/// `value >> count`, with the lowest bit set if any lost bit was.
pub(super) const fn shift_jam(value: u128, count: u32) -> u128 {
    match count {
        0 => value,
        1..128 => value >> count | (value << (128 - count) != 0) as u128,
        _ => (value != 0) as u128,
    }
}

/// The datum nearest to `significand / 2^127 * 2^exponent`, which is not zero; the lowest bit may
/// be sticky.
pub(super) fn round<F: Format>(env: &mut Env, sign: bool, exponent: i32, significand: u128) -> u64 {
    let extra = 127 - F::FRACTION;
    let shift = significand.leading_zeros();
    let significand = significand << shift;
    let exponent = exponent - shift as i32;
    if exponent > F::BIAS {
        return overflow::<F>(env, sign);
    }
    let missing = 1 - F::BIAS - exponent;
    if missing > 0 {
        // Tiny is what would be below the normal range had the exponent no bound, after rounding.
        let unbounded = env.cut(sign, significand, extra).0;
        let tiny = missing > 1 || unbounded >> (F::FRACTION + 1) == 0;
        let (kept, inexact) = env.cut(sign, shift_jam(significand, missing as u32), extra);
        if inexact {
            env.flags |= if tiny { NX | UF } else { NX };
        }
        // A carry into the integer bit is just the encoding of the smallest normal number.
        return with_sign::<F>(sign, kept as u64);
    }
    let (kept, inexact) = env.cut(sign, significand, extra);
    if inexact {
        env.flags |= NX;
    }
    // The integer bit adds one to the exponent field, and a carry another.
    let bits = (((exponent + F::BIAS - 1) as u64) << F::FRACTION) + kept as u64;
    if bits >= F::INFINITY {
        return overflow::<F>(env, sign);
    }
    with_sign::<F>(sign, bits)
}

/// The result of a rounding beyond the largest finite number.
fn overflow<F: Format>(env: &mut Env, sign: bool) -> u64 {
    env.flags |= OF | NX;
    let away = match env.rounding {
        Rounding::NearestEven | Rounding::NearestAway => true,
        Rounding::TowardZero => false,
        Rounding::Down => sign,
        Rounding::Up => !sign,
    };
    with_sign::<F>(sign, if away { F::INFINITY } else { F::INFINITY - 1 })
}
