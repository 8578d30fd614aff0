//! What must hold after every step, whatever the network does: the checkers of one call.
//!
//! Given: every datagram that leaves us, every event, every deadline. Decides: pass, or panic with the rule. Refuses: anything that only the
//! far end can judge (`tipring_meta_sim::oracle`).

use tipring_engine::call::CallEvent;
use tipring_engine::ice::Path;
use tipring_engine::limits::{CALL_EVENTS_MAX, FRAME_MS, FRAME_TICKS, SEND_BYTES_MAX};
use tipring_engine::time::{Span, Time};
use tipring_engine::wire::demux::{PacketKind, classify};

/// Pairs that may be asked for: the best one, and another if the first nomination failed.
const NOMINATED_MAX: usize = 2;
/// Datagrams of one drain: checks on every pair, a handshake flight, frames, reports. Far above what is ever right.
const BURST_MAX: usize = 64;

/// telephone-event, as Meta numbers it and our offers do.
const EVENT_PAYLOAD_TYPE: u8 = 126;

/// Invariants of our side of one call.
#[derive(Debug, Default)]
pub struct Checks {
    nominated: Option<Path>,
    asked_for: Vec<Path>,
    accepted: bool,
    ssrc: Option<u32>,
    /// Sequence number of the last packet, and the timestamp of the frame after it.
    last: Option<(u16, u32)>,
    /// Timestamp of the event packet before, if it was one.
    event: Option<u32>,
    ended: bool,
    burst: usize,
    events: usize,
    /// Frames that a stall of our thread may have cost.
    frames_to_skip: u64,
    /// A relay: its far side may pause, and time then passes without packets.
    pub pauses: bool,
    /// RTP packets that left.
    pub rtp: u64,
}

impl Checks {
    /// Graph answered accept with 200, or the called user picked up: media may leave.
    pub fn accepted(&mut self) {
        self.accepted = true;
    }

    /// Our thread does not run for `length`: frames may be given up, two more at each end.
    pub fn stalled(&mut self, length: Span) {
        self.frames_to_skip += length.as_millis() / FRAME_MS + 2;
    }

    /// A drain begins.
    pub fn drain(&mut self) {
        (self.burst, self.events) = (0, 0);
    }

    /// A datagram leaves us; `selected` is the call's own idea of its pair.
    //= rules#I26 type=test
    //= rules#I29 type=test
    //= rules#I30 type=test
    //= rules#G1 type=test
    pub fn sent(&mut self, bytes: &[u8], path: Path, selected: Option<Path>) {
        assert!(!self.ended, "nothing leaves after Ended");
        assert!(bytes.len() <= SEND_BYTES_MAX, "a datagram of {} bytes (R-27)", bytes.len());
        self.burst += 1;
        assert!(self.burst <= BURST_MAX, "{BURST_MAX} datagrams in one drain");
        self.selected(selected);
        let kind = classify(bytes);
        if kind == PacketKind::Stun {
            if is_nominating(bytes) && self.asked_for.last() != Some(&path) {
                // I29: a nomination that nobody answered may be followed by one of another pair, once, before any byte of DTLS.
                assert!(
                    self.asked_for.is_empty() || self.nominated.is_none(),
                    "USE-CANDIDATE on a second pair after the first was selected (R-24)"
                );
                assert!(!self.asked_for.contains(&path), "USE-CANDIDATE on a pair that was given up (I29)");
                self.asked_for.push(path);
                assert!(self.asked_for.len() <= NOMINATED_MAX, "USE-CANDIDATE on {NOMINATED_MAX} pairs and one more (I29)");
            }
            return;
        }
        //= meta#R-25  type=test
        assert!(self.nominated.is_some(), "{kind:?} before a pair is nominated (R-25)");
        //= meta#R-26  type=test
        assert_eq!(self.nominated, Some(path), "{kind:?} on another pair than the nominated one (R-26)");
        match kind {
            PacketKind::Dtls => {}
            PacketKind::Rtp => self.rtp(bytes),
            PacketKind::Rtcp => {
                assert!(self.accepted, "RTCP before accept was answered (R-34)");
                self.same_ssrc(u32::from_be_bytes(bytes[4..8].try_into().expect("an RTCP header")));
            }
            PacketKind::Stun | PacketKind::Unknown => panic!("we sent what nobody knows"),
        }
    }

