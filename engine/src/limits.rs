//! Every upper bound of the core, with the relations between them asserted where they are born.
//!
//! Decides: how much of anything there may be. Refuses: behaviour.

/// Largest datagram taken from the network, in bytes: an Ethernet MTU. Longer ones are counted and dropped (X4).
pub const DATAGRAM_BYTES_MAX: usize = 1_500;
/// Largest datagram we send, in bytes: every DTLS flight fits without fragmentation on any path (R-27, D11).
pub const SEND_BYTES_MAX: usize = 1_200;
/// Length of an audio frame in milliseconds.
pub const FRAME_MS: u64 = 20;
/// RTP clock of Opus in Hz, whatever the audio bandwidth (RFC 7587 section 4.1, R-17).
pub const RTP_CLOCK_HZ: u32 = 48_000;
/// RTP timestamp units per frame: 48 000 x 0.020.
pub const FRAME_TICKS: u32 = 960;
/// telephone-event clock in Hz.
pub const DTMF_CLOCK_HZ: u32 = 8_000;
/// Largest Opus payload we take or make, in bytes: one frame of 1 275 bytes plus TOC (RFC 6716 section 3.4).
pub const OPUS_BYTES_MAX: usize = 1_276;
/// RTP header without CSRC or extension, in bytes.
pub const RTP_HEADER_BYTES: usize = 12;
/// Room an SRTP sender needs behind the payload: 16 bytes of tag and 4 of SRTCP index.
pub const SRTP_TRAILER_BYTES_MAX: usize = 20;

/// Candidate pairs per call (I14).
pub const ICE_PAIRS_MAX: usize = 8;
/// Local candidates per call: two families, host and reflexive.
pub const ICE_LOCALS_MAX: usize = 4;
/// Remote candidates taken from signalling; the rest is ignored.
pub const ICE_REMOTES_MAX: usize = 8;
/// Connectivity checks in flight per call, over all pairs.
pub const ICE_TRANSACTIONS_MAX: usize = 64;
/// Times a signed 487 from a lite peer is answered by a new tie-breaker before the call is given up (I3).
pub const ICE_CONFLICTS_MAX: u32 = 3;

/// SSRCs of the peer with an SRTP context (R18).
pub const SRTP_SSRCS_MAX: usize = 8;
/// SSRCs of the peer whose context was given up for a newer one; then no more is given up (R18).
pub const SRTP_SSRCS_RETIRED_MAX: usize = 24;
/// Packets kept between the peer's Finished and ours being ready (D18).
pub const EARLY_PACKETS_MAX: usize = 50;

/// Largest play-out delay in milliseconds.
pub const PLAYOUT_DELAY_MS_MAX: u64 = 200;
/// Frames the jitter buffer holds: 640 ms at 20 ms, more than twice the worst delay we play out.
pub const JITTER_SLOTS_MAX: usize = 32;

/// Events a call may hold for its host; lifecycle events are few, and `Ended` always has room.
pub const CALL_EVENTS_MAX: usize = 16;
/// Entries of a call's flight recorder.
pub const RECORDER_ENTRIES_MAX: usize = 48;

const _: () = assert!(JITTER_SLOTS_MAX as u64 * FRAME_MS >= 2 * PLAYOUT_DELAY_MS_MAX);
const _: () = assert!(FRAME_TICKS as u64 * 1_000 == RTP_CLOCK_HZ as u64 * FRAME_MS);
const _: () = assert!(RTP_HEADER_BYTES + OPUS_BYTES_MAX + SRTP_TRAILER_BYTES_MAX <= DATAGRAM_BYTES_MAX);
const _: () = assert!(SEND_BYTES_MAX <= DATAGRAM_BYTES_MAX);
