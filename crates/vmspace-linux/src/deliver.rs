//! A handler's frame on the program's stack.
//!
//! Guarantee: a handler sees what Linux's RISC-V kernel shows it (`struct rt_sigframe`: siginfo,
//! then ucontext with the registers), returns through a page of code that is mapped at
//! the format's [`Addresses`] (Linux has it in its vDSO), and may change the registers that it returns to.
//! A frame that cannot be written, or read back, kills with SIGSEGV.

use vmspace::MaySleep;
use vmspace::format::Format;

use crate::Errno;
use crate::addresses::Addresses;
use crate::kernel::Kernel;
use crate::signal::{Action, Info, SIGBUS, SIGCHLD, SIGILL, SIGSEGV, SIGTRAP, SignalSet};
use crate::task::{AlternateStack, Restart, SS_AUTODISARM, Task, Wake};

/// `li a7, 139` (rt_sigreturn); `ecall`.
pub(crate) fn trampoline() -> [u8; 8] {
    let code: u64 = 0x0000_0073_08b0_0893;
    code.to_le_bytes()
}

const INFO: usize = 128;
const STACK: usize = INFO + 16;
const MASK: usize = STACK + 24;
const REGISTERS: usize = INFO + 176;
const FLOATS: usize = REGISTERS + 256;
const FCSR: usize = FLOATS + 256;
const SIZE: usize = FLOATS + 528;

/// Bytes of a frame, which AT_MINSIGSTKSZ tells.
pub(crate) const FRAME_SIZE: u64 = SIZE as u64;

const SA_ONSTACK: u64 = 0x0800_0000;

/// The frame could not be written or read.
pub(crate) struct BadFrame;

impl<'vm, F: Format> Task<'vm, F> {
    /// Ends a call that a handler comes in the way of, when it has begun: what was moved is told,
    /// or EINTR. A call that has not is made after the handler.
    pub fn break_off(&mut self) {
        let Restart { progress, deadline, .. } = self.restart;
        if progress > 0 || deadline.is_some() {
            self.finish(Wake::Return(-i64::from(Errno::EINTR.into_raw())));
        }
    }

    /// Writes the frame and points the registers at the handler.
    pub fn start_handler(
        &mut self,
        kernel: &Kernel<'vm, F>,
        ms: &mut MaySleep,
        info: &Info,
        action: &Action,
        mask: SignalSet,
    ) -> Result<(), BadFrame> {
        let pointer = self.registers.x[2];
        let alternate = self.alternate;
        let within = alternate.holds(pointer);
        let switch = action.flags & SA_ONSTACK != 0 && alternate.size > 0 && !within;
        let top = if switch { alternate.base.wrapping_add(alternate.size) } else { pointer };
        let address = top.wrapping_sub(FRAME_SIZE) & !15;
        if within && !alternate.holds(address) {
            return Err(BadFrame);
        }
        if kernel.store(ms, self, address, &self.frame(info, mask)) != SIZE {
            return Err(BadFrame);
        }
        if alternate.flags & SS_AUTODISARM != 0 {
            self.alternate = AlternateStack::default();
        }
        let x = &mut self.registers.x;
        x[1] = Addresses::of::<F>().trampoline();
        x[2] = address;
        x[10] = u64::from(info.signal);
        x[11] = address;
        x[12] = address + INFO as u64;
        self.registers.pc = action.handler;
        Ok(())
    }

    /// The frame's bytes.
    fn frame(&self, info: &Info, mask: SignalSet) -> Vec<u8> {
        let mut frame = vec![0; SIZE];
        frame[..INFO].copy_from_slice(&info.bytes());
        put(&mut frame, STACK, self.alternate.base);
        put(&mut frame, STACK + 8, self.alternate.flags.into());
        put(&mut frame, STACK + 16, self.alternate.size);
        put(&mut frame, MASK, mask.0);
        put(&mut frame, REGISTERS, self.registers.pc);
        for n in 1..32 {
            put(&mut frame, REGISTERS + 8 * n, self.registers.x[n]);
        }
        for n in 0..32 {
            put(&mut frame, FLOATS + 8 * n, self.registers.f[n]);
        }
        put(&mut frame, FCSR, u64::from(self.registers.fcsr));
        frame
    }

    /// `rt_sigreturn`: takes the registers back from the frame at the stack pointer, and returns
    /// the mask.
    pub fn end_handler(
        &mut self,
        kernel: &Kernel<'vm, F>,
        ms: &mut MaySleep,
    ) -> Result<SignalSet, BadFrame> {
        let mut frame = [0; SIZE];
        if kernel.load(ms, self, self.registers.x[2], &mut frame) != SIZE {
            return Err(BadFrame);
        }
        // The program counter is even, whatever the frame says.
        self.registers.pc = get(&frame, REGISTERS) & !1;
        for n in 1..32 {
            self.registers.x[n] = get(&frame, REGISTERS + 8 * n);
        }
        for n in 0..32 {
            self.registers.f[n] = get(&frame, FLOATS + 8 * n);
        }
        self.registers.fcsr = get(&frame, FCSR) as u32 & 0xff;
        let flags = get(&frame, STACK + 8) as u32;
        let stack = AlternateStack::new(get(&frame, STACK), flags, get(&frame, STACK + 16));
        // As `sigaltstack` would, but for its errors.
        if let Ok(stack) = stack
            && !self.alternate.holds(self.registers.x[2])
        {
            self.alternate = stack;
        }
        Ok(SignalSet(get(&frame, MASK)).as_mask())
    }
}

impl Info {
    /// `siginfo_t`.
    pub fn bytes(&self) -> [u8; INFO] {
        let mut bytes = [0; INFO];
        put(&mut bytes, 0, u64::from(self.signal));
        put(&mut bytes, 8, u64::from(self.code.cast_unsigned()));
        match self.signal {
            SIGILL | SIGTRAP | SIGBUS | SIGSEGV if self.code > 0 => {
                put(&mut bytes, 16, self.address);
            }
            _ => {
                let user = u64::from(crate::stack::ID) << 32;
                put(&mut bytes, 16, u64::from(self.process.cast_unsigned()) | user);
            }
        }
        if self.signal == SIGCHLD {
            put(&mut bytes, 24, u64::from(self.status.cast_unsigned()));
        }
        bytes
    }
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn get(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_laid_out_as_linuxs() {
        // offsetof(struct rt_sigframe, uc.uc_sigmask), uc.uc_mcontext, and its size, on riscv64.
        assert_eq!((MASK, REGISTERS, SIZE), (128 + 40, 128 + 176, 1088));
        let code = trampoline();
        assert_eq!(code, [0x93, 0x08, 0xb0, 0x08, 0x73, 0, 0, 0], "li a7, 139; ecall");
    }
}
