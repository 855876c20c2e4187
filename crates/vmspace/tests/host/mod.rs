//! A platform in a process, for tests: frames are host memory, shootdowns are counted.

#![allow(dead_code, unused_imports, unused_macros)] // each test crate uses its own part

mod platform;

pub use platform::{Files, Host, Kept, Sent, be_cpu};

/// Makes a test of each of these functions, which are generic over the format, for every format.
macro_rules! in_every_format {
    ($($test:ident),* $(,)?) => { vmspace::every_format!(in_formats $(, $test)*); };
}

/// The same for formats that stand for the others, where each takes its time to compile: two levels,
/// entries in two halves, three levels, four, five, and the largest pages.
macro_rules! in_typical_formats {
    ($($test:ident),* $(,)?) => {
        in_formats! {
            [$($test)*]
            I386 i386,
            I386PaeSplit i386_pae_split,
            Sv39 sv39,
            Sv48 sv48,
            X86_64La57 x86_64_la57,
            Aarch64Granule64K aarch64_64k,
        }
    };
}

macro_rules! in_formats {
    ($tests:tt $($format:ident $module:ident,)*) => { $(in_format! { $tests $format $module })* };
}

macro_rules! in_format {
    ([$($test:ident)*] $format:ident $module:ident) => {
        mod $module { $(#[test] fn $test() { super::$test::<vmspace::format::$format>(); })* }
    };
}
