//! The system calls that std does not offer: epoll, eventfd, thread affinity. One of the few files with `unsafe`.
//!
//! Decides: nothing. Every function turns one call into a `Result`; file descriptors are owned by their types.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One readiness report of epoll.
pub(super) type RawEvent = libc::epoll_event;

fn check(outcome: libc::c_int) -> io::Result<libc::c_int> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}

pub(super) fn epoll_create() -> io::Result<OwnedFd> {
    // JUSTIFICATION: std has no epoll; one wait per turn for thousands of sockets is the design (docs/ARCHITECTURE.md).
    // SAFETY: takes no pointer; the result is checked before it becomes an owner.
    let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: `fd` is a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
    // JUSTIFICATION: as above.
    // SAFETY: both descriptors are open for the length of the borrow; `event` lives across the call, which only reads it.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) }).map(|_| ())
}

pub(super) fn epoll_wait(epoll: BorrowedFd<'_>, events: &mut [RawEvent], timeout_ms: i32) -> io::Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // JUSTIFICATION: as above.
    // SAFETY: the kernel writes at most `room` entries, all inside `events`, which is exclusively ours.
    check(unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) }).map(|n| n as usize)
}

pub(super) fn eventfd() -> io::Result<OwnedFd> {
    // JUSTIFICATION: wakes a shard out of epoll_wait when its mailbox has something; a pipe would take two descriptors.
    // SAFETY: takes no pointer; the result is checked before it becomes an owner.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: `fd` is a fresh descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins the calling thread to one core.
pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // JUSTIFICATION: a shard owns its core; std cannot say so.
    // SAFETY: a zeroed cpu_set_t is the empty set; `core` is below CPU_SETSIZE; the kernel only reads the set.
    check(unsafe {
        let mut set: libc::cpu_set_t = core::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    })
    .map(|_| ())
}
