//! The plain RTP leg without sockets: order, addresses, digits, hold, pre-roll, and every codec that is transcoded.

use super::*;
use crate::time::Span;

const FAR: &str = "10.7.0.9:4000";

fn at(ms: u64) -> Time {
    Time::from_nanos(ms * 1_000_000)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn leg(params: RtpLegParams) -> RtpLeg {
    let targets: Arc<[AddressRange]> = vec!["10.7.0.0/16".parse().expect("a range")].into();
    RtpLeg::new(params, &targets, 0, &mut SeededRng::new(5), at(0)).expect("a leg")
}

fn rtp(payload_type: u8, seq: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 12];
    let header = RtpHeader { payload_type, marker: false, seq, timestamp, ssrc: 77 };
    header.emit(packet.first_chunk_mut().expect("room"));
    packet.extend_from_slice(payload);
    packet
}

/// A 20 ms SILK packet with recognisable bytes.
fn opus(number: u8) -> [u8; 4] {
    [0x48, 1, 2, number]
}

fn forwarded(leg: &mut RtpLeg) -> Vec<(u32, Vec<u8>, bool)> {
    let mut frame = FrameBuffer::default();
    core::iter::from_fn(|| leg.poll_forward(&mut frame).map(|f| (f, frame.opus)))
        .map(|(f, bytes)| match f {
            Forward::Opus { len, timestamp, fresh } => (timestamp, bytes[..len].to_vec(), fresh),
            Forward::Event { event, timestamp, .. } => (timestamp, event.emit().to_vec(), false),
        })
        .collect()
}

fn arrived(seq: u16, timestamp: u32, payload: &[u8]) -> Arrived<'_> {
    Arrived { ssrc: 1, seq, timestamp, marker: false, payload }
}

#[test]
fn packets_of_the_far_side_come_out_at_once_in_order_and_once() {
    let mut leg = leg(RtpLegParams::opus(address(FAR)));
    for (seq, now) in [(10_u16, 0), (11, 20), (13, 60), (12, 61), (13, 62), (14, 80)] {
        let packet = rtp(111, seq, u32::from(seq) * 960, &opus(seq as u8));
        leg.handle_datagram(FarSocket::Rtp, address(FAR), &packet, at(now));
    }
    let numbers: Vec<u8> = forwarded(&mut leg).iter().map(|(_, payload, _)| payload[3]).collect();
    assert_eq!(numbers, [10, 11, 13, 14]);
    let stats = leg.stats();
    assert_eq!((stats.drops.of(DropReason::Late), stats.drops.of(DropReason::Duplicate), stats.rtp_in), (1, 1, 6));
}

//= meta#R-10 type=test
#[test]
fn strangers_are_not_heard_and_learning_happens_once_and_within_the_targets() {
    let packet = |seq| rtp(111, seq, u32::from(seq) * 960, &opus(0));
    let mut strict = leg(RtpLegParams::opus(address(FAR)));
    strict.handle_datagram(FarSocket::Rtp, address("10.7.0.9:4001"), &packet(1), at(0));
    assert_eq!((forwarded(&mut strict).len(), strict.stats().drops.of(DropReason::MediaWrongSource)), (0, 1));

    let mut learning = leg(RtpLegParams { remote: None, learn: true, ..RtpLegParams::opus(address(FAR)) });
    assert_eq!(learning.remote(FarSocket::Rtp), None);
    learning.handle_datagram(FarSocket::Rtp, address("192.0.2.1:5000"), &packet(1), at(0));
    assert!(learning.is_learning(), "not a target");
    learning.handle_datagram(FarSocket::Rtp, address("10.7.1.1:5000"), &rtp(9, 1, 0, &[0; 160]), at(0));
    assert!(learning.is_learning(), "not what was agreed on");
    learning.handle_datagram(FarSocket::Rtp, address("10.7.1.1:5000"), &packet(1), at(0));
    assert_eq!(learning.remote(FarSocket::Rtp), Some(address("10.7.1.1:5000")));
    learning.handle_datagram(FarSocket::Rtp, address("10.7.1.2:5000"), &packet(2), at(20));
    assert_eq!(learning.remote(FarSocket::Rtp), Some(address("10.7.1.1:5000")), "locked");
    assert_eq!(forwarded(&mut learning).len(), 1);

    let outside = RtpLegParams::opus(address("192.0.2.1:5000"));
    let targets: Arc<[AddressRange]> = Arc::from([]);
    assert!(RtpLeg::new(outside, &targets, 0, &mut SeededRng::new(5), at(0)).is_err());
    strict.handle_command(FarCommand::Remote(address("192.0.2.1:5000")), at(30));
    assert_eq!(strict.remote(FarSocket::Rtp), Some(address(FAR)), "a command does not leave the list either");
    strict.handle_command(FarCommand::Remote(address("10.7.9.9:6000")), at(30));
    assert_eq!(strict.remote(FarSocket::Rtp), Some(address("10.7.9.9:6000")));
}