    fn rtp(&mut self, bytes: &[u8]) {
        //= meta#R-34  type=test
        assert!(self.accepted, "RTP before accept was answered (R-34)");
        let seq = u16::from_be_bytes([bytes[2], bytes[3]]);
        let timestamp = u32::from_be_bytes(bytes[4..8].try_into().expect("an RTP header"));
        self.same_ssrc(u32::from_be_bytes(bytes[8..12].try_into().expect("an RTP header")));
        let (last_seq, mut frame) = self.last.unwrap_or((seq.wrapping_sub(1), timestamp));
        assert_eq!(seq, last_seq.wrapping_add(1), "sequence numbers grow by one (RFC 3550 section 5.1)");
        //= rfc4733#section-2.1 type=test
        // A digit replaces the audio of its frames: the line runs on underneath, and its packets keep the timestamp of the frame it began in.
        let is_event = bytes[1] & 0x7f == EVENT_PAYLOAD_TYPE;
        if is_event && bytes[1] & 0x80 == 0 {
            assert_eq!(Some(timestamp), self.event, "a digit keeps the timestamp of its first frame (RFC 4733 section 2.5.1.2)");
        } else {
            let step = timestamp.wrapping_sub(frame);
            let mut skipped = u64::from(step / FRAME_TICKS);
            if self.pauses && bytes[1] & 0x80 != 0 && skipped < 10 {
                skipped = 0;
            }
            assert!(step % FRAME_TICKS == 0 && skipped <= self.frames_to_skip, "a timestamp is {step} off the 960 a packet (R-17)");
            self.frames_to_skip -= skipped;
            frame = timestamp;
            self.event = is_event.then_some(timestamp);
        }
        self.last = Some((seq, frame.wrapping_add(FRAME_TICKS)));
        self.rtp += 1;
    }

    //= meta#R-19  type=test
    //= rules#P4 type=test
    fn same_ssrc(&mut self, ssrc: u32) {
        assert_eq!(*self.ssrc.get_or_insert(ssrc), ssrc, "one SSRC from first to last (R-19)");
    }

    /// The call's pair, asked after every step.
    pub fn selected(&mut self, selected: Option<Path>) {
        if let Some(path) = self.nominated {
            assert_eq!(selected, Some(path), "the pair never changes (R-26)");
        }
        self.nominated = selected;
    }

    /// An event reaches the host.
    pub fn event(&mut self, event: &CallEvent) {
        assert!(!self.ended, "Ended is the last event");
        self.events += 1;
        assert!(self.events <= CALL_EVENTS_MAX, "{CALL_EVENTS_MAX} events in one drain");
        self.ended = matches!(event, CallEvent::Ended(_));
    }

    /// A deadline after `handle_timeout` and a full drain: a past one would turn for ever.
    pub fn deadline(who: &str, deadline: Option<Time>, now: Time) {
        assert!(deadline.is_none_or(|at| at > now), "{who} asks to be woken at {deadline:?}, and it is {now:?}");
    }
}

/// A Binding request with USE-CANDIDATE (RFC 8445 section 16.1).
fn is_nominating(bytes: &[u8]) -> bool {
    if bytes.len() < 20 || bytes[..2] != [0, 1] {
        return false;
    }
    let mut rest = &bytes[20..];
    while rest.len() >= 4 {
        let len = usize::from(u16::from_be_bytes([rest[2], rest[3]])).next_multiple_of(4);
        if rest[..2] == [0x00, 0x25] {
            return true;
        }
        rest = rest.get(4 + len..).unwrap_or_default();
    }
    false
}

/// What happened, folded: time, host, kind and size class of every datagram, never its bytes, because the TLS library draws its own keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    /// Folds in a datagram that `host` sends.
    pub fn datagram(&mut self, host: u8, bytes: &[u8], now: Time) {
        // A power of two: signatures vary by a byte or two.
        let class = bytes.len().next_power_of_two().trailing_zeros() as u8;
        self.fold(&now.as_nanos().to_be_bytes());
        self.fold(&[host, classify(bytes) as u8, class]);
    }

    /// Folds in a step of signalling.
    pub fn step(&mut self, what: &str, now: Time) {
        self.fold(&now.as_nanos().to_be_bytes());
        self.fold(what.as_bytes());
    }

    fn fold(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
