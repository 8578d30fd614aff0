//! Sockets of a call: syscalls, port ranges, readiness. Knows nothing of what the bytes mean.

mod addresses;
mod epoll;
mod floor;
mod ports;
mod socket;
mod sys;

pub use addresses::{AddressPolicy, AddressRule, Discovered, InterfaceAddress, local_addresses};
pub(crate) use epoll::{Epoll, READY_PER_WAIT, Waker};
pub use floor::BareEcho;
pub(crate) use ports::Ports;
pub(crate) use socket::MediaSocket;
pub(crate) use sys::{pin_to_core, prefetch, thread_cpu};