#[test]
fn packets_of_the_peer_go_on_with_the_leg_s_own_numbers() {
    let mut leg = leg(RtpLegParams::opus(address(FAR)));
    let mut out = [0; 1_500];
    let mut seen = Vec::new();
    for k in 0..3_u16 {
        leg.arrived(&arrived(500 + k, 9_000 + u32::from(k) * 960, &opus(k as u8)), at(u64::from(k) * 20));
        let (len, socket) = leg.poll_transmit(&mut out, at(u64::from(k) * 20)).expect("at once");
        assert_eq!(socket, FarSocket::Rtp);
        let view = RtpView::new_checked(&out[..len]).expect("RTP");
        assert_eq!((view.payload_type(), view.payload()), (111, &opus(k as u8)[..]));
        seen.push((view.ssrc(), view.seq(), view.timestamp()));
    }
    for pair in seen.windows(2) {
        assert_eq!((pair[1].0, pair[1].1, pair[1].2), (pair[0].0, pair[0].1.wrapping_add(1), pair[0].2.wrapping_add(960)));
    }
    assert_ne!(seen[0].0, 1, "an SSRC of its own");
}

//= meta#R-20 type=test
#[test]
fn digits_pass_both_ways_with_the_clock_of_each_side() {
    let events = Some(LegEvents { payload_type: 101, clock_hz: 48_000 });
    let mut leg = leg(RtpLegParams { events, ..RtpLegParams::opus(address(FAR)) });
    let five = |duration| TelephoneEvent { event: 5, end: false, volume: 10, duration }.emit();
    leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(101, 1, 960, &five(960)), at(0));
    assert_eq!(forwarded(&mut leg), [(960, five(160).to_vec(), false)]);

    leg.event_arrived(&arrived(8, 4_800, &five(320)), at(5));
    let mut out = [0; 1_500];
    let (len, _) = leg.poll_transmit(&mut out, at(5)).expect("at once");
    let view = RtpView::new_checked(&out[..len]).expect("RTP");
    assert_eq!((view.payload_type(), view.payload()), (101, &five(1_920)[..]));
}

//= rules#C3 type=test
#[test]
fn hold_stops_speech_and_not_reports() {
    let mut leg = leg(RtpLegParams { rtcp: RtcpPort::Next, ..RtpLegParams::opus(address(FAR)) });
    leg.handle_command(FarCommand::Direction(Direction::Inactive), at(0));
    leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(111, 1, 0, &opus(1)), at(0));
    leg.arrived(&arrived(1, 0, &opus(1)), at(0));
    assert!(forwarded(&mut leg).is_empty());
    assert_eq!(leg.stats().drops.of(DropReason::Held), 2);
    let mut out = [0; 1_500];
    assert_eq!(leg.poll_transmit(&mut out, at(0)), None);
    let due = leg.poll_timeout().expect("a report is always due");
    leg.handle_timeout(due);
    let (len, socket) = leg.poll_transmit(&mut out, due).expect("a report");
    assert_eq!((classify(&out[..len]), socket), (PacketKind::Rtcp, FarSocket::Rtcp));
    assert_eq!(leg.remote(socket), Some(address("10.7.0.9:4001")));
    leg.handle_command(FarCommand::Direction(Direction::SendRecv), at(30));
    leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(111, 2, 960, &opus(2)), at(40));
    assert_eq!(forwarded(&mut leg).len(), 1);
    leg.close(at(50));
    let (len, _) = leg.poll_transmit(&mut out, at(50)).expect("a BYE");
    assert_eq!(classify(&out[..len]), PacketKind::Rtcp);
    assert_eq!(leg.poll_transmit(&mut out, at(50)), None);
}

//= meta#R-31:live type=test
#[test]
fn what_waits_for_the_gate_is_bounded_and_the_newest_stays() {
    let mut leg = leg(RtpLegParams::opus(address(FAR)));
    for seq in 0..150_u16 {
        leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(111, seq, u32::from(seq) * 960, &opus(seq as u8)), at(u64::from(seq) * 20));
    }
    let kept = forwarded(&mut leg);
    assert_eq!((kept.len(), kept[0].1[3], kept[99].1[3]), (100, 50, 149));
    assert_eq!(leg.stats().drops.of(DropReason::NoRoom), 50);
}

