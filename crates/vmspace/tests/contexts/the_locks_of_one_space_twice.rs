//! Inside a locked range nothing is locked again: it would wait for itself.

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let _ = space.transaction(ms, 0, 1, |_| space.unmap(ms, 0, 1)); //~ forbidden E0500
    let _ = space.transaction(ms, 0, 1, |range| Ok(range.clear(0))); //~ allowed
}
