//! The link and its port, joined by hand: one tick is one question of the call.

use super::*;
use proptest::prelude::*;

const RATE: SampleRate = SampleRate::Hz8000;
const FRAME: usize = RATE.frame_samples();

fn joined() -> (PcmPort, PcmLink) {
    pcm_port(PcmConfig::new(RATE), Waker::noop().clone())
}

fn speech(samples: usize, from: usize) -> Vec<i16> {
    (from..from + samples).map(|i| 1_000 + (i % 20_000) as i16).collect()
}

/// One tick: what the call says, or nothing.
fn tick(port: &mut PcmPort, link: &mut PcmLink) -> Option<Vec<i16>> {
    let mut frame = FrameBuffer::default();
    let said = match port.outgoing(&mut frame) {
        Outgoing::Pcm(RATE) => Some(frame.pcm[..FRAME].to_vec()),
        Outgoing::Silence => None,
        other => panic!("{other:?}"),
    };
    link.pump();
    said
}

#[test]
fn what_is_given_at_once_is_heard_whole_and_its_end_is_known() {
    let (mut port, mut link) = joined();
    let said = speech(FRAME * 500 + 40, 0);
    assert!(!link.is_open());
    assert_eq!(link.push(&said), said.len());
    let end = link.end();
    assert_eq!((end, link.is_part_waiting()), (501, true));
    let mut heard = Vec::new();
    for k in 0..500 {
        assert_eq!(link.left(), k);
        heard.extend(tick(&mut port, &mut link).expect("a frame"));
    }
    assert_eq!(tick(&mut port, &mut link), None, "a begun frame waits for its rest");
    link.flush();
    heard.extend(tick(&mut port, &mut link).expect("filled up"));
    assert_eq!((link.left(), link.waiting(), link.skipped(), link.refused()), (end, 0, 0, 0));
    assert_eq!(&heard[..said.len()], &said[..]);
    assert!(heard[said.len()..].iter().all(|s| *s == 0));
}

#[test]
fn clear_is_heard_at_the_next_tick_and_what_comes_after_it_is_played() {
    let (mut port, mut link) = joined();
    link.push(&speech(FRAME * 400 + 7, 0));
    for _ in 0..3 {
        assert!(tick(&mut port, &mut link).is_some());
    }
    link.clear();
    assert_eq!((link.end(), link.is_part_waiting()), (35, false), "three have left, 32 are in the ring");
    assert_eq!(tick(&mut port, &mut link), None, "the next tick is silent already");
    assert_eq!(link.waiting(), 0);
    link.push(&speech(FRAME * 2, 9));
    link.clear();
    link.push(&[77; FRAME]);
    assert_eq!(tick(&mut port, &mut link), Some(vec![77; FRAME]), "the answer to the interruption is not delayed");
    assert_eq!(link.end(), link.left());
}

#[test]
fn a_full_queue_refuses_what_is_new() {
    let config = PcmConfig { queue: Span::from_millis(1_000), ..PcmConfig::new(RATE) };
    let (mut port, mut link) = pcm_port(config, Waker::noop().clone());
    assert_eq!(link.push(&speech(FRAME * 80, 0)), FRAME * 50);
    assert_eq!((link.refused(), link.waiting()), (FRAME as u64 * 30, 50));
    assert_eq!(tick(&mut port, &mut link).expect("a frame"), speech(FRAME, 0));
    assert_eq!(link.push(&[5; FRAME * 2]), FRAME);
}

#[test]
fn the_other_direction_and_the_ends() {
    let (mut port, mut link) = joined();
    let mut out = [0; FRAME];
    assert!(!link.read(&mut out));
    for k in 0..40_i16 {
        port.incoming(Incoming::Pcm { samples: &[k; FRAME], heard: true });
    }
    port.digit(Digit { symbol: '5', duration_ms: 100, timestamp: 1 });
    assert_eq!(link.lost(), 8, "the ring holds 640 ms");
    assert!(!link.read(&mut out[..FRAME - 1]), "no room");
    assert!((0..32).all(|k| link.read(&mut out) && out == [k; FRAME]));
    assert!(!link.read(&mut out));
    assert_eq!(link.read_digit().map(|d| d.symbol), Some('5'));
    assert!(!link.is_closed());
    link.push(&[3; FRAME]);
    drop(link);
    let mut frame = FrameBuffer::default();
    assert_eq!(port.outgoing(&mut frame), Outgoing::Pcm(RATE), "what was said before the host went is heard");
    assert_eq!(port.outgoing(&mut frame), Outgoing::Finished);
    let (port, link) = joined();
    drop(port);
    assert!(link.is_closed());
}

