//! A small explorer of concurrent programs.
//!
//! Guarantee: every interleaving of the threads' atomic steps is looked at, and a schedule that is
//! printed is a shortest one to its violation. [`Report::must_pass`] holds only if no interleaving
//! breaks an invariant, ends wrongly, deadlocks, or runs into states from which the end can no
//! longer be reached, and if every step of every thread ran in some interleaving (a step that never
//! runs says nothing).
//!
//! Mechanism: breadth-first search over configurations (the state and each thread's position),
//! kept whole in a hash map, so that two schedules that lead to one configuration are followed
//! once. All checks are made when a configuration leaves the queue, in order of distance. States
//! that fail a check are not followed further. Memory is sequentially consistent; a model that
//! needs less keeps a [`store_buffer`](crate::store_buffer) in its state.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;

/// What a step did. A step that always goes on may return `()`.
pub enum Step {
    /// It ran; the thread goes on behind it.
    Next,
    /// It ran; the thread goes on at the step of this name.
    Goto(&'static str),
    /// It cannot run now; what it wrote is forgotten.
    Block,
    /// It ran, and the thread has finished.
    Done,
}

impl From<()> for Step {
    fn from((): ()) -> Step {
        Step::Next
    }
}

type Run<S> = Box<dyn Fn(&mut S) -> Step>;
type Check<S> = Box<dyn Fn(&S) -> Result<(), String>>;

/// A named sequence of steps.
struct Thread<S> {
    name: &'static str,
    steps: Vec<(&'static str, Run<S>)>,
    /// Begins again at its end, and need not end: a part of the machine.
    background: bool,
}

/// Threads over one state, and what must hold of it. Steps belong to the thread named last.
pub struct Model<S> {
    initial: S,
    threads: Vec<Thread<S>>,
    always: Vec<Check<S>>,
    finally: Vec<Check<S>>,
}

/// The state, and for each thread the number of its next step (`None` when it has finished).
#[derive(Clone, PartialEq, Eq, Hash)]
struct Configuration<S> {
    state: S,
    at: Vec<Option<usize>>,
}

/// The step of a thread that leads from one configuration, by number, to another.
#[derive(Clone, Copy)]
struct Edge {
    from: usize,
    thread: usize,
    step: usize,
}

impl<S: Clone + Eq + Hash> Model<S> {
    /// A model without threads that begins in `initial`.
    pub fn new(initial: S) -> Self {
        Model { initial, threads: Vec::new(), always: Vec::new(), finally: Vec::new() }
    }

    /// Adds a thread, which must finish.
    pub fn thread(mut self, name: &'static str) -> Self {
        self.threads.push(Thread { name, steps: Vec::new(), background: false });
        self
    }

    /// Adds a part of the machine: it repeats its steps for ever, and may be blocked at the end.
    pub fn background(mut self, name: &'static str) -> Self {
        self.threads.push(Thread { name, steps: Vec::new(), background: true });
        self
    }

    /// Adds an atomic step to the thread.
    pub fn step<R: Into<Step>>(
        mut self,
        name: &'static str,
        run: impl Fn(&mut S) -> R + 'static,
    ) -> Self {
        let thread = self.threads.last_mut().expect("a thread comes first");
        thread.steps.push((name, Box::new(move |state| run(state).into())));
        self
    }

    /// Adds the step only under one of the rules that a model compares.
    pub fn step_if<R: Into<Step>>(
        self,
        rule: bool,
        name: &'static str,
        run: impl Fn(&mut S) -> R + 'static,
    ) -> Self {
        if rule { self.step(name, run) } else { self }
    }

    /// Adds an invariant: it holds in every state.
    pub fn always(mut self, check: impl Fn(&S) -> Result<(), String> + 'static) -> Self {
        self.always.push(Box::new(check));
        self
    }

    /// Adds a check of the states in which all threads have finished and nothing can move.
    pub fn finally(mut self, check: impl Fn(&S) -> Result<(), String> + 'static) -> Self {
        self.finally.push(Box::new(check));
        self
    }

