//! A swap area under loom: who takes its slots and who gives them back, beside who removes it.
//!
//! Guarantee: an area goes only when its slots are free and stay so, and after the last use of all who
//! had one or looked for one: a taker counts the slot first and then looks whether the area is
//! leaving, who gives the last reference back uncounts it last, and who found the area without
//! a slot of it is inside a guard (R52).
//!
//! The steps on the word and the count are the library's (`swap/word.rs`), with those of
//! `take_slot_in`, `put_slot`, `close_area` and `remove_area` around them. For each there is a weaker one,
//! which is seen to fail.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_areas`
#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use vmspace::Frame;
use vmspace::rcu::{Epoch, Readers};
use vmspace::swap::word::{self, Holders};
use vmspace::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// How many epochs a grace period is.
const EPOCHS: usize = 3;

const OPEN: u32 = 0;
const LEAVING: u32 = 1;

/// What the slots of an area's one frame can be at the most.
const SLOTS: u32 = 1;

/// The steps that have weaker ones.
#[derive(Clone, Copy)]
struct Steps {
    count_one: fn(&AtomicU32, u32) -> bool,
    uncount: fn(&AtomicU32),
    fence_of_who_closes: fn(),
    /// Takes the slot, if the area is open; if not, it is as it was.
    take: fn(&Swap) -> bool,
    end: fn(&Swap),
    /// Whether who looks for a slot is inside a guard.
    guards: bool,
}

const LIBRARY: Steps = Steps {
    count_one: word::count_one,
    uncount: word::uncount,
    fence_of_who_closes: || fence(Ordering::SeqCst),
    take: |swap| {
        if !(swap.steps.count_one)(&swap.taken, SLOTS) {
            return false;
        }
        let taken = swap.is_open() && swap.take_word();
        if !taken {
            (swap.steps.uncount)(&swap.taken);
        }
        taken
    },
    end: |swap| {
        swap.end_word();
        (swap.steps.uncount)(&swap.taken);
    },
    guards: true,
};

/// The table's only place, the area that it names or not, and the area's slot.
struct Swap {
    steps: Steps,
    table: AtomicU32,
    epoch: Epoch,
    readers: [Readers; 1],
    /// The area's memory is an area's: what follows is touched by who may.
    area: UnsafeCell<bool>,
    state: AtomicU32,
    slot: AtomicU64,
    /// In the metadata of the frame that the words lie in.
    taken: AtomicU32,
}

// SAFETY: the cell is what loom checks; everything else is atomic.
unsafe impl Send for Swap {}
// SAFETY: as above.
unsafe impl Sync for Swap {}

impl Swap {
    fn new(steps: Steps) -> Swap {
        Swap {
            steps,
            table: AtomicU32::new(1),
            epoch: Epoch::default(),
            readers: Default::default(),
            area: UnsafeCell::new(true),
            state: AtomicU32::new(OPEN),
            slot: AtomicU64::new(0),
            taken: AtomicU32::new(0),
        }
    }

    /// Its slot is held so many times.
    fn held(steps: Steps, holders: u64) -> Swap {
        let swap = Swap::new(steps);
        assert!(word::count_one(&swap.taken, SLOTS) && swap.take_word());
        (1..holders).for_each(|_| assert!(word::hold_again(&swap.slot)));
        swap
    }

    fn touch(&self) {
        // SAFETY: a read; loom reports a write at the same time.
        self.area.with(|area| assert!(unsafe { *area }, "an area is used that is gone"));
    }

    fn is_open(&self) -> bool {
        self.touch();
        self.state.load(Ordering::Relaxed) == OPEN
    }

    fn take_word(&self) -> bool {
        self.touch();
        word::take(&self.slot, word::cached(Frame(0)))
    }

    fn end_word(&self) {
        self.touch();
        word::end(&self.slot);
    }

    /// Finds the area, and gets a slot of it.
    fn find(&self, get: impl Fn() -> bool) -> bool {
        let guard = self.steps.guards.then(|| self.epoch.enter(&self.readers[0]));
        // Acquire: as `Vm::area`.
        let got = self.table.load(Ordering::Acquire) == 1 && get();
        if let Some(ticket) = guard {
            self.readers[0].exit(ticket);
        }
        got
    }

    /// Stores a page, and gives the slot back.
    fn store(&self) {
        if self.find(|| (self.steps.take)(self)) {
            self.put();
        }
    }

