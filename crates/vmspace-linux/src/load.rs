//! Puts a checked program into a fresh space.
//!
//! Guarantee: the space that comes back holds the program's segments with their rights, a stack
//! with the arguments, and the page that signal handlers return through, within the limits; when
//! memory is short nothing is left. Segments are anonymous private memory: mapped writable, filled from the file,
//! then given their rights (there are no file mappings yet).

use std::os::unix::fs::FileExt;

use vmspace::format::{Format, Geometry, Rights};
use vmspace::{Map, MaySleep, Place, Vm};
use vmspace_machine::MachinePlatform;
use vmspace_machine::riscv::Registers;

use crate::addresses::Addresses;
use crate::deliver::trampoline;
use crate::elf::Program;
use crate::error::ProgramError;
use crate::space::{Limits, Marks, Space};
use crate::stack::{Block, STACK_LIMIT, Start};

/// What is mapped below the arguments at the start; the rest grows.
const STACK_START: u64 = 128 << 10;

/// Bytes moved from the file at a time.
const CHUNK: u64 = 1 << 20;

/// Makes the space and the registers with which the program starts. `random` is for AT_RANDOM.
pub(crate) fn load<'vm, F: Format>(
    vm: &'vm Vm<MachinePlatform<F>>,
    ms: &mut MaySleep,
    program: &Program,
    start: &Start,
    limits: Limits,
) -> Result<(Space<'vm, F>, Registers), ProgramError> {
    let mut space = Space::new(vm, ms, limits).map_err(|_| ProgramError::Memory)?;
    for segment in &program.segments {
        load_segment::<F>(&space, ms, program, segment)?;
    }
    let end = program.segments.iter().map(|s| s.end()).max().unwrap_or(0);
    let heap = end.next_multiple_of(F::PAGE_SIZE);
    space.set_break(heap);

    let addresses = Addresses::of::<F>();
    let top = addresses.stack_top();
    let block = Block::build(program, start, F::PAGE_SIZE, top);
    space.marks = Marks { heap, stack: block.address, arguments: block.arguments };
    space.set_stack_limit(STACK_LIMIT);
    let bottom = (block.address - STACK_START) & !(F::PAGE_SIZE - 1);
    let data = Rights::USER | Rights::READ | Rights::WRITE;
    let stack = Map { grows_down: true, ..fixed(bottom, top - bottom, data) };
    map(&space, ms, stack)?;
    fill(&space, ms, block.address, &block.bytes)?;

    let handlers = addresses.trampoline();
    map(&space, ms, fixed(handlers, F::PAGE_SIZE, data))?;
    fill(&space, ms, handlers, &trampoline())?;
    let code = Rights::USER | Rights::READ | Rights::EXECUTE;
    space.protect(ms, handlers, F::PAGE_SIZE, code).map_err(|_| ProgramError::Memory)?;

    let mut registers = Registers { pc: program.entry, ..Registers::default() };
    registers.x[2] = block.address;
    Ok((space, registers))
}

/// Anonymous private memory at a given place.
fn fixed(address: u64, length: u64, rights: Rights) -> Map {
    Map { address, place: Place::Fixed, ..Map::anonymous(length, rights) }
}

/// Makes a mapping where nothing is.
fn map<F: Format>(space: &Space<'_, F>, ms: &mut MaySleep, map: Map) -> Result<(), ProgramError> {
    space.map(ms, map).map(drop).map_err(|_| {
        let pages = space.usage(ms).mapped + map.length.div_ceil(F::PAGE_SIZE);
        let within = pages <= space.size_limit() >> F::PAGE_SHIFT;
        if within { ProgramError::Memory } else { ProgramError::Limit }
    })
}

fn load_segment<F: Format>(
    space: &Space<'_, F>,
    ms: &mut MaySleep,
    program: &Program,
    segment: &crate::elf::Segment,
) -> Result<(), ProgramError> {
    let start = segment.address & !(F::PAGE_SIZE - 1);
    let length = segment.end().next_multiple_of(F::PAGE_SIZE) - start;
    let data = Rights::USER | Rights::READ | Rights::WRITE;
    map(space, ms, fixed(start, length, data))?;
    let mut done = 0;
    let mut buffer = vec![0; segment.filled.min(CHUNK) as usize];
    while done < segment.filled {
        let part = &mut buffer[..(segment.filled - done).min(CHUNK) as usize];
        let offset = segment.offset + done;
        program.executable.file.read_exact_at(part, offset).map_err(ProgramError::Read)?;
        fill(space, ms, segment.address + done, part)?;
        done += part.len() as u64;
    }
    if segment.rights != data {
        space.protect(ms, start, length, segment.rights).map_err(|_| ProgramError::Memory)?;
    }
    Ok(())
}

/// Writes to memory that is mapped and writable: it fails only when no frame is left.
fn fill<F: Format>(
    space: &Space<'_, F>,
    ms: &mut MaySleep,
    address: u64,
    bytes: &[u8],
) -> Result<(), ProgramError> {
    match space.write(ms, address, bytes) == bytes.len() {
        true => Ok(()),
        false => Err(ProgramError::Memory),
    }
}
