//! Waiting for a grace period inside the section that it waits for would last for ever.

fn program<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep) {
    let guard = vm.walk(ms);
    vm.synchronize(ms); //~ forbidden E0499
    guard.vm().statistics(); //~ allowed
    drop(guard);
}
