//! One decoded operation: eight bytes that can be executed without looking at the
//! encoding again.
//!
//! Registers are indices into a file of 256 words, so that an index byte never needs a bound check:
//! integer registers at 0–31, floating-point registers at 32–63, and [`SINK`], where results for x0
//! go. x0 itself is never written, so reading index 0 gives zero without a test.

pub(super) use super::code::Code;

/// Index of f0 in the register file.
pub(super) const F0: u8 = 32;
/// Where results that name x0 are written.
pub(super) const SINK: u8 = 64;

/// The register file of a running hart. Indices are bytes, so no access is out of bounds.
pub(super) type File = [u64; 256];

/// A decoded operation. See [`Code`] for what `imm` holds; where there is a second source, it takes
/// the lowest byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Op {
    pub code: Code,
    pub rd: u8,
    pub rs1: u8,
    pub imm: i32,
}

const _: () = assert!(size_of::<Op>() == 8);

impl Op {
    pub const fn new(code: Code, rd: u8, rs1: u8, imm: i32) -> Self {
        Op { code, rd, rs1, imm }
    }

    /// An operation with two sources, and an immediate of at most 24 bits.
    pub const fn with_two(code: Code, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Self {
        Op::new(code, rd, rs1, imm << 8 | rs2 as i32)
    }

    pub const fn illegal(bits: u32) -> Self {
        Op::new(Code::Illegal, SINK, 0, bits as i32)
    }

    /// The immediate, of an operation with at most one source, as the 64-bit operand that it stands
    /// for.
    #[inline(always)]
    pub fn operand(&self) -> u64 {
        self.imm as i64 as u64
    }

    /// The second source.
    #[inline(always)]
    pub fn rs2(&self) -> u8 {
        self.imm as u8
    }

    /// The immediate of an operation with two sources.
    #[inline(always)]
    pub fn offset(&self) -> i32 {
        self.imm >> 8
    }

    pub fn set_offset(&mut self, offset: i32) {
        self.imm = offset << 8 | self.imm & 0xff;
    }

    /// The target of `Jal` and `JalFar`.
    #[inline(always)]
    pub fn target(&self) -> i32 {
        self.imm >> 5
    }

    pub fn set_target(&mut self, target: i32) {
        self.imm = target << 5 | self.imm & 31;
    }

    /// The page offset that `Jal` and `JalFar` link to: 13 bits, in the place of the source and
    /// below the target.
    #[inline(always)]
    pub fn link(&self) -> u64 {
        u64::from(self.rs1) | (self.imm as u64 & 31) << 8
    }

    pub fn set_link(&mut self, offset: u16) {
        self.rs1 = offset as u8;
        self.imm = self.imm & !31 | i32::from(offset >> 8);
    }

    /// The rounding-mode field of a floating-point operation.
    #[inline(always)]
    pub fn rounding(&self) -> u32 {
        self.imm as u32 >> 8 & 7
    }

    /// The third source of a fused multiply-add.
    #[inline(always)]
    pub fn rs3(&self) -> u8 {
        (self.imm >> 16) as u8
    }

    /// Does control never reach the operation behind this one?
    pub fn ends_stream(&self) -> bool {
        use Code::*;
        match self.code {
            Jr | Illegal | Goto | Leave => true,
            Jal | JalFar => self.rd == SINK,
            _ => false,
        }
    }

    /// Is this a conditional branch?
    pub fn is_branch(&self) -> bool {
        use Code::*;
        matches!(self.code, Beq | Bne | Blt | Bge | Bltu | Bgeu)
    }
}
