//! Shared pieces of the workspace's tests: the simulated world, and sound.

pub mod sound;
pub mod world;
