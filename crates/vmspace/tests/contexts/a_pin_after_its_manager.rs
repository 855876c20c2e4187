//! A pinned page does not outlive the manager that it goes back to.

fn program<P: Platform>(vm: Vm<P>, pin: impl Fn(&Vm<P>) -> Pinned<'_, P>) {
    let pinned = pin(&vm);
    drop(vm); //~ forbidden E0505
    let _ = vm.free_frames(); //~ allowed
    drop(pinned);
}
