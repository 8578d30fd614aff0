//! `X-Hub-Signature-256`: who posted this (3.2, R-45).
//!
//! Given: the body as received, the header, the app secrets. Decides: which app signed it, in constant time.
//! Refuses: everything when nothing can be proven. Is never given parsed JSON: a body written anew has another signature.

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Why a body is not from Meta.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

impl SignatureError {
    /// A stable lower-case label, for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Mismatch => "mismatch",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSecret => "no app secret is configured, so no webhook can be proven; configure app_secret of the app",
            Self::Missing => "the X-Hub-Signature-256 header is missing; only Meta may post here, check what stands in front of us",
            Self::Malformed => "X-Hub-Signature-256 is not sha256= and 64 hex digits; check what stands in front of us",
            Self::Mismatch => "no app secret matches X-Hub-Signature-256; compare app_secret with the dashboard, and check that no proxy rewrites the body",
        })
    }
}

impl core::error::Error for SignatureError {}

/// Checks `header` over the raw body. Returns the index of the secret that matched, to tell apps on one URL apart.
///
/// Every secret is tried whatever the outcome. Empty secrets prove nothing and are passed over.
//= meta#R-45  over raw bytes, in constant time, a missing header is a failure
//= meta#R-14  any app whose secret is known
pub fn verify<S: AsRef<[u8]>>(raw: &[u8], header: Option<&str>, secrets: &[S]) -> Result<usize, SignatureError> {
    if secrets.iter().all(|secret| secret.as_ref().is_empty()) {
        return Err(SignatureError::NoSecret);
    }
    let claimed = parse(header.ok_or(SignatureError::Missing)?.trim()).ok_or(SignatureError::Malformed)?;
    let mut matched = None;
    for (index, secret) in secrets.iter().enumerate().filter(|(_, secret)| !secret.as_ref().is_empty()) {
        if bool::from(mac(raw, secret.as_ref()).ct_eq(&claimed)) {
            matched = matched.or(Some(index));
        }
    }
    matched.ok_or(SignatureError::Mismatch)
}

/// Makes the header for `raw`, for our own webhooks to the application and for tests: `sha256=` and 64 lower-case hex digits.
pub fn sign(raw: &[u8], secret: &[u8]) -> String {
    use core::fmt::Write as _;
    let mut header = String::with_capacity(PREFIX.len() + 64);
    header.push_str(PREFIX);
    for byte in mac(raw, secret) {
        write!(header, "{byte:02x}").expect("a String takes all");
    }
    header
}

fn mac(raw: &[u8], secret: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(raw);
    mac.finalize().into_bytes().into()
}

fn parse(header: &str) -> Option<[u8; 32]> {
    let hex = header.strip_prefix(PREFIX)?.as_bytes();
    if hex.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |d: u8| char::from(d).to_digit(16);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    Some(bytes)
}

const PREFIX: &str = "sha256=";

#[cfg(test)]
mod tests {
    use super::*;

    //= meta#R-45 type=test
    //= meta#R-14 type=test
    #[test]
    fn golden_signatures() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/webhook/signature.json");
        let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("golden file")).expect("JSON");
        let secret = file["app_secret"].as_str().expect("secret");
        let cases = file["cases"].as_array().expect("cases");
        assert!(cases.len() >= 4);
        for case in cases {
            let body = match case["body_hex"].as_str() {
                Some(hex) => (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect(),
                None => case["body"].as_str().expect("body").as_bytes().to_vec(),
            };
            let verdict = verify(&body, case["header"].as_str(), &["another", secret]);
            assert_eq!(verdict.is_ok(), case["expect"], "{}", case["id"]);
            if case["expect"] == true {
                assert_eq!(verdict, Ok(1));
                assert_eq!(sign(&body, secret.as_bytes()), case["header"]);
            }
        }
    }

    #[test]
    fn nothing_passes_unproven() {
        let header = sign(b"body", b"");
        assert_eq!(verify::<&str>(b"body", Some(&header), &[]), Err(SignatureError::NoSecret));
        assert_eq!(verify(b"body", Some(&header), &[""]), Err(SignatureError::NoSecret));
        assert_eq!(verify(b"body", Some(&header), &["", "s"]), Err(SignatureError::Mismatch));
        assert_eq!(verify(b"body", None, &["s"]), Err(SignatureError::Missing));
        for odd in ["", "sha256=", "sha1=00", "sha256=zz", &format!("sha256={}", "0g".repeat(32)), &format!("sha256={}", "é".repeat(32))] {
            assert_eq!(verify(b"body", Some(odd), &["s"]), Err(SignatureError::Malformed), "{odd}");
        }
        assert_eq!(verify(b"body", Some(&sign(b"body", b"s").to_uppercase().replace("SHA", "sha")), &["s"]), Ok(0));
    }
}
