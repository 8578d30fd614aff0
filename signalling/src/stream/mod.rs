//! Audio over somebody else's framing: what bots and other media servers speak, as sans-IO machines between messages and a [`PcmLink`](tipring_engine::bridge::PcmLink).
//!
//! ```text
//!  messages in  -> StreamSession::handle_text, handle_binary -> PcmLink::push, clear   -> the call
//!  messages out <- StreamSession::poll_message               <- handle_audio, handle_digit, handle_link
//! ```
//!
//! Decides: what a message means, when a mark has been heard, and what is said back. Given: messages, frames of 20 ms, digits, the time. Refuses: sockets, TLS and
//! reconnecting (`shell::audio_peers` does those), and rates that Opus does not know.

pub mod asterisk;
pub mod audiosocket;
pub mod l16;
mod session;
pub mod twilio;

pub use session::{StreamInfo, StreamSession, Wire};

use core::fmt;
use serde::Deserialize;
use tipring_engine::codec::SampleRate;

/// A protocol and the rate of its audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Twilio Media Streams: JSON, mu-law 8 kHz in base64.
    Twilio,
    /// Our own plain one: JSON for words, 16-bit samples (little-endian) as binary messages.
    L16(SampleRate),
    /// Asterisk's `chan_websocket`, Asterisk being the server.
    Asterisk(asterisk::Format),
    /// AudioSocket over TCP, the other side being the server.
    AudioSocket(SampleRate),
}

impl Dialect {
    /// Rate of the audio, both ways.
    pub const fn rate(self) -> SampleRate {
        match self {
            Self::Twilio => SampleRate::Hz8000,
            Self::L16(rate) | Self::AudioSocket(rate) => rate,
            Self::Asterisk(format) => format.rate(),
        }
    }

    /// The WebSocket subprotocol that is asked for, if any.
    pub const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Asterisk(_) => Some("media"),
            _ => None,
        }
    }
}

/// Which direction of the call a connection carries.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// What the user says.
    #[default]
    Inbound,
    /// What the user hears.
    Outbound,
}

impl Track {
    /// As the Twilio protocol, and our API, name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What was wrong with a message: for the log of whoever writes the other side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFault(pub String);

impl StreamFault {
    fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for StreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StreamFault {}

/// Largest message taken, in bytes: ten seconds of 48 kHz, or a minute of mu-law in base64.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Largest name of a mark, in bytes.
pub const MARK_BYTES_MAX: usize = 1_024;
