//! Which cache lines an operation touches: the counting build's watcher (`--cfg
//! vmspace_count_lines`).
//!
//! Guarantee: between the start and the end of a [`record`]ing, each access of the running thread
//! to an atomic of `sync` is noted: its line, whether it may write, and the line of source that did
//! it. A read-modify-write that fails counts as a write, since it takes the line for itself all
//! the same. Accesses outside a recording cost a look at a flag and leave nothing behind.

use core::cell::RefCell;
use core::panic::Location;
use std::collections::BTreeMap;

/// log2 of a cache line's bytes.
const LINE_SHIFT: u32 = 6;

/// Where in the source a line was first read and first written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Touch {
    /// The first read; none when it was only written.
    pub read: Option<&'static Location<'static>>,
    /// The first write; none when it was only read.
    pub written: Option<&'static Location<'static>>,
}

/// The lines that were touched, by number (address >> 6).
pub type Lines = BTreeMap<usize, Touch>;

std::thread_local! {
    static RECORDING: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// Runs `section` and gives the lines that it touched on this thread.
pub fn record<R>(section: impl FnOnce() -> R) -> (R, Lines) {
    RECORDING.with(|recording| *recording.borrow_mut() = Some(Lines::new()));
    let result = section();
    let lines = RECORDING.with(|recording| recording.borrow_mut().take());
    (result, lines.unwrap_or_default())
}

/// Notes an access to `address` that is not one of `sync`'s types'.
#[track_caller]
pub fn touch(address: usize, write: bool) {
    let caller = Location::caller();
    RECORDING.with(|recording| {
        if let Some(lines) = recording.borrow_mut().as_mut() {
            let touch = lines.entry(address >> LINE_SHIFT).or_default();
            let first = if write { &mut touch.written } else { &mut touch.read };
            first.get_or_insert(caller);
        }
    });
}
