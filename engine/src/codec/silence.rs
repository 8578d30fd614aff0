//! The frame that says nothing, and which frames deserve it.

/// One 20 ms Opus packet of silence (CELT, full band, mono), known to be taken by Meta's relay (`whatsapp-calling.md` 5.5).
pub const SILENCE_PACKET: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Mean square below which a frame is silence: -56 dB of full scale, 52 of 32 768. The idle noise of a G.711 line lies below, a whisper above.
const MEAN_SQUARE_MAX: u64 = 52 * 52;
/// No sample of a silent frame is larger: a click has little energy and is heard.
const PEAK_MAX: u16 = 400;
/// Quiet frames that are still encoded behind speech: 200 ms, so that word ends and room stay whole.
const HANGOVER_FRAMES: u8 = 10;

/// Tells silence from sound before the encoder, which would take as long over either: at complexity 5 the encoder is 85 % of a transcoded call, and in a
/// conversation each side is quiet for half the time.
///
/// Each skipped frame still leaves as [`SILENCE_PACKET`]: 50 packets a second whatever is said.
#[derive(Clone, Copy, Debug, Default)]
pub struct SilenceGate {
    /// Frames that may still be encoded although they are quiet.
    hangover: u8,
    /// The frame before was skipped.
    closed: bool,
}

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sound {
    /// Encode it.
    Heard,
    /// Encode it with a fresh encoder: the far decoder has started anew behind the silence packets (a change from CELT to SILK resets it).
    HeardAgain,
    /// Send [`SILENCE_PACKET`].
    Silent,
}

impl SilenceGate {
    /// Judges one frame.
    pub fn judge(&mut self, samples: &[i16]) -> Sound {
        if is_quiet(samples) {
            if self.hangover == 0 {
                self.closed = true;
                return Sound::Silent;
            }
            self.hangover -= 1;
            return Sound::Heard;
        }
        self.hangover = HANGOVER_FRAMES;
        if core::mem::take(&mut self.closed) { Sound::HeardAgain } else { Sound::Heard }
    }
}

fn is_quiet(samples: &[i16]) -> bool {
    let (energy, peak) = samples.iter().fold((0_u64, 0_u16), |(energy, peak), &s| {
        let magnitude = s.unsigned_abs();
        (energy + u64::from(magnitude) * u64::from(magnitude), peak.max(magnitude))
    });
    peak <= PEAK_MAX && energy <= MEAN_SQUARE_MAX * samples.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(amplitude: i16) -> Vec<i16> {
        (0..320).map(|i: i32| ((i * 7_919 % 13) - 6) as i16 * amplitude / 6).collect()
    }

    #[test]
    fn silence_is_skipped_after_the_hangover_and_sound_comes_back_at_once() {
        let mut gate = SilenceGate::default();
        assert_eq!(gate.judge(&noise(8)), Sound::Silent, "a line that begins idle");
        assert_eq!(gate.judge(&noise(3_000)), Sound::HeardAgain);
        assert_eq!(gate.judge(&noise(3_000)), Sound::Heard);
        for _ in 0..HANGOVER_FRAMES {
            assert_eq!(gate.judge(&noise(8)), Sound::Heard);
        }
        assert_eq!(gate.judge(&noise(8)), Sound::Silent);
        assert_eq!(gate.judge(&[0; 320]), Sound::Silent);
        let mut click = [0_i16; 320];
        click[100] = 800;
        assert_eq!(gate.judge(&click), Sound::HeardAgain, "a click is heard");
    }

    #[test]
    fn what_is_soft_is_not_silence() {
        let mut gate = SilenceGate::default();
        assert_ne!(gate.judge(&noise(150)), Sound::Silent);
    }
}
