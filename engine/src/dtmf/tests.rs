//! Golden exchanges, lost and late packets, long tones, and the sender against the receiver.

use super::*;
use crate::error::DropReason;
use crate::rng::{Entropy, SeededRng};
use crate::rtp::RtpSource;
use crate::time::{Span, Time};
use crate::wire::dtmf::TelephoneEvent;
use crate::wire::golden;
use crate::wire::rtp::RtpView;
use proptest::prelude::*;
use serde_json::Value;

fn ms(ms: u64) -> Time {
    Time::ZERO + Span::from_millis(ms)
}

/// Feeds the packets of a vector. Digits come with their final duration, read when the next one begins or all is over.
fn digits_of(packets: &Value) -> (Vec<Digit>, Vec<DropReason>) {
    let mut receiver = DigitReceiver::default();
    let mut digits: Vec<Digit> = Vec::new();
    let mut drops = Vec::new();
    for packet in packets.as_array().unwrap() {
        let bytes = golden::hex(&packet["hex"]);
        let view = RtpView::new_checked(&bytes).unwrap();
        let now = ms(packet["t_ms"].as_u64().unwrap_or(0));
        match receiver.handle_packet(view.timestamp(), view.payload(), now) {
            Ok(Some(digit)) => digits.push(digit),
            Ok(None) => {}
            Err(reason) => drops.push(reason),
        }
        if let (Some(digit), Some(last)) = (digits.last_mut(), receiver.last()) {
            *digit = last;
        }
    }
    (digits, drops)
}

fn assert_digits(found: &[Digit], expect: &Value, id: &str) {
    let expect = expect.as_array().unwrap();
    assert_eq!(found.len(), expect.len(), "{id}");
    for (digit, wanted) in found.iter().zip(expect) {
        match wanted["digit"].as_str() {
            Some(symbol) => assert_eq!(digit.symbol.to_string(), symbol, "{id}"),
            None => assert_eq!(u64::from(crate::wire::dtmf::event_of(digit.symbol).unwrap()), wanted["event"].as_u64().unwrap(), "{id}"),
        }
        if let Some(duration) = wanted["duration_ms"].as_u64() {
            assert_eq!(u64::from(digit.duration_ms), duration, "{id}");
        }
    }
}

//= rfc4733#section-2.5.2.2 type=test
//= meta#R-20 type=test
//= rules#T7 type=test
#[test]
fn golden_receptions() {
    let file = golden::read("dtmf/receive.json");
    for case in file["cases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let (digits, drops) = digits_of(&case["packets"]);
        assert_digits(&digits, &case["expect"], id);
        let expected: &[DropReason] = if id == "short-payload" { &[DropReason::DtmfMalformed] } else { &[] };
        assert_eq!(drops, expected, "{id}");
    }
}

//= rfc4733#section-5 type=test
#[test]
fn the_rfc_dials_911() {
    let file = golden::read("dtmf/rfc4733_911.json");
    assert_digits(&digits_of(&file["packets"]).0, &file["expect"], "911");
}

/// What a source sends for the ticks of a digit sender: (event packet, sequence number), or none for audio.
fn run(sender: &mut DigitSender, source: &mut RtpSource, ticks: usize) -> Vec<Option<(EventPacket, u16)>> {
    (0..ticks)
        .map(|_| {
            let packet = sender.tick(source.timestamp()).map(|packet| {
                let header = source.event(126, packet.marker, packet.timestamp);
                (packet, header.seq)
            });
            if packet.is_none() {
                let _ = source.audio(111);
            }
            source.advance_frame(true);
            packet
        })
        .collect()
}

//= meta#R-20 type=test
//= rfc4733#section-2.5.1.2 type=test
//= rfc4733#section-2.3.2 type=test
//= rfc4733#section-2.5.1.4 type=test
//= rfc4733#section-2.5.1.6 type=test
//= rules#T1 type=test
//= rules#T2 type=test
//= rules#T3 type=test
#[test]
fn digit_5_leaves_as_in_the_vector() {
    let file = golden::read("dtmf/send_digit5_100ms.json");
    let packets = file["packets"].as_array().unwrap();
    let mut source = RtpSource::with_start(0x0a0b_0c0d, 500, 480_000);
    let mut sender = DigitSender::new();
    sender.push('5').unwrap();
    let sent: Vec<_> = run(&mut sender, &mut source, 12).into_iter().flatten().collect();
    // The vector repeats the final duration without and three times with E; we set E on it at once, as its note allows: seven packets.
    assert_eq!(sent.len(), 7);
    for (k, (packet, seq)) in sent.iter().enumerate() {
        let wanted = if k < 4 { &packets[k] } else { &packets[k + 1] };
        let bytes = golden::hex(&wanted["hex"]);
        let view = RtpView::new_checked(&bytes).unwrap();
        assert_eq!(packet.payload, view.payload(), "packet {k}");
        assert_eq!((packet.timestamp, packet.marker), (view.timestamp(), view.marker()), "packet {k}");
        assert_eq!(usize::from(*seq), 500 + k);
    }
    assert_eq!(Some(480_000 + 5 * 960), file["next_audio_timestamp_if_event_replaces_audio"].as_u64());
}

