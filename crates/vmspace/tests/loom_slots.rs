//! A slot of swap under loom: its word, its device, and the frames that its page may be in.
//!
//! Guarantee: who holds a slot and finds its page has that page, and keeps it; else the device has it,
//! whole. Of those who bring it, one puts it into the cache. Who gives the last reference back ends the
//! slot after everybody's last use, and nobody holds it again but as another page's. Two threads are
//! explored to the end, three up to so many preemptions.
//!
//! The steps on the word are the library's (`swap/word.rs`); what is done around them is in `swap`. For
//! each step there is a weaker one, which is seen to fail.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_slots`
#![cfg(loom)]

#[path = "slots/swap.rs"]
mod swap;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use swap::{LIBRARY, Steps, Swap};
use vmspace::Frame;
use vmspace::swap::word::{self, Holders};
use vmspace::sync::{AtomicU64, Ordering};

type Thread = fn(&Swap);

/// Runs the threads beside one another, then looks at the `end`.
fn explore<const N: usize>(
    preemptions: Option<usize>,
    start: impl Fn() -> Swap + Send + Sync + 'static,
    threads: [Thread; N],
    end: Thread,
) {
    let mut model = Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let swap = Arc::new(start());
        let others: Vec<_> = threads[1..]
            .iter()
            .map(|&run| {
                let swap = Arc::clone(&swap);
                thread::spawn(move || run(&swap))
            })
            .collect();
        threads[0](&swap);
        others.into_iter().for_each(|other| other.join().unwrap());
        end(&swap);
    });
}

fn steal(steps: Steps) {
    let start = move || Swap::in_memory(steps, 2, 2);
    explore(None, start, [Swap::give_up, |swap| swap.look(1)], Swap::is_whole);
}

#[test]
fn a_page_is_stolen_under_who_finds_it_in_memory() {
    steal(LIBRARY);
}

fn steal_ahead(steps: Steps) {
    let start = move || Swap::in_memory(steps, 2, 2);
    explore(None, start, [Swap::give_up, |swap| swap.bring_ahead(1)], Swap::is_whole);
}

#[test]
fn a_page_is_stolen_under_who_reads_ahead() {
    steal_ahead(LIBRARY);
}

#[test]
fn a_page_is_stolen_under_two_who_bring_it_back() {
    let start = || Swap::in_memory(LIBRARY, 2, 2);
    let threads: [Thread; 3] = [Swap::give_up, |swap| swap.look(1), |swap| swap.bring_ahead(2)];
    explore(Some(2), start, threads, Swap::is_whole);
}

fn bring(steps: Steps) {
    let start = move || Swap::on_device(steps, 1);
    explore(None, start, [|swap| swap.look(0), |swap| swap.look(1)], Swap::is_whole);
}

#[test]
fn two_frames_become_the_page_of_one_slot() {
    bring(LIBRARY);
}

fn leave(steps: Steps) {
    let start = move || Swap::in_memory(steps, 2, 2);
    explore(None, start, [|swap| swap.install(0), |swap| swap.bring_ahead(1)], |swap| {
        swap.is_free(1)
    });
}

#[test]
fn a_slot_is_left_under_who_reads_ahead() {
    leave(LIBRARY);
}

fn leave_both(steps: Steps) {
    let start = move || Swap::in_memory(steps, 4, 2);
    let other: Thread = |swap| swap.install(swap.find_in_slot().unwrap());
    explore(None, start, [|swap| swap.install(0), other], |swap| swap.is_free(2));
}

#[test]
fn a_slot_is_left_under_another_entry() {
    leave_both(LIBRARY);
}

fn leave_and_claim(steps: Steps) {
    let start = move || Swap::in_memory(steps, 2, 2);
    explore(None, start, [|swap| swap.install(0), Swap::claim], |swap| swap.is_free(1));
}

#[test]
fn a_page_is_claimed_in_a_slot_that_it_has_left() {
    leave_and_claim(LIBRARY);
}

fn reuse(steps: Steps) {
    let start = move || Swap::in_memory(steps, 1, 1);
    let threads: [Thread; 3] = [Swap::unmap, Swap::store_another, |swap| swap.look(1)];
    explore(Some(4), start, threads, |_| ());
}

#[test]
fn a_slot_is_anothers_under_who_holds_it() {
    reuse(LIBRARY);
}

fn end(steps: Steps) {
    let start = move || Swap::on_device(steps, 2);
    explore(None, start, [Swap::read_and_put as Thread; 2], |swap| swap.is_free(0));
}

#[test]
fn a_slot_ends_under_who_reads_its_device() {
    end(LIBRARY);
}

