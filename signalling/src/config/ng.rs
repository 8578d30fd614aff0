//! `[ng]`: the listener for SIP proxies that speak rtpengine's control protocol.

use super::reader::{Reader, Section};
use crate::control::codec_named;
use std::net::SocketAddr;
use tipring_engine::bridge::rtp::LegCodec;

/// `[ng]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NgConfig {
    /// UDP. The protocol has no authentication: loopback, unless `allow_remote`.
    pub listen: SocketAddr,
    /// The same over HTTP (`POST /ng`); absent: not served.
    pub http: Option<SocketAddr>,
    /// Codec of the plain side when WhatsApp offers and the request names none.
    pub codec: LegCodec,
    /// Calls at a time; more are answered with the words that make a proxy try its next node.
    pub sessions_max: usize,
}

impl NgConfig {
    /// UDP on this address, A-law, 2,000 calls.
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, http: None, codec: LegCodec::Pcma, sessions_max: 2_000 }
    }
}

pub(super) fn read_ng(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<NgConfig> {
    let mut s = root.table(r, "ng");
    if !s.is_present() {
        return None;
    }
    let mut config = NgConfig::new(s.socket(r, "listen", SocketAddr::from(([127, 0, 0, 1], 2_223))));
    if s.is_set("http") {
        config.http = Some(s.socket(r, "http", SocketAddr::from(([127, 0, 0, 1], 2_224))));
    }
    let allow_remote = s.bool(r, "allow_remote", false);
    let span = s.span.clone();
    for (key, address) in [("listen", Some(config.listen)), ("http", config.http)] {
        if address.is_some_and(|address| !address.ip().is_loopback() && !allow_remote) {
            let what = "would let anybody on the network open and end calls: the protocol has no authentication";
            r.fault(
                s.path_of(key),
                Some(&span),
                what,
                "listen on 127.0.0.1; or allow_remote = true behind a firewall that lets only your proxies through",
            );
        }
    }
    if let Some((name, span)) = s.str(r, "codec") {
        match codec_named(name) {
            Ok(codec) => config.codec = codec,
            Err(e) => r.fault(s.path_of("codec"), Some(&span), e, "correct the name"),
        }
    }
    config.sessions_max = s.integer(r, "sessions_max", 1..=60_000, 2_000) as usize;
    s.finish(r);
    Some(config)
}
