//! The two formats, and what a datum of one is.

/// A binary interchange format of IEEE 754, given by its widths.
pub(in crate::riscv) trait Format {
    /// Bits of the fraction.
    const FRACTION: u32;
    /// Bits of the exponent field.
    const EXPONENT: u32;

    /// The datum in a register; what is not boxed as it should be counts as the canonical NaN.
    fn unbox(register: u64) -> u64;
    /// The register that holds a datum.
    fn boxed(bits: u64) -> u64;

    const BIAS: i32 = (1 << (Self::EXPONENT - 1)) - 1;
    /// The exponent field of infinities and NaNs.
    const SPECIAL: u64 = (1 << Self::EXPONENT) - 1;
    const SIGN: u64 = 1 << (Self::FRACTION + Self::EXPONENT);
    const INFINITY: u64 = Self::SPECIAL << Self::FRACTION;
    /// The bit that makes a NaN a quiet one.
    const QUIET: u64 = 1 << (Self::FRACTION - 1);
    /// The canonical NaN.
    const NAN: u64 = Self::INFINITY | Self::QUIET;
}

/// binary32, boxed in the upper half of a register's ones.
pub(in crate::riscv) struct Single;
/// binary64.
pub(in crate::riscv) struct Double;

const BOX: u64 = 0xffff_ffff_0000_0000;

impl Format for Single {
    const FRACTION: u32 = 23;
    const EXPONENT: u32 = 8;

    #[inline(always)]
    fn unbox(register: u64) -> u64 {
        if register >= BOX { register & !BOX } else { Self::NAN }
    }

    #[inline(always)]
    fn boxed(bits: u64) -> u64 {
        bits | BOX
    }
}

impl Format for Double {
    const FRACTION: u32 = 52;
    const EXPONENT: u32 = 11;

    #[inline(always)]
    fn unbox(register: u64) -> u64 {
        register
    }

    #[inline(always)]
    fn boxed(bits: u64) -> u64 {
        bits
    }
}

/// A finite number that is not zero: `significand / 2^63 * 2^exponent`, with bit 63 of the
/// significand set.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub sign: bool,
    pub exponent: i32,
    pub significand: u64,
}

/// A datum, taken apart.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Nan,
    Infinite(bool),
    Zero(bool),
    Finite(Number),
}

/// Take the datum `bits` apart.
pub(super) fn unpack<F: Format>(bits: u64) -> Value {
    let sign = bits & F::SIGN != 0;
    let field = bits >> F::FRACTION & F::SPECIAL;
    let fraction = bits & ((1 << F::FRACTION) - 1);
    if field == F::SPECIAL {
        return if fraction == 0 { Value::Infinite(sign) } else { Value::Nan };
    }
    let (exponent, integer) = match field {
        0 if fraction == 0 => return Value::Zero(sign),
        0 => (1 - F::BIAS, 0),
        _ => (field as i32 - F::BIAS, 1 << F::FRACTION),
    };
    let significand = (fraction | integer) << (63 - F::FRACTION);
    let shift = significand.leading_zeros();
    Value::Finite(Number {
        sign,
        exponent: exponent - shift as i32,
        significand: significand << shift,
    })
}

/// Is `bits` a NaN?
#[inline(always)]
pub(super) fn is_nan<F: Format>(bits: u64) -> bool {
    bits & !F::SIGN > F::INFINITY
}

/// Is `bits` a signalling NaN?
#[inline(always)]
pub(super) fn is_signaling<F: Format>(bits: u64) -> bool {
    is_nan::<F>(bits) && bits & F::QUIET == 0
}

/// `bits` with its sign bit set to `sign`.
pub(super) fn with_sign<F: Format>(sign: bool, bits: u64) -> u64 {
    if sign { bits | F::SIGN } else { bits }
}
