//! Ready-made ends of a call's audio: echo, a played recording, a recorder's tap, rings for a host's own thread.

mod echo;
mod play;
mod tap;

pub use echo::Echo;
pub use play::Play;
pub use tap::{Tap, TapReader, Taped};
