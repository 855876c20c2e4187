//! The steps of an interleaving: a number that threads wait for and move on.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A step that has not been done by then will never be.
const LIMIT: Duration = Duration::from_secs(10);

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
        let now = now.lock().unwrap();
        let (now, _) = changed.wait_timeout_while(now, LIMIT, |now| *now < step).unwrap();
        assert!(*now >= step, "step {step} never came");
    }
}
