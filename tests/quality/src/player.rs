//! The players: ours, a fixed buffer, and libwebrtc's NetEq. All get the same packets at the same moments of a virtual clock.
//!
//! Given: packets with their arrival. Decides: what was heard and how much of it did not come from packets. Refuses: to judge the sound.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tipring_engine::codec::Decoder;
use tipring_engine::codec::SampleRate;
use tipring_engine::codec::toc;
use tipring_engine::jitter::{JitterBuffer, JitterConfig, Playout};
use tipring_engine::time::{Span, Time};

use crate::path::{Arrival, FRAME_US, Row};
use crate::speech::{FRAME_48K, Speech};

/// A packet as it comes off the wire.
pub struct Packet {
    /// On the listener's clock.
    pub at_us: i64,
    /// Sequence number on the wire.
    pub seq: u16,
    /// Timestamp on the wire.
    pub timestamp: u32,
    /// Opus.
    pub payload: Vec<u8>,
}

/// What a player made of the packets.
pub struct Heard {
    /// 48 kHz, mono, from the first tick on.
    pub sound: Vec<i16>,
    /// For each 10 ms of `sound`, the media tick of its first sample counted from the first frame of the speech; none when it did not
    /// come from a packet (in-band FEC counts as coming from one).
    pub blocks: Vec<Option<i64>>,
    /// Media not played from packets in ms, for loss or lateness (`concealedSamples` of the W3C's WebRTC statistics).
    pub concealed_ms: f64,
    /// Packets that came and were thrown away as too late (copies not counted where the player tells them apart).
    pub late: u64,
    /// Media put in or left out to change the delay, in ms (`insertedSamplesForDeceleration`, `removedSamplesForAcceleration`).
    pub adapted_ms: f64,
}

/// The packets of `row`, in order of arrival.
pub fn packets(row: &Row, speech: &Speech, seed: u64) -> Vec<Packet> {
    let arrivals = row.arrivals(speech.frames(), |frame| speech.is_silent(frame), seed);
    let packet = |a: &Arrival| Packet {
        at_us: a.at_us,
        seq: SEQ_FIRST.wrapping_add(a.seq as u16),
        timestamp: TIMESTAMP_FIRST.wrapping_add((a.frame * FRAME_48K) as u32),
        payload: if a.is_pause { speech.packet(a.frame, 1)[..1].to_vec() } else { speech.packet(a.frame, row.frames) },
    };
    arrivals.iter().map(packet).collect()
}

/// Our jitter buffer with its default bounds, driven as a call drives it.
pub fn ours(row: &Row, packets: &[Packet], phase_us: i64) -> Heard {
    let mut buffer = JitterBuffer::new(JitterConfig::default());
    let mut decoder = Decoder::new(SampleRate::Hz48000).expect("libopus has memory");
    let mut line = Line::default();
    let (mut next, mut scratch) = (0, [0i16; 5_760]);
    for tick_us in ticks(packets, phase_us) {
        for p in packets[next..].iter().take_while(|p| p.at_us <= tick_us) {
            next += 1;
            let Ok(ticks) = toc::duration_ticks(&p.payload) else { continue };
            let _ = buffer.insert(1, p.seq, p.timestamp, ticks, &p.payload, Time::ZERO + Span::from_micros(p.at_us as u64));
        }
        loop {
            match buffer.tick(Time::ZERO + Span::from_micros(tick_us as u64)) {
                Playout::Packet { payload, timestamp, starts } => {
                    if starts {
                        decoder.reset();
                    }
                    let n = decoder.decode(payload, &mut scratch).unwrap_or(0);
                    line.push(&scratch[..n], Some(media(timestamp)));
                }
                Playout::Fec { payload, timestamp } => {
                    let n = decoder.decode_fec(payload, &mut scratch[..FRAME_48K]).unwrap_or(0);
                    line.push(&scratch[..n], Some(media(timestamp)));
                }
                Playout::Conceal { .. } => {
                    let n = decoder.conceal(&mut scratch[..FRAME_48K]).unwrap_or(0);
                    line.push(&scratch[..n], None);
                }
                _ => {}
            }
            if !buffer.is_owed() {
                break;
            }
        }
        line.tick();
    }
    let stats = buffer.stats();
    let frame_ms = FRAME_US as f64 / 1e3;
    let stretched_ms = stats.stretched as f64 * frame_ms;
    let concealed_ms = if row.dtx { stats.concealed as f64 * frame_ms } else { (line.unplayed_ms(packets) - stretched_ms).max(0.0) };
    line.heard(concealed_ms, stats.late, (stats.stretched + stats.skipped) as f64 * frame_ms)
}

