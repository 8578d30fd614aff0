//! Fuzz bodies: each takes bytes and must neither panic nor break an invariant it asserts.

mod stun;

pub use stun::fuzz_stun;
