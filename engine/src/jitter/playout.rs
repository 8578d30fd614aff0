//! The choice made at one tick (J1, J2, O5, O6).
//!
//! Decides: play, repair, fill, stretch or skip, from a handful of numbers. Is given: the first packet waiting, how far behind the
//! fastest one it would be played, and what has been filled in so far. Refuses: state; everything here is a function.

use crate::limits::FRAME_TICKS;

/// What to play for one 20 ms tick. Borrowed payloads live until the next call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Playout<'a> {
    /// Play this Opus packet. One packet of N frames is handed out once and accounts for N ticks; the ticks after it are `Continue`.
    Packet {
        /// Opus packet as it came off the wire.
        payload: &'a [u8],
        /// Its RTP timestamp.
        timestamp: u32,
        /// It begins a new stream (first packet, new SSRC, jump): reset the decoder before it (P11).
        starts: bool,
    },
    /// The frame is lost but the next packet is here: decode it with FEC for this tick, and it will come as `Packet` at the next one.
    Fec {
        /// The packet after the lost one.
        payload: &'a [u8],
        /// RTP timestamp of the lost frame.
        timestamp: u32,
    },
    /// Lost, or not here yet, and nothing to repair it with: conceal.
    Conceal {
        /// RTP timestamp of the missing frame.
        timestamp: u32,
    },
    /// Inside a packet of more than 20 ms that was handed out earlier.
    Continue,
    /// Nothing to play: before the first packet, in a DTX gap, or the stream has stopped.
    Silence,
    /// Audio was left out here (clock drift, delay shrinking): the tick yields nothing yet, call again for it. At most once per tick.
    Skip,
}

/// The first packet waiting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    /// Ticks from what was played or filled last to this packet's first sample; negative if filling ran over it.
    pub gap: i64,
    /// Play-out delay in ticks if it is played now, counted from the fastest packet.
    pub delay: i64,
    /// Duration in ticks.
    pub duration: i64,
    /// Some sequence number before it never came.
    pub after_loss: bool,
    /// Nobody hears what is done to it.
    pub quiet: bool,
    /// It carries a copy of the frame before it.
    pub has_fec: bool,
    /// There is one more packet behind it.
    pub followed: bool,
}

/// The line being played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Ticks of 20 ms filled since the last packet.
    pub filled: i64,
    /// Ticks of 20 ms since the delay was last changed on purpose.
    pub steady: i64,
    /// Target delay in ticks.
    pub target: i64,
    /// Largest delay allowed, in ticks.
    pub delay_max: i64,
    /// telephone-event packets took the place of audio.
    pub in_event: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Hand the first packet out.
    Play,
    /// Repair the frame before it.
    Fec,
    /// Conceal without moving on.
    Conceal,
    /// Silence without moving on.
    Silence,
    /// Conceal one frame although the packet is here, to play later from now on.
    Stretch,
    /// Leave the first packet out, to play earlier from now on.
    Skip,
    /// Leave packets out until the delay is near the target.
    CatchUp,
}

//= rules#J2
pub(super) fn choose(front: Option<&Front>, line: &Line) -> Action {
    let Some(front) = front else { return fill(line) };
    // Far beyond the bound, for instance after a stall of the path: no waiting for a cheap moment.
    if front.delay > line.delay_max + DEAD_BAND && front.followed {
        return Action::CatchUp;
    }
    if front.gap > HALF_FRAME {
        return before_a_gap(front, line);
    }
    if front.after_loss || line.filled > 0 {
        return Action::Play;
    }
    if front.delay < line.target && line.steady >= if front.quiet { STRETCH_EVERY_QUIET } else { STRETCH_EVERY } {
        return Action::Stretch;
    }
    let shrunk_by = front.duration.max(FRAME);
    let excess = front.delay - line.target;
    if excess >= shrunk_by + if front.quiet { SHRINK_MARGIN } else { FRAME }
        && front.followed
        && line.steady >= if front.quiet { SKIP_EVERY_QUIET } else { SKIP_EVERY }
    {
        return Action::Skip;
    }
    Action::Play
}

