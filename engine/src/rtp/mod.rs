//! The RTP stream we send and the one we receive, and the RTCP about both (RFC 3550).

mod report;
mod source;

pub use report::{RemoteStats, Reporter};
pub use source::RtpSource;
