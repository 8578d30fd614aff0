//! Meta's side of the examples: one caller on loopback (ICE-lite, DTLS server, SRTP) who counts what comes back. In your program signalling takes its place.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::call::{LocalParams, MediaParams, RemoteParams, SetupRole};
use tipring_engine::ice::{Candidate, Credentials};
use tipring_engine::keying::Profile;
use tipring_meta_sim::load::{Crowd, Tally, Words};

/// A caller who waits to hear who answers.
pub struct Caller {
    /// What the SDP offer of the webhook would say.
    pub offer: RemoteParams,
    fingerprint: mpsc::Sender<String>,
    /// Ends with the call: packets sent, packets that came back.
    pub call: JoinHandle<Tally>,
}

/// Rings; speaks for `talk` once the line is up.
pub fn caller(talk: Duration) -> Caller {
    let (to_us, words) = mpsc::channel();
    let (fingerprint, answer) = mpsc::channel::<String>();
    let call = std::thread::spawn(move || {
        let mut crowd = Crowd::new("127.0.0.1".parse().unwrap(), Profile::Aes128CmSha1_80, Vec::new()).unwrap();
        let (number, words) = crowd.join().unwrap();
        to_us.send(words).unwrap();
        crowd.meet(number, answer.recv().unwrap().trim_start_matches("sha-256 ")).unwrap();
        assert!(crowd.settle(Duration::from_secs(30)), "the call never came up");
        crowd.run(talk)
    });
    Caller { offer: offer(&words.recv().unwrap()), fingerprint, call }
}

impl Caller {
    /// What the SDP answer in `pre_accept` would say.
    pub fn answer(&self, ours: &LocalParams) {
        self.fingerprint.send(ours.fingerprint.to_string()).unwrap();
    }
}

fn offer(words: &Words) -> RemoteParams {
    RemoteParams {
        credentials: Some(Credentials { ufrag: words.ufrag.clone(), pwd: words.pwd.clone() }),
        lite: true,
        candidates: vec![Candidate::host(words.address, u16::MAX)],
        fingerprints: vec![format!("sha-256 {}", words.fingerprint).parse().unwrap()],
        role: SetupRole::Passive,
        media: MediaParams::default(),
        ssrc: None,
        sdes: None,
    }
}
