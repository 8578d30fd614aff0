//! What to play at each tick: a frame, a concealment, or nothing (J1 to J5).

mod buffer;

pub use buffer::{JitterBuffer, JitterConfig, JitterStats, Playout};
