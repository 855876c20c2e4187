//! A guard does not outlive the right to sleep that it was made with.

fn program<P: Platform>(vm: &Vm<P>, mut ms: MaySleep) {
    let guard = vm.walk(&mut ms);
    drop(ms); //~ forbidden E0505
    guard.vm().statistics(); //~ allowed
    drop(guard);
}
