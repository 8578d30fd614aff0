//! What one simulated call is made of.
//!
//! Given: a seed. Decides: defaults of a clean call. Refuses: running it (`call.rs`).

use super::LinkConfig;
use super::far::FarPlan;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use tipring_engine::codec::SampleRate;
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::call::CallKind;
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::user::{Speech, Typing, UserScript, Voice};
use tipring_signalling::audio::load_wav;

/// A datagram on its way, as a filter of [`Plan::lose`] sees it.
pub struct Hop<'a> {
    /// Ours to Meta, or Meta's to us.
    pub to_meta: bool,
    /// How many of this direction went before it, over both families.
    pub nth: u64,
    /// The datagram.
    pub bytes: &'a [u8],
    /// When it was sent.
    pub now: Time,
}

/// Says which datagrams vanish.
pub type Lose = Box<dyn FnMut(&Hop<'_>) -> bool>;

/// Somebody who throws garbage at our ports, from the call's first to its last moment.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Under the relay's own address, or under one that nobody knows.
    pub from_relay: bool,
    /// Time between two datagrams.
    pub every: Span,
}

/// What happens above IP: to webhooks, to Graph, to the wall clock, to our own thread. Drawn from the seed, until [`Trouble::until`].
#[derive(Clone, Debug, Default)]
pub struct Trouble {
    /// Nothing of this begins later.
    pub until: Time,
    /// Each webhook may come up to this late, twice, and with a forged copy in front.
    pub webhooks_late: Option<Span>,
    /// Each action of Graph may fail once: 503 before it acts, no connection, no reply before or after it acted, or a reply after seconds.
    pub graph: bool,
    /// Each time this long after our media call was opened, the wall clock jumps by so many seconds.
    pub wall_jumps: Vec<(Span, i64)>,
    /// Each time after the beginning, our shard's thread does not run for so long.
    pub stalls: Vec<(Span, Span)>,
    /// The shard's mailbox is full when the call is to be opened.
    pub mailbox_full: bool,
}

/// Where a running call's audio can be moved to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audio {
    /// The greeting from its start, then silence.
    Greeting,
    /// The user's words, after the jitter buffer.
    Echo,
    /// The user's packets, each at once.
    PromptEcho,
    /// A plain RTP leg to a PBX that says the greeting.
    Relay,
}