fn sine(k: usize, samples: usize, rate_hz: f64) -> Vec<i16> {
    (k * samples..(k + 1) * samples).map(|i| ((i as f64 * 440.0 * std::f64::consts::TAU / rate_hz).sin() * 9_000.0) as i16).collect()
}

/// What the far side says, in packets of `frames_ms`, heard tick by tick; one packet is lost on the way.
fn heard_of(codec: LegCodec, packet_ms: usize, lost: Option<usize>) -> (Vec<i16>, FarStats) {
    let mut leg = leg(RtpLegParams::transcoded(address(FAR), codec));
    let rate = codec.pcm_rate().expect("transcoded");
    let samples = rate.hz() as usize / 1_000 * packet_ms;
    let encoder = transcode::Transcoder::new(codec, PRE_ROLL).expect("transcoded");
    let mut heard = Vec::new();
    let mut frame = FrameBuffer::default();
    for ms in 0..2_000_usize {
        if ms % packet_ms == 0 && Some(ms / packet_ms) != lost {
            let k = ms / packet_ms;
            let mut payload = vec![0; 2_000];
            let len = encoder.encode(&sine(k, samples, f64::from(rate.hz())), &mut payload);
            let packet = rtp(leg.params().payload_type, k as u16, (k * samples) as u32, &payload[..len]);
            leg.handle_datagram(FarSocket::Rtp, address(FAR), &packet, at(ms as u64));
        }
        if ms % 20 == 10 {
            leg.tick(at(ms as u64));
            match leg.outgoing(&mut frame) {
                Outgoing::Pcm(at) => {
                    assert_eq!(at, rate);
                    heard.extend_from_slice(&frame.pcm[..rate.frame_samples()]);
                }
                said => assert!(said == Outgoing::Silence && ms < 200, "{said:?} at {ms}"),
            }
        }
    }
    (heard, leg.stats())
}

fn samples_10ms(rate: SampleRate) -> usize {
    rate.frame_samples() / 2
}

#[test]
fn every_codec_and_packet_length_is_heard_whole() {
    for codec in [LegCodec::Pcmu, LegCodec::Pcma, LegCodec::L16(SampleRate::Hz8000), LegCodec::L16(SampleRate::Hz16000)] {
        for packet_ms in [10, 20, 30, 40, 60] {
            if codec == LegCodec::L16(SampleRate::Hz16000) && packet_ms > 30 {
                continue; // 1 280 bytes: longer than a packet of ours
            }
            let (heard, stats) = heard_of(codec, packet_ms, None);
            let rate = codec.pcm_rate().expect("transcoded");
            let said = sine(0, rate.hz() as usize * 2, f64::from(rate.hz()));
            assert!(heard.len() > said.len() * 8 / 10, "{codec:?} {packet_ms} ms: {} samples", heard.len());
            // From one of the first packets on (the buffer may leave one out while it finds its delay), and nothing in between.
            let off = |lag: usize| -> f64 { heard.iter().zip(&said[lag..]).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum() };
            let error = (0..8).map(|k| off(k * samples_10ms(rate))).fold(f64::INFINITY, f64::min);
            let energy: f64 = heard.iter().map(|b| f64::from(*b).powi(2)).sum();
            assert!(error < 0.001 * energy, "{codec:?} {packet_ms} ms: {:.4} of it is wrong; {stats:?}", error / energy);
        }
    }
}

#[test]
fn a_lost_packet_is_concealed() {
    let (heard, stats) = heard_of(LegCodec::Pcmu, 20, Some(50));
    let said = sine(0, 16_000, 8_000.0);
    let error: f64 = heard.iter().zip(&said).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let energy: f64 = heard.iter().map(|b| f64::from(*b).powi(2)).sum();
    assert_eq!(stats.jitter.concealed + stats.jitter.fec, 1, "{:?}", stats.jitter);
    assert!(error < 0.01 * energy, "{:.4} of it is wrong: less than the frame that was lost", error / energy);
}

