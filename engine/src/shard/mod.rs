//! One thread that owns its calls, sockets and timers: the only clock reads of the engine.

mod clock;
mod far;
mod mailbox;
mod pressure;
#[allow(clippy::module_inception, reason = "the type has the name of its room")]
mod shard;
mod slab;
mod wheel;

pub(crate) use clock::Clock;
pub(crate) use far::FarSockets;
pub(crate) use mailbox::{Command, Mailbox, NewCall};
pub(crate) use shard::{Load, Shard};