    /// Looks at every interleaving.
    pub fn explore(&self) -> Report {
        let first = Configuration {
            state: self.initial.clone(),
            at: self.threads.iter().map(|t| (!t.steps.is_empty()).then_some(0)).collect(),
        };
        let mut found = HashMap::from([(first.clone(), 0)]);
        let mut queue = VecDeque::from([first]);
        let mut into: Vec<Vec<Edge>> = vec![Vec::new()];
        let mut ends = Vec::new();
        let mut report = Report::default();

        // Configurations are numbered as they enter the queue, so the front's number is a count.
        let mut number = 0;
        while let Some(here) = queue.pop_front() {
            if let Err(what) = first_failure(&self.always, &here.state) {
                report.violations += 1;
                report.explain(|| self.schedule(&into, number, what));
            } else {
                let mut moved = false;
                for thread in 0..self.threads.len() {
                    let Some((step, next)) = self.advance(&here, thread) else { continue };
                    moved = true;
                    let to = *found.entry(next).or_insert_with_key(|next| {
                        queue.push_back(next.clone());
                        into.push(Vec::new());
                        into.len() - 1
                    });
                    into[to].push(Edge { from: number, thread, step });
                }
                if !moved && !self.finished(&here) {
                    report.deadlocks += 1;
                    report.explain(|| self.schedule(&into, number, "deadlock".into()));
                } else if !moved && let Err(what) = first_failure(&self.finally, &here.state) {
                    report.violations += 1;
                    report.explain(|| self.schedule(&into, number, what));
                } else if !moved {
                    ends.push(number);
                }
            }
            number += 1;
        }
        report.states = number;
        if report.counterexample.is_none() {
            self.find_livelocks(&into, ends, &mut report);
        }
        report.never_run = self.never_run(&into);
        report
    }

    /// Runs the next step of a thread, and says which it was; `None` if it cannot move.
    fn advance(&self, here: &Configuration<S>, thread: usize) -> Option<(usize, Configuration<S>)> {
        let step = here.at[thread]?;
        let Thread { name, steps, background } = &self.threads[thread];
        let mut next = here.clone();
        next.at[thread] = match steps[step].1(&mut next.state) {
            Step::Block => return None,
            Step::Done => None,
            Step::Next if step + 1 < steps.len() => Some(step + 1),
            Step::Next => background.then_some(0),
            Step::Goto(label) => {
                let target = steps.iter().position(|(name, _)| *name == label);
                Some(target.unwrap_or_else(|| panic!("{name} has no step “{label}”")))
            }
        };
        Some((step, next))
    }

    fn finished(&self, here: &Configuration<S>) -> bool {
        self.threads.iter().zip(&here.at).all(|(thread, at)| thread.background || at.is_none())
    }

    /// Counts the configurations from which no end can be reached, walking back from the ends.
    fn find_livelocks(&self, into: &[Vec<Edge>], mut ends: Vec<usize>, report: &mut Report) {
        let mut can_end = vec![false; into.len()];
        while let Some(number) = ends.pop() {
            if !std::mem::replace(&mut can_end[number], true) {
                ends.extend(into[number].iter().map(|edge| edge.from));
            }
        }
        report.livelocks = can_end.iter().filter(|can| !**can).count();
        if let Some(number) = can_end.iter().position(|can| !can) {
            report.explain(|| self.schedule(into, number, "livelock".into()));
        }
    }

    /// The steps that no interleaving runs.
    fn never_run(&self, into: &[Vec<Edge>]) -> Vec<String> {
        let mut ran: Vec<_> = self.threads.iter().map(|t| vec![false; t.steps.len()]).collect();
        into.iter().flatten().for_each(|edge| ran[edge.thread][edge.step] = true);
        let all = self
            .threads
            .iter()
            .enumerate()
            .flat_map(|(t, thread)| (0..thread.steps.len()).map(move |step| (t, step)));
        all.filter(|&(t, step)| !ran[t][step]).map(|(t, step)| self.label(t, step)).collect()
    }

    fn label(&self, thread: usize, step: usize) -> String {
        let Thread { name, steps, .. } = &self.threads[thread];
        format!("{name}: {}", steps[step].0)
    }

    /// A shortest way to a configuration: the first edge into each one was found from the nearest.
    fn schedule(&self, into: &[Vec<Edge>], mut number: usize, what: String) -> Counterexample {
        let mut schedule = Vec::new();
        while number != 0 {
            let Edge { from, thread, step } = into[number][0];
            schedule.push(self.label(thread, step));
            number = from;
        }
        schedule.reverse();
        Counterexample { what, schedule }
    }
}

fn first_failure<S>(checks: &[Check<S>], state: &S) -> Result<(), String> {
    checks.iter().try_for_each(|check| check(state))
}

/// An invariant's answer: `complaint` unless it `holds`.
pub fn ensure(holds: bool, complaint: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(complaint.into()) }
}

/// What goes wrong, and the shortest schedule that leads there.
struct Counterexample {
    what: String,
    schedule: Vec<String>,
}

/// What an exploration found.
#[derive(Default)]
pub struct Report {
    states: usize,
    violations: usize,
    deadlocks: usize,
    /// Counted when nothing else is wrong.
    livelocks: usize,
    never_run: Vec<String>,
    counterexample: Option<Counterexample>,
}

impl Report {
    /// Keeps the first counterexample, which is a shortest.
    fn explain(&mut self, counterexample: impl FnOnce() -> Counterexample) {
        self.counterexample.get_or_insert_with(counterexample);
    }

