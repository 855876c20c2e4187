//! A walk cannot fault a page in: a fault waits for locks and memory (R27).

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let guard = space.vm().walk(ms);
    let _ = space.fault(ms, 0x1_0000, Access::Read); //~ forbidden E0499
    let _ = space.translate(&guard, 0x1_0000); //~ allowed
    drop(guard);
}
