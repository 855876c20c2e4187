//! One decoded operation: eight bytes that the dispatch loop can execute without looking at the encoding again.
//!
//! Registers are indices into a file of 256 words, so that an index byte never needs a bound check:
//! integer registers at 0–31, floating-point registers at 32–63, and [`SINK`], where results for x0 go.
//! x0 itself is never written, so reading index 0 gives zero without a test.

pub(super) use super::code::Code;

/// Index of f0 in the register file.
pub(super) const F0: u8 = 32;
/// Where results that name x0 are written.
pub(super) const SINK: u8 = 64;

/// The register file of a running hart. Indices are bytes, so no access is out of bounds.
pub(super) type File = [u64; 256];

/// A decoded operation. What `imm` holds depends on the code; see [`Code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Op {
    pub code: Code,
    pub rd: u8,
    pub rs1: u8,
    pub rs2: u8,
    pub imm: i32,
}

const _: () = assert!(size_of::<Op>() == 8);

impl Op {
    pub const fn new(code: Code, rd: u8, rs1: u8, rs2: u8, imm: i32) -> Self {
        Op { code, rd, rs1, rs2, imm }
    }

    pub const fn illegal(bits: u32) -> Self {
        Op::new(Code::Illegal, SINK, 0, 0, bits as i32)
    }

    /// The immediate as the 64-bit operand that it stands for.
    #[inline(always)]
    pub fn operand(self) -> u64 {
        self.imm as i64 as u64
    }

    /// The page offset that `Jal` and `JalFar` link to: they have no sources, so it takes their place.
    #[inline(always)]
    pub fn link(self) -> u64 {
        u64::from(u16::from_le_bytes([self.rs1, self.rs2]))
    }

    pub fn set_link(&mut self, offset: u16) {
        [self.rs1, self.rs2] = offset.to_le_bytes();
    }

    /// The rounding-mode field of a floating-point operation.
    #[inline(always)]
    pub fn rounding(self) -> u32 {
        self.imm as u32 & 7
    }

    /// The third source of a fused multiply-add.
    #[inline(always)]
    pub fn rs3(self) -> u8 {
        (self.imm >> 8) as u8
    }

    /// Does control never reach the operation behind this one?
    pub fn ends_stream(self) -> bool {
        use Code::*;
        match self.code {
            Jr | Illegal | Goto | Leave => true,
            Jal | JalFar => self.rd == SINK,
            _ => false,
        }
    }

    /// Is this a conditional branch?
    pub fn is_branch(self) -> bool {
        use Code::*;
        matches!(self.code, Beq | Bne | Blt | Bge | Bltu | Bgeu)
    }
}
