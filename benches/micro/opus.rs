//! What do 20 ms of speech cost: encoded at complexity 0, 5 and 10, decoded, concealed?

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tipring_engine::codec::{Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::limits::OPUS_BYTES_MAX;

/// A second of something with the pitch, the formants and the pauses of a voice.
fn voice(rate: SampleRate) -> Vec<i16> {
    let hz = f64::from(rate.hz());
    let sample = |at: u32| {
        let t = f64::from(at) / hz;
        let pitch = 120.0 + 30.0 * (t * 3.0).sin();
        let harmonics: f64 = (1..20).map(|n| (t * pitch * f64::from(n) * std::f64::consts::TAU).sin() / f64::from(n)).sum();
        (harmonics * (t * 4.0 * std::f64::consts::TAU).sin().max(0.0) * 6_000.0) as i16
    };
    (0..rate.hz()).map(sample).collect()
}

fn opus(c: &mut Criterion) {
    let rate = SampleRate::Hz16000;
    let voice = voice(rate);
    let frames: Vec<&[i16]> = voice.chunks_exact(rate.frame_samples()).collect();
    let (mut packets, mut out, mut turn) = (Vec::new(), [0; OPUS_BYTES_MAX], 0);
    for complexity in [0, 5, 10] {
        let mut encoder = Encoder::new(&EncoderSettings { complexity, ..EncoderSettings::meta(rate) }).expect("valid settings");
        packets = frames
            .iter()
            .map(|frame| {
                let len = encoder.encode(frame, &mut out);
                out[..len].to_vec()
            })
            .collect();
        c.bench_function(&format!("opus_encode_complexity_{complexity}"), |b| {
            b.iter(|| {
                turn += 1;
                black_box(encoder.encode(frames[turn % frames.len()], &mut out))
            });
        });
    }
    let (mut decoder, mut pcm) = (Decoder::new(rate).expect("a decoder"), [0; 5_760]);
    c.bench_function("opus_decode", |b| {
        b.iter(|| {
            turn += 1;
            decoder.decode(&packets[turn % packets.len()], &mut pcm).expect("our own packet")
        });
    });
    c.bench_function("opus_conceal_after_packet", |b| {
        b.iter(|| {
            turn += 1;
            decoder.decode(&packets[turn % packets.len()], &mut pcm).expect("our own packet");
            decoder.conceal(&mut pcm).expect("one frame")
        });
    });
}

criterion_group!(benches, opus);
criterion_main!(benches);
