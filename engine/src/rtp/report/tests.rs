//! Statistics against hand-made arrivals, reports read back from the wire, round trips between two reporters.

use super::*;
use crate::rng::SeededRng;
use crate::wire::rtcp::ReportBlock;
use crate::wire::rtp::RtpHeader;

const PEER: u32 = 0x0001_0203;
const OWN: u32 = 0x0a0b_0c0d;
/// Some wall clock: the core is handed it, so any will do.
const NTP: u64 = 0xe9a0_1234_8000_0000;

fn ntp_at(now: Time) -> u64 {
    NTP + ((u128::from(now.as_nanos()) << 32) / 1_000_000_000) as u64
}

fn ms(ms: u64) -> Time {
    Time::ZERO + Span::from_millis(ms)
}

fn packet(ssrc: u32, seq: u16, timestamp: u32) -> Vec<u8> {
    let mut fixed = [0; 12];
    RtpHeader { payload_type: 111, marker: false, seq, timestamp, ssrc }.emit(&mut fixed);
    [&fixed[..], &[0x48; 40]].concat()
}

fn receive(reporter: &mut Reporter, ssrc: u32, seq: u16, timestamp: u32, now: Time) {
    reporter.received_rtp(&RtpView::new_checked(&packet(ssrc, seq, timestamp)).unwrap(), false, now);
}

/// Receives `seqs` of the peer, each at its own time.
fn receive_run(reporter: &mut Reporter, seqs: impl IntoIterator<Item = u16>) {
    for (k, seq) in seqs.into_iter().enumerate() {
        receive(reporter, PEER, seq, u32::from(seq) * 960, ms(20 * k as u64));
    }
}

struct Written {
    sender: Option<SenderInfo>,
    blocks: Vec<ReportBlock>,
    cname: Vec<u8>,
    byes: Vec<u32>,
}

fn read(bytes: &[u8]) -> Written {
    let mut written = Written { sender: None, blocks: Vec::new(), cname: Vec::new(), byes: Vec::new() };
    for packet in Compound::new_checked(bytes).unwrap().packets() {
        match packet {
            Packet::Sr(info, report) => {
                written.sender = Some(info);
                written.blocks.extend(report.blocks());
            }
            Packet::Rr(report) => written.blocks.extend(report.blocks()),
            Packet::Sdes(sdes) => written.cname = sdes.cname(OWN).expect("our CNAME").to_vec(),
            Packet::Bye(bye) => written.byes.extend(bye.ssrcs()),
            other => panic!("{other:?}"),
        }
    }
    written
}

fn report(reporter: &mut Reporter, source: &RtpSource, now: Time) -> Written {
    let mut out = [0xff; REPORT_BYTES_MAX];
    let length = reporter.write_report(source, ntp_at(now), 0, &mut SeededRng::new(1), &mut out, now);
    read(&out[..length])
}

fn block(reporter: &mut Reporter, now: Time) -> ReportBlock {
    report(reporter, &RtpSource::with_start(OWN, 0, 0), now).blocks[0]
}

fn rr(block: ReportBlock) -> Vec<u8> {
    let mut out = vec![0; 64];
    let mut writer = CompoundWriter::new(&mut out);
    assert!(writer.receiver_report(PEER, &[block]));
    let length = writer.finish();
    out.truncate(length);
    out
}

fn bye(ssrc: u32) -> Vec<u8> {
    let mut out = vec![0; 8];
    assert!(CompoundWriter::new(&mut out).bye(ssrc));
    out
}

//= rfc3550#appendix-A.3 type=test
//= rules#C5 type=test
#[test]
fn losses_are_counted_per_interval_and_in_all() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    // 100 expected, 75 received: 64 of 256.
    receive_run(&mut reporter, (0..100).filter(|seq| seq % 4 != 1));
    let first = block(&mut reporter, ms(2_000));
    assert_eq!((first.ssrc, first.fraction_lost, first.cumulative_lost, first.highest_seq), (PEER, 64, 25, 99));
    // Nothing lost in the second interval; the total stays.
    receive_run(&mut reporter, 100..200);
    let second = block(&mut reporter, ms(4_000));
    assert_eq!((second.fraction_lost, second.cumulative_lost, second.highest_seq), (0, 25, 199));
    assert_eq!(reporter.stats().lost, 25);
    assert_eq!((reporter.stats().packets, reporter.stats().octets), (175, 175 * 40));
}