//= rfc4733#section-2.3.2 type=test
//= rfc4733#section-2.5.1.4 type=test
//= rules#T4 type=test
//= rules#T6 type=test
#[test]
fn time_runs_on_through_digits_and_pauses() {
    let mut source = RtpSource::with_start(1, 0, 0);
    let mut sender = DigitSender::new();
    sender.push_all("1#").unwrap();
    let ticks = run(&mut sender, &mut source, 22);
    assert_eq!(source.timestamp(), 22 * 960);
    let pattern: String = ticks
        .iter()
        .map(|t| match t {
            None => '.',
            Some((packet, _)) if packet.marker => 'M',
            Some((packet, _)) if packet.payload[1] & 0x80 != 0 => 'E',
            Some(_) => '-',
        })
        .collect();
    // 100 ms of tone, 100 ms of pause whose first two ticks repeat the end.
    assert_eq!(pattern, "M---EEE...M---EEE.....");
    assert_eq!(ticks[10].unwrap().0.timestamp, 10 * 960);
    assert!(sender.is_idle());
}

#[test]
fn the_queue_is_bounded_and_takes_all_or_nothing() {
    let mut sender = DigitSender::new();
    assert_eq!(sender.push_all("12x"), Err(DigitRefused::NotAKey('x')));
    assert_eq!(sender.queued(), 0);
    sender.push_all("0123456789*#ABCD0123456789*#abc").unwrap();
    assert_eq!(sender.push_all("12"), Err(DigitRefused::Full));
    assert_eq!(sender.queued(), 31);
    sender.push('1').unwrap();
    assert_eq!(sender.push('2'), Err(DigitRefused::Full));
    assert_eq!(sender.push_for('2', 39), Err(DigitRefused::Length(39)));
    assert!(!sender.is_idle());
    sender.clear();
    assert!(sender.is_idle());
    assert_eq!(sender.tick(0), None);
    assert!(DigitRefused::NotAKey('x').to_string().contains("0 to 9"));
}

#[test]
fn clearing_lets_the_digit_on_the_line_end() {
    let mut source = RtpSource::with_start(1, 0, 0);
    let mut sender = DigitSender::new();
    sender.push_all("12").unwrap();
    let _ = run(&mut sender, &mut source, 2);
    sender.clear();
    let rest: Vec<_> = run(&mut sender, &mut source, 20).into_iter().flatten().collect();
    assert_eq!(rest.iter().filter(|(packet, _)| packet.payload[1] & 0x80 != 0).count(), 3);
    assert!(rest.iter().all(|(packet, _)| packet.payload[0] == 1));
}

//= rfc4733#section-2.5.1.3 type=test
//= rfc4733#section-2.3.5 type=test
//= rules#T5 type=test
#[test]
fn a_key_held_for_20_s_is_three_segments_and_one_digit() {
    let mut source = RtpSource::with_start(1, 0, 0xffff_0000);
    let start = source.timestamp();
    let mut sender = DigitSender::new();
    sender.push_for('*', 20_000).unwrap();
    let sent: Vec<_> = run(&mut sender, &mut source, 1_010).into_iter().flatten().collect();
    let starts: Vec<u32> = sent.iter().map(|(p, _)| p.timestamp).fold(Vec::new(), |mut all, t| {
        if all.last() != Some(&t) {
            all.push(t);
        }
        all
    });
    assert_eq!(starts, [start, start.wrapping_add(0xffff * 6), start.wrapping_add(2 * 0xffff * 6)]);
    assert_eq!(sent.iter().filter(|(p, _)| p.marker).count(), 1);
    let full = sent.iter().filter(|(p, _)| p.payload[2..] == [0xff, 0xff]);
    assert_eq!(full.clone().count(), 2, "each full segment says so once");
    assert!(full.into_iter().all(|(p, _)| p.payload[1] & 0x80 == 0), "and it is no end");
    assert!(sent.iter().all(|(p, _)| p.payload[2..] != [0, 0]), "duration is never zero");

    let mut receiver = DigitReceiver::default();
    let digits: Vec<_> = sent
        .iter()
        .enumerate()
        .filter_map(|(k, (p, _))| receiver.handle_packet(p.timestamp, &p.payload, ms(20 * k as u64)).unwrap())
        .collect();
    assert_eq!(digits.len(), 1);
    assert_eq!(receiver.last(), Some(Digit { symbol: '*', duration_ms: 20_000, timestamp: start }));
}