#[test]
fn the_far_side_hears_every_tick_and_digits_in_its_own_clock() {
    let mut leg = leg(RtpLegParams::transcoded(address(FAR), LegCodec::Pcma));
    assert_eq!((leg.wants_pcm(), leg.forwards()), (Some(SampleRate::Hz8000), false));
    let mut out = [0; 1_500];
    let mut said = Vec::new();
    for k in 0..4_u64 {
        leg.tick(at(20 * k));
        leg.incoming(Incoming::Pcm { samples: &sine(k as usize, 160, 8_000.0), heard: true });
        if k == 2 {
            leg.event_arrived(&arrived(9, 77_000, &TelephoneEvent { event: 1, end: false, volume: 9, duration: 160 }.emit()), at(20 * k));
        }
        while let Some((len, _)) = leg.poll_transmit(&mut out, at(20 * k)) {
            let view = RtpView::new_checked(&out[..len]).expect("RTP");
            said.push((view.payload_type(), view.seq(), view.timestamp(), view.payload().to_vec(), view.marker()));
        }
    }
    let (first_seq, first_time) = (said[0].1, said[0].2);
    let line: Vec<_> = said.iter().map(|p| (p.0, p.1.wrapping_sub(first_seq), p.2.wrapping_sub(first_time), p.3.len(), p.4)).collect();
    assert_eq!(
        line,
        [(8, 0, 0, 160, true), (8, 1, 160, 160, false), (8, 2, 320, 160, false), (101, 3, 320, 4, false), (8, 4, 480, 160, false)]
    );
    assert_eq!(said[3].3, [1, 9, 0, 160], "160 units of 8 kHz are 20 ms on both sides");
}

/// Loud samples that can be told from each other, no two frames alike.
fn words(samples: usize) -> Vec<i16> {
    (0..samples).map(|i| 1_000 + (i % 20_000) as i16).collect()
}

/// A leg of L16 at 16 kHz; packet `k` of what is said reaches it.
fn say(leg: &mut RtpLeg, said: &[i16], k: usize, now: Time) {
    let mut payload = [0; 640];
    let len = crate::codec::l16::encode(&said[k * 320..(k + 1) * 320], &mut payload);
    leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(96, k as u16, (k * 320) as u32, &payload[..len]), now);
}

//= meta#R-31:live type=test
#[test]
fn what_a_transcoded_far_side_says_before_the_gate_is_heard_whole_after_it() {
    let mut leg = leg(RtpLegParams::transcoded(address(FAR), LegCodec::L16(SampleRate::Hz16000)));
    let mut said = words(16_000 * 3);
    said.extend([0; 16_000 * 3]);
    let (mut heard, mut frame) = (Vec::new(), FrameBuffer::default());
    for k in 0..said.len() / 320 {
        let now = 20 * k as u64;
        // One packet of the pre-roll is lost, one comes twice.
        if k != 20 {
            say(&mut leg, &said, k, at(now));
        }
        if k == 30 {
            say(&mut leg, &said, k, at(now + 1));
        }
        // The gate opens after 1.4 s.
        if k >= 70 {
            leg.tick(at(now + 10));
            assert_eq!(leg.outgoing(&mut frame), Outgoing::Pcm(SampleRate::Hz16000), "packet {k}: from the first tick on without a hole");
            heard.extend_from_slice(&frame.pcm[..320]);
        }
    }
    assert_eq!(heard[..20 * 320], said[..20 * 320], "from the first word");
    assert_eq!(heard[21 * 320 + 160..70 * 320], said[21 * 320 + 160..70 * 320], "the lost packet is concealed in its place");
    // 1.4 s of delay and what the jitter buffer keeps are paid back in the silence at the end, but for what absorbs jitter.
    let transcoder = leg.transcoder.as_ref().expect("transcoded");
    assert!(transcoder.waiting() <= 3 * 320, "{} samples wait", transcoder.waiting());
    assert_eq!(leg.stats().drops.of(DropReason::Duplicate), 1);
}

//= meta#R-31:live type=test
#[test]
fn the_pre_roll_of_a_transcoded_leg_is_bounded_and_keeps_the_newest() {
    let params = RtpLegParams::transcoded(address(FAR), LegCodec::L16(SampleRate::Hz16000));
    let mut leg = leg(RtpLegParams { pre_roll: Span::from_millis(200), ..params });
    let said = words(16_000);
    (0..50).for_each(|k| say(&mut leg, &said, k, at(20 * k as u64)));
    assert_eq!(leg.stats().drops.of(DropReason::NoRoom), 40);
    let mut frame = FrameBuffer::default();
    leg.tick(at(1_000));
    for k in 40..50 {
        assert_eq!(leg.outgoing(&mut frame), Outgoing::Pcm(SampleRate::Hz16000));
        assert_eq!(frame.pcm[..320], said[k * 320..(k + 1) * 320]);
    }
    assert_eq!(leg.outgoing(&mut frame), Outgoing::Silence);
    let outside = RtpLegParams { pre_roll: Span::from_millis(10_001), ..RtpLegParams::opus(address(FAR)) };
    assert!(outside.check().is_err());
}

