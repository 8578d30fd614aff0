//! `X-Hub-Signature-256`: who posted this (3.2, R-45).

/// Why a body is not from Meta.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureError {
    /// No secret is configured: nothing can be proven, so nothing is taken.
    NoSecret,
    /// The header is missing.
    Missing,
    /// The header is not `sha256=` and 64 hex digits.
    Malformed,
    /// No secret matches.
    Mismatch,
}

/// Checks `header` over the raw body. Returns the index of the secret that matched, to tell apps on one URL apart.
pub fn verify<S: AsRef<[u8]>>(_raw: &[u8], _header: Option<&str>, _secrets: &[S]) -> Result<usize, SignatureError> {
    todo!()
}

/// Makes the header for `raw`, for our own webhooks to the application and for tests: `sha256=` and 64 lower-case hex digits.
pub fn sign(_raw: &[u8], _secret: &[u8]) -> String {
    todo!()
}
