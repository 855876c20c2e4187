//! A locked range does not leave the transaction: its locks are gone by then.

fn program<P: Platform>(space: &Space<'_, P>, ms: &mut MaySleep) {
    let mut kept = None;
    let _ = space.transaction(ms, 0, 1, |range| Ok(kept = Some(range))); //~ forbidden E0521
    let _ = space.transaction(ms, 0, 1, |range| Ok(kept = range.clear(0)?)); //~ allowed
}
