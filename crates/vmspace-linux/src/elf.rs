//! Reads a program: a statically linked ELF file for 64-bit RISC-V.
//!
//! Guarantee: [`Program::open`] never blocks and takes in no more than the headers, whatever the
//! path names; what it or [`Program::read`] returns is loadable at any page size up to the one that
//! it was checked against. Everything that can be wrong with a file is one [`ProgramError`], whose text names the
//! thing and the cure. Nothing of the guest exists before a program has passed.
//!
//! The `elf` crate parses; the checks are Linux's (`fs/binfmt_elf.c`) and stricter where Linux
//! would let a damaged file kill itself: segments ascend, do not overlap, lie within the user's
//! addresses, and the entry point lies in one that may be executed. A static-PIE (`ET_DYN` without
//! an interpreter) relocates itself in its own start code, so it only needs a base.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use elf::abi;
use elf::endian::LittleEndian;
use elf::file::{Class, ELF64_EHDR_TAILSIZE, FileHeader};
use elf::parse::{ParseAt, ParsingTable};
use elf::segment::{ProgramHeader, SegmentTable};
use vmspace::format::Rights;

use crate::addresses::{Addresses, HIGHEST, LOWEST};
use crate::error::ProgramError;

/// Linux's limit: the table of program headers fits in 64 KiB.
const MOST_HEADERS: usize = 65_536 / 56;

/// A program that has been checked and can be loaded.
#[derive(Debug)]
pub struct Program {
    pub(crate) executable: Executable,
    pub(crate) segments: Vec<Segment>,
    pub(crate) entry: u64,
    pub(crate) headers: u64,
    pub(crate) header_count: u64,
}

/// A file that is run, and the path by which it was found.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    pub path: PathBuf,
    pub file: Arc<File>,
}

/// A part of the file to be in memory. Addresses are final (the base is added).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub address: u64,
    pub length: u64,
    pub offset: u64,
    pub filled: u64,
    pub rights: Rights,
}

impl Segment {
    pub fn end(&self) -> u64 {
        self.address + self.length
    }
}

impl Program {
    /// Opens the file at `path` and checks that it can run at these addresses.
    pub fn open(path: &Path, addresses: Addresses) -> Result<Program, ProgramError> {
        let file = Arc::new(open_regular(path)?);
        Program::read(Executable { path: path.to_owned(), file }, addresses)
    }

    /// The same with a file that is open.
    pub(crate) fn read(
        executable: Executable,
        addresses: Addresses,
    ) -> Result<Program, ProgramError> {
        let file = &executable.file;
        let size = file.metadata().map_err(ProgramError::Open)?.len();
        let header = read_header(file, size)?;
        let (offset, table) = read_program_headers(file, size, &header)?;
        if let Some(interpreter) = table.iter().find(|h| h.p_type == abi::PT_INTERP) {
            return Err(ProgramError::Dynamic(interpreter_name(file, size, interpreter)));
        }
        let base = if header.e_type == abi::ET_DYN { addresses.pie_base() } else { 0 };
        let loads: Vec<_> = table.iter().filter(|h| h.p_type == abi::PT_LOAD).collect();
        let segments = check_segments(&loads, base, size, addresses)?;
        let entry = header.e_entry.wrapping_add(base);
        let may_run = |s: &&Segment| s.rights.contains(Rights::EXECUTE);
        if !segments.iter().filter(may_run).any(|s| (s.address..s.end()).contains(&entry)) {
            return Err(ProgramError::EntryOutside(header.e_entry));
        }
        let headers = segments
            .iter()
            .find(|s| (s.offset..s.offset + s.filled).contains(&offset))
            .map_or(0, |s| s.address + (offset - s.offset));
        Ok(Program {
            executable,
            segments,
            entry,
            headers,
            header_count: u64::from(header.e_phnum),
        })
    }
}

/// Opens without blocking (a FIFO would wait for a writer), and only what can be run.
fn open_regular(path: &Path) -> Result<File, ProgramError> {
    let kind = std::fs::metadata(path).map_err(ProgramError::Open)?.file_type();
    let what = match () {
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        () => None,
    };
    if let Some(what) = what {
        return Err(ProgramError::NotAFile(what));
    }
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(path, access).map_err(|e| ProgramError::Open(e.into()))?;
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblocking).open(path);
    opened.map_err(ProgramError::Open)
}

/// Reads `length` bytes at `offset`, which the file must have.
fn read_exact(file: &File, size: u64, offset: u64, length: u64) -> Result<Vec<u8>, ProgramError> {
    if offset.checked_add(length).is_none_or(|end| end > size) {
        return Err(ProgramError::Truncated);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ProgramError::Truncated,
        _ => ProgramError::Read(error),
    })?;
    Ok(bytes)
}

