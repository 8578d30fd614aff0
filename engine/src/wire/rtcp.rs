//! RTCP compound packets (RFC 3550 section 6).
