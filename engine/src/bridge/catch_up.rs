//! Which frames of a live source are left out, so that a delay is paid back where nobody hears it (ADR 14).
//!
//! Given: each frame before it is sent, and how much waits behind it. Decides: whether it is a frame of a pause that is long enough already. Refuses: to touch a sample
//! of speech.

/// How much of the present pause was sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    /// Quiet frames in a row that were sent.
    quiet: u32,
}

impl CatchUp {
    /// Whether the frame may be left out when `waiting` samples wait behind it.
    pub(super) fn may_leave_out(&self, frame: &[i16], waiting: usize) -> bool {
        waiting >= (BACKLOG_FRAMES + 1) * frame.len() && self.quiet >= PAUSE_FRAMES_MIN && is_quiet(frame)
    }

    /// The frame is sent.
    pub(super) fn sends(&mut self, frame: &[i16]) {
        self.quiet = if is_quiet(frame) { self.quiet + 1 } else { 0 };
    }
}

fn is_quiet(samples: &[i16]) -> bool {
    samples.iter().all(|sample| sample.unsigned_abs() <= QUIET_MAX)
}

/// Frames left out per tick.
pub(super) const SKIPS_PER_TICK_MAX: u32 = 4;
/// Frames that may always wait: they absorb the jitter between the source's time and ours.
const BACKLOG_FRAMES: usize = 2;
/// Frames of each pause that stay: 100 ms still sound like one.
const PAUSE_FRAMES_MIN: u32 = 5;
/// Peak of a quiet frame: 1 %, -40 dBFS, below the breath of a speaker and above the noise of a line.
const QUIET_MAX: u16 = 328;
