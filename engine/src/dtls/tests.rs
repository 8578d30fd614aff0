//! Two connections of ours in virtual time; foreign judges are in `tests/tests/dtls_openssl_server.rs`.

use super::*;
use crate::error::{DropReason, EndReason, SetupError};
use crate::keying::{Keying, Profile};
use crate::time::{Span, Time};

mod gate;
mod handshake;
mod rules;
mod vectors;

/// A wall-clock time for certificates: 2026-11-22.
const UNIX_TIME_S: i64 = 1_795_305_600;
const DELAY: Span = Span::from_millis(5);

fn context(profiles: &[Profile]) -> DtlsContext {
    let config = DtlsConfig { profiles: profiles.to_vec(), ..DtlsConfig::default() };
    DtlsContext::new(config, Certificate::generate(UNIX_TIME_S).expect("a certificate")).expect("a context")
}

fn default_context() -> DtlsContext {
    context(&DtlsConfig::default().profiles)
}

/// What a link does with a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Deliver,
    Lose,
    Twice,
    /// Arrives this much later than the others.
    Late(Span),
}

/// A datagram on its way, by arrival; equal arrivals keep their order.
struct Flying {
    at: Time,
    order: usize,
    to: usize,
    bytes: Vec<u8>,
}

/// Decides over a datagram: its sender, how many that sender sent before, its bytes.
type Judge<'a> = Box<dyn FnMut(usize, usize, &[u8]) -> Fate + 'a>;

/// Client (0) and server (1) on a link of 5 ms each way.
struct World<'a> {
    now: Time,
    ends: [Dtls; 2],
    flying: Vec<Flying>,
    sent: [usize; 2],
    order: usize,
    fate: Judge<'a>,
    keying: [Option<Keying>; 2],
    failed: [Option<EndReason>; 2],
    /// When, by whom, how many bytes.
    log: Vec<(Time, usize, Vec<u8>)>,
    largest: usize,
}

impl<'a> World<'a> {
    fn new(client: &DtlsContext, server: &DtlsContext, fate: impl FnMut(usize, usize, &[u8]) -> Fate + 'a) -> Self {
        let ends = [
            Dtls::new(client, DtlsRole::Client, &[server.fingerprint()], Span::from_millis(10), Time::ZERO).expect("a client"),
            Dtls::new(server, DtlsRole::Server, &[client.fingerprint()], Span::from_millis(10), Time::ZERO).expect("a server"),
        ];
        Self::of(ends, fate)
    }

    fn of(ends: [Dtls; 2], fate: impl FnMut(usize, usize, &[u8]) -> Fate + 'a) -> Self {
        let mut world = Self {
            now: Time::ZERO,
            ends,
            flying: Vec::new(),
            sent: [0; 2],
            order: 0,
            fate: Box::new(fate),
            keying: [None, None],
            failed: [None, None],
            log: Vec::new(),
            largest: 0,
        };
        world.drain();
        world
    }

    fn drain(&mut self) {
        let mut out = [0u8; 1500];
        for from in 0..2 {
            while let Some(len) = self.ends[from].poll_transmit(&mut out) {
                self.largest = self.largest.max(len);
                assert!(len <= 1200, "a datagram of {len} bytes");
                let bytes = out[..len].to_vec();
                let fate = (self.fate)(from, self.sent[from], &bytes);
                self.sent[from] += 1;
                self.log.push((self.now, from, bytes.clone()));
                let (copies, extra) = match fate {
                    Fate::Deliver => (1, Span::ZERO),
                    Fate::Lose => (0, Span::ZERO),
                    Fate::Twice => (2, Span::ZERO),
                    Fate::Late(extra) => (1, extra),
                };
                for _ in 0..copies {
                    self.order += 1;
                    self.flying.push(Flying { at: self.now + DELAY + extra, order: self.order, to: 1 - from, bytes: bytes.clone() });
                }
            }
            while let Some(event) = self.ends[from].poll_event() {
                assert!(self.failed[from].is_none(), "an event after the last one: {event:?}");
                match event {
                    DtlsEvent::Connected(keying) => assert!(self.keying[from].replace(keying).is_none(), "connected twice"),
                    DtlsEvent::Failed(reason) => self.failed[from] = Some(reason),
                }
            }
        }
    }

    /// One event of the world; false when nothing will ever happen again or the time is over.
    fn step(&mut self, until: Time) -> bool {
        self.flying.sort_by_key(|f| (f.at, f.order));
        let arrival = self.flying.first().map(|f| f.at);
        let timeout = self.ends.iter().filter_map(Dtls::poll_timeout).min();
        let Some(next) = arrival.into_iter().chain(timeout).min().filter(|&t| t <= until) else { return false };
        assert!(next >= self.now, "time never runs backwards");
        self.now = next;
        if arrival == Some(next) {
            let flying = self.flying.remove(0);
            let _ = self.ends[flying.to].handle_datagram(&flying.bytes, next);
        } else {
            for end in &mut self.ends {
                end.handle_timeout(next);
            }
        }
        self.drain();
        true
    }

    fn run(&mut self) {
        while self.step(Time::ZERO + Span::from_secs(30)) {}
    }

    fn assert_connected(&self, profile: Profile) {
        let [Some(client), Some(server)] = &self.keying else { panic!("not connected: {:?}", self.failed) };
        assert_eq!((client.profile, server.profile), (profile, profile));
        assert_eq!((client.local_key, client.local_salt), (server.remote_key, server.remote_salt));
        assert_eq!((client.remote_key, client.remote_salt), (server.local_key, server.local_salt));
        assert_ne!(client.local_key, client.remote_key);
        assert_eq!(self.failed, [None, None]);
    }
}

fn golden(name: &str) -> serde_json::Value {
    let path = format!("{}/../tests/golden/dtls/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("the golden file")).expect("JSON")
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect()
}