/// One call to simulate. Every random choice follows from `seed`.
pub struct Plan {
    /// Source of everything random but the keys of DTLS, which the TLS library draws itself.
    pub seed: u64,
    /// Who calls.
    pub kind: CallKind,
    /// What the user does.
    pub script: UserScript,
    /// How Meta, the network beyond the links, or an attacker misbehaves.
    pub faults: Vec<Fault>,
    /// Our datagrams, by family: IPv4, IPv6.
    pub to_meta: [LinkConfig; 2],
    /// Meta's datagrams, by family: IPv4, IPv6.
    pub to_us: [LinkConfig; 2],
    /// Least one-way delay of webhooks, Graph requests and their answers; up to as much again is added by the seed.
    pub signalling_delay: Span,
    /// What is played to the user, mono at 16 kHz, before their own words are echoed.
    pub greeting: Arc<[i16]>,
    /// Whether our side decodes what the user says; without it only packets are echoed.
    pub listens: bool,
    /// Our application hangs up this long after the pick-up.
    pub hang_up_after: Option<Span>,
    /// Our application sends these digits, 100 ms each, so long after the pick-up.
    pub sends_digits: Option<(Span, &'static str)>,
    /// Our application moves the audio, each so long after the pick-up.
    pub moves: Vec<(Span, Audio)>,
    /// Sequence number and timestamp that our stream begins at; none: as its entropy says.
    pub stream_starts_at: Option<(u16, u32)>,
    /// Losses chosen one by one, on top of the links'.
    pub lose: Option<Lose>,
    /// The first reply of Graph to this action never arrives.
    pub lose_reply_to: Option<&'static str>,
    /// Our IPv4 datagrams leave through a NAT and show this address.
    pub nat: Option<SocketAddr>,
    /// From this moment the NAT shows another address, and what is sent to the old one is lost.
    pub nat_rebinds: Option<(Time, SocketAddr)>,
    /// A relay instead of greeting and echo: the far side says the greeting, from the moment the call is opened.
    pub far: Option<FarPlan>,
    /// Garbage on top.
    pub noise: Option<Noise>,
    /// Garbage begins so long after the ring.
    pub noise_after: Span,
    /// The garbage, in turn; none: drawn by the seed.
    pub hostile: Vec<Vec<u8>>,
    /// What happens above IP.
    pub trouble: Trouble,
    /// By this moment the call must have keys, or be over.
    pub live_by: Option<Time>,
    /// At this moment an invariant is reported as broken although none is: what the shrinker is tried on.
    pub planted: Option<Span>,
    /// The number is set to SDES at Meta and at ours: keys in the SDP, no ICE, no DTLS.
    pub sdes: bool,
    /// How soon the relay repeats an unanswered flight of its handshake; none: after the one second of its library.
    pub dtls_timer: Option<Span>,
    /// Every datagram but RTP and consent is printed as it is put on its link, with what became of it.
    pub shows: bool,
}

impl Plan {
    /// A clean call of a user who listens to the greeting, speaks, types `11#5` and hangs up after nine seconds. Links of 10 ms.
    pub fn clean(seed: u64) -> Self {
        let speech = vec![Speech { after: Span::from_millis(3_000), pcm: caller() }];
        let typing = vec![Typing { after: Span::from_millis(7_500), digits: "11#5".to_owned() }];
        let script = UserScript { speech, typing, hang_up_after: Some(Span::from_secs(9)), ..UserScript::default() };
        Self {
            seed,
            kind: CallKind::UserInitiated,
            script,
            faults: Vec::new(),
            to_meta: [LinkConfig::default(), LinkConfig::default()],
            to_us: [LinkConfig::default(), LinkConfig::default()],
            signalling_delay: Span::from_millis(20),
            greeting: greeting(),
            listens: true,
            hang_up_after: None,
            sends_digits: None,
            moves: Vec::new(),
            stream_starts_at: None,
            lose: None,
            lose_reply_to: None,
            nat: None,
            nat_rebinds: None,
            far: None,
            noise: None,
            noise_after: Span::ZERO,
            hostile: Vec::new(),
            trouble: Trouble::default(),
            live_by: None,
            planted: None,
            sdes: false,
            dtls_timer: None,
            shows: false,
        }
    }

    /// The same with a fault.
    pub fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The same with these links in both directions and families.
    pub fn on(mut self, link: &LinkConfig) -> Self {
        self.to_meta = [link.clone(), link.clone()];
        self.to_us = [link.clone(), link.clone()];
        self
    }

    /// The same without a codec on either side: numbered packets go out and are echoed.
    pub fn numbered(mut self) -> Self {
        self.script.voice = Voice::Numbered { tag: self.seed as u32 };
        self.greeting = Arc::from([]);
        self.listens = false;
        self
    }

    /// The same with a user who hangs up this long after the pick-up, and says and types nothing.
    pub fn short(mut self, talk: Span) -> Self {
        self.script.speech.clear();
        self.script.typing.clear();
        self.script.hang_up_after = Some(talk);
        self
    }
}

/// Real speech of the demo's caller: mono, 16 kHz, at most four seconds.
pub fn caller() -> Arc<[i16]> {
    static CALLER: OnceLock<Arc<[i16]>> = OnceLock::new();
    CALLER.get_or_init(|| cut("caller.wav", 4_000)).clone()
}

/// Real speech of the demo's business: mono, 16 kHz, at most two and a half seconds.
pub fn greeting() -> Arc<[i16]> {
    static GREETING: OnceLock<Arc<[i16]>> = OnceLock::new();
    GREETING.get_or_init(|| cut("greeting.wav", 2_500)).clone()
}

fn cut(name: &str, ms_max: usize) -> Arc<[i16]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../signalling/assets").join(name);
    let samples = load_wav(&path, SampleRate::Hz16000).expect("the demo's recordings can be read");
    samples[..samples.len().min(ms_max * 16)].into()
}
