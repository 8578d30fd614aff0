//! A foreign judge: str0m as an ICE-lite relay with a DTLS server, over real sockets on loopback. It offers, we answer, tones go both ways and are found by
//! correlation; with AES-CM and with AES-GCM. It reads our SDP, answers our checks, and decrypts our SRTP with code that none of us wrote.

#![allow(clippy::disallowed_methods, reason = "str0m is driven by the wall clock over real sockets; nothing is asserted about it")]

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tipring_engine::bridge::Play;
use tipring_engine::call::{CallEvent, Ended, FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::{Application, Decoder, Encoder, EncoderSettings, SampleRate};
use tipring_engine::engine::{Engine, EngineConfig};
use tipring_engine::error::EndReason;
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;
use tipring_signalling::sdp;
use tipring_tests::sound::{tone, tone_share};

const OUR_TONE_HZ: f64 = 440.0;
const THEIR_TONE_HZ: f64 = 700.0;
/// How long tones are exchanged.
const TALK: Duration = Duration::from_secs(3);

/// Plays our tone and keeps what is heard.
struct Ends {
    tone: Play,
    heard: mpsc::Sender<Vec<i16>>,
}

impl MediaPort for Ends {
    fn wants_pcm(&self) -> Option<SampleRate> {
        Some(SampleRate::Hz16000)
    }

    fn incoming(&mut self, frame: Incoming<'_>) {
        if let Incoming::Pcm { samples, heard: true } = frame {
            let _ = self.heard.send(samples.to_vec());
        }
    }

    fn outgoing(&mut self, frame: &mut FrameBuffer) -> Outgoing {
        self.tone.outgoing(frame)
    }
}

/// Runs str0m until told to stop; gives back the Opus packets it received.
fn relay(mut rtc: Rtc, socket: &UdpSocket, mid: Mid, stop: &mpsc::Receiver<()>) -> Vec<Vec<u8>> {
    let settings = EncoderSettings {
        rate: SampleRate::Hz48000,
        application: Application::Audio,
        bitrate_bps: 32_000,
        complexity: 5,
        fec: false,
        loss_percent: 0,
        playback_rate_hz_max: 48_000,
    };
    let mut encoder = Encoder::new(&settings).expect("an encoder");
    let speech = tone(THEIR_TONE_HZ, 48_000, 10.0);
    let mut frames = speech.chunks_exact(960);
    let mut frame_number = 0;
    let mut next_frame: Option<Instant> = None;
    let mut received = Vec::new();
    let mut buffer = [0; 2_000];
    let local = socket.local_addr().expect("bound");
    loop {
        if stop.try_recv().is_ok() {
            return received;
        }
        let deadline = loop {
            match rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(at) => break at,
                Output::Transmit(datagram) => {
                    let _ = socket.send_to(&datagram.contents, datagram.destination);
                }
                Output::Event(Event::Connected) => next_frame = Some(Instant::now()),
                Output::Event(Event::MediaData(media)) => received.push(media.data.to_vec()),
                Output::Event(_) => {}
            }
        };
        let now = Instant::now();
        if let Some(at) = next_frame.filter(|&at| at <= now) {
            next_frame = Some(at + Duration::from_millis(20));
            let mut packet = [0; 400];
            if let Some(frame) = frames.next() {
                let len = encoder.encode(frame, &mut packet);
                let writer = rtc.writer(mid).expect("a sending section");
                let pt = writer.payload_params().find(|p| p.spec().codec == Codec::Opus).expect("Opus").pt();
                let time = MediaTime::new(frame_number * 960, str0m::media::Frequency::FORTY_EIGHT_KHZ);
                writer.write(pt, now, time, packet[..len].to_vec()).expect("written");
                frame_number += 1;
                continue;
            }
        }
        let wake = next_frame.map_or(deadline, |at| at.min(deadline));
        let wait = wake.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(20));
        socket.set_read_timeout(Some(wait)).expect("a time-out");
        let input = match socket.recv_from(&mut buffer) {
            Ok((len, source)) => match buffer[..len].try_into() {
                Ok(contents) => Input::Receive(Instant::now(), Receive { proto: Protocol::Udp, source, destination: local, contents }),
                Err(_) => continue,
            },
            Err(_) => Input::Timeout(Instant::now()),
        };
        rtc.handle_input(input).expect("str0m takes it");
    }
}

