//! Nothing maps, and so allocates with reclaim, while a range is locked (R07, R32).

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep, map: Map) {
    let _ = space.transaction(ms, 0, 1, |_| space.map(ms, map)); //~ forbidden E0500
    let _ = space.transaction(ms, 0, 1, |range| range.set(0, Frame(1), map.rights)); //~ allowed
}
