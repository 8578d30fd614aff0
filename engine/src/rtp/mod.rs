//! The RTP stream we send and the one we receive, and the RTCP about both (RFC 3550).

pub mod mos;
mod reception;
mod report;
mod source;

pub use report::{REPORT_BYTES_MAX, RemoteStats, Reporter};
pub use source::RtpSource;