/// A source in real time that runs at `per_mille` of our clock, for `ticks`; returns the most that waited in the second half, what was left out, and empty ticks.
fn live(per_mille: u64, ticks: u64, ahead: usize, pause_every: u64) -> (u64, u64, u64) {
    let (mut port, mut link) = joined();
    link.push(&vec![2_000; ahead]);
    let (mut given, mut most) = (0_u64, 0);
    for now in 0..ticks {
        let due = now * FRAME as u64 * per_mille / 1_000;
        let is_pause = pause_every > 0 && now % pause_every < 20;
        let chunk = vec![if is_pause { 0 } else { 2_000 }; (due - given) as usize];
        given = due;
        link.push(&chunk);
        tick(&mut port, &mut link);
        if now > ticks / 2 {
            most = most.max(link.waiting());
        }
    }
    (most, link.skipped(), link.shared.empty.load(Ordering::Relaxed))
}

#[test]
fn a_live_source_with_a_faster_clock_never_becomes_a_delay() {
    // Thirty minutes each.
    for (per_mille, pause_every) in [(1_001, 0), (1_010, 0), (1_010, 150), (1_020, 0)] {
        let (most, skipped, _) = live(per_mille, 90_000, 0, pause_every);
        assert!(most <= 14, "at {per_mille} per mille {most} frames waited");
        let surplus = 90 * (per_mille - 1_000);
        assert!((surplus - 20..=surplus + 20).contains(&skipped), "{skipped} left out of a surplus of {surplus}");
    }
    // A slow one is never cut, and what is missing is silence.
    let (most, skipped, empty) = live(990, 90_000, 0, 0);
    assert!(most <= 1 && skipped == 0 && (880..=920).contains(&empty), "{most} {skipped} {empty}");
}

#[test]
fn a_hiccup_of_a_live_source_is_paid_back_and_a_burst_of_a_bot_is_not_cut() {
    // Three seconds came late and at once; then the source goes on in real time.
    let (most, skipped, _) = live(1_000, 6_000, FRAME * 150, 150);
    assert!(most <= 10, "{most} frames still wait after a minute");
    assert!((135..=150).contains(&skipped), "{skipped}");
    let (mut port, mut link) = joined();
    let mut said = speech(FRAME * 100, 0);
    said.extend(vec![0; FRAME * 50]);
    said.extend(speech(FRAME * 100, 0));
    let mut heard = Vec::new();
    for _ in 0..4 {
        // Twice as fast as real time, as a speech synthesiser gives it, then nothing until it has been said.
        for chunk in said.chunks(FRAME * 2) {
            link.push(chunk);
            heard.extend(tick(&mut port, &mut link).unwrap_or_default());
        }
        for _ in 0..140 {
            heard.extend(tick(&mut port, &mut link).unwrap_or_default());
        }
    }
    assert_eq!(heard, said.repeat(4), "no pause of it is shortened");
    assert_eq!(link.skipped(), 0);
}

proptest! {
    #[test]
    fn chunks_of_any_length_come_out_as_they_went_in(chunks in prop::collection::vec(0_usize..900, 1..60)) {
        let (mut port, mut link) = joined();
        let said = speech(chunks.iter().sum(), 0);
        let (mut at, mut heard) = (0, Vec::new());
        for chunk in chunks {
            prop_assert_eq!(link.push(&said[at..at + chunk]), chunk);
            at += chunk;
            prop_assert_eq!(link.end(), (at as u64).div_ceil(FRAME as u64));
            heard.extend(tick(&mut port, &mut link).unwrap_or_default());
        }
        link.flush();
        while link.waiting() > 0 {
            heard.extend(tick(&mut port, &mut link).unwrap_or_default());
        }
        prop_assert_eq!(&heard[..said.len()], &said[..]);
        prop_assert!(heard.len() - said.len() < FRAME && heard[said.len()..].iter().all(|s| *s == 0));
    }
}

#[test]
fn the_last_ring_finds_the_link_closed() {
    use std::sync::Mutex;
    use std::task::Wake;

    /// Notes what the link says at each ring.
    #[derive(Default)]
    struct Looks(Mutex<Option<PcmLink>>, Mutex<Vec<bool>>);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let link = self.0.lock().unwrap();
            self.1.lock().unwrap().extend(link.as_ref().map(PcmLink::is_closed));
        }
    }

    let looks = Arc::new(Looks::default());
    let (port, link) = pcm_port(PcmConfig::new(SampleRate::Hz16000), Waker::from(Arc::clone(&looks)));
    *looks.0.lock().unwrap() = Some(link);
    drop(port);
    assert_eq!(*looks.1.lock().unwrap(), [true]);
}