/// Linux's checks of the file header, one error each.
fn read_header(file: &File, size: u64) -> Result<FileHeader<LittleEndian>, ProgramError> {
    if size == 0 {
        return Err(ProgramError::Empty);
    }
    let start = read_exact(file, size, 0, size.min(abi::EI_NIDENT as u64))?;
    if !start.starts_with(&abi::ELFMAGIC) {
        return Err(ProgramError::NotElf { script: start.starts_with(b"#!") });
    }
    if start.len() < abi::EI_NIDENT {
        return Err(ProgramError::Truncated);
    }
    match start[abi::EI_CLASS] {
        abi::ELFCLASS64 => {}
        abi::ELFCLASS32 => return Err(ProgramError::Class32),
        _ => return Err(ProgramError::Damaged("its class is neither 32-bit nor 64-bit")),
    }
    match start[abi::EI_DATA] {
        abi::ELFDATA2LSB => {}
        abi::ELFDATA2MSB => return Err(ProgramError::BigEndian),
        _ => return Err(ProgramError::Damaged("its byte order is unknown")),
    }
    let tail = read_exact(file, size, abi::EI_NIDENT as u64, ELF64_EHDR_TAILSIZE as u64)?;
    let identity = (LittleEndian, Class::ELF64, start[abi::EI_OSABI], start[abi::EI_ABIVERSION]);
    let header = FileHeader::parse_tail(identity, &tail).map_err(|_| ProgramError::Truncated)?;
    if header.e_machine != abi::EM_RISCV {
        return Err(ProgramError::Architecture(header.e_machine));
    }
    match header.e_type {
        abi::ET_EXEC | abi::ET_DYN => Ok(header),
        abi::ET_REL => Err(ProgramError::NotLinked),
        abi::ET_CORE => Err(ProgramError::Damaged("it is a core dump")),
        _ => Err(ProgramError::Damaged("its type is no program's")),
    }
}

/// The table of program headers and its offset in the file.
fn read_program_headers(
    file: &File,
    size: u64,
    header: &FileHeader<LittleEndian>,
) -> Result<(u64, Vec<ProgramHeader>), ProgramError> {
    let entry = ProgramHeader::size_for(Class::ELF64);
    if usize::from(header.e_phentsize) != entry && header.e_phnum != 0 {
        return Err(ProgramError::Damaged("its program headers have an unknown size"));
    }
    let count = usize::from(header.e_phnum);
    if count > MOST_HEADERS {
        return Err(ProgramError::Headers { count, most: MOST_HEADERS });
    }
    let bytes = read_exact(file, size, header.e_phoff, (count * entry) as u64)?;
    let table: SegmentTable<'_, LittleEndian> =
        ParsingTable::new(LittleEndian, Class::ELF64, &bytes);
    Ok((header.e_phoff, table.iter().collect()))
}

/// The interpreter that a dynamic program asks for, as far as it can be shown.
fn interpreter_name(file: &File, size: u64, header: &ProgramHeader) -> String {
    let bytes = read_exact(file, size, header.p_offset, header.p_filesz.min(256));
    let bytes = bytes.unwrap_or_default();
    let name = bytes.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).escape_debug().to_string()
}

/// Segments in ascending order that share no page with each other.
fn check_segments(
    loads: &[&ProgramHeader],
    base: u64,
    size: u64,
    addresses: Addresses,
) -> Result<Vec<Segment>, ProgramError> {
    let page = addresses.page;
    let mut segments: Vec<Segment> = Vec::new();
    for (index, load) in loads.iter().enumerate().filter(|(_, load)| load.p_memsz > 0) {
        let segment = check_segment(index, load, base, size, addresses)?;
        if let Some(before) = segments.last() {
            if segment.address < before.end() {
                let what = "overlaps the one before it, or lies below it";
                return Err(ProgramError::Segment { index, what });
            }
            if segment.address / page <= (before.end() - 1) / page {
                return Err(ProgramError::Misaligned { index, page });
            }
        }
        if load.p_filesz > 0 && load.p_vaddr % page != load.p_offset % page {
            return Err(ProgramError::Misaligned { index, page });
        }
        segments.push(segment);
    }
    if segments.is_empty() {
        return Err(ProgramError::Damaged("it has no segment to load"));
    }
    Ok(segments)
}

/// A segment that lies in the file and among the addresses that a program may use.
fn check_segment(
    index: usize,
    load: &ProgramHeader,
    base: u64,
    size: u64,
    addresses: Addresses,
) -> Result<Segment, ProgramError> {
    let bad = |what| ProgramError::Segment { index, what };
    if load.p_filesz > load.p_memsz {
        return Err(bad("has more in the file than in memory"));
    }
    if load.p_filesz > 0 && load.p_offset.checked_add(load.p_filesz).is_none_or(|end| end > size) {
        return Err(ProgramError::Truncated);
    }
    let start = load.p_vaddr.checked_add(base);
    let end = start.and_then(|s| s.checked_add(load.p_memsz)).filter(|end| *end <= HIGHEST);
    let (Some(start), Some(end)) = (start, end) else {
        return Err(bad("lies beyond the addresses that a program may use"));
    };
    if end > addresses.program_end() {
        return Err(ProgramError::Beyond { index, end, addresses });
    }
    if start < LOWEST {
        return Err(bad("lies below 0x10000, the lowest address that a program may use"));
    }
    Ok(Segment {
        address: start,
        length: load.p_memsz,
        offset: load.p_offset,
        filled: load.p_filesz,
        rights: rights_of(load.p_flags),
    })
}

/// What a segment's flags allow; what may be written may be read.
fn rights_of(flags: u32) -> Rights {
    let mut rights = Rights::USER;
    rights.set(Rights::READ, flags & (abi::PF_R | abi::PF_W) != 0);
    rights.set(Rights::WRITE, flags & abi::PF_W != 0);
    rights.set(Rights::EXECUTE, flags & abi::PF_X != 0);
    rights
}
