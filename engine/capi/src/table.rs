//! Handles: numbers that stand for engines and calls, so that a freed one is an error and never a wild pointer.
//!
//! Decides: which number stands for what, and that one thread at a time is inside a call. Refuses: to use a number twice, and to wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

/// Handles and what they stand for; none until the first.
type Shard<T> = RwLock<Option<HashMap<u64, Arc<Mutex<T>>>>>;

/// Things by number. Spread over shards, so that threads with different calls do not meet.
pub(crate) struct Table<T> {
    next: AtomicU64,
    shards: [Shard<T>; SHARDS],
}

/// Why nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missed {
    /// No such number.
    Gone,
    /// Another thread is inside.
    Busy,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicU64::new(1), shards: [const { RwLock::new(None) }; SHARDS] }
    }

    fn shard(&self, id: u64) -> &Shard<T> {
        &self.shards[(id % SHARDS as u64) as usize]
    }

    /// Keeps `thing` and returns its number, never 0.
    pub(crate) fn insert(&self, thing: T) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        shard.get_or_insert_default().insert(id, Arc::new(Mutex::new(thing)));
        id
    }

    /// Runs `body` with the thing alone. A panic inside leaves it poisoned: it is then as good as gone, until it is removed.
    pub(crate) fn with<R>(&self, id: u64, body: impl FnOnce(&mut T) -> R) -> Result<R, Missed> {
        let thing = {
            let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
            shard.as_ref().and_then(|things| things.get(&id)).cloned().ok_or(Missed::Gone)?
        };
        let mut guard = match thing.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::WouldBlock) => return Err(Missed::Busy),
            Err(TryLockError::Poisoned(_)) => return Err(Missed::Gone),
        };
        Ok(body(&mut guard))
    }

    /// Forgets the thing. Whoever is inside finishes first.
    pub(crate) fn remove(&self, id: u64) -> Result<(), Missed> {
        let mut shard = self.shard(id).write().unwrap_or_else(PoisonError::into_inner);
        let thing = shard.as_mut().and_then(|things| things.remove(&id)).ok_or(Missed::Gone)?;
        // Nothing is kept for nobody: a host that has freed everything has no memory of ours.
        if shard.as_ref().is_some_and(HashMap::is_empty) {
            *shard = None;
        }
        drop(shard);
        drop(thing);
        Ok(())
    }
}

/// More than the cores of most machines.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_good_once() {
        let table = Table::new();
        let (a, b) = (table.insert(1), table.insert(2));
        assert!(a != 0 && a != b);
        assert_eq!(table.with(a, |n| std::mem::replace(n, 7)), Ok(1));
        assert_eq!(table.with(a, |n| *n), Ok(7));
        assert_eq!((table.remove(a), table.remove(a), table.with(a, |n| *n)), (Ok(()), Err(Missed::Gone), Err(Missed::Gone)));
        assert_eq!((table.with(0, |n| *n), table.with(b, |n| *n)), (Err(Missed::Gone), Ok(2)));
        assert!(table.insert(3) > b, "numbers are not used twice");
    }

    #[test]
    fn a_second_thread_is_told_and_a_panic_is_the_end() {
        let table = Table::new();
        let id = table.insert(1);
        let inside = table.with(id, |_| std::thread::scope(|scope| scope.spawn(|| table.with(id, |n| *n)).join().expect("no panic")));
        assert_eq!(inside, Ok(Err(Missed::Busy)));
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| table.with(id, |_| panic!("a bug"))));
        assert!(caught.is_err());
        assert_eq!((table.with(id, |n| *n), table.remove(id)), (Err(Missed::Gone), Ok(())));
    }
}