fn call_with(profile: Profile) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut rtc = RtcConfig::new().set_ice_lite(true).clear_codecs().enable_opus(true, false).build(Instant::now());
    let address = socket.local_addr().expect("bound");
    rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
    let mut change = rtc.sdp_api();
    let mid = change.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
    let (offer, pending) = change.apply().expect("an offer");

    let remote = sdp::read_offer(&offer.to_sdp_string()).expect("str0m's offer is one we can answer");
    let (heard_tx, heard_rx) = mpsc::channel();
    let ends = Ends { tone: Play::new(tone(OUR_TONE_HZ, 16_000, 10.0).into(), SampleRate::Hz16000), heard: heard_tx };
    let config = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address")],
        allow_loopback: true,
        ports: 42_000..=42_399,
        profiles: vec![profile],
        ..EngineConfig::default()
    };
    let engine = Engine::start(config).expect("an engine");
    let (call, local) = engine.open_call(sdp::our_role(remote.params.role), Box::new(ends)).expect("a call");
    let answer = sdp::write_answer(&remote, &local, 1);
    let answer = str0m::change::SdpAnswer::from_sdp_string(&answer).expect("str0m reads our answer");
    rtc.sdp_api().accept_answer(pending, answer).expect("str0m accepts our answer");
    engine.set_remote(call, remote.params).expect("the peer is usable");
    engine.open_gate(call).expect("the gate");

    let (stop, stopped) = mpsc::channel();
    let judge = thread::spawn(move || relay(rtc, &socket, mid, &stopped));

    let mut ended: Option<Ended> = None;
    let mut connected = None;
    let begun = Instant::now();
    let mut closing = false;
    while ended.is_none() && begun.elapsed() < Duration::from_secs(30) {
        match engine.next_event(Span::from_millis(50)) {
            Some((_, CallEvent::DtlsConnected { profile })) => connected = Some((profile, Instant::now())),
            Some((_, CallEvent::Ended(end))) => ended = Some(*end),
            _ => {}
        }
        if !closing && connected.is_some_and(|(_, at)| at.elapsed() > TALK) {
            closing = true;
            engine.close(call, EndReason::HangUp).expect("closed");
        }
    }
    stop.send(()).expect("the judge runs");
    let received = judge.join().expect("the judge lives");

    let ended = ended.expect("the call ended");
    assert_eq!(ended.reason, EndReason::HangUp, "{:?}", ended.flight_recorder);
    assert_eq!(connected.map(|(p, _)| p), Some(profile), "the profile we offered is the one in use");

    // What str0m heard of us: at least two seconds of packets, our tone in them.
    let mut decoder = Decoder::new(SampleRate::Hz16000).expect("a decoder");
    let mut pcm = vec![0; 5_760];
    let theirs: Vec<i16> =
        received.iter().flat_map(|p| decoder.decode(p, &mut pcm).map(|n| pcm[..n].to_vec()).unwrap_or_default()).collect();
    assert!(theirs.len() > 2 * 16_000, "str0m received {} packets", received.len());
    let share = tone_share(&theirs[8_000..16_000], OUR_TONE_HZ, 16_000);
    assert!(share > 0.9, "str0m hears {share:.3} of our tone");

    // What we heard of str0m.
    let ours: Vec<i16> = heard_rx.try_iter().flatten().collect();
    assert!(ours.len() > 2 * 16_000, "we heard {} samples; {:?}", ours.len(), ended.stats);
    let share = tone_share(&ours[8_000..16_000], THEIR_TONE_HZ, 16_000);
    assert!(share > 0.9, "we hear {share:.3} of str0m's tone");
    assert_eq!(ended.stats.drops.of(tipring_engine::error::DropReason::Auth), 0);
}

#[test]
fn tones_both_ways_with_aes_gcm() {
    call_with(Profile::AeadAes128Gcm);
}

#[test]
fn tones_both_ways_with_aes_cm() {
    call_with(Profile::Aes128CmSha1_80);
}
