//! A walk cannot sleep (R27): a guard holds the right to, so nothing that may sleep runs before
//! its last use.

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let guard = space.vm().walk(ms);
    let _ = space.unmap(ms, 0x1_0000, 4096); //~ forbidden E0499
    let _ = space.fault_atomic(&guard, 0x1_0000, Access::Read); //~ allowed
    let _ = space.translate(&guard, 0x1_0000);
}
