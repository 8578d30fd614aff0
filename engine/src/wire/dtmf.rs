//! telephone-event payloads (RFC 4733 section 2.3).
