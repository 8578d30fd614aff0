//! Shared pieces of the workspace's tests: the simulated world, sound, and a foreign peer.

pub mod audio_server;
pub mod process;
pub mod rtp_peer;
pub mod sound;
pub mod str0m_peer;
pub mod world;