//= rules#C5 type=test
#[test]
fn duplicates_make_the_loss_negative_and_the_fraction_zero() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    receive_run(&mut reporter, [1, 2, 2, 2, 3]);
    let block = block(&mut reporter, ms(200));
    assert_eq!((block.fraction_lost, block.cumulative_lost), (0, -2));
}

//= rfc3550#appendix-A.1 type=test
#[test]
fn sequence_wraps_and_reordering_extend_correctly() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    receive_run(&mut reporter, [0xfffd, 0xfffe, 1, 0xffff, 0, 2]);
    let block = block(&mut reporter, ms(200));
    assert_eq!((block.highest_seq, block.cumulative_lost), (0x1_0002, 0));
}

//= rules#P12 type=test
#[test]
fn a_jump_needs_two_packets_in_a_row() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    receive_run(&mut reporter, 0..10);
    receive_run(&mut reporter, [20_000]);
    assert_eq!(block(&mut reporter, ms(300)).highest_seq, 9);
    // Back in order: the stray one has changed nothing.
    receive_run(&mut reporter, 10..12);
    assert_eq!(block(&mut reporter, ms(300)).highest_seq, 11);
    receive_run(&mut reporter, [30_000, 30_001, 30_002]);
    let after = block(&mut reporter, ms(400));
    assert_eq!((after.highest_seq, after.cumulative_lost), (30_002, 0));
}

//= rules#P12 type=test
#[test]
fn limits_of_dropout_and_misorder_are_those_of_the_rfc() {
    // In the run a packet counts as received; a jump (100 back is one already) does not. Duplicates of nothing make the loss negative.
    for (start, next, highest, lost) in [(0_u16, 2_999_u16, 2_999_u32, 2_998), (0, 3_000, 0, 0), (200, 101, 200, -1), (200, 100, 200, 0)] {
        let mut reporter = Reporter::new("c", Time::ZERO);
        receive_run(&mut reporter, [start, next]);
        let block = block(&mut reporter, ms(40));
        assert_eq!((block.highest_seq, block.cumulative_lost), (highest, lost), "{start} {next}");
    }
}

//= rfc3550#appendix-A.8 type=test
//= rules#C5 type=test
#[test]
fn jitter_converges_to_the_mean_difference() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    // Every other packet 10 ms late: |D| is 480 ticks each time, so J tends to 480.
    for k in 0..400_u16 {
        receive(&mut reporter, PEER, k, u32::from(k) * 960, ms(u64::from(k) * 20 + u64::from(k % 2) * 10));
    }
    let jitter = reporter.stats().jitter_ticks;
    assert!((470..=480).contains(&jitter), "{jitter}");
}

#[test]
fn steady_arrival_has_no_jitter_even_across_the_timestamp_wrap() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    for k in 0..100_u32 {
        receive(&mut reporter, PEER, k as u16, 0xffff_ffff_u32.wrapping_sub(9_600).wrapping_add(k * 960), ms(u64::from(k) * 20));
    }
    assert_eq!(reporter.stats().jitter_ticks, 0);
}

//= rfc4733#section-2.5.2.2:jitter type=test
//= rules#C7 type=test
#[test]
fn packets_of_one_event_are_one_jitter_sample() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    for k in 0..50_u16 {
        // Packets 10 to 19 are one event with the timestamp of its start.
        let is_event = (10..20).contains(&k);
        let line = if is_event { 10 } else { k };
        let bytes = packet(PEER, k, u32::from(line) * 960);
        reporter.received_rtp(&RtpView::new_checked(&bytes).unwrap(), is_event, ms(u64::from(k) * 20));
    }
    assert_eq!(reporter.stats().jitter_ticks, 0);
    assert_eq!((reporter.stats().packets, reporter.stats().lost), (50, 0));
}

