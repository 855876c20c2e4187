//! One way to fail: a line on standard error that names what, where, expected and seen; exit status 1.

/// Says what went wrong, and ends the whole process with status 1.
#[macro_export]
macro_rules! fail {
    ($($text:tt)*) => {{
        $crate::eprintln!("FAILED {}", format_args!($($text)*));
        $crate::syscall::exit_group(1)
    }};
}

/// Fails unless the value seen is the one expected; the text says what and where.
#[macro_export]
macro_rules! expect {
    ($expected:expr, $seen:expr, $($text:tt)*) => {{
        let (expected, seen) = ($expected, $seen);
        if expected != seen {
            let what = format_args!($($text)*);
            $crate::fail!("{what}: expected {expected:x?}, seen {seen:x?} (hex)");
        }
    }};
}
