//! The system calls that std does not offer: epoll, eventfd, thread affinity, the list of interfaces. One of the few files with `unsafe`.
//!
//! Decides: nothing. Every function turns one call into a `Result`; file descriptors are owned by their types.

use super::addresses::InterfaceAddress;
use crate::time::Span;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ffi::CStr;
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

/// Asks the processor to have `bytes` at `start` in its cache soon. A hint: it reads nothing that a program could see, and any address will do.
#[inline]
pub(crate) fn prefetch(start: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(64) {
        // JUSTIFICATION: a call is some 60 cache lines that the last 20 ms have pushed out; fetched one after the other, as the code comes by them, they cost more
        // than SRTP does (docs/adr/0021).
        // SAFETY: a prefetch of an address that is not mapped does nothing.
        unsafe { core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(start.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, bytes);
}

/// CPU time of the calling thread so far.
pub(crate) fn thread_cpu() -> io::Result<Span> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // JUSTIFICATION: std tells no CPU time, and the clock on the wall counts what other threads of the machine did.
    // SAFETY: the kernel writes one timespec into a local that outlives the call.
    check(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) })?;
    Ok(Span::from_nanos(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()))
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

/// Every address of every interface that is up.
pub(super) fn interface_addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut list: *mut libc::ifaddrs = core::ptr::null_mut();
    // JUSTIFICATION: std cannot list interfaces, and a candidate on a container bridge costs a call its media.
    // SAFETY: `list` is a valid place for the result, which is freed below.
    check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: getifaddrs made a list that ends in null and lives until freeifaddrs; `ifa_name` is a C string, and `ifa_addr`, if not null,
        // points to an address as long as its family says.
        unsafe {
            let this = &*entry;
            if this.ifa_flags & libc::IFF_UP as libc::c_uint != 0 && !this.ifa_addr.is_null() {
                let address = match i32::from((*this.ifa_addr).sa_family) {
                    libc::AF_INET => {
                        let v4 = this.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                        Some(IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(v4.sin_addr.s_addr))))
                    }
                    libc::AF_INET6 => {
                        let v6 = this.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                        Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
                    }
                    _ => None,
                };
                let interface = CStr::from_ptr(this.ifa_name).to_string_lossy().into_owned();
                found.extend(address.map(|address| InterfaceAddress { interface, address }));
            }
            entry = this.ifa_next;
        }
    }
    // SAFETY: the list is the one that getifaddrs made, and nothing borrows from it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

/// Level, option to be told, and kind of message of the TOS or traffic class byte.
#[cfg(test)]
fn tos_names(socket: &std::net::UdpSocket) -> io::Result<[libc::c_int; 3]> {
    Ok(match socket.local_addr()?.is_ipv4() {
        true => [libc::IPPROTO_IP, libc::IP_RECVTOS, libc::IP_TOS],
        false => [libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS],
    })
}

/// Has the kernel tell the byte of each datagram from now on.
#[cfg(test)]
pub(super) fn want_tos(socket: &std::net::UdpSocket) -> io::Result<()> {
    let [level, option, _] = tos_names(socket)?;
    let on: libc::c_int = 1;
    // JUSTIFICATION: std has no such option, and only the wire tells what the kernel made of the mark.
    // SAFETY: the pointer is to a local that outlives the call, with its true length.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    })
    .map(|_| ())
}

/// The byte of the next datagram, as it came off the wire, and the datagram's length.
#[cfg(test)]
pub(super) fn receive_tos(socket: &std::net::UdpSocket) -> io::Result<(u8, usize)> {
    let [level, _, kind] = tos_names(socket)?;
    let mut datagram = [0_u8; 2_048];
    let mut control = [0_u64; 16];
    // JUSTIFICATION: std shows no ancillary data.
    // SAFETY: every pointer is to a local that outlives the calls, with its true length; CMSG_* walk the buffer that recvmsg has filled, within
    // the length it left in `message`.
    unsafe {
        let mut part = libc::iovec { iov_base: datagram.as_mut_ptr().cast(), iov_len: datagram.len() };
        let mut message: libc::msghdr = core::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0);
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while let Some(this) = header.as_ref() {
            if this.cmsg_level == level && this.cmsg_type == kind {
                // One byte for IPv4, an int for IPv6: on a little-endian machine the first byte is the class in both.
                return Ok((libc::CMSG_DATA(header).read(), length as usize));
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Err(io::Error::from(io::ErrorKind::NotFound))
}
