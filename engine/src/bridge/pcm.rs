//! Audio between a call and a host's own thread, both ways, in samples: what bots, other media servers and embedding hosts are connected by.
//!
//! Decides: what waits (a queue of whole frames in front of the call), how it is thrown away at once ([`PcmLink::clear`]), when it has left
//! ([`PcmLink::left`]), and how a queue that only ever stands is worn off ([`PcmLink::push`]). Given: mono samples at a rate Opus knows, in chunks of any length.
//! Refuses: to wait, to lock, to resample, and to know what protocol the host speaks.
//!
//! ```text
//!  host's thread                               shard's thread
//!  PcmLink::push  -> queue, whole frames -> ring (640 ms) -> PcmPort -> encoder, once per 20 ms
//!  PcmLink::read  <-------------------------- ring (640 ms) <- PcmPort <- decoder, once per 20 ms
//! ```

use crate::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use crate::codec::{FRAME_SAMPLES_MAX, SampleRate};
use crate::dtmf::Digit;
use crate::limits::FRAME_MS;
use crate::time::Span;
use core::task::Waker;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a link keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PcmConfig {
    /// Rate of the samples, both ways.
    pub rate: SampleRate,
    /// Audio that may wait in front of the call; what is pushed beyond it is refused. At least 640 ms, at most 10 min.
    pub queue: Span,
}

impl PcmConfig {
    /// A minute at this rate: what a bot says at once.
    pub const fn new(rate: SampleRate) -> Self {
        Self { rate, queue: Span::from_secs(60) }
    }

    fn queue_frames(self) -> u64 {
        (self.queue.as_millis() / FRAME_MS).clamp(RING_FRAMES, QUEUE_FRAMES_MAX)
    }
}

/// The call's end.
pub struct PcmPort {
    from_host: rtrb::Consumer<i16>,
    to_host: rtrb::Producer<i16>,
    digits: rtrb::Producer<Digit>,
    shared: Arc<Shared>,
    rate: SampleRate,
    left: u64,
    /// Last, so that it is dropped last: when it wakes the host for the last time, [`PcmLink::is_closed`] is true.
    waker: WakesAtTheEnd,
}

/// A waker that is woken once more when it is dropped: the link sees that nobody hears any more.
struct WakesAtTheEnd(Waker);

impl Drop for WakesAtTheEnd {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

/// The host's end. One thread uses it at a time.
pub struct PcmLink {
    to_call: rtrb::Producer<i16>,
    from_call: rtrb::Consumer<i16>,
    digits: rtrb::Consumer<Digit>,
    shared: Arc<Shared>,
    rate: SampleRate,
    queue_frames_max: u64,
    /// Whole frames that found no room in the ring yet, then what does not fill a frame.
    queue: VecDeque<i16>,
    /// Samples at the end of `queue` that do not fill a frame.
    part: usize,
    /// Frames put into the ring.
    rung: u64,
    standing: Standing,
    refused: u64,
}

/// Single writer each; the other side only looks.
#[derive(Debug, Default)]
struct Shared {
    /// Ticks at which the call has asked for audio.
    ticks: AtomicU64,
    /// Of those, ticks at which there was none.
    empty: AtomicU64,
    /// Frames taken out of the ring, heard or thrown away.
    left: AtomicU64,
    /// Frames before this one are to be thrown away. Written by the host.
    clear_to: AtomicU64,
    /// Frames of the peer that found no room.
    lost: AtomicU64,
}

/// A port for a call and the host's end of it. `waker` is woken by the shard at each tick, when audio came or went: it must be quick and must not block.
pub fn pcm_port(config: PcmConfig, waker: Waker) -> (PcmPort, PcmLink) {
    let samples = RING_FRAMES as usize * config.rate.frame_samples();
    let (to_call, from_host) = rtrb::RingBuffer::new(samples);
    let (to_host, from_call) = rtrb::RingBuffer::new(samples);
    let (digit_in, digits) = rtrb::RingBuffer::new(DIGITS_MAX);
    let shared = Arc::new(Shared::default());
    let port = PcmPort {
        from_host,
        to_host,
        digits: digit_in,
        shared: Arc::clone(&shared),
        rate: config.rate,
        left: 0,
        waker: WakesAtTheEnd(waker),
    };
    let link = PcmLink {
        to_call,
        from_call,
        digits,
        shared,
        rate: config.rate,
        queue_frames_max: config.queue_frames(),
        queue: VecDeque::new(),
        part: 0,
        rung: 0,
        standing: Standing::default(),
        refused: 0,
    };
    (port, link)
}

impl MediaPort for PcmPort {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(self.rate)
    }

