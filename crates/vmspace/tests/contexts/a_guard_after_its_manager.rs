//! A guard does not outlive the manager whose readers it counts in.

fn program<P: Platform>(vm: Vm<P>, ms: &mut MaySleep) {
    let guard = vm.walk(ms);
    drop(vm); //~ forbidden E0505
    let _ = vm.free_frames(); //~ allowed
    drop(guard);
}
