//! Shuttle's watcher (`--cfg shuttle`): whoever is about to access an atomic may lose his turn.
//!
//! Shuttle's own atomics cannot lie in a frame: they are larger than their words. So an access is
//! preceded by one to an atomic of shuttle's that means nothing, which is where shuttle decides who
//! runs next; then it is core's, alone, since all threads of an execution are one of the host's.

use core::sync::atomic::Ordering;

/// A point where shuttle may let another thread run; nothing outside an execution.
pub fn touch(_: usize, _: bool) {
    if shuttle::current::try_get_current_task().is_some() {
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}
