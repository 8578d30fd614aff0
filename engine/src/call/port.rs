//! The host's end of a call's audio: one object that is told what came in and asked what goes out, once per 20 ms.
//!
//! Decides: the contract. Refuses: to wait. A port that has nothing to say says [`Outgoing::Silence`], and the call sends a silence frame: egress never
//! waits for anybody. The call owns SSRC, sequence and timestamps; a port can be exchanged at any tick without the peer noticing.

use super::far::FarSide;
use super::forward::{Arrived, Forward};
use crate::codec::{FRAME_SAMPLES_MAX, SampleRate};
use crate::dtmf::Digit;
use crate::limits::OPUS_BYTES_MAX;
use crate::time::Time;

/// What came in for one tick, in play-out order.
#[derive(Clone, Copy, Debug)]
pub enum Incoming<'a> {
    /// An Opus packet as it came off the wire, with its RTP timestamp (48 kHz). Only to ports with `wants_opus`.
    Opus {
        /// The packet.
        payload: &'a [u8],
        /// Its RTP timestamp.
        timestamp: u32,
    },
    /// 20 ms of decoded audio at the rate of `wants_pcm`. Concealed and silent frames come too: one per tick once the stream runs.
    Pcm {
        /// Samples, mono.
        samples: &'a [i16],
        /// False when the frame was concealed or is silence in place of nothing.
        heard: bool,
    },
}

/// What goes out for one tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outgoing {
    /// Nothing to say: the call sends silence.
    Silence,
    /// `FrameBuffer::pcm` holds 20 ms at this rate.
    Pcm(SampleRate),
    /// `FrameBuffer::opus[..len]` holds a 20 ms Opus packet; it is sent as it is. One of another length is counted and replaced by silence: `codec::reframe`
    /// makes it fit.
    Opus(usize),
    /// The port is done; the call sends silence from now on, drops nothing, and reports [`CallEvent::PortFinished`](super::CallEvent) once.
    Finished,
}

/// Where a port puts its frame.
pub struct FrameBuffer {
    /// Room for 20 ms of PCM at up to 48 kHz; the first `rate.frame_samples()` count.
    pub pcm: [i16; FRAME_SAMPLES_MAX],
    /// Room for one Opus packet.
    pub opus: [u8; OPUS_BYTES_MAX],
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self { pcm: [0; FRAME_SAMPLES_MAX], opus: [0; OPUS_BYTES_MAX] }
    }
}

/// One end of a call's audio. Called on the shard's thread: it must not block, allocate or lock.
pub trait MediaPort: Send {
    /// Rate of decoded audio wanted from the peer, or none to save the decoder.
    fn wants_pcm(&self) -> Option<SampleRate> {
        None
    }

    /// Whether undecoded packets are wanted.
    fn wants_opus(&self) -> bool {
        false
    }

    /// Rate of the PCM that `outgoing` will give, if it will: the encoder is then made with the call, not at the first frame.
    fn speaks_pcm(&self) -> Option<SampleRate> {
        None
    }

    /// Takes what came in.
    fn incoming(&mut self, frame: Incoming<'_>);

    /// Takes a digit the user typed.
    fn digit(&mut self, _digit: Digit) {}

    /// Gives what goes out for this tick, once per 20 ms. Not called before the gate is open, so nothing a source says is lost.
    ///
    /// While a digit of ours is on the line it is asked all the same and not heard: a live source keeps its time, as on any telephone.
    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing;

    /// Sees each Opus packet that leaves, silence included, with its RTP timestamp: for recording.
    fn sent(&mut self, _payload: &[u8], _timestamp: u32) {}

    /// Tells the time, once before what comes and goes at a tick.
    fn tick(&mut self, _now: Time) {}

    /// Whether Opus packets are handed over as they come, and taken as soon as there is one, instead of once per 20 ms: a relay. Then the jitter buffer is passed by,
    /// [`Self::arrived`] and [`Self::poll_forward`] take the places of `incoming` and `outgoing`, and silence is sent only when nothing was forwarded for a while.
    /// The answer may change at any time.
    fn forwards(&self) -> bool {
        false
    }

    /// Takes an Opus packet the moment it came, in order of arrival. Only while [`Self::forwards`].
    fn arrived(&mut self, _packet: &Arrived<'_>, _now: Time) {}

    /// Takes a telephone-event packet the moment it came, in either mode. The digit in it is told by [`Self::digit`] as well.
    fn event_arrived(&mut self, _packet: &Arrived<'_>, _now: Time) {}

    /// Whether [`Self::poll_forward`] has one. A port that does not know says yes; the call then looks again when the next packet may leave.
    fn has_forward(&self) -> bool {
        true
    }

    /// Gives the next packet to send at once. Asked after everything that happens while the gate is open; of ports that do not forward, only for
    /// telephone-events.
    fn poll_forward(&mut self, _frame: &mut FrameBuffer) -> Option<Forward> {
        None
    }

    /// The far side, of a port that has sockets of its own.
    fn far(&self) -> Option<&dyn FarSide> {
        None
    }

    /// As [`Self::far`], to be changed.
    fn far_mut(&mut self) -> Option<&mut dyn FarSide> {
        None
    }
}
