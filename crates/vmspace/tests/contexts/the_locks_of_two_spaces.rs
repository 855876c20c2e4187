//! Two spaces' locks are never held at once (R33), but by fork, which has an order.

fn program<P: Platform>(one: &Space<'_, P>, two: &Space<'_, P>, ms: &mut MaySleep) {
    let _ = one.transaction(ms, 0, 1, |_| two.transaction(ms, 0, 1, |_| Ok(()))); //~ forbidden E0500
    let _ = one.transaction(ms, 0, 1, |_| Ok(two.root())); //~ allowed
    let _ = two.transaction(ms, 0, 1, |_| Ok(()));
}
