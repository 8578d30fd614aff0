//! Estimated listening quality: a small E-model for Opus speech (ITU-T G.107, simplified).
//!
//! Given: loss, round-trip time, play-out delay. Decides: a mean opinion score, for reports only. Refuses: to steer anything; it is an
//! estimate from the network, nobody listened.
//!
//! The formula. With `d` the one-way mouth-to-ear delay in ms (half the round trip, the play-out delay, 26.5 ms of Opus: a frame of 20 and
//! a look-ahead of 6.5) and `p` the loss in percent:
//!
//! ```text
//! Id  = 0.024 d + 0.11 max(0, d - 177.3)          delay impairment (G.107 at default echo, the usual linear fit)
//! Ie  = 95 p / (p + 19)                           equipment impairment (G.113: Ie = 0, Bpl = 19 for concealed wideband speech)
//! R   = 93.2 - Id - Ie                            rating, 0 to 100
//! MOS = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6   (G.107 annex B)
//! ```
//!
//! Jitter enters through the play-out delay it forces and through the packets that come late, which the caller counts as lost.

use crate::time::Span;

/// Mean opinion score, 1.0 (bad) to 4.41 (the most this scale gives).
///
/// `loss` is the share of frames lost or late, 0.0 to 1.0 and clamped to it. Never fails; NaN counts as no loss. ITU-T G.107.
pub fn estimate(loss: f32, rtt: Span, playout_delay: Span) -> f32 {
    let ms = |span: Span| span.as_micros() as f32 / 1_000.0;
    let loss_percent = if loss.is_nan() { 0.0 } else { loss.clamp(0.0, 1.0) * 100.0 };
    let delay_ms = ms(rtt) / 2.0 + ms(playout_delay) + CODEC_DELAY_MS;
    let delay_impairment = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let loss_impairment = 95.0 * loss_percent / (loss_percent + LOSS_ROBUSTNESS);
    of_rating(93.2 - delay_impairment - loss_impairment)
}

/// The score of a rating R (ITU-T G.107 annex B).
fn of_rating(rating: f32) -> f32 {
    let rating = rating.clamp(0.0, 100.0);
    // Below a rating of 6.5 the cubic dips under 1; the scale does not.
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// One frame and the look-ahead of Opus.
const CODEC_DELAY_MS: f32 = 26.5;
/// Bpl: the loss in percent at which half of the range is gone, for random loss with concealment.
const LOSS_ROBUSTNESS: f32 = 19.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_of_the_scale() {
        // d = 26.5 + 25 + 60 = 111.5: Id = 2.676, R = 90.524, MOS = 4.352 by hand.
        let good = estimate(0.0, Span::from_millis(50), Span::from_millis(60));
        assert!((good - 4.352).abs() < 0.005, "{good}");
        // p = 5: Ie = 475 / 24 = 19.79, R = 70.73, MOS = 3.631 by hand.
        let lossy = estimate(0.05, Span::from_millis(50), Span::from_millis(60));
        assert!((lossy - 3.631).abs() < 0.005, "{lossy}");
        assert_eq!(estimate(1.0, Span::from_secs(10), Span::from_secs(1)), 1.0);
        assert_eq!(estimate(f32::NAN, Span::ZERO, Span::ZERO), estimate(-1.0, Span::ZERO, Span::ZERO));
    }

    /// ITU-T G.107 annex B, the table of rating, score and what users say, as published.
    #[test]
    fn scores_of_ratings_are_those_of_the_published_table() {
        for (rating, score) in [(90.0, 4.34), (80.0, 4.03), (70.0, 3.60), (60.0, 3.10), (50.0, 2.58)] {
            assert!((of_rating(rating) - score).abs() <= 0.01, "R = {rating}: {}", of_rating(rating));
        }
        assert_eq!((of_rating(0.0), of_rating(100.0)), (1.0, 4.5), "the ends of the scale");
        assert_eq!((of_rating(-30.0), of_rating(130.0)), (1.0, 4.5), "and beyond them");
    }

    /// Loss in percent, round trip and play-out delay in ms, and the score: computed from the formula of this page outside of this program, in exact
    /// fractions (Python's `fractions.Fraction`, no floating point until the last rounding to four digits).
    #[test]
    fn known_answers_in_exact_fractions() {
        for (loss_percent, rtt_ms, playout_ms, score) in [
            (0, 0, 0, 4.3966),
            (0, 50, 60, 4.3516),
            (0, 100, 40, 4.3488),
            // Beyond 177.3 ms of delay.
            (0, 200, 80, 4.1991),
            (0, 400, 60, 3.7922),
            (0, 600, 60, 3.1471),
            (0, 1_000, 200, 1.1312),
            (1, 50, 60, 4.2222),
            (2, 100, 60, 4.0567),
            (3, 20, 20, 3.9813),
            (5, 50, 60, 3.6312),
            (5, 300, 100, 2.8837),
            (10, 100, 80, 2.9270),
            (20, 50, 60, 2.1534),
            (20, 400, 200, 1.0022),
            (50, 100, 60, 1.2847),
        ] {
            let found = estimate(loss_percent as f32 / 100.0, Span::from_millis(rtt_ms), Span::from_millis(playout_ms));
            assert!((found - score).abs() < 0.000_5, "{loss_percent} %, {rtt_ms} ms, {playout_ms} ms: {found}, not {score}");
        }
    }

    #[test]
    fn worse_networks_never_score_better() {
        let mut last = f32::MAX;
        for percent in 0..=100 {
            let score = estimate(percent as f32 / 100.0, Span::from_millis(80), Span::from_millis(60));
            assert!(score <= last && (1.0..=4.5).contains(&score));
            last = score;
        }
        last = f32::MAX;
        for ms in (0..2_000).step_by(10) {
            let score = estimate(0.01, Span::from_millis(ms), Span::from_millis(60));
            assert!(score <= last);
            last = score;
        }
    }
}
