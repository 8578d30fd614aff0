//! STUN messages as ICE uses them (RFC 8489).
