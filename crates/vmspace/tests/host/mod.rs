//! A platform in a process, for tests: frames are host memory, shootdowns are counted.

#![allow(dead_code, unused_imports, unused_macros)] // each test crate uses its own part

mod platform;

pub use platform::{Files, Host, Sent, be_cpu};

/// Makes a test of each of these functions, which are generic over the format, for every format.
macro_rules! in_every_format {
    ($($test:ident),* $(,)?) => { vmspace::every_format!(in_formats $(, $test)*); };
}

macro_rules! in_formats {
    ($tests:tt $($format:ident $module:ident,)*) => { $(in_format! { $tests $format $module })* };
}

macro_rules! in_format {
    ([$($test:ident)*] $format:ident $module:ident) => {
        mod $module { $(#[test] fn $test() { super::$test::<vmspace::format::$format>(); })* }
    };
}
