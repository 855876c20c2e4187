//! Why a program was not started, in words for who started it.

use crate::addresses::Addresses;
use std::fmt;
use std::io;

use crate::Errno;

/// Why a program cannot run. Its text says what is wrong and, in brackets, what helps; whoever
/// shows it puts the program's name in front.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProgramError {
    /// The file could not be opened.
    Open(io::Error),
    /// The file could not be read.
    Read(io::Error),
    /// The path names something else: "a directory", "a FIFO".
    NotAFile(&'static str),
    /// The file is empty.
    Empty,
    /// The file is no ELF file.
    NotElf {
        /// It begins with `#!`.
        script: bool,
    },
    /// The file ends before what its headers promise.
    Truncated,
    /// A 32-bit program.
    Class32,
    /// A big-endian program.
    BigEndian,
    /// A program for another architecture: the number in its header.
    Architecture(u16),
    /// A dynamically linked program: the interpreter that it asks for.
    Dynamic(String),
    /// An object file.
    NotLinked,
    /// More program headers than Linux takes.
    Headers {
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A header that makes no sense.
    Damaged(&'static str),
    /// A loadable segment that makes no sense.
    Segment {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A loadable segment beyond what the format gives programs.
    Beyond {
        /// Which one, from 0.
        index: usize,
        /// Where it ends.
        end: u64,
        /// What the format gives.
        addresses: Addresses,
    },
    /// A loadable segment that is not aligned to the page size.
    Misaligned {
        /// Which one, from 0.
        index: usize,
        /// The format's page size.
        page: u64,
    },
    /// The entry point lies in no executable segment.
    EntryOutside(u64),
    /// One string among the arguments and the environment is too long.
    StringTooLong {
        /// Its length in bytes.
        length: usize,
        /// The most that it may have.
        most: usize,
    },
    /// Arguments and environment together are too long.
    ArgumentsTooLong {
        /// Bytes that they take.
        length: usize,
        /// The most that they may take.
        most: usize,
    },
    /// The machine's memory does not hold the program.
    Memory,
    /// The process may not map so much (RLIMIT_AS).
    Limit,
    /// The machine's memory does not hold what is kept of this swap device.
    Swap(String),
    /// The host refuses a thread for a hart.
    Threads(io::Error),
}

/// What the host says of an error, as the middle of a sentence of ours: without its number.
pub fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The names of the architectures that are met most.
fn architecture(machine: u16) -> String {
    use elf::abi;
    let name = match machine {
        abi::EM_X86_64 => "x86-64",
        abi::EM_386 => "x86 (32-bit)",
        abi::EM_AARCH64 => "aarch64",
        abi::EM_ARM => "arm",
        abi::EM_PPC64 => "powerpc64",
        abi::EM_S390 => "s390x",
        abi::EM_MIPS => "mips",
        _ => return format!("architecture number {machine}"),
    };
    name.to_string()
}

impl ProgramError {
    /// What `execve` fails with.
    pub(crate) fn errno(&self) -> Errno {
        match self {
            Self::Open(error) | Self::Read(error) => {
                Errno::new(error.raw_os_error().unwrap_or(Errno::EIO.into_raw()))
            }
            Self::NotAFile(_) => Errno::EACCES,
            Self::StringTooLong { .. } | Self::ArgumentsTooLong { .. } => Errno::E2BIG,
            Self::Memory | Self::Limit => Errno::ENOMEM,
            _ => Errno::ENOEXEC,
        }
    }
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REBUILD: &str = "the file is damaged: build it again";
        match self {
            Self::Open(error) => match error.kind() {
                io::ErrorKind::NotFound => {
                    write!(f, "no such file (PROGRAM is a path, no name to be searched)")
                }
                io::ErrorKind::PermissionDenied => {
                    write!(f, "permission denied (make it readable and executable: chmod +rx)")
                }
                _ => write!(f, "cannot be opened: {} (check the path)", in_words(error)),
            },
            Self::Threads(error) => {
                let error = in_words(error);
                write!(f, "the host refuses another thread: {error} (give fewer --harts)")
            }
            Self::Read(error) => write!(f, "cannot be read: {} (check the disk)", in_words(error)),
            Self::NotAFile(what) => write!(f, "is {what} (name a program's file)"),
            Self::Empty => write!(f, "the file is empty (build it again)"),
            Self::NotElf { script: true } => {
                write!(f, "is a script, not an ELF file (run its interpreter, built for riscv64)")
            }
            Self::NotElf { script: false } => {
                write!(f, "is not an ELF file (name a program built for riscv64)")
            }
            Self::Truncated => write!(f, "the file is truncated (build or copy it again)"),
            Self::Class32 => write!(f, "is a 32-bit program (build it for riscv64)"),
            Self::BigEndian => write!(f, "is a big-endian program (build it for riscv64)"),
            Self::Architecture(machine) => {
                let name = architecture(*machine);
                write!(f, "is a program for {name} (build it for riscv64)")
            }
            Self::Dynamic(name) => {
                write!(f, "is dynamically linked, it asks for {name:?} (link it with -static)")
            }
            Self::NotLinked => write!(f, "is an object file (link it into a program)"),
            Self::Headers { count, most } => {
                write!(f, "has {count} program headers, more than {most} ({REBUILD})")
            }
            Self::Damaged(what) => write!(f, "{what} ({REBUILD})"),
            Self::Segment { index, what } => write!(f, "segment {index} {what} ({REBUILD})"),
            Self::Beyond { index, end, addresses } => write!(
                f,
                "segment {index} ends at {end:#x}, and format {} has {:#x} for programs (link it \
                 lower, or take --format sv48)",
                addresses.format,
                addresses.program_end()
            ),
            Self::Misaligned { index, page } => write!(
                f,
                "segment {index} is not aligned to the format's pages of {page} bytes \
                 (link it with -z max-page-size=65536, which serves every format)"
            ),
            Self::EntryOutside(entry) => {
                write!(f, "its entry point {entry:#x} lies in no executable segment ({REBUILD})")
            }
            Self::StringTooLong { length, most } => write!(
                f,
                "an argument or environment string of {length} bytes is too long \
                 (at most {most} bytes each)"
            ),
            Self::ArgumentsTooLong { length, most } => write!(
                f,
                "arguments and environment take {length} bytes (at most {most} bytes together)"
            ),
            Self::Swap(name) => write!(
                f,
                "the machine's memory does not hold the table of {name}, eight bytes a page \
                 (give a smaller --swap, or more --memory)"
            ),
            Self::Limit => write!(f, "is larger than the process may map (raise RLIMIT_AS)"),
            Self::Memory => {
                write!(f, "the machine's memory does not hold it (give more with --memory)")
            }
        }
    }
}

impl std::error::Error for ProgramError {}
