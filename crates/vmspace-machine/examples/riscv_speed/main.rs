//! How fast the interpreter is, beside qemu-riscv64 on the same program.
//!
//! The program is `guest.rs`, compiled by `rustc` for riscv64gc-unknown-none-elf. The bus checks a
//! direct-mapped TLB on every access, as a machine with page tables does, so that the number means
//! something.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vmspace_machine::riscv::{Access, Bus, Exit, Hart, Trap};

const RUNS: usize = 5;
const STACK: u64 = 0x1000_0000;
const TLB: usize = 1024;

#[derive(Clone, Copy)]
struct Entry {
    page: u64,
    addend: usize,
}

/// Flat memory behind a TLB for each kind of access.
struct Machine {
    memory: Vec<u64>,
    tlb: [[Entry; TLB]; 3],
    pending: AtomicBool,
}

impl Machine {
    fn new(elf: &[u8]) -> Option<(Machine, u64)> {
        let memory = vec![0; STACK as usize / 8];
        let tlb = [[Entry { page: 1, addend: 0 }; TLB]; 3];
        let mut machine = Machine { memory, tlb, pending: AtomicBool::new(false) };
        let field = |at: usize, size: usize| {
            let bytes = elf.get(at..at + size)?;
            Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | usize::from(byte)))
        };
        for header in 0..field(56, 2)? {
            let at = field(32, 8)? + header * field(54, 2)?;
            if field(at, 4)? != 1 {
                continue;
            }
            let (from, to, size) = (field(at + 8, 8)?, field(at + 16, 8)?, field(at + 32, 8)?);
            for (offset, &byte) in elf.get(from..from + size)?.iter().enumerate() {
                let (word, shift) = ((to + offset) / 8, (to + offset) % 8 * 8);
                machine.memory[word] |= u64::from(byte) << shift;
            }
        }
        Some((machine, field(24, 8)? as u64))
    }

    #[cold]
    fn miss(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap> {
        if va >= STACK {
            return Err(Trap { va, access });
        }
        let host = self.memory.as_mut_ptr().cast::<u8>().wrapping_add(va as usize);
        let addend = host.expose_provenance().wrapping_sub(va as usize);
        self.tlb[access as usize][(va >> 12) as usize % TLB] = Entry { page: va & !0xfff, addend };
        Ok(host)
    }
}

impl Bus for Machine {
    #[inline(always)]
    fn hit(&mut self, va: u64, access: Access, size: u64) -> Option<*mut u8> {
        let entry = self.tlb[access as usize][(va >> 12) as usize % TLB];
        (entry.page == va & (!0xfff | (size - 1)))
            .then(|| std::ptr::with_exposed_provenance_mut(entry.addend.wrapping_add(va as usize)))
    }

    fn translate(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap> {
        self.miss(va, access)
    }

    #[inline(always)]
    fn pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    fn poll(&mut self) -> bool {
        false
    }

    #[inline(always)]
    fn code_epoch(&self) -> u64 {
        0
    }

    fn time(&mut self) -> u64 {
        0
    }
}

/// Run the program once: its exit status, the instructions it took, and the time.
fn interpret(elf: &[u8]) -> Option<(u64, u64, Duration)> {
    let (mut machine, entry) = Machine::new(elf)?;
    let mut hart = Hart::new();
    hart.regs.pc = entry;
    hart.regs.x[2] = STACK - 64;
    let start = Instant::now();
    loop {
        match hart.run(&mut machine, 1_000_000) {
            Exit::Quota => continue,
            Exit::Ecall => return Some((hart.regs.x[10], hart.retired(), start.elapsed())),
            exit => {
                eprintln!("stopped at {:#x}: {exit:?}", hart.regs.pc);
                return None;
            }
        }
    }
}

/// Run the program once under qemu: its exit status and the time.
fn emulate(path: &Path) -> Option<(u64, Duration)> {
    let start = Instant::now();
    let status = Command::new("qemu-riscv64").arg(path).status().ok()?;
    Some((status.code()? as u64, start.elapsed()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn main() {
    let path = std::env::temp_dir().join(format!("vmspace-speed-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/riscv_speed/guest.rs");
    let compiled = Command::new("rustc")
        .args(["--edition=2024", "--target=riscv64gc-unknown-none-elf", "-Copt-level=2"])
        .args(["-Cpanic=abort", source, "-o"])
        .arg(&path)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("no program: rustup target add riscv64gc-unknown-none-elf");
        std::process::exit(1);
    }
    let elf = std::fs::read(&path).unwrap_or_default();
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    let mut instructions = 0;
    for _ in 0..RUNS {
        let Some((status, retired, time)) = interpret(&elf) else {
            std::process::exit(1);
        };
        instructions = retired;
        ours.push(time);
        if let Some((expected, time)) = emulate(&path) {
            assert_eq!(status, expected, "the interpreter computes something else than qemu");
            theirs.push(time);
        }
    }
    // Left behind at worst.
    let _ = std::fs::remove_file(&path);

    let mips = |time: Duration| instructions as f64 / time.as_secs_f64() / 1e6;
    let time = median(ours);
    println!("{instructions} instructions, median of {RUNS} runs");
    println!("interpreter   {time:>10.3?} {:>7.0} MIPS", mips(time));
    if !theirs.is_empty() {
        let qemu = median(theirs);
        let share = qemu.as_secs_f64() / time.as_secs_f64() * 100.0;
        println!(
            "qemu-riscv64  {qemu:>10.3?} {:>7.0} MIPS: the interpreter has {share:.0}%",
            mips(qemu)
        );
    }
}
