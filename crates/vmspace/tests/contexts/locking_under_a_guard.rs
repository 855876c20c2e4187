//! A lock is not waited for inside a walk (R27): the grace period would wait with it.

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let guard = space.vm().walk(ms);
    let _ = space.transaction(ms, 0x1_0000, 4096, |_| Ok(())); //~ forbidden E0499
    let _ = space.fault_atomic(&guard, 0x1_0000, Access::Read); //~ allowed
    drop(guard);
}
