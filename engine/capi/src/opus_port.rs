//! A call's end for hosts that have Opus packets themselves: nothing is decoded, nothing encoded.
//!
//! Decides: what waits. Given: packets of any length that `codec::reframe` takes. Refuses: repair; what was lost is not there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tipring_engine::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::reframe::{OpusReframer, REFRAMED_PACKETS_MAX, ReframeRefused};
use tipring_engine::limits::OPUS_BYTES_MAX;

/// What both ends share. Both are used under the lock of their call, so this one is never waited for.
#[derive(Clone)]
pub(crate) struct OpusQueues(Arc<Mutex<Queues>>);

struct Queues {
    to_peer: OpusReframer,
    from_peer: VecDeque<([u8; OPUS_BYTES_MAX], usize)>,
}

/// The call's end.
pub(crate) struct OpusPort(OpusQueues);

impl OpusQueues {
    pub(crate) fn new() -> (OpusPort, Self) {
        let queues = Queues { to_peer: OpusReframer::default(), from_peer: VecDeque::with_capacity(FROM_PEER_MAX) };
        let queues = Self(Arc::new(Mutex::new(queues)));
        (OpusPort(queues.clone()), queues)
    }

    fn with<R>(&self, body: impl FnOnce(&mut Queues) -> R) -> R {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// False: full.
    pub(crate) fn write(&self, packet: &[u8]) -> Result<bool, ReframeRefused> {
        self.with(|queues| {
            // 120 ms become six packets of 20 ms.
            if queues.to_peer.ready() + PACKETS_OF_ONE > REFRAMED_PACKETS_MAX {
                return Ok(false);
            }
            queues.to_peer.push(packet).map(|()| true)
        })
    }

    /// Length of the next packet of the peer; it is copied and gone if it fits.
    pub(crate) fn read(&self, out: &mut [u8]) -> Option<usize> {
        self.with(|queues| {
            let (bytes, len) = queues.from_peer.front()?;
            let len = *len;
            if let Some(out) = out.get_mut(..len) {
                out.copy_from_slice(&bytes[..len]);
                queues.from_peer.pop_front();
            }
            Some(len)
        })
    }

    pub(crate) fn clear(&self) {
        self.with(|queues| queues.to_peer = OpusReframer::default());
    }

    pub(crate) fn waiting(&self) -> usize {
        self.with(|queues| queues.to_peer.ready())
    }
}

impl MediaPort for OpusPort {
    fn wants_opus(&self) -> bool {
        true
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Opus { payload, .. } = frame {
            self.0.with(|queues| {
                if queues.from_peer.len() < FROM_PEER_MAX && payload.len() <= OPUS_BYTES_MAX {
                    let mut bytes = [0; OPUS_BYTES_MAX];
                    bytes[..payload.len()].copy_from_slice(payload);
                    queues.from_peer.push_back((bytes, payload.len()));
                }
            });
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.0.with(|queues| queues.to_peer.pop(&mut frame.opus)).map_or(Outgoing::Silence, Outgoing::Opus)
    }
}

/// 640 ms.
const FROM_PEER_MAX: usize = 32;
/// Packets of 20 ms that one of 120 ms becomes.
const PACKETS_OF_ONE: usize = 6;
