//! The steps of an interleaving: a number that threads wait for and move on.

use std::sync::{Arc, Condvar, Mutex};

#[derive(Clone, Default)]
pub struct Steps(Arc<(Mutex<u32>, Condvar)>);

impl Steps {
    /// Everything up to `step` has been done.
    pub fn done(&self, step: u32) {
        let (now, changed) = &*self.0;
        let mut now = now.lock().unwrap();
        *now = step.max(*now);
        changed.notify_all();
    }

    /// Waits until `step` has been done.
    pub fn after(&self, step: u32) {
        let (now, changed) = &*self.0;
        drop(changed.wait_while(now.lock().unwrap(), |now| *now < step).unwrap());
    }
}
