//! What the network does to a stream of packets.
//!
//! Given: a row of the grid and a seed. Decides: which packets arrive, and when. Refuses: to know what is in them, and who plays them.

use tipring_engine::rng::{Entropy, SeededRng};

/// One row of the grid: how a stream is sent and what the path does to it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in tables.
    pub name: &'static str,
    /// Packets lost, in units of 1/1 000.
    pub loss_per_mille: u64,
    /// Mean length of a run of lost packets; 1 is independent loss (Gilbert's model).
    pub burst_packets: u64,
    /// How packets are held up.
    pub delay: Delay,
    /// The sender's clock is slower than ours by so many millionths.
    pub drift_ppm: i64,
    /// The sender leaves out silence as libwebrtc does it: one packet without sound, then none for up to 400 ms, then one with sound.
    pub dtx: bool,
    /// Frames of 20 ms in a packet.
    pub frames: usize,
    /// Second copies, in units of 1/1 000.
    pub duplicate_per_mille: u64,
}

/// How long packets are held up beyond the fastest.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// Each by itself, uniformly between nothing and so many ms: packets overtake each other.
    Uniform(u64),
    /// In a queue, so that none is overtaken: most wait little (exponential with a mean of a quarter of it), cut at so many ms.
    Queue(u64),
    /// Every few seconds the path stops for so many ms and then gives out all it held.
    Stops(u64),
    /// From the middle of the stream on all packets take so many ms more: another way through the network.
    Longer(u64),
}

/// A packet that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// When, on the listener's clock, in microseconds from the start.
    pub at_us: i64,
    /// Index of its first frame of 20 ms in the speech.
    pub frame: usize,
    /// The packet of one byte by which the sender says that it leaves out what follows.
    pub is_pause: bool,
    /// Sequence number, counted on without wrapping.
    pub seq: u64,
}

impl Row {
    /// When frame `index` was complete at the sender, on the listener's clock. Without a path this is when it could be played.
    pub fn sent_us(&self, index: usize) -> i64 {
        let nominal = index as i64 * FRAME_US;
        nominal + nominal * self.drift_ppm / 1_000_000
    }

    /// When frame `index` of `frames` could be played by someone who waits for nothing, on the listener's clock.
    pub fn soonest_us(&self, index: usize, frames: usize) -> i64 {
        let longer = match self.delay {
            Delay::Longer(ms) if index * 2 >= frames => ms as i64 * 1_000,
            _ => 0,
        };
        self.sent_us(index) + (self.frames as i64 - 1) * FRAME_US + longer
    }

    /// The packets that arrive, in order of arrival. `is_silent` says which frames the sender may leave out.
    pub fn arrivals(&self, frames: usize, is_silent: impl Fn(usize) -> bool, seed: u64) -> Vec<Arrival> {
        let mut rng = SeededRng::new(seed);
        let mut path = Path { bad: false, free_at_us: 0, stopped_until_us: 0, next_stop_us: 2_500_000 };
        let (mut arrivals, mut seq, mut left_out) = (Vec::new(), 0, 0);
        for frame in (0..frames / self.frames * self.frames).step_by(self.frames) {
            let pauses = self.dtx && is_silent(frame) && left_out < DTX_FRAMES_MAX;
            left_out = if pauses { left_out + self.frames } else { 0 };
            if left_out > self.frames {
                continue;
            }
            let (this, at) = (seq, self.sent_us(frame + self.frames - 1));
            seq += 1;
            let held = path.hold(self.delay, at, frame * 2 >= frames, &mut rng);
            let lost = path.loses(self, &mut rng);
            let copied = rng.below(1_000) < self.duplicate_per_mille;
            // The first packet always comes, so that all players start with the same one.
            if lost && frame > 0 {
                continue;
            }
            arrivals.push(Arrival { at_us: at + held, frame, is_pause: pauses, seq: this });
            if copied {
                arrivals.push(Arrival { at_us: at + held + rng.below(40_000) as i64, frame, is_pause: pauses, seq: this });
            }
        }
        arrivals.sort_by_key(|a| a.at_us);
        arrivals
    }
}

struct Path {
    bad: bool,
    free_at_us: i64,
    stopped_until_us: i64,
    next_stop_us: i64,
}

impl Path {
    fn hold(&mut self, delay: Delay, at: i64, second_half: bool, rng: &mut SeededRng) -> i64 {
        // In thousandths of a ms; the draw is made in each case so that rows of one seed lose the same packets.
        let draw = rng.below(1_000_000);
        match delay {
            Delay::Uniform(ms) => (ms * draw / 1_000) as i64,
            Delay::Queue(ms) => {
                let mean = ms as f64 * 250.0;
                let wait = (-(1.0 - draw as f64 / 1e6).ln() * mean).min(ms as f64 * 1_000.0) as i64;
                self.free_at_us = self.free_at_us.max(at + wait);
                self.free_at_us - at
            }
            Delay::Stops(ms) => {
                if at >= self.next_stop_us {
                    self.stopped_until_us = at + (ms * 1_000) as i64;
                    self.next_stop_us = at + 3_000_000 + (draw * 4) as i64;
                }
                (self.stopped_until_us - at).max(0) + (draw / 500) as i64
            }
            Delay::Longer(ms) => (draw / 500) as i64 + if second_half { (ms * 1_000) as i64 } else { 0 },
        }
    }