//= rules#T5 type=test
#[test]
fn a_tone_that_ends_exactly_in_the_full_packet_still_ends() {
    // 8 200 ms are 65 600 units: the frame that crosses 0xFFFF is the last one.
    let mut sender = DigitSender::new();
    sender.push_for('1', 8_200).unwrap();
    let mut source = RtpSource::with_start(1, 0, 0);
    let sent: Vec<_> = run(&mut sender, &mut source, 420).into_iter().flatten().collect();
    let blocks: Vec<_> = sent.iter().map(|(p, _)| TelephoneEvent::parse(&p.payload).unwrap()).collect();
    let tail: Vec<_> = blocks[409..].iter().map(|b| (b.duration, b.end)).collect();
    assert_eq!(tail, [(0xffff, false), (65, true), (65, true), (65, true)]);
}

#[test]
fn a_key_pressed_again_where_a_segment_would_begin_is_a_new_digit() {
    let event = |end| TelephoneEvent { event: 7, end, volume: 10, duration: 800 }.emit();
    for (end, digits) in [(true, 2), (false, 1)] {
        let mut receiver = DigitReceiver::default();
        let starts = [960, 960 + 0xffff * 6];
        let found = starts.map(|start| receiver.handle_packet(start, &event(end), ms(u64::from(start) / 48)).unwrap());
        assert_eq!(found.iter().flatten().count(), digits, "ended before: {end}");
    }
}

//= rfc4733#section-2.5.2.3 type=test
#[test]
fn a_lost_end_releases_the_key_after_100_ms() {
    let mut receiver = DigitReceiver::default();
    let event = |end, duration| TelephoneEvent { event: 3, end, volume: 10, duration }.emit();
    assert!(!receiver.is_pressed(ms(0)));
    receiver.handle_packet(960, &event(false, 160), ms(0)).unwrap().unwrap();
    assert!(receiver.is_pressed(ms(99)) && !receiver.is_pressed(ms(100)));
    receiver.handle_packet(960, &event(false, 320), ms(90)).unwrap();
    assert!(receiver.is_pressed(ms(150)));
    receiver.handle_packet(960, &event(true, 480), ms(150)).unwrap();
    assert!(!receiver.is_pressed(ms(150)));
}

//= rfc4733#section-2.3.1 type=test
//= rfc4733#section-2.3.5 type=test
//= rules#T8 type=test
//= rules#T9 type=test
#[test]
fn events_that_are_no_key_and_zero_durations_are_nothing() {
    let mut receiver = DigitReceiver::default();
    for (event, duration) in [(17, 160), (255, 160), (5, 0)] {
        let payload = TelephoneEvent { event, end: true, volume: 0, duration }.emit();
        assert_eq!(receiver.handle_packet(1, &payload, ms(0)), Ok(None));
    }
    // The digit whose first packet said zero comes with its second.
    let payload = TelephoneEvent { event: 5, end: false, volume: 0, duration: 1 }.emit();
    assert!(receiver.handle_packet(1, &payload, ms(20)).unwrap().is_some(), "no least duration");
}

/// libwebrtc steps the duration in 48 kHz units beside Opus: six times as long, and one digit all the same.
//= rules#T8 type=test
#[test]
fn t8_durations_in_units_of_48_khz_are_one_digit() {
    let mut receiver = DigitReceiver::default();
    let packets = (1..=5).map(|k| (k * 960, false)).chain([(4_800, true); 3]);
    let told: Vec<_> = packets
        .enumerate()
        .filter_map(|(k, (duration, end))| {
            let payload = TelephoneEvent { event: 5, end, volume: 10, duration }.emit();
            receiver.handle_packet(48_000, &payload, ms(20 * k as u64)).unwrap().map(|digit| (k, digit.symbol))
        })
        .collect();
    assert_eq!(told, [(0, '5')], "at its first packet, and once");
    assert!(!receiver.is_pressed(ms(200)));
    // The next one, as short as can be.
    let payload = TelephoneEvent { event: 5, end: true, volume: 10, duration: 1 }.emit();
    assert_eq!(receiver.handle_packet(57_600, &payload, ms(220)).unwrap().map(|digit| digit.symbol), Some('5'));
}

