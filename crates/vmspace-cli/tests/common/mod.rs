//! Running the command, and ELF files made by hand.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod guests;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command with arguments.
pub fn vmspace<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmspace"));
    command.args(arguments);
    command
}

/// Its exit status; a signal is no status.
pub fn code(output: &Output) -> i32 {
    output.status.code().expect("the command was killed by a signal")
}

pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory of the test's own.
pub fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a directory for the test");
    path
}

/// A file that may be executed.
pub fn executable(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("a file for the test");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its permissions");
    path
}

/// Where code lies in the files made here.
pub const CODE: u64 = 0x1_0000;

/// `addi rd, rs, imm`.
pub fn addi(rd: u32, rs: u32, imm: i32) -> u32 {
    imm.cast_unsigned() << 20 | rs << 15 | rd << 7 | 0x13
}

pub const ECALL: u32 = 0x73;

/// `li a7, number; ecall`.
pub fn call(number: i32) -> [u32; 2] {
    [addi(17, 0, number), ECALL]
}

/// `write(1, sp, length)`.
pub fn write_out(length: i32) -> [u32; 5] {
    let [number, ecall] = call(64);
    [addi(10, 0, 1), addi(11, 2, 0), addi(12, 0, length), number, ecall]
}

/// `exit_group(status)`.
pub fn exit(status: i32) -> [u32; 3] {
    let [number, ecall] = call(94);
    [addi(10, 0, status), number, ecall]
}

/// A program of these instructions, in a file of the test's own.
pub fn program(test: &str, instructions: &[u32]) -> String {
    let path = executable(&directory(test), test, &Elf::new(instructions).bytes());
    path.to_str().expect("a name").to_string()
}

/// A program header.
#[derive(Clone, Copy)]
pub struct Header {
    pub kind: u32,
    pub flags: u32,
    pub offset: u64,
    pub address: u64,
    pub filled: u64,
    pub length: u64,
}

/// A program: header, program headers, code at offset 4096.
pub struct Elf {
    pub class: u8,
    pub order: u8,
    pub machine: u16,
    pub kind: u16,
    pub entry: u64,
    pub headers: Vec<Header>,
    /// What the file says instead of the headers' number.
    pub count: Option<u16>,
    pub code: Vec<u32>,
}

impl Elf {
    /// A correct program of these instructions.
    pub fn new(code: &[u32]) -> Elf {
        let filled = 4 * code.len() as u64;
        let text =
            Header { kind: 1, flags: 5, offset: 0x1_0000, address: CODE, filled, length: filled };
        Elf {
            class: 2,
            order: 1,
            machine: 243,
            kind: 2,
            entry: CODE,
            headers: vec![text],
            count: None,
            code: code.to_vec(),
        }
    }

    /// `exit_group(status)`.
    pub fn exit(status: i32) -> Elf {
        Elf::new(&exit(status))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', self.class, self.order, 1, 0];
        bytes.resize(16, 0);
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.machine.to_le_bytes());
        bytes.extend(1u32.to_le_bytes());
        for word in [self.entry, 64, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(0u32.to_le_bytes());
        let count = self.count.unwrap_or(self.headers.len() as u16);
        for half in [64, 56, count, 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for header in &self.headers {
            bytes.extend(header.kind.to_le_bytes());
            bytes.extend(header.flags.to_le_bytes());
            let Header { offset, address, filled, length, .. } = *header;
            for word in [offset, address, address, filled, length, 0x1_0000] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.resize(0x1_0000, 0);
        bytes.extend(self.code.iter().flat_map(|word| word.to_le_bytes()));
        bytes
    }
}