    /// Looks at a page, and gives the slot back.
    fn look(&self) {
        let hold = || {
            self.touch();
            word::hold(&self.slot)
        };
        if self.find(hold) {
            self.put();
        }
    }

    fn put(&self) {
        self.touch();
        if let Holders::None(_) = word::put(&self.slot) {
            (self.steps.end)(self);
        }
    }

    /// Removes the area, if nobody has a slot of it, and grace comes at once.
    fn remove(&self) {
        self.state.swap(LEAVING, Ordering::Relaxed);
        (self.steps.fence_of_who_closes)();
        if word::counted(&self.taken) != 0 {
            return;
        }
        self.table.swap(0, Ordering::AcqRel);
        let stamp = self.epoch.stamp();
        for _ in 0..EPOCHS {
            self.epoch.try_advance(self.readers.iter());
        }
        if self.epoch.is_past(stamp) {
            // SAFETY: nobody uses it any more; if somebody does, loom says so.
            self.area.with_mut(|area| unsafe { *area = false });
        }
    }
}

type Thread = fn(&Swap);

fn explore<const N: usize>(
    preemptions: Option<usize>,
    start: impl Fn() -> Swap + Send + Sync + 'static,
    others: [Thread; N],
) {
    let mut model = Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let swap = Arc::new(start());
        let others = others.map(|run| {
            let swap = Arc::clone(&swap);
            thread::spawn(move || run(&swap))
        });
        swap.remove();
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(swap.taken.load(Ordering::Relaxed), 0, "a slot is counted for ever");
        assert_eq!(swap.slot.load(Ordering::Relaxed), 0, "a slot is taken for ever");
    });
}

fn store(steps: Steps) {
    explore(None, move || Swap::new(steps), [Swap::store]);
}

#[test]
fn an_area_goes_under_who_takes_a_slot() {
    store(LIBRARY);
}

fn put(steps: Steps) {
    explore(None, move || Swap::held(steps, 1), [Swap::put]);
}

#[test]
fn an_area_goes_under_who_ends_its_last_slot() {
    put(LIBRARY);
}

#[test]
fn an_area_goes_under_two_of_whom_one_ends_its_last_slot() {
    explore(None, || Swap::held(LIBRARY, 2), [Swap::put, Swap::put]);
}

#[test]
fn an_area_goes_under_who_takes_the_slot_that_another_ends() {
    explore(Some(5), || Swap::held(LIBRARY, 1), [Swap::put, Swap::store]);
}

fn put_beside_who_looks(steps: Steps) {
    explore(None, move || Swap::held(steps, 1), [Swap::put, Swap::look]);
}

#[test]
fn an_area_goes_under_who_has_found_a_slot_that_another_ends() {
    put_beside_who_looks(LIBRARY);
}

/// Each weaker step is seen to fail, and how.
macro_rules! weaker {
    ($($name:ident: $run:ident fails with $how:literal when $step:ident is $what:expr;)*) => {$(
        #[test]
        #[should_panic(expected = $how)]
        fn $name() {
            $run(Steps { $step: $what, ..LIBRARY });
        }
    )*};
}

weaker! {
    a_slot_counted_without_a_fence_is_not_seen:
        store fails with "Causality violation" when count_one is |taken, _| {
            taken.fetch_add(1, Ordering::Relaxed);
            true
        };
    an_area_closed_without_a_fence_is_not_seen_leaving:
        store fails with "Causality violation" when fence_of_who_closes is || ();
    a_slot_taken_before_it_is_counted_is_not_seen:
        store fails with "Causality violation" when take is |swap| {
            let taken = swap.is_open() && swap.take_word();
            taken && (swap.steps.count_one)(&swap.taken, SLOTS)
        };
    an_area_found_without_a_guard_goes_under_who_looks_for_a_slot:
        store fails with "Causality violation" when guards is false;
    an_area_found_without_a_guard_goes_under_who_looks_at_a_page:
        put_beside_who_looks fails with "Causality violation" when guards is false;
    a_slot_uncounted_before_it_is_free_is_gone:
        put fails with "Causality violation" when end is |swap| {
            (swap.steps.uncount)(&swap.taken);
            swap.end_word();
        };
    a_slot_uncounted_relaxed_is_still_used:
        put fails with "Causality violation" when uncount is
            |taken| _ = taken.fetch_sub(1, Ordering::Relaxed);
}
