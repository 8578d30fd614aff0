//! What is told of refused webhooks: who sent it, why it was refused, and the hash of the body.
//!
//! Decides: how often that is said. Whoever attacks chooses how many there are, so at most one line a second is written; it says how many were not told since the line before
//! it, and the counter has them all. Refuses: to hash a body that nobody is told of.

use super::http_server::Source;
use super::observe::WebhookResult;
use bytes::Bytes;
use hyper::{Request, header::HeaderName};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Mutex;
use tipring_engine::time::{Span, Time};

/// When something was told last, and how much was not since.
#[derive(Default)]
pub(super) struct Audit(Mutex<(Option<Time>, u64)>);

/// Where a request came from.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    /// The other end of the connection.
    source: Option<IpAddr>,
    /// Whom the proxy in front of us has taken it from.
    forwarded: Option<IpAddr>,
}

impl Origin {
    /// Reads it. `X-Forwarded-For` counts behind a proxy only, and of it only what the proxy itself has added: the last entry.
    pub(super) fn of<B>(request: &Request<B>, is_behind_proxy: bool) -> Self {
        let source = request.extensions().get::<Source>().map(|source| source.0);
        let header = request.headers().get_all(HeaderName::from_static("x-forwarded-for")).iter().next_back();
        let last = header.and_then(|value| value.to_str().ok()).and_then(|text| text.rsplit(',').next());
        Self { source, forwarded: last.filter(|_| is_behind_proxy).and_then(|text| text.trim().parse().ok()) }
    }
}

impl Audit {
    /// Tells of a delivery that was refused.
    pub(super) fn refused(&self, result: WebhookResult, origin: Origin, bytes: usize, body: Option<&Bytes>, now: Time) {
        let Some(untold) = self.may_tell(now) else {
            tracing::debug!(result = result.label(), bytes, "webhook refused");
            return;
        };
        let (source, forwarded) = (origin.source.map(tracing::field::display), origin.forwarded.map(tracing::field::display));
        let sha256 = body.map(|body| hex(&Sha256::digest(body)));
        tracing::warn!(result = result.label(), source, forwarded, bytes, sha256, untold, "webhook refused");
    }

    /// How many were not told since the last that was, if this one may be.
    fn may_tell(&self, now: Time) -> Option<u64> {
        // A panic while the lock was held is a bug elsewhere; both fields are whole.
        let mut memory = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if memory.0.is_some_and(|last| now.since(last) < PAUSE) {
            memory.1 += 1;
            return None;
        }
        memory.0 = Some(now);
        Some(std::mem::take(&mut memory.1))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Between two lines.
const PAUSE: Span = Span::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_left_out() {
        let audit = Audit::default();
        let at = |ms| Time::ZERO + Span::from_millis(ms);
        assert_eq!(audit.may_tell(at(0)), Some(0));
        assert_eq!((1..1_000).filter(|ms| audit.may_tell(at(*ms)).is_some()).count(), 0);
        assert_eq!(audit.may_tell(at(1_000)), Some(999));
        assert_eq!(audit.may_tell(at(5_000)), Some(0));
        assert_eq!(hex(&[0, 0x1f, 0xff]), "001fff");
    }

    #[test]
    fn a_forwarded_address_counts_behind_a_proxy_only_and_its_own_entry_only() {
        let mut request = Request::builder().header("x-forwarded-for", "203.0.113.9").header("x-forwarded-for", "198.51.100.1, 192.0.2.7");
        request.extensions_mut().unwrap().insert(Source("127.0.0.1".parse().unwrap()));
        let request = request.body(()).unwrap();
        let of = |is_behind_proxy| Origin::of(&request, is_behind_proxy);
        assert_eq!(of(true), Origin { source: "127.0.0.1".parse().ok(), forwarded: "192.0.2.7".parse().ok() });
        assert_eq!(of(false).forwarded, None);
        assert_eq!(Origin::of(&Request::new(()), true), Origin::default());
        let liar = Request::builder().header("x-forwarded-for", "localhost; DROP").body(()).unwrap();
        assert_eq!(Origin::of(&liar, true), Origin::default());
    }
}
