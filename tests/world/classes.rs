//! Classes of faults, and how a seed becomes a plan: swarm testing. Each seed switches a random subset of the classes on.
//!
//! Given: a [`Sketch`]: seed, classes, two durations. Decides: every detail of the plan, each class from its own stream of dice, so that one
//! class less leaves the others as they were. Refuses: running it (`call.rs`), judging it (`verdict.rs`).

use super::{LinkConfig, Noise, Plan, Trouble};
use std::fmt;
use std::str::FromStr;
use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::faults::{Fault, Outcome as Expected};
use tipring_meta_sim::user::Typing;

macro_rules! classes {
    ($($variant:ident => $name:literal, $text:literal;)*) => {
        /// A kind of misfortune that a seed may switch on.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Class { $(#[doc = $text] $variant,)* }

        impl Class {
            /// Every class.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Stable name, as typed on a command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

classes! {
    Loss => "loss", "Up to 20 % of the datagrams are lost, one by one, each direction and family on its own.";
    Bursts => "bursts", "Bad spells in which up to 95 % are lost.";
    Delay => "delay", "Up to 250 ms one way, not the same in both directions.";
    Jitter => "jitter", "Up to 60 ms of jitter; datagrams overtake each other.";
    Reorder => "reorder", "Up to 10 % of the datagrams are held back by 45 ms.";
    Duplicate => "duplicate", "Up to 20 % of the datagrams come twice.";
    Corrupt => "corrupt", "Up to 3 % of the datagrams have one bit flipped.";
    Blackout => "blackout", "Nothing passes in either direction for up to four seconds.";
    Mtu => "mtu", "Datagrams of more than 1200 bytes vanish, from first to last.";
    Nat => "nat", "A NAT in front of us; sometimes it rebinds.";
    Family => "family", "One address family is dead; sometimes it comes alive.";
    Relay => "relay", "Meta's relay, or the phone, misbehaves in one or two ways that a good business side survives.";
    Noise => "noise", "Somebody throws garbage at our ports, sometimes under the relay's address.";
    Webhooks => "webhooks", "Webhooks come late, twice, out of order, with forged copies.";
    Graph => "graph", "Each action of Graph may fail once: 503, no connection, a request or reply lost, three seconds late.";
    WallClock => "wall-clock", "The wall clock jumps by up to an hour, forth or back.";
    Stall => "stall", "Our own thread does not run for up to 2.5 s; datagrams and commands pile up; sometimes its mailbox is full.";
    Fatal => "fatal", "Something that no business side survives; it must end, with a reason.";
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Class {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|class| class.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|class| class.name()).collect();
            format!("no fault class is called `{name}`; choose of: {}", names.join(", "))
        })
    }
}

/// A plan in five words: what is printed when it fails, and what the shrinker takes away from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sketch {
    /// Source of every draw.
    pub seed: u64,
    /// What is switched on, in the order of [`Class::ALL`].
    pub classes: Vec<Class>,
    /// For how long after the ring faults begin; links are clean from then on.
    pub faults_ms: u64,
    /// How long the user talks beyond that.
    pub talk_ms: u64,
    /// With Opus on both sides; else numbered packets that no codec touches.
    pub with_codec: bool,
}

