//! The structs and numbers of `tipring.h`, member by member.
//!
//! Decides: nothing; `tests/header.rs` holds both together. Refuses: to change a number once it is out.

#![allow(missing_docs, reason = "the header documents them")]

use crate::raw::Sized32;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tipring_engine::error::EndReason;

/// A negative number of the header.
pub type ErrorCode = i32;

pub const TR_OK: ErrorCode = 0;
pub const TR_ERR_NULL: ErrorCode = -1;
pub const TR_ERR_HANDLE: ErrorCode = -2;
pub const TR_ERR_BUSY: ErrorCode = -3;
pub const TR_ERR_ARGUMENT: ErrorCode = -4;
pub const TR_ERR_STATE: ErrorCode = -5;
pub const TR_ERR_SDP: ErrorCode = -6;
pub const TR_ERR_PEER: ErrorCode = -7;
pub const TR_ERR_ROOM: ErrorCode = -8;
pub const TR_ERR_FULL: ErrorCode = -9;
pub const TR_ERR_LIBRARY: ErrorCode = -10;
pub const TR_ERR_FAULT: ErrorCode = -11;

/// Sentences by error, with the NUL that C wants.
pub const SENTENCES: [(ErrorCode, &core::ffi::CStr); 12] = [
    (TR_OK, c"no error"),
    (TR_ERR_NULL, c"a pointer that is needed is NULL"),
    (TR_ERR_HANDLE, c"there is no such engine or call: it was freed, or never made"),
    (TR_ERR_BUSY, c"another thread is inside this call; a call is used by one at a time"),
    (TR_ERR_ARGUMENT, c"a value is out of range, or size is not that of a struct"),
    (TR_ERR_STATE, c"not now: the order is wrong, or the call is over"),
    (TR_ERR_SDP, c"the description cannot be used; tr_why says which line and why"),
    (TR_ERR_PEER, c"this peer cannot work with us; tr_why says why"),
    (TR_ERR_ROOM, c"the buffer is too short; the length says what is needed"),
    (TR_ERR_FULL, c"a queue of the call is full; try again when some of it has left"),
    (TR_ERR_LIBRARY, c"the TLS library or the system refused"),
    (TR_ERR_FAULT, c"a bug of the library was caught; this call is over; please report it"),
];

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrWhy {
    pub size: u32,
    pub line: u32,
    pub text: [u8; 248],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrAddr {
    pub family: u8,
    pub zero: u8,
    pub port: u16,
    pub ip: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrDatagram {
    pub data: *mut u8,
    pub cap: usize,
    pub len: usize,
    pub local: TrAddr,
    pub remote: TrAddr,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrEngine {
    pub id: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrCall {
    pub id: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrEngineConfig {
    pub size: u32,
    pub complexity: u32,
    pub allow_loopback: u32,
    pub delay_ms_max: u32,
    pub unix_ns_at_zero: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrCallConfig {
    pub size: u32,
    pub format: u32,
    pub queue_ms: u32,
    pub address_count: u32,
    pub addresses: *const TrAddr,
    pub advertised: *const TrAddr,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct TrEvent {
    pub size: u32,
    pub kind: u32,
    pub value: u32,
    pub zero: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TrStats {
    pub size: u32,
    pub zero: u32,
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    pub rtp_in: u64,
    pub rtp_out: u64,
    pub silence_out: u64,
    pub dropped: u64,
    pub digits_in: u64,
    pub digits_out: u64,
    pub setup_ns: u64,
}

// JUSTIFICATION: structs that grow are read by their size; each is checked against the rule of the trait here.
// SAFETY: repr(C), numbers and pointers only, `size: u32` first, all bytes zero are a value.
unsafe impl Sized32 for TrWhy {}
// SAFETY: as above.
unsafe impl Sized32 for TrEngineConfig {}
// SAFETY: as above.
unsafe impl Sized32 for TrCallConfig {}
// SAFETY: as above.
unsafe impl Sized32 for TrEvent {}
// SAFETY: as above.
unsafe impl Sized32 for TrStats {}

impl TrAddr {
    pub const NONE: Self = Self { family: 0, zero: 0, port: 0, ip: [0; 16] };

    pub fn of(address: SocketAddr) -> Self {
        let mut ip = [0; 16];
        let family = match address.ip() {
            IpAddr::V4(v4) => {
                ip[..4].copy_from_slice(&v4.octets());
                4
            }
            IpAddr::V6(v6) => {
                ip = v6.octets();
                6
            }
        };
        Self { family, zero: 0, port: address.port(), ip }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        let ip: IpAddr = match self.family {
            4 => Ipv4Addr::new(self.ip[0], self.ip[1], self.ip[2], self.ip[3]).into(),
            6 => Ipv6Addr::from(self.ip).into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, self.port))
    }
}

pub const TR_EVENT_ICE_CONNECTED: u32 = 1;
pub const TR_EVENT_DTLS_CONNECTED: u32 = 2;
pub const TR_EVENT_MEDIA_READY: u32 = 3;
pub const TR_EVENT_GATE_OPENED: u32 = 4;
pub const TR_EVENT_FIRST_RTP_IN: u32 = 5;
pub const TR_EVENT_FIRST_RTP_OUT: u32 = 6;
pub const TR_EVENT_DIGIT: u32 = 7;
pub const TR_EVENT_DIGITS_SENT: u32 = 8;
pub const TR_EVENT_NO_EGRESS: u32 = 9;
pub const TR_EVENT_NO_INGRESS: u32 = 10;
pub const TR_EVENT_MEDIA_BACK: u32 = 11;
pub const TR_EVENT_ENDED: u32 = 12;
pub const TR_EVENT_OTHER: u32 = 255;

/// Numbers of reasons and their words. An alert keeps its description in the bits above the first eight.
pub const REASONS: [(u32, &core::ffi::CStr); 17] = [
    (1, c"HANG_UP"),
    (2, c"CANCELLED"),
    (3, c"ICE_TIMEOUT"),
    (4, c"ICE_NOMINATION_FAILED"),
    (5, c"ICE_ROLE_CONFLICT"),
    (6, c"ICE_NO_CANDIDATES"),
    (7, c"CONSENT_LOST"),
    (8, c"DTLS_TIMEOUT"),
    (9, c"DTLS_ALERT"),
    (10, c"FINGERPRINT_MISMATCH"),
    (11, c"NO_SRTP_PROFILE"),
    (12, c"DTLS_FAILED"),
    (13, c"PEER_INCOMPATIBLE"),
    (14, c"PEER_CLOSED"),
    (15, c"NO_EGRESS_20S"),
    (16, c"NO_INGRESS_30S"),
    (17, c"INTERNAL_FAULT"),
];

/// The number of a reason.
pub fn number_of(reason: EndReason) -> u32 {
    let word = reason.code();
    let number = REASONS.iter().find(|(_, known)| known.to_bytes() == word.as_bytes()).map_or(17, |(number, _)| *number);
    match reason {
        EndReason::DtlsAlert(description) => number | u32::from(description) << 8,
        _ => number,
    }
}
