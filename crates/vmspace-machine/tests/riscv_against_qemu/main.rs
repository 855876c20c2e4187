//! The interpreter against qemu-riscv64: random programs must write the same registers, bit by bit.
//!
//! `VMSPACE_QEMU_INSTRUCTIONS` is how many instructions each group executes, `VMSPACE_SEED` replays
//! a run.

mod assemble;
mod generate;
mod guest;

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use generate::{Group, Random};
use guest::{BASE, Guest, RECORD};
use vmspace_machine::riscv::{Access, Bus, Exit, Hart, Trap};

/// Flat memory from [`BASE`] on.
struct Flat(Vec<u64>);

impl Flat {
    fn new(image: &[u8]) -> Flat {
        let words = image.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let mut words: Vec<u64> = words.collect();
        words.resize(words.len().next_multiple_of(512), 0);
        Flat(words)
    }
}

impl Bus for Flat {
    fn translate(&mut self, va: u64, access: Access) -> Result<*mut u8, Trap> {
        let offset = va.wrapping_sub(BASE);
        if offset >= self.0.len() as u64 * 8 {
            return Err(Trap { va, access });
        }
        Ok(self.0.as_mut_ptr().cast::<u8>().wrapping_add(offset as usize))
    }

    fn hit(&mut self, va: u64, access: Access, size: u64) -> Option<*mut u8> {
        self.translate(va, access).ok().filter(|_| va.is_multiple_of(size))
    }

    fn pending(&self) -> bool {
        false
    }

    fn poll(&mut self) -> bool {
        false
    }

    fn code_epoch(&self) -> u64 {
        0
    }

    fn time(&mut self) -> u64 {
        0
    }
}

/// Run `guest` in the interpreter: what it wrote, and how many instructions that took.
fn interpret(guest: &Guest) -> (Vec<u8>, u64) {
    let mut memory = Flat::new(&guest.elf);
    let mut hart = Hart::new();
    hart.regs.pc = Guest::ENTRY;
    let mut output = Vec::new();
    loop {
        // A small quota, so that runs end in the middle of things.
        match hart.run(&mut memory, 1000) {
            Exit::Quota => continue,
            Exit::Ecall if hart.regs.x[17] == 64 => {
                let [_, address, length] = [10, 11, 12].map(|register| hart.regs.x[register]);
                let bytes = (0..length).map(|offset| {
                    let host = memory.translate(address + offset, Access::Read).unwrap();
                    // SAFETY: `translate` gave a byte of the memory, which nobody else accesses.
                    unsafe { *host }
                });
                output.extend(bytes);
                hart.regs.x[10] = length;
                hart.regs.pc += 4;
            }
            Exit::Ecall if hart.regs.x[17] == 93 => return (output, hart.retired()),
            exit => {
                eprintln!("the interpreter stopped at {:#x}: {exit:?}", hart.regs.pc);
                return (output, hart.retired());
            }
        }
    }
}

/// Run `guest` under qemu-riscv64: what it wrote.
fn emulate(name: &str, guest: &Guest) -> Vec<u8> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = std::env::temp_dir().join(format!("vmspace-{}-{name}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o700).open(&path).unwrap();
    file.write_all(&guest.elf).unwrap();
    drop(file);
    let output = Command::new("qemu-riscv64").arg(&path).stderr(Stdio::inherit()).output();
    std::fs::remove_file(&path).unwrap();
    let output = output.unwrap();
    if !output.status.success() {
        eprintln!("qemu-riscv64 ended with {}", output.status);
    }
    output.stdout
}

/// Say where two outputs differ first; gives whether they do.
fn differ(guest: &Guest, ours: &[u8], theirs: &[u8]) -> bool {
    if ours == theirs {
        return false;
    }
    eprintln!("{} bytes from the interpreter, {} from qemu", ours.len(), theirs.len());
    let records = ours.chunks(RECORD).zip(theirs.chunks(RECORD)).enumerate();
    let Some((number, (ours, theirs))) = records.into_iter().find(|(_, (a, b))| a != b) else {
        return true;
    };
    for (register, (our, their)) in ours.chunks(8).zip(theirs.chunks(8)).enumerate() {
        let value =
            |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, &b| value << 8 | u64::from(b));
        if our != their {
            let name = match register {
                0..32 => format!("x{register}"),
                32..64 => format!("f{}", register - 32),
                _ => "fcsr".to_string(),
            };
            eprintln!(
                "record {number}: {name} is {:#018x}, qemu has {:#018x}",
                value(our),
                value(their)
            );
        }
    }
    if let Some((start, end)) = guest.block_of(number) {
        eprintln!("its instructions, from {start:#x}:");
        for half in guest.elf[(start - BASE) as usize..(end - BASE) as usize].chunks(2) {
            eprint!("{:02x}{:02x} ", half[1], half[0]);
        }
        eprintln!();
    }
    true
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[test]
fn programs_write_what_they_write_under_qemu() {
    if Command::new("qemu-riscv64").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!(
            "skipped: qemu-riscv64 is not installed (apt-get install qemu-user): \
             the interpreter was not compared with it"
        );
        return;
    }
    let instructions = variable("VMSPACE_QEMU_INSTRUCTIONS", 1_000_000);
    let seed = variable("VMSPACE_SEED", 0x5eed);
    let mut failed = Vec::new();
    for group in Group::ALL {
        println!("{group:?}: VMSPACE_SEED={seed}");
        let guest = Guest::new(group, &mut Random::new(seed ^ (group as u64) << 32), instructions);
        let (theirs, (ours, retired)) = thread::scope(|scope| {
            let qemu = scope.spawn(|| emulate(&format!("{group:?}"), &guest));
            let ours = interpret(&guest);
            (qemu.join().unwrap(), ours)
        });
        println!("{group:?}: {retired} instructions, {} bytes written", ours.len());
        if differ(&guest, &ours, &theirs) {
            failed.push(group);
        }
    }
    assert!(failed.is_empty(), "{failed:?} differ; replay with VMSPACE_SEED={seed}");
}
