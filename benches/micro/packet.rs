//! What does it cost to know what a datagram is, to view it as RTP, and to write and read a report?

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tipring_engine::rng::SeededRng;
use tipring_engine::rtp::{Reporter, RtpSource};
use tipring_engine::time::{Span, Time};
use tipring_engine::wire::demux::{PacketKind, classify};
use tipring_engine::wire::rtp::{RtpHeader, RtpView};

fn rtp(seq: u16) -> [u8; 62] {
    let mut packet = [0x5a; 62];
    let header = RtpHeader { payload_type: 111, marker: false, seq, timestamp: u32::from(seq) * 960, ssrc: 7 };
    header.emit(packet.first_chunk_mut().expect("62 bytes"));
    packet
}

fn view(c: &mut Criterion) {
    let packet = rtp(1);
    c.bench_function("classify_and_view_rtp", |b| {
        b.iter(|| {
            let packet = black_box(&packet[..]);
            assert_eq!(classify(packet), PacketKind::Rtp);
            let view = RtpView::new_checked(packet).expect("our own packet");
            (view.seq(), view.timestamp(), view.payload().len())
        });
    });
}

fn report(c: &mut Criterion) {
    let (mut now, mut out, mut entropy) = (Time::ZERO + Span::from_millis(1), [0; 1_500], SeededRng::new(1));
    let mut source = RtpSource::with_start(1, 2, 3);
    let mut reporter = Reporter::new("abcdefghijkmnpqr", now);
    reporter.start(now);
    let mut seq = 0;
    c.bench_function("count_received_rtp", |b| {
        b.iter(|| {
            seq = u16::wrapping_add(seq, 1);
            now += Span::from_millis(20);
            reporter.received_rtp(&RtpView::new_checked(&rtp(seq)).expect("our own packet"), false, now);
        });
    });
    let mut len = 0;
    c.bench_function("write_sender_report", |b| {
        b.iter(|| {
            now += Span::from_millis(20);
            source.count_sent(50);
            len = reporter.write_report(&source, 1 << 32, 0, &mut entropy, &mut out, now);
            black_box(len)
        });
    });
    assert!(len > 0);
    let compound = out[..len].to_vec();
    c.bench_function("read_sender_report", |b| {
        b.iter(|| {
            now += Span::from_millis(20);
            reporter.received_rtcp(black_box(&compound), 99, now).expect("our own report")
        });
    });
}

criterion_group!(benches, view, report);
criterion_main!(benches);
