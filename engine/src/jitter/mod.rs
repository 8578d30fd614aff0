//! What to play at each tick: a frame, a concealment, or nothing (J1 to J5).

mod buffer;
mod estimator;
mod playout;
mod store;
mod stream;

pub use buffer::{JitterBuffer, JitterConfig, JitterStats};
pub use playout::Playout;
