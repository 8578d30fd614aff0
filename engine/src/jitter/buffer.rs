//! The buffer: packets in, one decision per tick out.
//!
//! Decides: when a stream starts, stalls and starts again, and what becomes of a packet that is late, early or too much. Is given:
//! authenticated audio packets with their duration, event packets, and ticks. Refuses: to decode, to read a clock, to parse Opus.

use super::estimator::Estimator;
use super::playout::{Action, FRAME, Front, Line, Playout, choose};
use super::store::{OPUS_ARENA_BYTES, Slot, Store};
use super::stream::{Place, Stream};
use crate::error::DropReason;
use crate::limits::{OPUS_BYTES_MAX, RTP_CLOCK_HZ};
use crate::time::{Span, Time};

/// Bounds of the play-out delay.
#[derive(Clone, Copy, Debug)]
pub struct JitterConfig {
    /// Smallest target delay.
    pub delay_min: Span,
    /// Largest target delay.
    pub delay_max: Span,
}

impl Default for JitterConfig {
    fn default() -> Self {
        Self { delay_min: Span::from_millis(20), delay_max: Span::from_millis(crate::limits::PLAYOUT_DELAY_MS_MAX) }
    }
}

/// Counters of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct JitterStats {
    /// Frames of 20 ms played from packets; a shorter packet counts as one.
    pub played: u64,
    /// Frames repaired from in-band FEC.
    pub fec: u64,
    /// Frames concealed because their packet was lost or not there in time. Not counted: silence that the sender chose (DTX), events.
    pub concealed: u64,
    /// Frames put in to grow the delay.
    pub stretched: u64,
    /// Frames left out to shrink the delay, or because memory was full.
    pub skipped: u64,
    /// Ticks without sound: before the start, in a DTX gap, after the stream stopped.
    pub silent: u64,
    /// Packets that came after their time.
    pub late: u64,
    /// Second copies.
    pub duplicate: u64,
    /// Packets that fit nowhere into the stream, and were not enough to call it a jump.
    pub stray: u64,
    /// Times the stream was resynchronised (jump, SSRC change).
    pub resyncs: u64,
    /// Current target delay in microseconds.
    pub target_us: u64,
    /// Delay of the last packet played, arrival to play-out, in microseconds.
    pub delay_us: u64,
}

/// An adaptive 20 ms audio jitter buffer for one call. Memory is bounded and allocated at creation: about 7 KiB.
///
/// Drive it by [`insert`](Self::insert) for each packet and by [`tick`](Self::tick) every 20 ms of the same clock. One tick gives one
/// frame: call `tick` again with the same `now` as long as [`is_owed`](Self::is_owed) says so (after `Skip`, and for packets shorter
/// than 20 ms).
#[derive(Debug)]
pub struct JitterBuffer {
    store: Store,
    estimator: Estimator,
    stream: Option<Stream>,
    /// SSRC before the current one, and until when its stragglers are ignored.
    retired: Option<(u32, i64)>,
    phase: Phase,
    /// First sequence number not yet played or given up, and the timestamp where the line stands. Valid while `Playing`.
    next_seq: i64,
    next_ts: i64,
    /// Ticks filled at `next_ts` since the last packet. Filling does not move the line: if the packet comes after all, it is played and
    /// the delay has grown; if it was lost, the time filled is taken off the gap.
    filled: i64,
    /// Concealments of which it is not known yet whether they stood for loss or for silence.
    undecided: u64,
    in_event: bool,
    steady: i64,
    /// Media ticks the host still needs for the tick in progress; negative: handed out ahead.
    owed: i64,
    tick_now: Option<Time>,
    tick_skipped: bool,
    played_first: bool,
    delay_min: i64,
    delay_max: i64,
    stats: JitterStats,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// No packet yet.
    Idle,
    /// The first packet came then, in ticks; it is played when the delay has passed.
    Priming(i64),
    Playing,
}

impl JitterBuffer {
    /// An empty buffer of Opus packets.
    pub fn new(config: JitterConfig) -> Self {
        Self::of(config, Store::new(true, OPUS_ARENA_BYTES))
    }

    /// An empty buffer of packets that do not say of themselves whether somebody speaks in them, and carry no copies: G.711, L16. `bytes` is what may wait in it.
    pub fn of_samples(config: JitterConfig, bytes: usize) -> Self {
        Self::of(config, Store::new(false, bytes))
    }