    /// Prints the report under the name of the test, which is its thread's.
    fn print(&self) {
        println!("{}: {self}", std::thread::current().name().unwrap_or_default());
    }

    /// Asserts that the rule holds in every interleaving and that every step was exercised.
    #[track_caller]
    pub fn must_pass(&self) {
        self.print();
        assert!(self.counterexample.is_none(), "the rule does not hold: {self}");
        assert!(self.never_run.is_empty(), "steps that never run: {:?}", self.never_run);
    }

    /// Asserts that a schedule breaks the rule, and that the shortest ends in `what`.
    #[track_caller]
    pub fn must_fail(&self, what: &str) {
        self.print();
        let found = self.counterexample.as_ref().map(|c| c.what.as_str());
        assert_eq!(found, Some(what), "the weaker rule must fail in this way: {self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { states, violations, deadlocks, livelocks, .. } = self;
        write!(
            f,
            "{states} states, {violations} violations, {deadlocks} deadlocks, {livelocks} livelocks"
        )?;
        let Some(Counterexample { what, schedule }) = &self.counterexample else { return Ok(()) };
        write!(f, "\n  {what}:")?;
        schedule.iter().enumerate().try_for_each(|(i, step)| write!(f, "\n  {:3}. {step}", i + 1))
    }
}

/// A lock that a thread waits for by being blocked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Lock {
    held: bool,
}

impl Lock {
    /// Waits for the lock and takes it.
    pub fn acquire(&mut self) -> Step {
        if self.try_acquire() { Step::Next } else { Step::Block }
    }

    /// Takes the lock if it is free.
    pub fn try_acquire(&mut self) -> bool {
        !std::mem::replace(&mut self.held, true)
    }

    /// Gives it back.
    pub fn release(&mut self) -> Step {
        assert!(std::mem::take(&mut self.held), "a model released a lock that nobody holds");
        Step::Next
    }
}

#[cfg(test)]
mod tests {
    use super::{Model, Step, ensure};

    /// A counter and what each of two threads loaded from it.
    type Counter = (u8, [u8; 2]);

    fn two_increments(atomic: bool) -> Model<Counter> {
        let increment = |model: Model<Counter>, (me, name)| {
            model
                .thread(name)
                .step_if(atomic, "add", |s| s.0 += 1)
                .step_if(!atomic, "load", move |s| s.1[me] = s.0)
                .step_if(!atomic, "store", move |s| s.0 = s.1[me] + 1)
        };
        [(0, "T0"), (1, "T1")].into_iter().fold(Model::new((0, [0; 2])), increment)
    }

    #[test]
    fn a_lost_increment_is_found_by_its_shortest_schedule() {
        let all_counted = |s: &Counter| ensure(s.0 == 2, "lost increment");
        let report = two_increments(false).finally(all_counted).explore();
        report.must_fail("lost increment");
        assert_eq!(report.counterexample.map(|c| c.schedule.len()), Some(4));
        two_increments(true).finally(all_counted).explore().must_pass();
    }

    #[test]
    fn an_invariant_broken_for_one_step_only_is_found() {
        let model = Model::new(0).thread("T0").step("odd", |s| *s = 1).step("even", |s| *s = 2);
        model.always(|s| ensure(s % 2 == 0, "odd")).explore().must_fail("odd");
    }

    #[test]
    fn waiting_for_ever_is_a_deadlock_unless_it_is_the_machine_that_waits() {
        Model::new(()).thread("T0").step("wait", |()| Step::Block).explore().must_fail("deadlock");
        let machine = Model::new(false)
            .background("machine")
            .step("serve", |asked| if std::mem::take(asked) { Step::Next } else { Step::Block });
        machine.thread("T0").step("ask", |asked| *asked = true).explore().must_pass();
    }

    #[test]
    fn retrying_for_ever_is_a_livelock() {
        let model = Model::new(()).thread("T0").step("retry", |()| Step::Goto("retry"));
        model.explore().must_fail("livelock");
    }

    #[test]
    #[should_panic(expected = "steps that never run")]
    fn a_step_that_never_runs_is_no_proof() {
        let model = Model::new(()).thread("T0").step("end", |()| Step::Done);
        model.step("dead", |()| ()).explore().must_pass();
    }
}