impl Sketch {
    /// What `seed` draws: a density first, so that some seeds are nearly clean and some have nearly everything.
    pub fn draw(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed ^ 0x5a_7711);
        let density = [1, 3, 6][rng.below(3) as usize];
        let classes = Class::ALL.iter().copied().filter(|class| {
            let of_12 = if *class == Class::Fatal { 1 } else { density };
            rng.below(12) < of_12
        });
        let classes = classes.collect();
        Self { seed, classes, faults_ms: 1_000 + rng.below(6_000), talk_ms: 1_000 + rng.below(3_000), with_codec: false }
    }

    /// Whether `class` is on.
    pub fn has(&self, class: Class) -> bool {
        self.classes.contains(&class)
    }

    /// The same without `class`.
    pub fn without(&self, class: Class) -> Self {
        Self { classes: self.classes.iter().copied().filter(|c| *c != class).collect(), ..self.clone() }
    }

    /// The command that repeats exactly this.
    pub fn command(&self) -> String {
        let drawn = Self::draw(self.seed);
        let mut out = format!("cargo swarm -- --seed {}", self.seed);
        if drawn.classes != self.classes {
            let names: Vec<_> = self.classes.iter().map(|class| class.name()).collect();
            out += &format!(" --only {}", if names.is_empty() { "none".to_owned() } else { names.join(",") });
        }
        for (word, is, was) in [("--faults-ms", self.faults_ms, drawn.faults_ms), ("--talk-ms", self.talk_ms, drawn.talk_ms)] {
            if is != was {
                out += &format!(" {word} {is}");
            }
        }
        if self.with_codec {
            out += " --codec";
        }
        out
    }

    fn dice(&self, class: Class) -> SeededRng {
        SeededRng::new(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (class as u64 + 1))
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        let faults = Span::from_millis(self.faults_ms);
        let mut plan = Plan::clean(self.seed).short(faults + Span::from_millis(self.talk_ms));
        plan.script.typing.push(Typing { after: faults + Span::from_millis(200), digits: "7#".to_owned() });
        if !self.with_codec {
            plan = plan.numbered();
        }
        let until = Time::ZERO + Span::from_secs(1) + faults;
        plan.trouble = Trouble { until, ..Trouble::default() };
        let on = |class: Class| self.has(class).then(|| self.dice(class));

        self.draw_links(&mut plan, until);
        if let Some(mut rng) = on(Class::Nat) {
            let nat = |port| format!("192.0.2.99:{port}").parse().expect("an address");
            plan.nat = Some(nat(61_234));
            if rng.below(3) == 0 {
                plan.nat_rebinds = Some((Time::ZERO + Span::from_secs(1) + self.some(faults, &mut rng), nat(1_024 + rng.below(60_000))));
            }
        }
        if let Some(mut rng) = on(Class::Relay) {
            let all = misbehaviours();
            for _ in 0..=rng.below(2) {
                let fault = all[rng.below(all.len() as u64) as usize];
                if !plan.faults.contains(&fault) {
                    plan.faults.push(fault);
                }
            }
        }
        if let Some(mut rng) = on(Class::Noise) {
            plan.noise = Some(Noise { from_relay: rng.below(2) == 0, every: Span::from_millis(3 + rng.below(40)) });
        }
        if let Some(mut rng) = on(Class::Webhooks) {
            plan.trouble.webhooks_late = Some(Span::from_millis(rng.below(3_000)));
            let mishaps =
                [Fault::DuplicateWebhooks, Fault::ReorderedWebhooks, Fault::DelayedConnect, Fault::BatchedWebhook, Fault::UnknownEvent];
            plan.faults.extend(mishaps.into_iter().filter(|_| rng.below(4) == 0));
        }
        plan.trouble.graph = self.has(Class::Graph);
        if let Some(mut rng) = on(Class::WallClock) {
            let jump = |rng: &mut SeededRng| (self.some(faults, rng), rng.below(7_201) as i64 - 3_600);
            plan.trouble.wall_jumps = (0..=rng.below(3)).map(|_| jump(&mut rng)).collect();
        }
        if let Some(mut rng) = on(Class::Stall) {
            let stall = |rng: &mut SeededRng| {
                let ms = if rng.below(4) == 0 { 200 + rng.below(2_300) } else { 1 + rng.below(200) };
                (self.some(faults, rng), Span::from_millis(ms))
            };
            plan.trouble.stalls = (0..=rng.below(5)).map(|_| stall(&mut rng)).collect();
            plan.trouble.mailbox_full = rng.below(12) == 0;
        }
        if let Some(mut rng) = on(Class::Fatal) {
            let fatal: Vec<_> = Fault::ALL.iter().filter(|fault| fault.outcome() != Expected::CallSucceeds).collect();
            plan.faults.push(*fatal[rng.below(fatal.len() as u64) as usize]);
        }
        // ICE that is never answered is given up after 39.5 s.
        plan.live_by = Some(until + if self.has(Class::Fatal) { Span::from_secs(60) } else { LIVENESS });
        plan
    }

    fn draw_links(&self, plan: &mut Plan, until: Time) {
        let mut links: [LinkConfig; 4] = std::array::from_fn(|_| LinkConfig { until: Some(until), ..LinkConfig::default() });
        for class in &self.classes {
            let mut rng = self.dice(*class);
            match class {
                Class::Loss => links.iter_mut().for_each(|link| link.loss = rng.below(2_001)),
                Class::Bursts => links.iter_mut().for_each(|link| {
                    (link.burst_start, link.burst_end, link.burst_loss) = (rng.below(300), 500 + rng.below(4_000), rng.below(9_501));
                }),
                Class::Delay => links.iter_mut().for_each(|link| link.delay = Span::from_millis(1 + rng.below(250))),
                Class::Jitter => links.iter_mut().for_each(|link| link.jitter = Span::from_millis(rng.below(61))),
                Class::Reorder => links.iter_mut().for_each(|link| link.reorder = rng.below(1_001)),
                Class::Duplicate => links.iter_mut().for_each(|link| link.duplicate = rng.below(2_001)),
                Class::Corrupt => links.iter_mut().for_each(|link| link.corrupt = rng.below(301)),
                Class::Blackout => {
                    let from = Time::ZERO + Span::from_secs(1) + self.some(Span::from_millis(self.faults_ms), &mut rng);
                    let dark = (from, from + Span::from_millis(100 + rng.below(3_900)));
                    links.iter_mut().for_each(|link| link.blackout = Some(dark));
                }
                _ => {}
            }
        }
        [plan.to_meta[0], plan.to_meta[1], plan.to_us[0], plan.to_us[1]] = links;
        if self.has(Class::Mtu) {
            let all = plan.to_meta.iter_mut().chain(&mut plan.to_us);
            all.for_each(|link| link.mtu_bytes = 1_200);
        }
        if self.has(Class::Family) {
            let mut rng = self.dice(Class::Family);
            // The relay's own faults kill IPv6 only: with both on, IPv4 has to live.
            let dead = if self.has(Class::Relay) || self.has(Class::Nat) { 1 } else { rng.below(2) as usize };
            let stays_dead = rng.below(2) == 0;
            for link in [&mut plan.to_meta[dead], &mut plan.to_us[dead]] {
                (link.loss, link.until) = (10_000, if stays_dead { None } else { link.until });
            }
        }
    }

    /// Some moment in the first `span`.
    fn some(&self, span: Span, rng: &mut SeededRng) -> Span {
        Span::from_nanos(rng.below(span.as_nanos() + 1))
    }
}

/// What a relay or a phone may do in an incoming call that a good business side carries.
fn misbehaviours() -> Vec<Fault> {
    let elsewhere = [
        Fault::AnswersActive,
        Fault::AnswersActpass,
        Fault::DuplicateWebhooks,
        Fault::ReorderedWebhooks,
        Fault::DelayedConnect,
        Fault::BatchedWebhook,
        Fault::UnknownEvent,
        Fault::GraphSlow,
    ];
    let is_survived = |fault: &Fault| fault.outcome() == Expected::CallSucceeds && !elsewhere.contains(fault);
    Fault::ALL.iter().copied().filter(is_survived).collect()
}

/// A call must be connected or over this long after the last fault. The longest wait that is right: a handshake that a NAT has cut off is
/// given up after ten seconds (`dtls::DtlsConfig::patience`), a lost reply is repeated after five, an accept proven within five.
const LIVENESS: Span = Span::from_secs(15);
