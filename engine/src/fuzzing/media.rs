//! RTP, RTCP, telephone-event and Opus framing under any bytes.

use crate::codec::reframe::OpusReframer;
use crate::codec::toc;
use crate::dtmf::DigitReceiver;
use crate::limits::{FRAME_TICKS, OPUS_BYTES_MAX};
use crate::rng::SeededRng;
use crate::rtp::{REPORT_BYTES_MAX, Reporter, RtpSource};
use crate::time::{Span, Time};
use crate::wire::demux::{PacketKind, classify};
use crate::wire::dtmf::TelephoneEvent;
use crate::wire::rtcp::{Compound, Packet};
use crate::wire::rtp::{RtpHeader, RtpView, header_extent};

/// A view that was granted: its parts tile the packet, and what it says can be emitted again.
pub fn fuzz_rtp(data: &[u8]) {
    let kind = classify(data);
    let Ok(view) = RtpView::new_checked(data) else { return };
    assert!(matches!(kind, PacketKind::Rtp | PacketKind::Rtcp));
    assert_eq!(header_extent(data), Ok(view.header_bytes()));
    assert_eq!(view.header_bytes() + view.payload().len() + view.padding_bytes(), data.len());
    let header = RtpHeader {
        payload_type: view.payload_type(),
        marker: view.marker(),
        seq: view.seq(),
        timestamp: view.timestamp(),
        ssrc: view.ssrc(),
    };
    let mut out = [0; 12];
    header.emit(&mut out);
    assert_eq!(out[1..], data[1..12]);
    let csrc_bytes = 4 * view.csrcs().count();
    let extension_bytes = view.extension().map_or(0, |(_, body)| 4 + body.len());
    assert_eq!(12 + csrc_bytes + extension_bytes, view.header_bytes());
    let mut element_bytes = 0;
    for element in view.extensions() {
        assert_ne!(element.id, 0);
        element_bytes += 1 + element.data.len();
    }
    assert!(element_bytes <= extension_bytes);
}

/// A compound that was granted: its packets can be walked, and their parts lie inside it.
pub fn fuzz_rtcp(data: &[u8]) {
    let Ok(compound) = Compound::new_checked(data) else { return };
    let mut packets = 0;
    for packet in compound.packets() {
        packets += 1;
        let room = data.len();
        match packet {
            Packet::Sr(_, report) | Packet::Rr(report) => assert!(report.blocks().count() * 24 < room),
            Packet::Sdes(sdes) => {
                let text: usize = sdes
                    .items()
                    .map(|(ssrc, item, text)| {
                        assert!(sdes.cname(ssrc).is_some() || item != 1);
                        2 + text.len()
                    })
                    .sum();
                assert!(text < room);
            }
            Packet::Bye(bye) => assert!(bye.ssrcs().count() * 4 + bye.reason.len() < room),
            Packet::Feedback(feedback) => assert!(feedback.fci.len() + 12 <= room),
            Packet::Other { packet_type } => assert!(!(200..=203).contains(&packet_type)),
            Packet::Broken { .. } => {}
        }
    }
    assert!(packets >= 1 && packets * 4 <= data.len());
}

/// Eight bytes an operation: time passes, a packet comes. No (timestamp, event) is reported twice inside ten seconds of the line.
pub fn fuzz_dtmf(data: &[u8]) {
    if let Ok(event) = TelephoneEvent::parse(data) {
        let emitted = event.emit();
        assert_eq!(TelephoneEvent::parse(&emitted), Ok(event));
        assert_eq!(emitted[1] | data[1] & 0x40, data[1]);
    }
    let mut receiver = DigitReceiver::default();
    let mut reported = Vec::new();
    let mut now = Time::ZERO;
    for op in data.chunks(8) {
        let [pass, at, payload @ ..] = op else { break };
        // At most 10 ms an operation over at most 188 of them: far below the time after which a timestamp may come again.
        now += Span::from_micros(u64::from(*pass) * 40);
        // The whole line is inside the window in which late copies are known.
        let timestamp = (u32::from(*at) * 960).wrapping_sub(100_000);
        match receiver.handle_packet(timestamp, payload, now) {
            Ok(Some(digit)) => {
                let key = (digit.timestamp, digit.symbol);
                assert_eq!(digit.timestamp, timestamp);
                assert!(!reported.contains(&key), "reported twice: {key:?}");
                reported.push(key);
                assert_eq!(receiver.last(), Some(digit));
            }
            Ok(None) => {}
            Err(_) => assert!(payload.len() < 4 || reported.len() > 16),
        }
        let _ = receiver.is_pressed(now);
    }
}