    fn speaks_pcm(&self) -> Option<SampleRate> {
        Some(self.rate)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { samples, .. } = frame
            && self.to_host.push_entire_slice(samples).is_err()
        {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn digit(&mut self, digit: Digit) {
        // A host that does not look for 32 digits has none to lose.
        let _ = self.digits.push(digit);
        self.waker.0.wake_by_ref();
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        let samples = self.rate.frame_samples();
        self.shared.ticks.fetch_add(1, Ordering::Release);
        let stale = self.shared.clear_to.load(Ordering::Acquire).saturating_sub(self.left);
        if stale > 0 {
            let waiting = self.from_host.slots() / samples;
            let thrown = waiting.min(usize::try_from(stale).unwrap_or(usize::MAX));
            if let Ok(chunk) = self.from_host.read_chunk(thrown * samples) {
                chunk.commit_all();
                self.left += thrown as u64;
            }
        }
        // Asked before the ring is read: what was pushed before the link went is heard.
        let is_over = self.from_host.is_abandoned();
        let said = if self.from_host.pop_entire_slice(&mut frame.pcm[..samples]).is_ok() {
            self.left += 1;
            Outgoing::Pcm(self.rate)
        } else if is_over {
            Outgoing::Finished
        } else {
            self.shared.empty.fetch_add(1, Ordering::Relaxed);
            Outgoing::Silence
        };
        self.shared.left.store(self.left, Ordering::Release);
        self.waker.0.wake_by_ref();
        said
    }
}

impl PcmLink {
    /// Takes samples to be heard after all that was pushed before; returns how many, fewer than given when the queue is full.
    ///
    /// A source in real time whose queue has not run dry for two seconds only costs delay: frames of its pauses are then left out, and one in half a second
    /// of its speech, joined without a click, until the queue is short again. What a source gives ahead of time is never shortened.
    pub fn push(&mut self, samples: &[i16]) -> usize {
        let frame = self.rate.frame_samples();
        let mut rest = samples;
        while !rest.is_empty() {
            if self.part == 0 && self.waiting() >= self.queue_frames_max {
                self.refused += rest.len() as u64;
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(frame - self.part));
            self.queue.extend(now);
            self.part += now.len();
            rest = later;
            if self.part == frame {
                self.frame_done();
            }
        }
        self.pump();
        samples.len() - rest.len()
    }

    /// Fills a begun frame up with silence: nothing follows soon.
    pub fn flush(&mut self) {
        if self.part > 0 {
            let missing = self.rate.frame_samples() - self.part;
            self.queue.extend(core::iter::repeat_n(0, missing));
            self.frame_done();
            self.pump();
        }
    }

    /// Throws away all that was pushed and has not left. The call throws its part away at its next tick.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.part = 0;
        self.standing.forget();
        self.shared.clear_to.store(self.rung, Ordering::Release);
    }

    /// Moves what waits towards the call. To be called when the waker was woken; [`Self::push`] does it too.
    pub fn pump(&mut self) {
        let frame = self.rate.frame_samples();
        while self.queue.len() >= frame && self.to_call.slots() >= frame {
            let Ok(chunk) = self.to_call.write_chunk_uninit(frame) else { break };
            chunk.fill_from_iter(self.queue.drain(..frame));
            self.rung += 1;
        }
        let ticks = self.shared.ticks.load(Ordering::Acquire);
        let empty = self.shared.empty.load(Ordering::Relaxed);
        self.standing.look(ticks, empty, self.waiting());
    }

    /// Position behind all that was pushed, in frames: once [`Self::left`] has reached it, all of it has left. A begun frame counts.
    pub fn end(&self) -> u64 {
        let frames = self.queue.len().div_ceil(self.rate.frame_samples());
        self.rung + frames as u64
    }

    /// Frames that have left for the encoder, or were thrown away.
    pub fn left(&self) -> u64 {
        self.shared.left.load(Ordering::Acquire)
    }

    /// Frames that wait, a begun one included.
    pub fn waiting(&self) -> u64 {
        self.end().saturating_sub(self.left())
    }

    /// Whether a frame was begun and not filled.
    pub fn is_part_waiting(&self) -> bool {
        self.part > 0
    }

    /// Reads the next 20 ms of what the peer said into the front of `out`; false if there is none, or `out` is too short.
    pub fn read(&mut self, out: &mut [i16]) -> bool {
        out.get_mut(..self.rate.frame_samples()).is_some_and(|out| self.from_call.pop_entire_slice(out).is_ok())
    }

    /// Whether [`Self::read`] has a frame.
    pub fn has_frame(&self) -> bool {
        self.from_call.slots() >= self.rate.frame_samples()
    }

    /// The next digit that the user typed.
    pub fn read_digit(&mut self) -> Option<Digit> {
        self.digits.pop().ok()
    }

    /// Whether the call asks for audio: the gate is open.
    pub fn is_open(&self) -> bool {
        self.shared.ticks.load(Ordering::Acquire) > 0
    }

    /// Whether the call has given its port back.
    pub fn is_closed(&self) -> bool {
        self.from_call.is_abandoned()
    }

    /// Rate of the samples.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples refused because the queue was full.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Frames left out because the queue stood.
    pub fn skipped(&self) -> u64 {
        self.standing.skipped
    }

    /// Frames of the peer lost because this end did not read.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// The last `frame_samples` of the queue are a whole frame: keeps, joins or leaves it out.
    fn frame_done(&mut self) {
        self.part = 0;
        let frame = self.rate.frame_samples();
        let at = self.queue.len() - frame;
        let mut samples = [0; FRAME_SAMPLES_MAX];
        for (to, from) in samples.iter_mut().zip(self.queue.range(at..)) {
            *to = *from;
        }
        match self.standing.judge(&mut samples[..frame]) {
            Judgement::Keep => {}
            Judgement::Joined => {
                for (to, from) in self.queue.range_mut(at..).zip(&samples) {
                    *to = *from;
                }
            }
            Judgement::LeaveOut => self.queue.truncate(at),
        }
    }
}

enum Judgement {
    Keep,
    /// Changed: its beginning was joined with what was left out.
    Joined,
    LeaveOut,
}

/// Tells a queue that drains from one that only stands, and pays the latter off (docs/adr/0022).
#[derive(Debug)]
struct Standing {
    /// Tick at which this quarter began.
    from: u64,
    /// Empty ticks until then.
    empty: u64,
    /// Frames that have come in this quarter.
    arrived: u64,
    /// Quarters in a row in which the source was one in real time, their ticks and frames.
    quarters: u32,
    ticks: u64,
    frames: u64,
    /// The least that waited meanwhile.
    least: u64,
    /// Frames still to be left out.
    debt: u64,
    /// Quiet frames in a row.
    quiet: u32,
    /// Frames since one of speech was left out.
    since_cut: u32,
    /// What was left out and is to be joined with the next frame.
    cut: Option<Box<[i16]>>,
    skipped: u64,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            from: 0,
            empty: 0,
            arrived: 0,
            quarters: 0,
            ticks: 0,
            frames: 0,
            least: u64::MAX,
            debt: 0,
            quiet: 0,
            since_cut: 0,
            cut: None,
            skipped: 0,
        }
    }
}