#[test]
fn audio_between_the_packets_of_an_event_does_not_make_them_samples() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    for k in 0..40_u16 {
        // Even packets are audio, odd ones repeat an event that began with packet 1; both leave every 20 ms.
        let (is_event, frame) = (k % 2 == 1, u32::from(k / 2));
        let bytes = packet(PEER, k, if is_event { 0 } else { frame * 960 });
        reporter.received_rtp(&RtpView::new_checked(&bytes).unwrap(), is_event, ms(u64::from(frame) * 20));
    }
    assert_eq!(reporter.stats().jitter_ticks, 0);
}

//= rfc3550#section-8.2 type=test
#[test]
fn a_new_ssrc_begins_anew_and_stragglers_of_the_old_one_do_not_switch_back() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    receive_run(&mut reporter, (0..100).filter(|seq| seq % 2 == 0));
    receive(&mut reporter, 77, 5, 0, ms(2_000));
    receive(&mut reporter, PEER, 99, 99 * 960, ms(2_010));
    receive(&mut reporter, 77, 6, 960, ms(2_020));
    let stats = reporter.stats();
    assert_eq!((stats.ssrc, stats.packets, stats.lost), (77, 2, 0));
    // Half a second later it is no straggler: the relay went back.
    receive(&mut reporter, PEER, 200, 200 * 960, ms(2_500));
    assert_eq!((reporter.stats().ssrc, reporter.stats().packets), (PEER, 1));
}

//= meta#R-39 type=test
//= rules#C2 type=test
#[test]
fn first_report_at_once_then_between_one_and_five_seconds() {
    let mut reporter = Reporter::new("c", Time::ZERO);
    assert_eq!(reporter.poll_timeout(), None);
    reporter.start(ms(700));
    assert_eq!(reporter.poll_timeout(), Some(ms(700)));
    let source = RtpSource::with_start(OWN, 0, 0);
    let mut rng = SeededRng::new(4);
    let mut out = [0; REPORT_BYTES_MAX];
    let mut waits = Vec::new();
    for _ in 0..1_000 {
        let now = reporter.poll_timeout().unwrap();
        assert!(reporter.write_report(&source, ntp_at(now), 0, &mut rng, &mut out, now) > 0);
        waits.push(reporter.poll_timeout().unwrap().since(now).as_millis());
    }
    assert!(waits.iter().all(|&wait| (1_000..=5_000).contains(&wait)));
    assert!(waits.iter().any(|&wait| wait < 1_500) && waits.iter().any(|&wait| wait > 3_500), "randomised over its range");
}

//= rfc3550#section-6.4 type=test
//= rules#C1 type=test
#[test]
fn sender_report_while_we_send_receiver_report_two_intervals_after() {
    let mut reporter = Reporter::new("name@host", Time::ZERO);
    let mut source = RtpSource::with_start(OWN, 0, 4_800);
    assert!(report(&mut reporter, &source, ms(0)).sender.is_none(), "nothing was sent yet");
    source.count_sent(40);
    let mut out = [0; REPORT_BYTES_MAX];
    let length = reporter.write_report(&source, ntp_at(ms(10)), 480, &mut SeededRng::new(1), &mut out, ms(10));
    let first = read(&out[..length]);
    //= rfc3550#section-6.4.1 type=test
    let info = SenderInfo { ntp: ntp_at(ms(10)), rtp_timestamp: 5_280, packets: 1, octets: 40 };
    assert_eq!(first.sender, Some(info));
    assert_eq!(first.cname, b"name@host");
    assert!(first.blocks.is_empty(), "nothing received, nothing to report on");
    assert!(report(&mut reporter, &source, ms(20)).sender.is_some(), "we sent since the last but one");
    assert!(report(&mut reporter, &source, ms(30)).sender.is_none());
    assert!(report(&mut reporter, &source, ms(40)).sender.is_none());
    source.count_sent(40);
    assert!(report(&mut reporter, &source, ms(50)).sender.is_some());
}

