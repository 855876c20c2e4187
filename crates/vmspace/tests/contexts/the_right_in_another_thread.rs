//! The right to sleep is a task's own: it does not leave its thread.

fn send<T: Send>(_: T) {}

fn program(ms: MaySleep) {
    send(ms); //~ forbidden E0277
    drop(ms); //~ allowed
}