impl Standing {
    fn forget(&mut self) {
        (self.debt, self.least, self.cut) = (0, 0, None);
    }

    /// Looks at the queue; at the end of each quarter of a window it is judged.
    fn look(&mut self, ticks: u64, empty: u64, waiting: u64) {
        self.least = if empty == self.empty { self.least.min(waiting) } else { 0 };
        let quarter = ticks.saturating_sub(self.from);
        if quarter < QUARTER_TICKS {
            return;
        }
        let is = |low, high| move |arrived: u64, ticks: u64| (ticks * low..=ticks * high).contains(&(arrived * 100));
        // A source in real time gives in each quarter about what is played. One that gives ahead gives more, or nothing.
        if is(60, 150)(self.arrived, quarter) {
            self.quarters += 1;
            self.ticks += quarter;
            self.frames += self.arrived;
        } else {
            (self.quarters, self.ticks, self.frames, self.debt) = (0, 0, 0, 0);
            self.least = waiting;
        }
        if self.quarters == 4 {
            // The clocks of two machines differ by far less than a tenth.
            self.debt = if is(90, 110)(self.frames, self.ticks) { self.least.saturating_sub(FRAMES_THAT_MAY_STAND) } else { 0 };
            (self.quarters, self.ticks, self.frames, self.least) = (0, 0, 0, waiting);
        }
        (self.from, self.empty, self.arrived) = (ticks, empty, 0);
    }