/// One reference, as a word counts it, and what is below the count.
const ONE: u64 = 1 << 42;
const VALUE: u64 = ONE - 1;

/// Changes the slot's word as the library does, but for the order. The word as it was.
fn change(slot: &AtomicU64, order: Ordering, to: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let mut found = slot.load(Ordering::Relaxed);
    loop {
        match slot.compare_exchange(found, to(found)?, order, Ordering::Relaxed) {
            Ok(word) => return Some(word),
            Err(now) => found = now,
        }
    }
}

fn one_more(slot: &AtomicU64, order: Ordering) -> bool {
    change(slot, order, |word| (word::count(word) != 0).then_some(word + ONE)).is_some()
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
    a_page_that_is_not_seen_again_is_anothers:
        steal fails with "not the page looked for" when still_has is |_, _| true;
    a_count_that_is_read_and_then_frozen_lets_somebody_in:
        steal fails with "Causality violation" when freeze is |references, held| {
            let alone = references.count() == held;
            if alone {
                references.thaw(0);
            }
            alone
        };
    a_page_taken_out_relaxed_is_not_on_the_device_yet:
        steal fails with "Causality violation" when take_out is |slot, generation| {
            let gone = 1 << 41 | u64::from(generation);
            change(slot, Ordering::Relaxed, |word| Some(word & !VALUE | gone));
        };
    a_page_looked_for_relaxed_is_not_on_the_device_yet:
        steal fails with "Causality violation" when page is
            |slot| word::frame(slot.load(Ordering::Relaxed));
    a_page_missed_relaxed_is_not_on_the_device_yet:
        steal_ahead fails with "Causality violation" when page is
            |slot| word::frame(slot.load(Ordering::Relaxed));
    a_page_put_in_relaxed_does_not_know_its_slot:
        bring fails with "Causality violation" when put_in is |slot, Frame(page)| {
            let fill = |word| word::frame(word).is_none().then_some(word & !VALUE | (page + 1));
            change(slot, Ordering::Relaxed, fill).is_some()
        };
    a_page_put_in_over_another_is_there_twice:
        bring fails with "two frames have the page" when put_in is |slot, Frame(page)| {
            change(slot, Ordering::Release, |word| Some(word & !VALUE | (page + 1))).is_some()
        };
    a_slot_that_is_being_left_and_is_held_has_no_page:
        leave fails with "the device is asked for what it does not have" when hold is
            |slot| one_more(slot, Ordering::Acquire);
    a_slot_left_whoever_holds_it_has_no_page:
        leave fails with "the device is asked for what it does not have" when leave_if_last is
            |slot, _| change(slot, Ordering::Acquire, |word| Some(word - ONE & !VALUE)).is_some();
    a_slot_left_in_two_steps_loses_a_reference:
        leave fails with "references to the slot were lost" when leave_if_last is |slot, page| {
            let last = slot.load(Ordering::Relaxed) == word::cached(page) + ONE;
            if last {
                slot.store(ONE, Ordering::Relaxed);
            }
            last
        };
    a_page_taken_for_ones_own_without_a_look_is_anothers_too:
        leave_both fails with "Causality violation" when is_own is |_| true;
    a_page_claimed_whatever_its_slot_has_is_its_owners:
        leave_and_claim fails with "Causality violation" when hold_of_page is
            |slot, _| word::hold_again(slot);
    an_entry_that_is_not_read_again_leads_to_anothers_page:
        reuse fails with "not the page looked for" when reads_again is false;
    a_slot_held_relaxed_is_anothers:
        reuse fails with "not the page looked for" when hold is
            |slot| one_more(slot, Ordering::Relaxed);
    a_slot_taken_relaxed_is_still_being_discarded:
        reuse fails with "Causality violation" when take is |slot, word| {
            slot.compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
    a_slot_ended_relaxed_is_still_being_discarded:
        reuse fails with "Causality violation" when end is |swap| {
            swap.discard();
            swap.slot.store(0, Ordering::Relaxed);
        };
    a_slot_that_is_free_before_the_device_forgets_it_loses_a_page:
        reuse fails with "Causality violation" when end is |swap| {
            word::end(&swap.slot);
            swap.discard();
        };
    a_slot_put_relaxed_is_still_read:
        end fails with "Causality violation" when put is |slot| {
            let less = |word| Some(if word::count(word) == 1 { word::GOING } else { word - ONE });
            match change(slot, Ordering::Relaxed, less) {
                Some(word) if word::count(word) == 1 => Holders::None(word::frame(word)),
                _ => Holders::Some,
            }
        };
}