/// Framing that was granted plays 2.5 to 120 ms.
pub fn fuzz_opus_toc(data: &[u8]) {
    let _ = (toc::mode(data), toc::bandwidth(data), toc::is_stereo(data), toc::is_dtx(data));
    let mut frames = [&[][..]; 48];
    if let Ok(count) = toc::frames(data, &mut frames) {
        assert!(frames[..count].iter().map(|frame| frame.len()).sum::<usize>() < data.len());
    }
    match (toc::frame_count(data), toc::duration_ticks(data)) {
        (Ok(frames), Ok(ticks)) => {
            assert!((1..=48).contains(&frames) && (120..=5_760).contains(&ticks) && ticks.is_multiple_of(120));
            assert_eq!(ticks, frames * toc::frame_ticks(data[0]));
        }
        (Err(_), Err(_)) => {}
        (frames, ticks) => panic!("{frames:?} but {ticks:?}"),
    }
}

/// Packets, each behind its length (two bytes): what was taken comes out as packets of 20 ms, with every byte of its frames in order.
pub fn fuzz_opus_reframe(data: &[u8]) {
    let mut reframer = OpusReframer::default();
    let (mut pushed, mut popped) = (Vec::new(), Vec::new());
    let mut out = [0; OPUS_BYTES_MAX];
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (packet, tail) = tail.split_at(usize::from(u16::from_be_bytes(*length) % 1_300).min(tail.len()));
        rest = tail;
        let ready = reframer.ready();
        let mut frames = [&[][..]; 48];
        let count = toc::frames(packet, &mut frames);
        assert_eq!(count.is_ok(), toc::frame_count(packet).is_ok());
        match reframer.push(packet) {
            Ok(()) => frames[..count.expect("well formed")].iter().for_each(|frame| pushed.extend_from_slice(frame)),
            Err(_) => assert_eq!(reframer.ready(), ready, "a refusal takes nothing"),
        }
        while let Some(len) = reframer.pop(&mut out) {
            assert_eq!(toc::duration_ticks(&out[..len]), Ok(FRAME_TICKS));
            let mut frames = [&[][..]; 48];
            let count = toc::frames(&out[..len], &mut frames).expect("our own packet");
            frames[..count].iter().for_each(|frame| popped.extend_from_slice(frame));
        }
        assert!(reframer.dropped() > 0 || pushed.starts_with(&popped));
    }
}

