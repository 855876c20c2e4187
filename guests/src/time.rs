//! Time, for the programs that tell how long something took.

use crate::syscall;

/// Nanoseconds of the monotonic clock.
pub fn now() -> u64 {
    let mut time = [0u64; 2];
    match syscall::clock_gettime(&mut time) {
        Ok(()) => time[0] * 1_000_000_000 + time[1],
        Err(error) => crate::fail!("clock_gettime: {error}"),
    }
}

/// Milliseconds since `then`, a value of [`now`].
pub fn millis_since(then: u64) -> u64 {
    (now() - then) / 1_000_000
}