/// A buffer that plays each frame `delay_us` after the first packet's line, come what may.
pub fn fixed(row: &Row, packets: &[Packet], phase_us: i64, delay_us: i64) -> Heard {
    let mut decoder = Decoder::new(SampleRate::Hz48000).expect("libopus has memory");
    let mut line = Line::default();
    let mut scratch = [0i16; 5_760];
    let step = row.frames as i64 * FRAME_48K as i64;
    let find = |due: i64, now: i64| packets.iter().find(|p| p.at_us <= now && media(p.timestamp) == due);
    let first_tick = packets.first().map_or(0, |p| p.at_us) + delay_us;
    let (mut due, mut played) = (0, 0u64);
    for tick_us in ticks(packets, phase_us) {
        if tick_us >= first_tick && line.fifo.is_empty() {
            if let Some(p) = find(due, tick_us) {
                let n = decoder.decode(&p.payload, &mut scratch).unwrap_or(0);
                line.push(&scratch[..n], Some(due));
                played += 1;
            } else {
                // A frame of 20 ms in SILK or hybrid mode carries a copy of the one before it if its second bit says so (RFC 6716 4.2.3).
                let has_copy =
                    |p: &&Packet| p.payload.len() > 1 && p.payload[0] >> 3 < 16 && p.payload[0] & 3 == 0 && p.payload[1] & 0x40 != 0;
                let after = find(due + step, tick_us).filter(has_copy);
                let out = &mut scratch[..step as usize];
                match after {
                    Some(p) => drop(decoder.decode_fec(&p.payload, out)),
                    None => drop(decoder.conceal(out)),
                }
                line.push(out, after.map(|_| due));
            }
            due += step;
        }
        line.tick();
    }
    let distinct = packets.iter().map(|p| p.seq).collect::<std::collections::BTreeSet<_>>().len() as u64;
    let concealed_ms = line.unplayed_ms(packets);
    line.heard(concealed_ms, distinct - played, 0.0)
}