//= rfc3550#section-6.4.1 type=test
//= rules#C6 type=test
#[test]
fn two_reporters_measure_the_round_trip_between_them() {
    let mut ours = Reporter::new("a", Time::ZERO);
    let mut theirs = Reporter::new("b", Time::ZERO);
    let mut source = RtpSource::with_start(OWN, 0, 0);
    let _ = source.audio(111);
    source.count_sent(40);
    let mut out = [0; REPORT_BYTES_MAX];
    let length = ours.write_report(&source, ntp_at(ms(1_000)), 0, &mut SeededRng::new(1), &mut out, ms(1_000));
    // 30 ms there, 1.5 s held, 50 ms back.
    receive(&mut theirs, OWN, 0, 0, ms(1_020));
    assert_eq!(theirs.received_rtcp(&out[..length], PEER, ms(1_030)), Ok(false));
    let their_source = RtpSource::with_start(PEER, 0, 0);
    let length = theirs.write_report(&their_source, ntp_at(ms(2_530)), 0, &mut SeededRng::new(1), &mut out, ms(2_530));
    assert_eq!(ours.received_rtcp(&out[..length], OWN, ms(2_580)), Ok(false));
    let rtt = ours.stats().rtt.unwrap();
    // DLSR counts 1/65 536 s: 15 us of rounding.
    assert!(rtt.as_micros().abs_diff(80_000) <= 16, "{rtt:?}");
    assert_eq!(ours.stats().peer_fraction_lost, 0);
}

//= rules#C5 type=test
#[test]
fn only_the_sender_report_of_the_stream_reported_on_is_echoed() {
    let mut ours = Reporter::new("a", Time::ZERO);
    receive_run(&mut ours, 0..5);
    let sender_report = |ssrc| {
        let mut out = vec![0; 28];
        let info = SenderInfo { ntp: NTP, rtp_timestamp: 0, packets: 5, octets: 200 };
        assert!(CompoundWriter::new(&mut out).sender_report(ssrc, &info, &[]));
        out
    };
    assert_eq!(ours.received_rtcp(&sender_report(PEER + 1), OWN, ms(500)), Ok(false));
    let before = block(&mut ours, ms(600));
    assert_eq!((before.lsr, before.dlsr), (0, 0));
    assert_eq!(ours.received_rtcp(&sender_report(PEER), OWN, ms(1_000)), Ok(false));
    let after = block(&mut ours, ms(2_500));
    assert_eq!((after.lsr, after.dlsr), ((NTP >> 16) as u32, 98_304), "1.5 s are 98 304 / 65 536");
}

//= rules#C6 type=test
//= rules#C12 type=test
#[test]
fn impossible_echoes_give_no_round_trip() {
    let mut reporter = Reporter::new("a", Time::ZERO);
    let mut source = RtpSource::with_start(OWN, 0, 0);
    source.count_sent(40);
    let _ = report(&mut reporter, &source, ms(1_000));
    let lsr = ntp_middle(ntp_at(ms(1_000)));
    let echo =
        |ssrc, lsr, dlsr| rr(ReportBlock { ssrc, lsr, dlsr, fraction_lost: 64, cumulative_lost: -3, jitter: 9, ..ReportBlock::default() });
    for (lsr, dlsr) in [(0, 0), (lsr, 65_536), (lsr, u32::MAX), (lsr + 1, 0)] {
        assert_eq!(reporter.received_rtcp(&echo(OWN, lsr, dlsr), OWN, ms(1_500)), Ok(false));
        assert_eq!(reporter.stats().rtt, None, "{lsr} {dlsr}");
    }
    // A block about somebody else says nothing about us (C12).
    let _ = reporter.received_rtcp(&rr(ReportBlock { ssrc: OWN + 1, lsr, fraction_lost: 200, ..ReportBlock::default() }), OWN, ms(1_500));
    let stats = reporter.stats();
    assert_eq!((stats.rtt, stats.peer_fraction_lost, stats.peer_lost, stats.peer_jitter_ticks), (None, 64, -3, 9));
    assert_eq!(reporter.received_rtcp(&echo(OWN, lsr, 16_384), OWN, ms(1_500)), Ok(false));
    assert_eq!(reporter.stats().rtt, Some(Span::from_millis(250)));
}