    fn of(config: JitterConfig, store: Store) -> Self {
        let delay_max = span_ticks(config.delay_max).clamp(FRAME, 10 * RTP_CLOCK_HZ as i64);
        let delay_min = span_ticks(config.delay_min).clamp(0, delay_max);
        Self {
            store,
            estimator: Estimator::new(),
            stream: None,
            retired: None,
            phase: Phase::Idle,
            next_seq: 0,
            next_ts: 0,
            filled: 0,
            undecided: 0,
            in_event: false,
            steady: 0,
            owed: 0,
            tick_now: None,
            tick_skipped: false,
            played_first: false,
            delay_min,
            delay_max,
            stats: JitterStats::default(),
        }
    }

    /// Takes an authenticated audio packet. A new SSRC starts a new stream at once (P11).
    ///
    /// `duration_ticks` is the packet's length at 48 kHz (`codec::toc::duration_ticks`), 120 to 5 760. Errors: `OpusMalformed` (no
    /// payload, impossible duration), `Oversized`, `Duplicate`, `Late` (also a stray packet far from the stream), `NoRoom`.
    pub fn insert(
        &mut self,
        ssrc: u32,
        seq: u16,
        timestamp: u32,
        duration_ticks: u32,
        payload: &[u8],
        now: Time,
    ) -> Result<(), DropReason> {
        //= rfc7587#section-4.2  2.5 to 120 ms
        if payload.is_empty() || !(DURATION_TICKS_MIN..=DURATION_TICKS_MAX).contains(&duration_ticks) {
            return Err(DropReason::OpusMalformed);
        }
        if payload.len() > OPUS_BYTES_MAX {
            return Err(DropReason::Oversized);
        }
        let now = time_ticks(now);
        let (seq, ts) = self.locate(ssrc, seq, timestamp, now)?;

        let transit = now - ts;
        if self.is_stalled() {
            // Whatever happened in the meantime (silence, a sender that stopped its clock, a path that broke), the delay is chosen anew.
            self.estimator.rebase(transit, now);
            self.phase = Phase::Priming(now);
        }
        let behind = self.estimator.observe(transit, now);
        if self.phase == Phase::Playing {
            if seq < self.next_seq {
                self.estimator.was_late(behind);
                self.stats.late += 1;
                return Err(DropReason::Late);
            }
            if self.filled > 0 && seq == self.next_seq && ts <= self.next_ts {
                self.estimator.was_late(behind);
            }
        }
        self.stats.target_us = ticks_us(self.target());
        while !self.store.insert(seq, ts, now, duration_ticks as u16, payload) {
            // Nobody ticks, or packets are far larger than a call's: what is oldest goes.
            match self.store.front() {
                Some(front) if front.seq < seq => self.leave_out_front(),
                _ => return Err(DropReason::NoRoom),
            }
        }
        Ok(())
    }

    /// A sequence number of the stream was used by a telephone-event packet: neither loss nor audio (T10).
    ///
    /// The timestamp of an event is that of its start, so it says nothing about the line and is not used.
    //= rfc4733#section-2.5.2.2:audio  neither loss nor audio
    //= rules#T10
    pub fn note_event(&mut self, ssrc: u32, seq: u16, _timestamp: u32, _now: Time) {
        let Some(stream) = self.stream.as_mut().filter(|s| s.ssrc == ssrc) else { return };
        if stream.note_event(seq) {
            self.pass_events();
        }
    }

