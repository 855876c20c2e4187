//! Who steals writes pages, and may wait: he holds no lock of a space (R31, R32, R34).

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let _ = space.transaction(ms, 0, 1, |_| Ok(space.vm().reclaim(ms, 1))); //~ forbidden E0500
    let _ = space.transaction(ms, 0, 1, |range| Ok(range.protect(0, Rights::READ))); //~ allowed
}