//= meta#R-18 type=test
#[test]
fn opus_of_10_40_and_60_ms_becomes_packets_of_20_ms() {
    // SILK wide band: frames of 20 ms, two and three to a packet, and frames of 10 ms.
    let mut leg = leg(RtpLegParams::opus(address(FAR)));
    let mut seq = 0;
    let mut say = |leg: &mut RtpLeg, timestamp: u32, payload: &[u8]| {
        seq += 1;
        leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(111, seq, timestamp, payload), at(0));
    };
    say(&mut leg, 960, &[0x4b, 0x03, 1, 1, 2, 2, 3, 3]);
    say(&mut leg, 3_840, &[0x49, 4, 4, 5, 5]);
    let of = |timestamp: u32, payload: &[u8], fresh: bool| (timestamp, payload.to_vec(), fresh);
    let expected = [
        of(960, &[0x48, 1, 1], true),
        of(1_920, &[0x48, 2, 2], false),
        of(2_880, &[0x48, 3, 3], false),
        of(3_840, &[0x48, 4, 4], false),
        of(4_800, &[0x48, 5, 5], false),
    ];
    assert_eq!(forwarded(&mut leg), expected);
    // 10 ms, joined over packets; one of them is lost, so the started packet ends with an empty frame.
    say(&mut leg, 5_760, &[0x40, 1]);
    assert!(forwarded(&mut leg).is_empty(), "half a packet waits for its other half");
    say(&mut leg, 6_240, &[0x40, 2]);
    say(&mut leg, 6_720, &[0x40, 3]);
    say(&mut leg, 7_680, &[0x40, 4]);
    say(&mut leg, 8_160, &[0x40, 5]);
    let expected = [of(5_760, &[0x41, 1, 2], false), of(6_720, &[0x42, 1, 3], false), of(7_680, &[0x41, 4, 5], false)];
    assert_eq!(forwarded(&mut leg), expected);
    // 20 ms passes as it is, also now; what only a decoder can divide is counted.
    say(&mut leg, 8_640, &opus(9));
    assert_eq!(forwarded(&mut leg), [of(8_640, &opus(9), false)]);
}

/// libopus makes one frame of 40 or 60 ms where SILK speaks. Then the far side is decoded, from its first word before the gate, and the peer's Opus goes on to it by the tick.
//= meta#R-18 type=test
#[cfg(feature = "opus")]
#[test]
fn opus_in_single_frames_of_40_or_60_ms_is_decoded() {
    let mut leg = leg(RtpLegParams::opus(address(FAR)));
    assert!(leg.forwards() && !leg.wants_opus());
    let mut frame = FrameBuffer::default();
    for k in 0..20u32 {
        // An empty frame of 60 ms: lost, as far as a decoder is concerned, and 60 ms long.
        leg.handle_datagram(FarSocket::Rtp, address(FAR), &rtp(111, k as u16, k * 2_880, &[0x58]), at(60 * u64::from(k)));
    }
    assert_eq!((leg.forwards(), leg.wants_opus(), leg.wants_pcm()), (false, true, None));
    leg.tick(at(1_200));
    assert_eq!(leg.outgoing(&mut frame), Outgoing::Pcm(SampleRate::Hz16000));
    let waiting = leg.transcoder.as_ref().expect("decoded").waiting();
    assert_eq!((waiting, leg.stats().drops.total()), (59 * 320, 0), "1.2 s in frames of 20 ms");
    let heard = (1..70).filter(|k| {
        leg.tick(at(1_200 + 20 * k));
        leg.outgoing(&mut frame) == Outgoing::Pcm(SampleRate::Hz16000)
    });
    assert!((10..25).contains(&heard.count()), "quiet, so the delay is paid back at once");
    // The peer's own packets go on, in the leg's numbers, and what is missing is told by the timestamp.
    let mut out = [0; 1_500];
    let mut said = Vec::new();
    for (k, timestamp) in [0u32, 960, 3_840].into_iter().enumerate() {
        leg.incoming(Incoming::Opus { payload: &opus(k as u8), timestamp });
        let (len, _) = leg.poll_transmit(&mut out, at(3_000)).expect("at the tick");
        let view = RtpView::new_checked(&out[..len]).expect("RTP");
        said.push((view.seq(), view.timestamp(), view.marker(), view.payload().to_vec()));
    }
    let steps: Vec<_> =
        said.windows(2).map(|pair| (pair[1].0.wrapping_sub(pair[0].0), pair[1].1.wrapping_sub(pair[0].1), pair[1].2)).collect();
    assert_eq!(steps, [(1, 960, false), (1, 2_880, true)]);
    assert_eq!(said[2].3, opus(2));
}
