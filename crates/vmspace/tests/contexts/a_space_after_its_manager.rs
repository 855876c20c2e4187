//! A space does not outlive the manager that its tables belong to.

fn program<P: Platform>(vm: Vm<P>, ms: &mut MaySleep) {
    let space = Space::new(&vm, ms).unwrap();
    drop(vm); //~ forbidden E0505
    let _ = vm.free_frames(); //~ allowed
    space.exit(ms);
}
