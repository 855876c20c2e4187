//! A fault would wait for the lock that its own thread holds, and for memory (R31, R32).

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let _ = space.transaction(ms, 0, 1, |_| Ok(space.fault(ms, 0, Access::Read))); //~ forbidden E0500
    let _ = space.transaction(ms, 0, 1, |range| Ok(range.protect(0, Rights::READ))); //~ allowed
}
