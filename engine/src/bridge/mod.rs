//! Ready-made ends of a call's audio: echo, a played recording, a recorder's tap, a feed from a host's own thread, samples both ways.

mod catch_up;
mod echo;
mod feed;
#[cfg(feature = "opus")]
mod listen;
mod order;
mod over;
mod pcm;
mod play;
mod queue;
pub mod rtp;
mod tap;

pub use echo::{Echo, PromptEcho};
pub use feed::{Feed, FeedConfig, FeedWriter};
#[cfg(feature = "opus")]
pub use listen::Listener;
pub use over::{Over, OverSwitch};
pub use pcm::{PcmConfig, PcmLink, PcmPort, pcm_port};
pub use play::Play;
pub use rtp::{RtpLeg, RtpLegParams};
pub use tap::{Tap, TapReader, TapSwitch, Taped};