/// The next packet is here, but its timestamp lies ahead.
fn before_a_gap(front: &Front, line: &Line) -> Action {
    let excess = front.delay - line.target;
    if !front.after_loss {
        //= rfc7587#section-3.1.3  a gap in timestamps without one in sequence numbers is silence, not loss
        // Silence costs nothing to shorten or to lengthen, so the line resumes exactly at the target.
        return if excess >= 0 { Action::Play } else { fill(line) };
    }
    if excess >= FRAME {
        // The delay is to shrink anyway: leave out what is lost rather than what is here.
        return Action::Play;
    }
    if front.gap <= FRAME + HALF_FRAME && front.has_fec {
        return Action::Fec;
    }
    fill(line)
}

//= rules#J2
fn fill(line: &Line) -> Action {
    // Concealment of more than about 100 ms is a drone (J2).
    if line.in_event || line.filled >= CONCEAL_TICKS_MAX { Action::Silence } else { Action::Conceal }
}

pub(super) const FRAME: i64 = FRAME_TICKS as i64;
const HALF_FRAME: i64 = FRAME / 2;
/// Ticks move the delay in steps of 20 ms; two of them between growing and shrinking keep a steady path steady. The start plays 40 to
/// 60 ms behind the first packet, and 60 ms must not be worth a skip at the smallest target of 20 ms.
const DEAD_BAND: i64 = 2 * FRAME;
/// 2 ms: what is left over the target after leaving out a frame of silence, so that the next change of the target does not ask for it back.
const SHRINK_MARGIN: i64 = FRAME / 10;
/// 100 ms.
const CONCEAL_TICKS_MAX: i64 = 5;
const STRETCH_EVERY_QUIET: i64 = 3;
const STRETCH_EVERY: i64 = 10;
const SKIP_EVERY_QUIET: i64 = 5;
const SKIP_EVERY: i64 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    const FRONT: Front = Front { gap: 0, delay: 1_920, duration: 960, after_loss: false, quiet: false, has_fec: true, followed: true };
    const LINE: Line = Line { filled: 0, steady: 100, target: 960, delay_max: 9_600, in_event: false };

    //= rules#J2 type=test
    #[test]
    fn each_situation_has_its_action() {
        let due = |front: Front, line: Line| choose(Some(&front), &line);
        assert_eq!(due(FRONT, LINE), Action::Play);
        assert_eq!(due(Front { delay: 959, ..FRONT }, LINE), Action::Stretch);
        assert_eq!(due(Front { delay: 959, ..FRONT }, Line { steady: 9, ..LINE }), Action::Play);
        assert_eq!(due(Front { delay: 959, quiet: true, ..FRONT }, Line { steady: 9, ..LINE }), Action::Stretch);
        assert_eq!(due(Front { delay: 2_879, ..FRONT }, LINE), Action::Play);
        assert_eq!(due(Front { delay: 2_880, ..FRONT }, LINE), Action::Skip);
        assert_eq!(due(Front { delay: 2_016, quiet: true, ..FRONT }, LINE), Action::Skip, "silence is left out as soon as it is too much");
        assert_eq!(due(Front { delay: 2_015, quiet: true, ..FRONT }, LINE), Action::Play);
        assert_eq!(due(Front { delay: 2_880, duration: 2_880, ..FRONT }, LINE), Action::Play);
        assert_eq!(due(Front { delay: 2_880, followed: false, ..FRONT }, LINE), Action::Play);
        assert_eq!(due(Front { delay: 11_521, ..FRONT }, Line { steady: 0, ..LINE }), Action::CatchUp);
        assert_eq!(choose(None, &LINE), Action::Conceal);
        assert_eq!(choose(None, &Line { filled: 5, ..LINE }), Action::Silence);
        assert_eq!(choose(None, &Line { in_event: true, ..LINE }), Action::Silence);

        let lost = Front { gap: 960, delay: 960, after_loss: true, ..FRONT };
        assert_eq!(due(lost, LINE), Action::Fec);
        assert_eq!(due(Front { has_fec: false, ..lost }, LINE), Action::Conceal, "without a copy the decoder can only guess");
        assert_eq!(due(Front { gap: 1_920, ..lost }, LINE), Action::Conceal);
        assert_eq!(due(Front { delay: 1_920, ..lost }, LINE), Action::Play);
        let resumed = Front { after_loss: false, ..lost };
        assert_eq!(due(resumed, LINE), Action::Play);
        assert_eq!(due(Front { delay: 0, ..resumed }, Line { filled: 30, ..LINE }), Action::Silence);
    }
}