    /// What to play for the tick at `now`. Called every 20 ms, and again with the same `now` while [`is_owed`](Self::is_owed).
    //= rules#J1
    pub fn tick(&mut self, now: Time) -> Playout<'_> {
        if self.owed <= 0 || self.tick_now != Some(now) {
            self.owed = self.owed.min(0) + FRAME;
            self.tick_skipped = false;
            self.steady += 1;
        }
        self.tick_now = Some(now);
        if self.owed <= 0 {
            return Playout::Continue;
        }
        let now = time_ticks(now);
        if let Phase::Priming(since) = self.phase {
            if now - since < self.start_delay() || self.store.len() == 0 {
                return self.silence();
            }
            self.begin();
        }
        if self.phase == Phase::Idle {
            return self.silence();
        }
        let front = self.front(now);
        let line =
            Line { filled: self.filled, steady: self.steady, target: self.target(), delay_max: self.delay_max, in_event: self.in_event };
        match choose(front.as_ref(), &line) {
            Action::Skip | Action::CatchUp if self.tick_skipped => self.play(now),
            Action::Skip => {
                self.leave_out_front();
                self.skip()
            }
            Action::CatchUp => {
                while self.front(now).is_some_and(|f| f.followed && f.delay > self.target() + FRAME) {
                    self.leave_out_front();
                }
                self.skip()
            }
            Action::Play => self.play(now),
            Action::Fec => self.repair(),
            Action::Conceal => {
                self.undecided += 1;
                self.conceal()
            }
            Action::Stretch => {
                self.steady = 0;
                self.stats.stretched += 1;
                self.conceal()
            }
            Action::Silence => {
                self.filled += 1;
                self.silence()
            }
        }
    }

    /// The tick in progress needs more: call `tick` again with the same `now`.
    pub fn is_owed(&self) -> bool {
        self.owed > 0
    }

    /// Counters.
    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    /// Packets waiting.
    pub fn depth(&self) -> usize {
        self.store.len()
    }

    fn locate(&mut self, ssrc: u32, seq: u16, timestamp: u32, now: i64) -> Result<(i64, i64), DropReason> {
        if self.stream.as_ref().is_none_or(|s| s.ssrc != ssrc) {
            if self.retired.is_some_and(|(old, until)| old == ssrc && now < until) {
                self.stats.late += 1;
                return Err(DropReason::Late);
            }
            self.retired = self.stream.take().map(|s| (s.ssrc, now + RETIRED_TICKS));
            self.stats.resyncs += u64::from(self.retired.is_some());
            self.estimator = Estimator::new();
            self.start(ssrc, seq, timestamp, now);
        }
        let (base, stream) = (self.estimator.base(), self.stream.as_mut().expect("set above"));
        // A packet cannot come a second before the fastest one would: its timestamp is not of this line.
        let is_possible = |ts: i64| base.is_none_or(|base| now - ts >= base - EARLY_TICKS_MAX);
        match stream.locate(seq, timestamp, is_possible) {
            Place::At(seq, ts) => Ok((seq, ts)),
            Place::Duplicate => {
                self.stats.duplicate += 1;
                Err(DropReason::Duplicate)
            }
            Place::Suspect => {
                self.stats.stray += 1;
                Err(DropReason::Late)
            }
            Place::Jump => {
                //= rfc3550#appendix-A.1  two packets in sequence after a jump: the other side has restarted
                self.stats.resyncs += 1;
                self.start(ssrc, seq, timestamp, now);
                let (seq, ts) = (i64::from(seq), i64::from(timestamp));
                self.estimator.rebase(now - ts, now);
                let place = self.stream.as_mut().expect("set by start").locate(seq as u16, timestamp, |_| true);
                debug_assert_eq!(place, Place::At(seq, ts));
                Ok((seq, ts))
            }
        }
    }

    //= rules#P11
    fn start(&mut self, ssrc: u32, seq: u16, timestamp: u32, now: i64) {
        self.stats.skipped += self.store.len() as u64;
        self.store.clear();
        self.stream = Some(Stream::new(ssrc, seq, timestamp));
        self.phase = Phase::Priming(now);
        self.played_first = false;
        self.settle(true);
    }

    /// Plays from the first packet that is here, whatever was before.
    fn begin(&mut self) {
        if let Some(front) = self.store.front() {
            let lost = self.played_first && self.missing(self.next_seq, front.seq) > 0;
            (self.next_seq, self.next_ts) = (front.seq, front.ts);
            self.settle(lost);
            self.phase = Phase::Playing;
            self.steady = 0;
        }
    }

    /// Ends a run of filling; `lost` says what it stood for.
    fn settle(&mut self, lost: bool) {
        if lost {
            self.stats.concealed += self.undecided;
        } else {
            self.stats.silent += self.undecided;
        }
        (self.undecided, self.filled, self.in_event) = (0, 0, false);
    }

    fn front(&self, now: i64) -> Option<Front> {
        let front = self.store.front()?;
        Some(Front {
            gap: front.ts - self.next_ts - self.filled * FRAME,
            delay: now - front.ts - self.estimator.base().unwrap_or(0),
            duration: i64::from(front.duration),
            after_loss: self.missing(self.next_seq, front.seq) > 0,
            quiet: front.quiet,
            has_fec: front.has_fec,
            followed: self.store.len() > 1,
        })
    }

    fn play(&mut self, now: i64) -> Playout<'_> {
        let Some(slot) = self.store.pop_front() else { return self.silence() };
        let after_loss = self.missing(self.next_seq, slot.seq) > 0;
        let silence = slot.ts > self.next_ts && !after_loss;
        self.estimator.passed(after_loss && slot.has_fec);
        self.settle(!silence);
        self.pass(&slot);
        self.owed -= i64::from(slot.duration);
        self.stats.played += frames(&slot);
        self.stats.delay_us = ticks_us(now - slot.arrival);
        let starts = !core::mem::replace(&mut self.played_first, true);
        Playout::Packet { payload: self.store.bytes(&slot), timestamp: slot.ts as u32, starts }
    }

    fn repair(&mut self) -> Playout<'_> {
        let Some(&slot) = self.store.front() else { return self.silence() };
        let timestamp = self.line_timestamp();
        self.settle(true);
        self.estimator.passed(true);
        (self.next_seq, self.next_ts) = (slot.seq, slot.ts);
        self.owed -= FRAME;
        self.stats.fec += 1;
        Playout::Fec { payload: self.store.bytes(&slot), timestamp }
    }

    fn conceal(&mut self) -> Playout<'_> {
        let timestamp = self.line_timestamp();
        self.filled += 1;
        self.owed -= FRAME;
        Playout::Conceal { timestamp }
    }

    fn silence(&mut self) -> Playout<'_> {
        self.owed -= FRAME;
        self.stats.silent += 1;
        Playout::Silence
    }

    fn skip(&mut self) -> Playout<'_> {
        (self.steady, self.tick_skipped) = (0, true);
        Playout::Skip
    }

    fn leave_out_front(&mut self) {
        if let Some(slot) = self.store.pop_front()
            && self.phase == Phase::Playing
        {
            self.settle(true);
            self.pass(&slot);
            self.stats.skipped += frames(&slot);
        }
    }

    fn pass(&mut self, slot: &Slot) {
        (self.next_seq, self.next_ts) = (slot.seq + 1, slot.ts + i64::from(slot.duration));
        self.pass_events();
    }

    /// Events whose turn it is take no time: the audio's timestamps say how long they lasted.
    fn pass_events(&mut self) {
        while self.phase == Phase::Playing && self.stream.as_ref().is_some_and(|s| s.is_event(self.next_seq)) {
            self.next_seq += 1;
            self.in_event = true;
        }
    }

    fn missing(&self, from: i64, to: i64) -> i64 {
        self.stream.as_ref().map_or(0, |s| s.missing(from, to))
    }

    fn line_timestamp(&self) -> u32 {
        (self.next_ts + self.filled * FRAME) as u32
    }

    fn target(&self) -> i64 {
        self.estimator.target().clamp(self.delay_min, self.delay_max)
    }

    fn start_delay(&self) -> i64 {
        self.target().max(START_TICKS).min(self.delay_max)
    }

    fn is_stalled(&self) -> bool {
        self.phase == Phase::Playing && self.store.len() == 0 && self.filled >= STALL_TICKS
    }
}

