//! The control and status registers that user mode sees: fflags, frm, fcsr, and the counters.

use super::op::{File, Op};

const FFLAGS: u32 = 0x001;
const FRM: u32 = 0x002;
const FCSR: u32 = 0x003;
const CYCLE: u32 = 0xc00;
const TIME: u32 = 0xc01;
const INSTRET: u32 = 0xc02;

/// Execute a CSR operation; `None` when it is illegal. `time` and `retired` give the counters.
pub(super) fn execute(
    x: &mut File,
    fcsr: &mut u32,
    op: &Op,
    time: impl FnOnce() -> u64,
    retired: u64,
) -> Option<()> {
    let number = op.imm as u32 & 0xfff;
    let funct3 = op.imm as u32 >> 12;
    let operand = if funct3 & 4 == 0 { x[usize::from(op.rs1)] } else { op.rs1.into() };
    // Set and clear do not write if they name x0 or zero itself, whatever a register holds.
    let writes = funct3 & 3 == 1 || op.rs1 != 0;
    let (shift, mask) = match number {
        FFLAGS => (0, 0x1f),
        FRM => (5, 0x07),
        FCSR => (0, 0xff),
        CYCLE | TIME | INSTRET if writes => return None,
        TIME => {
            x[usize::from(op.rd)] = time();
            return Some(());
        }
        CYCLE | INSTRET => {
            x[usize::from(op.rd)] = retired;
            return Some(());
        }
        _ => return None,
    };
    let old = *fcsr >> shift & mask;
    let new = match funct3 & 3 {
        1 => operand as u32,
        2 => old | operand as u32,
        _ => old & !(operand as u32),
    };
    if writes {
        *fcsr = *fcsr & !(mask << shift) | (new & mask) << shift;
    }
    x[usize::from(op.rd)] = old.into();
    Some(())
}