/// An operation list: what comes in, time passing, reports. Each report we write is well formed and the next one is in 1 to 5 s.
pub fn fuzz_reporter(data: &[u8]) {
    let mut entropy = SeededRng::new(data.len() as u64);
    let mut now = Time::from_nanos(1);
    let mut reporter = Reporter::new("fuzz", now);
    let mut source = RtpSource::with_start(7, 0xfff0, 0xffff_0000);
    let mut out = [0; REPORT_BYTES_MAX];
    let ntp_of = |now: Time| 0xe000_0000_0000_0000_u64.wrapping_add(((u128::from(now.as_nanos()) << 32) / 1_000_000_000) as u64);
    let mut rest = data;
    while let Some((&op, tail)) = rest.split_first() {
        let take = tail.len().min(match op % 8 {
            1 => 8,
            2 => usize::from(tail.first().copied().unwrap_or(0)),
            3 => 3,
            _ => 0,
        });
        let (arguments, tail) = tail.split_at(take);
        rest = tail;
        match op % 8 {
            0 => reporter.start(now),
            1 => {
                let mut packet = [0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                packet[2..2 + arguments.len()].copy_from_slice(arguments);
                packet[8..11].fill(0);
                let view = RtpView::new_checked(&packet).expect("twelve bytes of version 2");
                reporter.received_rtp(&view, op & 8 != 0, now);
            }
            2 => {
                let before = reporter.stats();
                if reporter.received_rtcp(arguments.get(1..).unwrap_or(&[]), source.ssrc(), now) == Ok(true) {
                    assert_eq!(reporter.stats().packets, 0, "{before:?}");
                }
            }
            3 => now += Span::from_nanos(arguments.iter().fold(0, |sum, &b| sum << 8 | u64::from(b)) * 1_000),
            4 => {
                let _ = source.audio(111);
                source.count_sent(40);
                source.advance_frame(op & 8 != 0);
            }
            _ => {
                let written = if op % 8 == 7 {
                    let written = reporter.write_bye(&source, ntp_of(now), 100, &mut out, now);
                    assert_eq!(reporter.poll_timeout(), None);
                    written
                } else {
                    let written = reporter.write_report(&source, ntp_of(now), 100, &mut entropy, &mut out, now);
                    let wait = reporter.poll_timeout().expect("a next report").since(now);
                    assert!(wait >= Span::from_secs(1) && wait <= Span::from_secs(5));
                    written
                };
                let compound = Compound::new_checked(&out[..written]).expect("our own compound");
                assert!(matches!(compound.packets().next(), Some(Packet::Sr(..) | Packet::Rr(_))));
                assert!(compound.packets().any(|p| matches!(p, Packet::Sdes(sdes) if sdes.cname(7) == Some(b"fuzz"))));
                assert!(!compound.packets().any(|p| matches!(p, Packet::Broken { .. })));
            }
        }
        let stats = reporter.stats();
        assert!(stats.lost <= i64::from(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Entropy;
    use crate::wire::golden;

    type Body = fn(&[u8]);

    /// Every golden packet, then mutations of it: bits flipped, cut, doubled.
    fn replay(body: Body, seeds: &[Vec<u8>], mutations: usize) {
        assert!(!seeds.is_empty());
        let mut rng = SeededRng::new(0x7469_7072);
        for seed in seeds {
            body(seed);
        }
        for _ in 0..mutations {
            let mut bytes = seeds[rng.below(seeds.len() as u64) as usize].clone();
            for _ in 0..=rng.below(4) {
                match rng.below(4) {
                    0 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
                    1 => {
                        let other = &seeds[rng.below(seeds.len() as u64) as usize];
                        bytes.extend_from_slice(other);
                        bytes.truncate(1_500);
                    }
                    _ if bytes.is_empty() => bytes.push(rng.u32() as u8),
                    2 => {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] = rng.u32() as u8;
                    }
                    _ => {
                        let at = rng.below(bytes.len() as u64) as usize;
                        bytes[at] ^= 1 << rng.below(8);
                    }
                }
            }
            body(&bytes);
        }
    }

    /// Byte strings without any structure, up to a whole datagram.
    fn noise(count: usize) -> Vec<Vec<u8>> {
        let mut rng = SeededRng::new(9);
        (0..count)
            .map(|_| {
                let mut bytes = vec![0; rng.below(1_501) as usize];
                rng.fill(&mut bytes);
                bytes
            })
            .collect()
    }

    fn cases(path: &str) -> Vec<Vec<u8>> {
        golden::read(path)["cases"].as_array().unwrap().iter().map(|case| golden::hex(&case["hex"])).collect()
    }

    fn with_noise(mut seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        seeds.extend(noise(300));
        seeds
    }

    #[test]
    fn rtp_bodies_hold() {
        replay(fuzz_rtp, &with_noise(cases("rtp/headers.json")), 20_000);
    }

    #[test]
    fn rtcp_bodies_hold() {
        replay(fuzz_rtcp, &cases("rtcp/packets.json"), 20_000);
        replay(fuzz_rtcp, &noise(300), 0);
    }

    #[test]
    fn opus_bodies_hold() {
        replay(fuzz_opus_toc, &with_noise(cases("opus/framing.json")), 20_000);
    }

    #[test]
    fn opus_reframe_bodies_hold() {
        let packets: Vec<Vec<u8>> = cases("opus/framing.json")
            .into_iter()
            .map(|packet| [&(packet.len().min(1_299) as u16).to_be_bytes()[..], &packet].concat())
            .collect();
        replay(fuzz_opus_reframe, &with_noise(packets), 20_000);
    }

    #[test]
    fn dtmf_bodies_hold() {
        let file = golden::read("dtmf/rfc4733_911.json");
        let packets = file["packets"].as_array().unwrap();
        // Operation lists whose payloads are the golden ones, two bytes of time and place before each.
        let list: Vec<u8> = packets
            .iter()
            .flat_map(|packet| {
                let mut op = vec![200, (packet["timestamp"].as_u64().unwrap() / 960) as u8];
                op.extend(&golden::hex(&packet["hex"])[12..16]);
                op.extend([0, 0]);
                op
            })
            .collect();
        replay(fuzz_dtmf, &[list], 2_000);
        replay(fuzz_dtmf, &noise(500), 2_000);
    }

    #[test]
    fn reporter_bodies_hold() {
        let mut seeds = noise(100);
        for packet in cases("rtcp/packets.json") {
            let mut ops = vec![0, 5, 4, 1, 0, 1, 0, 0, 3, 0xc0, 9, 9, 2, packet.len() as u8 + 1];
            ops.extend(packet);
            ops.extend([5, 3, 9, 9, 9, 7]);
            seeds.push(ops);
        }
        replay(fuzz_reporter, &seeds, 5_000);
    }
}
