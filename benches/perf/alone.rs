//! What the parts of a call cost alone: SRTP without sockets, codecs without calls, the cryptography of a handshake without DTLS.
//!
//! Given: how many contexts there are in turn, as calls of a shard are. Decides: CPU time of this thread, the median of batches. Refuses: the clock on the wall, which
//! tells who else was on the machine.

use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use std::process::Command;
use tipring_engine::codec::{Application, DECODE_SAMPLES_MAX, Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::keying::Profile;
use tipring_engine::srtp::{Receiver, Sender};
use tipring_engine::wire::rtp::RtpHeader;

/// Batches of which the median counts.
const BATCHES: usize = 9;
/// The scheduler's account of a thread that does not sleep moves by up to 4 ms at a time: a batch takes at least twenty of them.
const PACKETS_PER_BATCH: usize = 200_000;
/// As above, for frames of libopus over all states.
const FRAMES_PER_BATCH: usize = 1_600;
/// As above, for handshakes.
const HANDSHAKES_PER_BATCH: usize = 500;

/// CPU time of this thread so far, in nanoseconds.
fn cpu_ns() -> f64 {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    account.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0.0)
}

/// Nanoseconds of CPU per item: the median over batches of `items` each.
fn per_item(items: usize, mut batch: impl FnMut()) -> f64 {
    batch();
    let mut all: Vec<f64> = (0..BATCHES)
        .map(|_| {
            let before = cpu_ns();
            batch();
            (cpu_ns() - before) / items as f64
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[BATCHES / 2]
}

/// One packet of 160 bytes of payload through protect and unprotect, over `calls` pairs of contexts in turn: nanoseconds for both together.
pub fn srtp_ns(profile: Profile, calls: usize) -> f64 {
    let mut ends: Vec<(Sender, Receiver)> = (0..calls)
        .map(|call| {
            let (mut key, salt) = ([0x11; 32], [0x22; 14]);
            key[..8].copy_from_slice(&(call as u64).to_le_bytes());
            let (key, salt) = (&key[..profile.key_bytes()], &salt[..profile.salt_bytes()]);
            (Sender::new(profile, key, salt), Receiver::new(profile, key, salt))
        })
        .collect();
    let rounds = (PACKETS_PER_BATCH / calls).max(2);
    let mut seq = 0;
    per_item(rounds * calls, || {
        for _ in 0..rounds {
            seq += 1;
            for (tx, rx) in &mut ends {
                let mut buffer = [0x5a; 256];
                RtpHeader { payload_type: 111, marker: false, seq, timestamp: 0, ssrc: 7 }.emit(buffer.first_chunk_mut().expect("room"));
                let len = tx.protect_rtp(&mut buffer, 172).expect("room for the trailer");
                assert_eq!(rx.unprotect_rtp(&mut buffer[..len]), Ok(172));
            }
        }
    })
}

/// The same of the libsrtp of this machine, AES-CM and, where it has it, AES-GCM; empty where there is none.
pub fn libsrtp_ns(calls: usize) -> Vec<f64> {
    let program = std::env::temp_dir().join(format!("tipring-libsrtp-ns-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/icount/libsrtp.c");
    let built = Command::new("cc").args(["-O2", "-o"]).arg(&program).args([source, "-lsrtp2"]).output();
    let told = match built {
        Ok(built) if built.status.success() => {
            Command::new(&program).args([(6_000 / calls).max(3).to_string(), calls.to_string()]).output().ok()
        }
        _ => None,
    };
    let _ = std::fs::remove_file(&program);
    told.map(|t| String::from_utf8_lossy(&t.stdout).lines().filter_map(|l| l.parse().ok()).collect()).unwrap_or_default()
}

/// 20 ms of Opus decoded and encoded at `rate`, over `calls` pairs of states in turn: nanoseconds for each. Both are given what they get in a call: `speech`, and settings as
/// a call of the bench has them.
pub fn opus_ns(rate: SampleRate, complexity: u8, calls: usize, speech: &[Vec<u8>]) -> [f64; 2] {
    let settings = EncoderSettings {
        rate,
        application: Application::Voip,
        bitrate_bps: 20_000,
        complexity,
        cbr: false,
        fec: true,
        loss_percent: 0,
        playback_rate_hz_max: 16_000,
    };
    let mut decoders: Vec<Decoder> = (0..calls).map(|_| Decoder::new(rate).expect("a decoder")).collect();
    let mut encoders: Vec<Encoder> = (0..calls).map(|_| Encoder::new(&settings).expect("an encoder")).collect();
    let samples = rate.frame_samples();
    let mut pcm = [0; DECODE_SAMPLES_MAX];
    let mut frame = 0;
    let rounds = FRAMES_PER_BATCH.div_ceil(calls);
    let decode = per_item(rounds * calls, || {
        for _ in 0..rounds {
            frame += 1;
            for (i, decoder) in decoders.iter_mut().enumerate() {
                decoder.decode(&speech[(frame + 7 * i) % speech.len()], &mut pcm);
            }
        }
    });
    // What the encoders get is the speech itself, decoded beforehand.
    let mut decoder = Decoder::new(rate).expect("a decoder");
    let voice: Vec<Vec<i16>> = speech
        .iter()
        .map(|packet| {
            decoder.decode(packet, &mut pcm);
            pcm[..samples].to_vec()
        })
        .collect();
    let mut out = [0; 1_275];
    let encode = per_item(rounds * calls, || {
        for _ in 0..rounds {
            frame += 1;
            for (i, encoder) in encoders.iter_mut().enumerate() {
                encoder.encode(&voice[(frame + 7 * i) % voice.len()], &mut out);
            }
        }
    });
    [decode, encode]
}

/// The public-key operations of our side of one handshake and nothing else, in microseconds: an ECDH key, the shared secret, our signature, and the check of the peer's. P-256.
pub fn handshake_floor_us() -> Result<f64, openssl::error::ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let (ours, theirs) = (EcKey::generate(&group)?, EcKey::generate(&group)?);
    let peer = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let digest = [0x5a; 32];
    let signed = EcdsaSig::sign(&digest, &theirs)?;
    let mut outcome = Ok(());
    let ns = per_item(HANDSHAKES_PER_BATCH, || {
        for _ in 0..HANDSHAKES_PER_BATCH {
            let once = || -> Result<bool, openssl::error::ErrorStack> {
                let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
                let mut deriver = Deriver::new(&key)?;
                deriver.set_peer(&peer)?;
                std::hint::black_box(deriver.derive_to_vec()?);
                std::hint::black_box(EcdsaSig::sign(&digest, &ours)?);
                signed.verify(&digest, &theirs)
            };
            if let Err(e) = once() {
                outcome = Err(e);
            }
        }
    });
    outcome.map(|()| ns / 1_000.0)
}
