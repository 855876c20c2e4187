//! A guard does not leave its thread: its section is that thread's.

fn send<T: Send>(_: T) {}

fn program<P: Platform>(vm: &Vm<P>, ms: &mut MaySleep) {
    let guard = vm.walk(ms);
    send(guard); //~ forbidden E0277
    drop(guard); //~ allowed
}