fn frames(slot: &Slot) -> u64 {
    (u64::from(slot.duration) / FRAME as u64).max(1)
}

/// 48 kHz ticks since the origin: 3 per 62 500 ns. At most 8.9e14, so sums of a few never overflow.
fn time_ticks(now: Time) -> i64 {
    let ns = now.as_nanos();
    (ns / 62_500 * 3 + ns % 62_500 * 3 / 62_500) as i64
}

fn span_ticks(span: Span) -> i64 {
    time_ticks(Time::ZERO + span)
}

fn ticks_us(ticks: i64) -> u64 {
    ticks.max(0) as u64 * 125 / 6
}

/// 2.5 ms (RFC 6716 section 2.1.4).
const DURATION_TICKS_MIN: u32 = 120;
/// 120 ms (RFC 6716 section 3.2.5).
const DURATION_TICKS_MAX: u32 = 5_760;
/// 40 ms: the first packet waits this long, so that an overtaken one before it is still played and the second one may be 40 ms late.
const START_TICKS: i64 = 2 * FRAME;
/// 1 s of nothing.
const STALL_TICKS: i64 = 50;
/// 1 s.
const EARLY_TICKS_MAX: i64 = RTP_CLOCK_HZ as i64;
/// 1 s: stragglers of the old SSRC must not switch back.
const RETIRED_TICKS: i64 = RTP_CLOCK_HZ as i64;

#[cfg(test)]
mod tests;
