//! Fuzz bodies: each takes bytes and must neither panic nor break an invariant it asserts.

mod call;
mod digits;
mod dtls;
mod ice;
mod jitter;
mod leg;
mod media;
#[cfg(feature = "opus")]
mod opus;
mod peer;
mod srtp;
mod stun;

pub use call::fuzz_call;
pub use digits::fuzz_dtmf_send;
pub use dtls::{fuzz_dtls_client, fuzz_dtls_gate};
pub use ice::fuzz_ice_agent;
pub use jitter::fuzz_jitter;
pub use leg::fuzz_rtp_leg;
pub use media::{fuzz_dtmf, fuzz_opus_reframe, fuzz_opus_toc, fuzz_reporter, fuzz_rtcp, fuzz_rtp};
#[cfg(feature = "opus")]
pub use opus::{fuzz_listen, fuzz_opus_decode};
pub use srtp::{fuzz_srtcp_receive, fuzz_srtp_receive};
pub use stun::fuzz_stun;

/// A fuzz body and its name.
pub type Target = (&'static str, fn(&[u8]));

/// Every body with the name of its corpus in `fuzz/corpus`.
pub const TARGETS: &[Target] = &[
    ("call", fuzz_call),
    ("dtls_client", fuzz_dtls_client),
    ("dtls_gate", fuzz_dtls_gate),
    ("dtmf", fuzz_dtmf),
    ("dtmf_send", fuzz_dtmf_send),
    ("ice_agent", fuzz_ice_agent),
    ("jitter", fuzz_jitter),
    #[cfg(feature = "opus")]
    ("listen", fuzz_listen),
    #[cfg(feature = "opus")]
    ("opus_decode", fuzz_opus_decode),
    ("opus_reframe", fuzz_opus_reframe),
    ("opus_toc", fuzz_opus_toc),
    ("reporter", fuzz_reporter),
    ("rtcp", fuzz_rtcp),
    ("rtp", fuzz_rtp),
    ("rtp_leg", fuzz_rtp_leg),
    ("srtcp_receive", fuzz_srtcp_receive),
    ("srtp_receive", fuzz_srtp_receive),
    ("stun", fuzz_stun),
];

#[cfg(test)]
mod tests {
    //= rules#G6 type=test
    #[test]
    fn every_input_of_the_committed_corpora_passes() {
        for (name, body) in super::TARGETS {
            let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
            let inputs: Vec<_> = std::fs::read_dir(&folder).expect("a corpus").map(|e| e.expect("an entry").path()).collect();
            assert!(!inputs.is_empty(), "{folder} is empty");
            inputs.iter().for_each(|path| body(&std::fs::read(path).expect("an input")));
        }
    }
}
