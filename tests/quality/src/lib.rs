//! What a listener gets from the jitter buffer, beside two others on the same packets, in virtual time.
//!
//! Decides: the grid of paths ([`path`]), what is said on them ([`speech`]), who plays ([`player`]), how it is measured ([`score`] and
//! [`Measure`]). Refuses: networks, sockets, wall clocks. `docs/QUALITY.md` has the results; `cargo quality` makes them.

pub mod path;
pub mod player;
pub mod report;
pub mod score;
pub mod speech;

use path::{FRAME_US, Row};
use player::{BLOCK, Heard};
use serde_json::{Value, json};
use speech::Speech;
use tipring_engine::time::Span;

/// Length of the stream of each row: 60 s.
pub const FRAMES: usize = 3_000;
/// Seed of each row's path.
pub const SEED: u64 = 7;
/// The listener's ticks have no relation to the sender's: each row is played twice, with its ticks so long after the sender's.
pub const PHASES_US: [i64; 2] = [3_500, 13_500];
/// Delay of the fixed buffer.
pub const FIXED_US: i64 = 100_000;

/// What one player made of one row.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// Share of the media that was filled with something else than what packets held, in percent: loss that could not be repaired, packets
    /// not there in time.
    pub concealed_percent: f64,
    /// Packets that came but were thrown away as too late, in percent of those sent.
    pub late_percent: f64,
    /// Mean over what was played from packets: from the moment the fastest packet of the path could have been played to its play-out.
    pub delay_ms: f64,
    /// Share of the loud 10 ms of speech (-55 dB and up) that were filled by something else than what packets held, for whatever reason.
    pub gaps_percent: f64,
    /// Media put in or left out to change the delay, in percent.
    pub adapted_percent: f64,
    /// Listening and conversation together by the E-model (`rtp::mos::estimate`): concealment as loss, the delay, and 100 ms of round trip.
    pub mos: f64,
    /// [`score::distance_db`].
    pub distance_db: f64,
    /// PESQ, wide band (ITU-T P.862.2), 1.0 to 4.64; only if it was asked for.
    pub pesq: Option<f64>,
}

impl Measure {
    /// Everything but the sound: its distance is 0.
    pub fn counts(row: &Row, speech: &Speech, heard: &Heard, phase_us: i64) -> Self {
        let frames = speech.frames();
        let mut delays: Vec<f64> = Vec::new();
        let end = heard.blocks.iter().rposition(Option::is_some).unwrap_or(0);
        let (mut next_media, mut gaps) = (-1, 0);
        for (i, media) in heard.blocks[..=end].iter().enumerate() {
            let Some(media) = *media else {
                gaps += usize::from(next_media >= 0 && speech.is_loud(next_media as usize / speech::FRAME_48K));
                next_media += if next_media >= 0 { BLOCK as i64 } else { 0 };
                continue;
            };
            next_media = media + BLOCK as i64;
            let Ok(index) = usize::try_from(media / speech::FRAME_48K as i64) else { continue };
            let inside_us = media % speech::FRAME_48K as i64 * 125 / 6;
            let played_us = phase_us + i as i64 * FRAME_US / 2;
            delays.push((played_us - row.soonest_us(index, frames) - inside_us) as f64 / 1e3);
        }
        let loud = (0..frames).filter(|&f| speech.is_loud(f)).count() * 2;
        let media_ms = frames as f64 * 20.0;
        let delay_ms = delays.iter().sum::<f64>() / delays.len().max(1) as f64;
        let (loss, delay) = (heard.concealed_ms / media_ms, Span::from_micros((delay_ms * 1e3).max(0.0) as u64));
        Self {
            mos: f64::from(tipring_engine::rtp::mos::estimate(loss as f32, Span::from_millis(100), delay)),
            concealed_percent: 100.0 * heard.concealed_ms / media_ms,
            late_percent: 100.0 * heard.late as f64 / (frames / row.frames) as f64,
            delay_ms,
            gaps_percent: 100.0 * gaps as f64 / loud as f64,
            adapted_percent: 100.0 * heard.adapted_ms / media_ms,
            distance_db: 0.0,
            pesq: None,
        }
    }

