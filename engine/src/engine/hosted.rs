//! Level 2 of embedding: a shard that a thread of the host turns, between the host's other work.
//!
//! Decides: nothing; it hands out the descriptor, the wait and the turn. Given: a shard that [`Engine::start_hosted`](super::Engine::start_hosted) made. Refuses:
//! threads, and to wait for anything.

use crate::shard::Shard;
use crate::time::Span;
use std::os::fd::{AsFd, BorrowedFd};

/// A shard without a thread. `Send`: any one thread may turn it, one at a time.
///
/// The contract: call [`turn`](Self::turn) when the descriptor is readable, and at the latest when [`wait`](Self::wait) has passed since it was last asked. A host
/// that comes later sends its frames later; up to ten of them (200 ms) are made up for.
///
/// A descriptor that is readable all the time is nothing to worry about: one turn takes what is there and no more, so the host keeps its own rhythm. Turns about a
/// millisecond apart cost least per packet (docs/adr/0021).
///
/// Dropped without having been told to stop, it takes its calls with it, silently: nobody hears `Ended`.
pub struct HostShard {
    shard: Shard,
    is_over: bool,
}

impl HostShard {
    pub(super) fn new(shard: Shard) -> Self {
        Self { shard, is_over: false }
    }

    /// The longest time until the next turn is needed, unless the descriptor becomes readable first. At most 100 ms.
    pub fn wait(&self) -> Span {
        self.shard.wait()
    }

    /// Does what there is to do, and returns: commands, datagrams, timers, sends. False when the engine was dropped: every call is closed, and this shard is done.
    pub fn turn(&mut self) -> bool {
        if !self.is_over {
            self.is_over = !self.shard.turn(Span::ZERO);
        }
        !self.is_over
    }
}

impl AsFd for HostShard {
    /// One descriptor for all its sockets and its mailbox, to be polled for reading, level-triggered. It is an epoll instance, and can be put into another one.
    /// An edge-triggered one (tokio's `AsyncFd`) hears nothing of what a turn left behind: there, look again after the next millisecond while it is readable.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shard.epoll().as_fd()
    }
}

impl core::fmt::Debug for HostShard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostShard").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
