//! A grace period is not waited for with a lock held: a reader may be waiting for the lock (R27).

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let _ = space.transaction(ms, 0, 1, |_| Ok(space.vm().synchronize(ms))); //~ forbidden E0500
    let _ = space.transaction(ms, 0, 1, |_| Ok(space.vm().statistics())); //~ allowed
}
