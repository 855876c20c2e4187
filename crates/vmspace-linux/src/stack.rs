//! The first page of a program's life: arguments, environment and auxiliary vector.
//!
//! Guarantee: the block that [`Block::build`] returns is what `create_elf_tables` of Linux would
//! put at the top of the stack, ready to be copied to the address that it names. Its limits are
//! Linux's: 128 KiB a string, and a quarter of the stack limit in all.
//!
//! From the top down: eight zero bytes, the program's name, environment and argument strings, the
//! platform's name, sixteen random bytes; then, aligned to 16, the auxiliary vector, the pointers
//! to the environment and to the arguments, and their number, where the stack pointer starts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use crate::elf::Program;
use crate::error::ProgramError;

/// RLIMIT_STACK: how far a stack may grow.
pub(crate) const STACK_LIMIT: u64 = 8 << 20;

/// MAX_ARG_STRLEN.
pub(crate) const MOST_STRING: usize = 128 << 10;

/// What arguments and environment may take in all.
pub(crate) const MOST_ARGUMENTS: usize = STACK_LIMIT as usize / 4;

/// The letters of `IMAFDC` as bits, which is how RISC-V fills AT_HWCAP.
const HWCAP: u64 =
    letter(b'i') | letter(b'm') | letter(b'a') | letter(b'f') | letter(b'd') | letter(b'c');

const fn letter(letter: u8) -> u64 {
    1 << (letter - b'a')
}

/// What a program is started with.
pub(crate) struct Start {
    /// What it is told that it was started by (AT_EXECFN).
    pub name: OsString,
    /// Its arguments, its name first.
    pub arguments: Vec<OsString>,
    /// Its environment, `NAME=value` each.
    pub environment: Vec<OsString>,
    /// What its random numbers begin with (AT_RANDOM).
    pub random: [u8; 16],
}

/// The block and where it belongs.
pub(crate) struct Block {
    pub address: u64,
    pub bytes: Vec<u8>,
    /// Where the arguments' strings begin and end.
    pub arguments: (u64, u64),
}

/// Strings, laid out downwards from the top.
struct Strings {
    top: u64,
    bytes: Vec<u8>,
}

impl Strings {
    /// Adds a string (with its zero) below the others and returns its address. Bytes are kept in
    /// reverse, so adding at the low end is a push.
    fn push(&mut self, string: &[u8]) -> u64 {
        self.bytes.push(0);
        self.push_raw(string)
    }

    fn push_raw(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.extend(bytes.iter().rev());
        self.top - self.bytes.len() as u64
    }
}

/// Refuses what Linux's `execve` would refuse with E2BIG.
pub(crate) fn check_arguments(
    arguments: &[OsString],
    environment: &[OsString],
) -> Result<(), ProgramError> {
    let mut length = 0;
    for string in arguments.iter().chain(environment) {
        let bytes = string.len() + 1;
        if bytes > MOST_STRING {
            return Err(ProgramError::StringTooLong { length: bytes, most: MOST_STRING });
        }
        length += bytes + size_of::<u64>();
    }
    if length > MOST_ARGUMENTS {
        return Err(ProgramError::ArgumentsTooLong { length, most: MOST_ARGUMENTS });
    }
    Ok(())
}

impl Block {
    /// Lays the block out so that it ends at `top`.
    pub fn build(program: &Program, start: &Start, page: u64, top: u64) -> Block {
        let mut strings = Strings { top, bytes: vec![0; 8] };
        let name = strings.push(start.name.as_bytes());
        let mut push_all = |list: &[OsString]| {
            let mut addresses: Vec<u64> =
                list.iter().rev().map(|string| strings.push(string.as_bytes())).collect();
            addresses.reverse();
            addresses
        };
        let environment = push_all(&start.environment);
        let length: usize = start.arguments.iter().map(|argument| argument.len() + 1).sum();
        let arguments = push_all(&start.arguments);
        let first = arguments.first().copied().unwrap_or(top);
        let platform = strings.push(b"riscv64");
        let random = strings.push_raw(&start.random);
        let vector = auxiliary_vector(program, page, name, platform, random);

        let mut words = vec![arguments.len() as u64];
        words.extend(arguments.iter().chain([&0]));
        words.extend(environment.iter().chain([&0]));
        words.extend(vector.iter().flatten());

        let below = (top - strings.bytes.len() as u64) & !15;
        let address = (below - size_of_val(&words[..]) as u64) & !15;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize((top - address) as usize - strings.bytes.len(), 0);
        bytes.extend(strings.bytes.iter().rev());
        Block { address, bytes, arguments: (first, first + length as u64) }
    }
}

fn auxiliary_vector(
    program: &Program,
    page: u64,
    name: u64,
    platform: u64,
    random: u64,
) -> [[u64; 2]; 20] {
    let id = u64::from(ID);
    [
        [AT_HWCAP, HWCAP],
        [AT_PAGESZ, page],
        [AT_CLKTCK, 100],
        [AT_PHDR, program.headers],
        [AT_PHENT, 56],
        [AT_PHNUM, program.header_count],
        [AT_BASE, 0],
        [AT_FLAGS, 0],
        [AT_ENTRY, program.entry],
        [AT_UID, id],
        [AT_EUID, id],
        [AT_GID, id],
        [AT_EGID, id],
        [AT_SECURE, 0],
        [AT_RANDOM, random],
        [AT_HWCAP2, 0],
        [AT_EXECFN, name],
        [AT_PLATFORM, platform],
        [AT_MINSIGSTKSZ, crate::deliver::FRAME_SIZE],
        [AT_NULL, 0],
    ]
}

/// User and group of everything in the machine.
pub(crate) const ID: u32 = 1000;

const AT_NULL: u64 = 0;
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_MINSIGSTKSZ: u64 = 51;