#[test]
fn copies_from_before_the_memory_are_late_not_new() {
    let mut receiver = DigitReceiver::default();
    let payload = |k: u32| TelephoneEvent { event: (k % 12) as u8, end: true, volume: 10, duration: 800 }.emit();
    for k in 0..40_u32 {
        assert!(receiver.handle_packet(k * 960, &payload(k), ms(u64::from(k) * 20)).unwrap().is_some());
    }
    for k in 0..24 {
        assert_eq!(receiver.handle_packet(k * 960, &payload(k), ms(900)), Err(DropReason::Late), "{k}");
    }
    for k in 24..40 {
        assert_eq!(receiver.handle_packet(k * 960, &payload(k), ms(900)), Ok(None), "{k}");
    }
    // Another line, or the same a minute later, is new.
    assert!(receiver.handle_packet(0x8000_0000, &payload(1), ms(900)).unwrap().is_some());
    assert!(receiver.handle_packet(0, &payload(0), ms(70_000)).unwrap().is_some());
}

#[test]
fn an_earlier_digit_that_came_late_does_not_make_a_later_one_new_again() {
    let mut receiver = DigitReceiver::default();
    let payload = TelephoneEvent { event: 1, end: true, volume: 10, duration: 800 }.emit();
    // Frame 10 comes after frame 20; both are then pushed out, in that order.
    for frame in [20, 10].into_iter().chain(30..46_u32) {
        assert!(receiver.handle_packet(frame * 960, &payload, ms(10)).unwrap().is_some());
    }
    for frame in [20, 10] {
        assert_eq!(receiver.handle_packet(frame * 960, &payload, ms(20)), Err(DropReason::Late));
    }
}

#[test]
fn reordered_packets_never_shorten_a_digit() {
    let mut receiver = DigitReceiver::default();
    for (duration, end) in [(800, true), (160, false), (640, false)] {
        let payload = TelephoneEvent { event: 1, end, volume: 10, duration }.emit();
        receiver.handle_packet(960, &payload, ms(0)).unwrap();
    }
    assert_eq!(receiver.last().unwrap().duration_ms, 100);
    assert!(!receiver.is_pressed(ms(0)), "nor press the key again");
}

proptest! {
    /// Whatever is lost, doubled or reordered by a few packets: each digit of which anything arrives is reported once.
    //= rfc4733#section-2.5.2.2 type=test
    //= rules#T7 type=test
    #[test]
    fn sender_to_receiver_over_a_bad_line(symbols in "[0-9*#A-D]{1,16}", seed: u64, start: u32) {
        let mut rng = SeededRng::new(seed);
        let mut sender = DigitSender::new();
        sender.push_all(&symbols).unwrap();
        let mut source = RtpSource::with_start(1, 0, start);
        let mut arrivals = Vec::new();
        for (k, sent) in run(&mut sender, &mut source, symbols.len() * 10).into_iter().enumerate() {
            let Some((packet, _)) = sent else { continue };
            // None to three copies, each up to 200 ms late: later than the next digit's begin.
            for _ in 0..rng.below(4) {
                arrivals.push((20 * k as u64 + rng.below(200), packet));
            }
        }
        arrivals.sort_by_key(|&(at, _)| at);
        let mut receiver = DigitReceiver::default();
        let mut found: Vec<(u32, char)> = Vec::new();
        for (at, packet) in &arrivals {
            if let Some(digit) = receiver.handle_packet(packet.timestamp, &packet.payload, ms(*at)).unwrap() {
                found.push((digit.timestamp.wrapping_sub(start), digit.symbol));
            }
        }
        found.sort_unstable();
        let mut wanted: Vec<(u32, char)> = symbols
            .chars()
            .enumerate()
            .map(|(k, symbol)| (k as u32 * 10 * 960, symbol))
            .filter(|&(at, _)| arrivals.iter().any(|(_, p)| p.timestamp.wrapping_sub(start) == at))
            .collect();
        wanted.sort_unstable();
        prop_assert_eq!(found, wanted);
    }
}
