//! A world in one thread: virtual time, seeded links between two hosts.
//!
//! Decides: when a datagram arrives, if it does. Given: a seed and link descriptions. Refuses: wall time; nothing here sleeps.

mod call;
mod check;
mod classes;
mod far;
mod link;
mod plan;
mod shrink;
mod swarm;
mod verdict;

pub use call::{Outcome, World};
pub use check::{Checks, Trace};
pub use classes::{Class, Sketch};
pub use far::FarPlan;
pub use link::{Link, LinkConfig};
pub use plan::{Audio, Hop, Lose, Noise, Plan, Trouble, caller, greeting};
pub use shrink::shrink;
pub use swarm::{CpuClock, seeds, swarm};
pub use verdict::{Passed, attempt};

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tipring_engine::time::Time;

/// Things that happen at their time, in the order they were scheduled when times are equal.
#[derive(Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<(Time, u64, Thing<T>)>>,
    serial: u64,
}

/// A payload that does not take part in the order.
#[derive(Debug)]
struct Thing<T>(T);

impl<T> PartialEq for Thing<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Thing<T> {}
impl<T> PartialOrd for Thing<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Thing<T> {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), serial: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts `thing` on the agenda.
    pub fn schedule(&mut self, at: Time, thing: T) {
        self.serial += 1;
        self.heap.push(Reverse((at, self.serial, Thing(thing))));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing if it is due at `now`.
    pub fn take_due(&mut self, now: Time) -> Option<T> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, thing))| thing.0)
    }
}