    fn loses(&mut self, row: &Row, rng: &mut SeededRng) -> bool {
        if row.loss_per_mille == 0 {
            return false;
        }
        let draw = rng.below(1_000_000);
        if row.burst_packets == 1 {
            return draw < row.loss_per_mille * 1_000;
        }
        // Gilbert: leave the bad state with 1/burst, enter it so that the share of time in it is the loss.
        let leave = 1_000_000 / row.burst_packets;
        let enter = leave * row.loss_per_mille / (1_000 - row.loss_per_mille);
        self.bad = if self.bad { draw >= leave } else { draw < enter };
        self.bad
    }
}

/// 20 ms.
pub const FRAME_US: i64 = 20_000;
/// 400 ms, as libopus does it.
const DTX_FRAMES_MAX: usize = 20;

const PLAIN: Row = Row {
    name: "",
    loss_per_mille: 0,
    burst_packets: 1,
    delay: Delay::Uniform(0),
    drift_ppm: 0,
    dtx: false,
    frames: 1,
    duplicate_per_mille: 0,
};

const fn loss(name: &'static str, loss_per_mille: u64, jitter_ms: u64) -> Row {
    Row { name, loss_per_mille, delay: Delay::Uniform(jitter_ms), ..PLAIN }
}

/// The grid.
pub const ROWS: &[Row] = &[
    loss("loss 0, jitter 0", 0, 0),
    loss("loss 0, jitter 20", 0, 20),
    loss("loss 0, jitter 40", 0, 40),
    loss("loss 0, jitter 80", 0, 80),
    loss("loss 0, jitter 120", 0, 120),
    loss("loss 1, jitter 0", 10, 0),
    loss("loss 1, jitter 20", 10, 20),
    loss("loss 1, jitter 40", 10, 40),
    loss("loss 1, jitter 80", 10, 80),
    loss("loss 1, jitter 120", 10, 120),
    loss("loss 5, jitter 0", 50, 0),
    loss("loss 5, jitter 20", 50, 20),
    loss("loss 5, jitter 40", 50, 40),
    loss("loss 5, jitter 80", 50, 80),
    loss("loss 5, jitter 120", 50, 120),
    loss("loss 10, jitter 0", 100, 0),
    loss("loss 10, jitter 20", 100, 20),
    loss("loss 10, jitter 40", 100, 40),
    loss("loss 10, jitter 80", 100, 80),
    loss("loss 10, jitter 120", 100, 120),
    loss("loss 20, jitter 0", 200, 0),
    loss("loss 20, jitter 20", 200, 20),
    loss("loss 20, jitter 40", 200, 40),
    loss("loss 20, jitter 80", 200, 80),
    loss("loss 20, jitter 120", 200, 120),
    Row { burst_packets: 3, ..loss("loss 5 in bursts of 3, jitter 0", 50, 0) },
    Row { burst_packets: 3, ..loss("loss 5 in bursts of 3, jitter 40", 50, 40) },
    Row { burst_packets: 3, ..loss("loss 10 in bursts of 3, jitter 40", 100, 40) },
    Row { burst_packets: 6, ..loss("loss 10 in bursts of 6, jitter 20", 100, 20) },
    Row { name: "queue up to 40", delay: Delay::Queue(40), ..PLAIN },
    Row { name: "queue up to 80", delay: Delay::Queue(80), ..PLAIN },
    Row { name: "queue up to 120", delay: Delay::Queue(120), ..PLAIN },
    Row { name: "queue up to 80, loss 5", loss_per_mille: 50, delay: Delay::Queue(80), ..PLAIN },
    Row { name: "stops of 100", delay: Delay::Stops(100), ..PLAIN },
    Row { name: "stops of 300", delay: Delay::Stops(300), ..PLAIN },
    Row { name: "path longer by 150", delay: Delay::Longer(150), ..PLAIN },
    Row { drift_ppm: 500, ..loss("clock slower by 500 ppm", 0, 0) },
    Row { drift_ppm: -500, ..loss("clock faster by 500 ppm", 0, 0) },
    Row { drift_ppm: 500, ..loss("clock slower by 500 ppm, loss 1, jitter 40", 10, 40) },
    Row { drift_ppm: -500, ..loss("clock faster by 500 ppm, loss 1, jitter 40", 10, 40) },
    Row { dtx: true, ..loss("DTX, jitter 0", 0, 0) },
    Row { dtx: true, ..loss("DTX, jitter 40", 0, 40) },
    Row { dtx: true, ..loss("DTX, loss 5, jitter 40", 50, 40) },
    Row { duplicate_per_mille: 50, ..loss("loss 1, jitter 40, copies 5", 10, 40) },
    Row { frames: 3, ..loss("packets of 60 ms, loss 1, jitter 0", 10, 0) },
    Row { frames: 3, ..loss("packets of 60 ms, loss 5, jitter 40", 50, 40) },
];