/// libwebrtc's NetEq, built from `foreign/neteq.cpp` as `program`.
pub fn neteq(packets: &[Packet], phase_us: i64, program: &Path, folder: &Path) -> Result<Heard, String> {
    let (input, output) = (folder.join("packets"), folder.join("sound"));
    let mut bytes = (packets.len() as u32).to_le_bytes().to_vec();
    for p in packets {
        bytes.extend_from_slice(&p.at_us.to_le_bytes());
        bytes.extend_from_slice(&p.seq.to_le_bytes());
        bytes.extend_from_slice(&(p.payload.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&p.timestamp.to_le_bytes());
        bytes.extend_from_slice(&p.payload);
    }
    bytes.extend_from_slice(&phase_us.to_le_bytes());
    bytes.extend_from_slice(&ticks(packets, phase_us).last().unwrap_or(phase_us).to_le_bytes());
    std::fs::File::create(&input).and_then(|mut f| f.write_all(&bytes)).map_err(|e| format!("{}: {e}", input.display()))?;
    let run = Command::new(program).arg(&input).arg(&output).output().map_err(|e| format!("{}: {e}", program.display()))?;
    if !run.status.success() {
        return Err(format!("NetEq ended with {}: {}", run.status, String::from_utf8_lossy(&run.stderr)));
    }
    let counts: serde_json::Value = serde_json::from_slice(&run.stdout).map_err(|e| format!("NetEq's counters: {e}"))?;
    let count = |name: &str| counts[name].as_u64().unwrap_or(0);
    let samples_ms = |n: u64| n as f64 / 48.0;
    let raw = std::fs::read(&output).map_err(|e| format!("{}: {e}", output.display()))?;
    let mut heard = Heard {
        sound: Vec::new(),
        blocks: Vec::new(),
        concealed_ms: samples_ms(count("concealed")),
        late: count("discarded"),
        adapted_ms: samples_ms(count("inserted") + count("removed")),
    };
    for block in raw.chunks_exact(8 + 960) {
        let (first, samples) = block.split_at(8);
        let first = i64::from_le_bytes(first.try_into().expect("eight bytes"));
        heard.blocks.push((first >= 0).then(|| media(first as u32)));
        heard.sound.extend(samples.chunks_exact(2).map(|s| i16::from_le_bytes([s[0], s[1]])));
    }
    Ok(heard)
}

/// Decoded sound on its way to the listener, in whole frames per tick.
#[derive(Default)]
struct Line {
    fifo: Vec<(Vec<i16>, Option<i64>)>,
    sound: Vec<i16>,
    blocks: Vec<Option<i64>>,
}

impl Line {
    fn push(&mut self, samples: &[i16], media: Option<i64>) {
        let blocks = samples.chunks_exact(BLOCK).enumerate();
        self.fifo.extend(blocks.map(|(i, s)| (s.to_vec(), media.map(|m| m + (i * BLOCK) as i64))));
    }

    fn tick(&mut self) {
        for _ in 0..FRAME_48K / BLOCK {
            let (samples, media) = if self.fifo.is_empty() { (vec![0; BLOCK], None) } else { self.fifo.remove(0) };
            self.sound.extend(samples);
            self.blocks.push(media);
        }
    }

    /// Time between the first and the last block from packets that was filled with something else, and what is missing at the end.
    fn unplayed_ms(&self, packets: &[Packet]) -> f64 {
        let first = self.blocks.iter().position(Option::is_some).unwrap_or(0);
        let last = self.blocks.iter().rposition(Option::is_some).unwrap_or(0);
        let end = packets.iter().map(|p| media(p.timestamp)).max().unwrap_or(0);
        let played_to = self.blocks.get(last).copied().flatten().unwrap_or(0);
        let missing_end = (end - played_to).max(0) as f64 / 48.0;
        self.blocks[first..=last].iter().filter(|b| b.is_none()).count() as f64 * 10.0 + if missing_end > 100.0 { missing_end } else { 0.0 }
    }

    fn heard(self, concealed_ms: f64, late: u64, adapted_ms: f64) -> Heard {
        Heard { sound: self.sound, blocks: self.blocks, concealed_ms, late, adapted_ms }
    }
}

/// Every 20 ms until half a second after the last packet.
fn ticks(packets: &[Packet], phase_us: i64) -> impl Iterator<Item = i64> {
    let end = packets.iter().map(|p| p.at_us).max().unwrap_or(0) + 500_000;
    (0..).map(move |k| phase_us + k * FRAME_US).take_while(move |&t| t <= end)
}

/// Media tick of a timestamp.
fn media(timestamp: u32) -> i64 {
    i64::from(timestamp.wrapping_sub(TIMESTAMP_FIRST) as i32)
}

/// Samples of 10 ms at 48 kHz.
pub const BLOCK: usize = 480;
/// Both numbers wrap within the first minute.
const SEQ_FIRST: u16 = 65_000;
const TIMESTAMP_FIRST: u32 = u32::MAX - 1_000_000;