    /// What becomes of a frame that has come.
    fn judge(&mut self, samples: &mut [i16]) -> Judgement {
        self.arrived += 1;
        self.since_cut = self.since_cut.saturating_add(1);
        let is_quiet = samples.iter().all(|sample| sample.unsigned_abs() <= QUIET_MAX);
        self.quiet = if is_quiet { self.quiet + 1 } else { 0 };
        if self.debt > 0 && self.cut.is_none() {
            if is_quiet && self.quiet > PAUSE_FRAMES_MIN {
                self.debt -= 1;
                self.skipped += 1;
                return Judgement::LeaveOut;
            }
            if self.debt >= FRAMES_WORTH_A_CUT && self.since_cut >= FRAMES_BETWEEN_CUTS {
                self.debt -= 1;
                self.skipped += 1;
                self.since_cut = 0;
                self.cut = Some(samples.into());
                return Judgement::LeaveOut;
            }
        }
        let Some(cut) = self.cut.take() else { return Judgement::Keep };
        // Goes on where the speech was left, and is at its own place a quarter of a frame later.
        let over = samples.len() / 4;
        for (i, (to, from)) in samples.iter_mut().zip(&cut).take(over).enumerate() {
            let mixed = (i32::from(*from) * (over - i) as i32 + i32::from(*to) * i as i32) / over as i32;
            *to = mixed as i16;
        }
        Judgement::Joined
    }
}

/// Frames in each ring: what a host's thread may be away.
const RING_FRAMES: u64 = 32;
/// 10 min.
const QUEUE_FRAMES_MAX: u64 = 30_000;
/// Digits that may wait for the host.
const DIGITS_MAX: usize = 32;
/// Ticks of a quarter: four of them, 2 s, are longer than a hiccup of a network.
const QUARTER_TICKS: u64 = 25;
/// Frames that may wait for good: they absorb the jitter between two threads.
const FRAMES_THAT_MAY_STAND: u64 = 2;
/// From here on speech is cut as well, not only pauses: 100 ms.
const FRAMES_WORTH_A_CUT: u64 = 5;
/// Half a second: 4 % faster, which nobody hears as haste.
const FRAMES_BETWEEN_CUTS: u32 = 25;
/// Frames of each pause that stay: 100 ms still sound like one.
const PAUSE_FRAMES_MIN: u32 = 5;
/// Peak of a quiet frame: 1 %, -40 dBFS.
const QUIET_MAX: u16 = 328;

const _: () = assert!(RING_FRAMES < QUEUE_FRAMES_MAX);

#[cfg(test)]
mod tests;