    /// Adds the distance of the sound.
    pub fn judge(&mut self, row: &Row, speech: &Speech, heard: &Heard) {
        let lag = Self::lag_ms(row, self.delay_ms) as usize / 10;
        self.distance_db = score::distance_db(&speech.reference, &heard.sound, lag);
    }

    /// How long after the reference's start the sound is to be expected.
    pub fn lag_ms(row: &Row, delay_ms: f64) -> f64 {
        delay_ms + (row.frames as f64 - 1.0) * 20.0
    }

    /// The mean of the phases.
    pub fn mean(of: [Self; 2]) -> Self {
        let mean = |field: fn(&Self) -> f64| of.iter().map(field).sum::<f64>() / of.len() as f64;
        let pesq = of.iter().filter_map(|m| m.pesq).collect::<Vec<_>>();
        Self {
            concealed_percent: mean(|m| m.concealed_percent),
            late_percent: mean(|m| m.late_percent),
            delay_ms: mean(|m| m.delay_ms),
            gaps_percent: mean(|m| m.gaps_percent),
            adapted_percent: mean(|m| m.adapted_percent),
            distance_db: mean(|m| m.distance_db),
            mos: mean(|m| m.mos),
            pesq: (!pesq.is_empty()).then(|| pesq.iter().sum::<f64>() / pesq.len() as f64),
        }
    }

    /// For the golden file, rounded to what it is compared by.
    pub fn to_json(&self) -> Value {
        let round = |v: f64| (v * 100.0).round() / 100.0;
        json!({
            "concealed_percent": round(self.concealed_percent), "late_percent": round(self.late_percent),
            "delay_ms": round(self.delay_ms), "gaps_percent": round(self.gaps_percent),
            "adapted_percent": round(self.adapted_percent), "distance_db": round(self.distance_db), "mos": round(self.mos), "pesq": self.pesq.map(round),
        })
    }

    /// From the golden file.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |name: &str| value[name].as_f64();
        Some(Self {
            concealed_percent: number("concealed_percent")?,
            late_percent: number("late_percent")?,
            delay_ms: number("delay_ms")?,
            gaps_percent: number("gaps_percent")?,
            adapted_percent: number("adapted_percent")?,
            distance_db: number("distance_db")?,
            mos: number("mos")?,
            pesq: number("pesq"),
        })
    }

    /// What got worse than `golden` by more than the margin; empty when nothing did.
    ///
    /// The margins are what another libopus or another compiler may move: half a percent of concealment, 5 ms of delay, 0.15 dB.
    pub fn worse_than(&self, golden: &Measure) -> Vec<String> {
        let mut faults = Vec::new();
        let mut check = |what: &str, now: f64, then: f64, margin: f64| {
            if now > then + margin {
                faults.push(format!("{what} {now:.2}, golden {then:.2}"));
            }
        };
        check("concealed %", self.concealed_percent, golden.concealed_percent, 0.5);
        check("gaps %", self.gaps_percent, golden.gaps_percent, 0.5);
        check("late %", self.late_percent, golden.late_percent, 0.5);
        check("delay ms", self.delay_ms, golden.delay_ms, 5.0);
        check("distance dB", self.distance_db, golden.distance_db, 0.15);
        faults
    }
}

/// Plays `row` with our buffer and measures it.
pub fn measure_ours(row: &Row, speech: &Speech) -> Measure {
    let packets = player::packets(row, speech, SEED);
    Measure::mean(PHASES_US.map(|phase_us| {
        let heard = player::ours(row, &packets, phase_us);
        let mut measure = Measure::counts(row, speech, &heard, phase_us);
        measure.judge(row, speech, &heard);
        measure
    }))
}

const _: () = assert!(BLOCK * 2 == speech::FRAME_48K);
