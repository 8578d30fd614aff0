//! Readiness of many sockets, level-triggered, and a way to be woken.
//!
//! Decides: how a token travels with a socket. Refuses: reading; the shard reads once per ready socket and turn, for fairness.

use super::sys;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Sockets reported ready in one wait. What is left over is reported again by the next one: level-triggered.
pub(crate) const READY_PER_WAIT: usize = 256;

/// A set of sockets.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Box<[sys::RawEvent; READY_PER_WAIT]>,
}

/// The tokens that are ready.
pub(crate) struct Ready<'a> {
    events: &'a [sys::RawEvent],
}

impl Ready<'_> {
    /// The token of each ready socket.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = u64> + '_ {
        self.events.iter().map(|e| e.u64)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: sys::epoll_create()?, events: Box::new([sys::RawEvent { events: 0, u64: 0 }; READY_PER_WAIT]) })
    }

    /// Watches `source` for readability under `token`. Closing the descriptor ends it.
    pub(crate) fn add(&self, source: &impl AsFd, token: u64) -> io::Result<()> {
        sys::epoll_add(self.fd.as_fd(), source.as_fd(), token)
    }

    /// Waits at most `timeout_ms` milliseconds. An interrupted wait is an empty one.
    pub(crate) fn wait(&mut self, timeout_ms: i32) -> io::Result<Ready<'_>> {
        let count = match sys::epoll_wait(self.fd.as_fd(), &mut self.events[..], timeout_ms) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        Ok(Ready { events: &self.events[..count] })
    }
}

/// Wakes one waiter, from any thread.
#[derive(Debug)]
pub(crate) struct Waker {
    file: std::fs::File,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { file: std::fs::File::from(sys::eventfd()?) })
    }

    /// Makes the waiter's descriptor readable. Never blocks; waking twice is waking once.
    pub(crate) fn wake(&self) {
        // A full counter means a wake-up is pending already.
        let _ = (&self.file).write(&1_u64.to_ne_bytes());
    }

    /// Takes the wake-up, so that the next wait sleeps again.
    pub(crate) fn clear(&self) {
        let _ = (&self.file).read(&mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_is_seen_once() {
        let mut epoll = Epoll::new().expect("epoll");
        let waker = Waker::new().expect("eventfd");
        epoll.add(&waker, 7).expect("added");
        assert_eq!(epoll.wait(0).expect("wait").tokens().count(), 0);
        waker.wake();
        waker.wake();
        assert_eq!(epoll.wait(0).expect("wait").tokens().collect::<Vec<_>>(), [7]);
        waker.clear();
        assert_eq!(epoll.wait(0).expect("wait").tokens().count(), 0);
    }
}