//= rules#C9 type=test
#[test]
fn bye_of_the_peer_ends_its_stream_and_only_its_own() {
    let mut reporter = Reporter::new("a", Time::ZERO);
    receive_run(&mut reporter, 0..5);
    assert_eq!(reporter.received_rtcp(&bye(PEER + 1), OWN, ms(200)), Ok(false));
    assert_eq!(reporter.stats().packets, 5);
    assert_eq!(reporter.received_rtcp(&bye(PEER), OWN, ms(200)), Ok(true));
    assert_eq!(reporter.stats().packets, 0);
    // A straggler does not bring it back, so the next report has no block.
    receive(&mut reporter, PEER, 5, 5 * 960, ms(210));
    assert!(report(&mut reporter, &RtpSource::with_start(OWN, 0, 0), ms(300)).blocks.is_empty());
}

#[test]
fn broken_packets_are_told_and_their_neighbours_count() {
    let mut reporter = Reporter::new("a", Time::ZERO);
    receive_run(&mut reporter, 0..5);
    let liar = [0x9f, 201, 0, 1, 0, 0, 0, 1];
    let good = rr(ReportBlock { ssrc: OWN, fraction_lost: 7, ..ReportBlock::default() });
    assert_eq!(reporter.received_rtcp(&[&liar[..], &good].concat(), OWN, ms(200)), Err(DropReason::RtcpMalformed));
    assert_eq!(reporter.stats().peer_fraction_lost, 7);
    assert_eq!(reporter.received_rtcp(&[&liar[..], &bye(PEER)].concat(), OWN, ms(200)), Ok(true));
    assert_eq!(reporter.received_rtcp(&good[..7], OWN, ms(200)), Err(DropReason::Truncated));
}

//= rules#C10 type=test
#[test]
fn our_bye_is_the_last_word() {
    let mut reporter = Reporter::new(&"é".repeat(200), Time::ZERO);
    reporter.start(ms(0));
    let mut source = RtpSource::with_start(OWN, 0, 0);
    source.count_sent(1);
    receive_run(&mut reporter, 0..5);
    let mut out = [0; REPORT_BYTES_MAX];
    let length = reporter.write_bye(&source, NTP, 480, &mut out, ms(100));
    let written = read(&out[..length]);
    assert_eq!(written.byes, [OWN]);
    assert_eq!(written.sender.map(|sender| sender.rtp_timestamp), Some(480), "the instant of the report, not of the last packet");
    assert_eq!(written.blocks.len(), 1);
    assert_eq!(written.cname.len(), 254, "cut between characters");
    assert_eq!(reporter.poll_timeout(), None);
    assert_eq!(reporter.write_bye(&source, NTP, 480, &mut out[..40], ms(100)), 0, "no room, no bytes");
}

//= rules#C14 type=test
#[test]
fn a_peer_without_reports_is_noticed_after_three() {
    let mut reporter = Reporter::new("a", Time::ZERO);
    let source = RtpSource::with_start(OWN, 0, 0);
    for k in 0..3 {
        assert!(!reporter.is_peer_silent());
        let _ = report(&mut reporter, &source, ms(k * 2_000));
    }
    assert!(reporter.is_peer_silent());
    let _ = reporter.received_rtcp(&rr(ReportBlock::default()), OWN, ms(9_000));
    assert!(!reporter.is_peer_silent());
}
