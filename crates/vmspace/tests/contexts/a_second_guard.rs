//! One right to sleep gives one guard at a time: it is lent to the first.

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let first = space.vm().walk(ms);
    let second = space.vm().walk(ms); //~ forbidden E0499
    let second = &first; //~ allowed
    let _ = space.translate(&first, 0x1_0000);
    let _ = space.translate(&second, 0x1_0000);
}
