//! Whole calls in virtual time, against the hand-written business; every fault and the states of Graph.

use super::*;
use crate::business::Business;
use crate::correlate::correlate;
use crate::correlate::tests::speech as voice;
use crate::oracle::{Context, Limits, judge};
use crate::testing::World;
use crate::user::{Speech, Typing, UserScript};
use std::sync::Arc;

fn script() -> UserScript {
    UserScript { hang_up_after: Some(Span::from_secs(3)), patience: Span::from_secs(8), ..UserScript::default() }
}

fn run(script: UserScript, faults: &[Fault]) -> World {
    let mut world = World::new(script, faults, &[], voice(1_000).into());
    world.run();
    assert!(world.call.is_finished(world.now), "{faults:?} never ends");
    world
}

fn failures(world: &World) -> Vec<String> {
    let context = Context { kind: world.call.kind(), limits: Limits::default(), reference: None };
    let verdicts = judge(world.call.timeline().entries(), world.call.heard(), &context);
    verdicts.iter().filter(|v| !v.pass).map(ToString::to_string).collect()
}

#[test]
fn clean_call_carries_speech_and_digits_both_ways() {
    let said: Arc<[i16]> = voice(1_500).into();
    let speech = vec![Speech { after: Span::from_millis(200), pcm: said.clone() }];
    let typing = vec![Typing { after: Span::from_millis(2_000), digits: "11#5".to_owned() }];
    let world = run(UserScript { speech, typing, ..script() }, &[]);
    assert_eq!(failures(&world), [""; 0]);
    assert_eq!(world.events, ["connect", "terminate"]);
    assert_eq!(world.business.digits, [1, 1, 11, 5]);
    let greeting = correlate(&world.business.greeting, world.call.heard(), 16_000).unwrap();
    assert!(greeting.lost_ms == 0 && greeting.lag_ms < 20.0, "{greeting:?}");
    let heard = correlate(&said, &world.business.heard, 16_000).unwrap();
    assert!(heard.lost_ms == 0 && (200.0..220.0).contains(&heard.lag_ms), "{heard:?}");
    let stages = world.call.stages();
    assert!(stages.dtls_connected < stages.accepted && stages.accepted < stages.first_rtp);
}

#[test]
fn faults_of_the_network_do_not_stop_a_business_that_repeats_itself() {
    for fault in [
        Fault::DeadIpv6,
        Fault::SlowIpv6,
        Fault::LateSdp,
        Fault::Signed487,
        Fault::Unsigned487,
        Fault::LostNominationAnswers,
        Fault::LostFlight6,
        Fault::OnlyCm80,
        Fault::DtlsAlert,
        Fault::LowercaseFingerprint,
        Fault::MutePeer,
        Fault::SsrcChange,
        Fault::DtxGaps,
        Fault::SeqWrap,
        Fault::DuplicateWebhooks,
        Fault::ReorderedWebhooks,
        Fault::DelayedConnect,
        Fault::BatchedWebhook,
        Fault::UnknownEvent,
        Fault::EmptyPhones,
    ] {
        let world = run(script(), &[fault]);
        assert!(world.call.stages().first_rtp.is_some(), "{fault} stopped the call");
        assert!(!world.call.heard().is_empty(), "{fault}");
        assert_eq!(world.business.heard.is_empty(), fault == Fault::MutePeer, "{fault}");
        let least_ms = match fault {
            Fault::MutePeer => 0,
            Fault::DtxGaps => 1_700,
            _ => 2_800,
        };
        assert!(world.business.heard.len() / 16 >= least_ms, "{fault}: {} ms heard", world.business.heard.len() / 16);
        assert_eq!(failures(&world), [""; 0], "{fault}");
    }
}

#[test]
fn faults_that_forbid_a_call_leave_none() {
    for fault in [
        Fault::NoAnswerToChecks,
        Fault::DtlsNeverCompletes,
        Fault::WrongFingerprint,
        Fault::TerminateBeforeConnect,
        Fault::ForgedSignature,
        Fault::MissingSignature,
        Fault::SdpRefused,
        Fault::Unauthorized,
        Fault::AcceptTaken,
    ] {
        let world = run(script(), &[fault]);
        assert!(world.call.stages().first_rtp.is_none(), "{fault} let media through");
        assert!(world.events.iter().any(|e| e == "terminate"), "{fault}");
    }
}

#[test]
fn lost_consent_silences_the_relay() {
    let world = run(script(), &[Fault::ConsentLost]);
    let accepted = world.call.stages().accepted.unwrap();
    let last = world.call.timeline().entries().iter().filter(|e| matches!(e.what, What::Rtp { .. })).map(|e| e.at).max();
    assert!(last.unwrap().since(accepted) <= Span::from_secs(2));
}

#[test]
fn graph_minds_the_state_of_the_call() {
    let mut world = World::new(script(), &[], &[], voice(500).into());
    let addresses = world.call.relay.offer();
    world.business.take_remote(&addresses, "active");
    let sdp = world.business.sdp.clone();
    let twice = format!("{sdp}a=fingerprint:sha-256 {}\r\n", "AA:".repeat(31) + "AA");
    assert_eq!(world.act(ActionKind::PreAccept, Some(twice)), 400, "138008");
    assert_eq!(world.act(ActionKind::PreAccept, Some(sdp.clone())), 200);
    assert_eq!(world.act(ActionKind::Accept, Some(sdp.replace("s=-", "s=x"))), 400);
    assert_eq!(world.act(ActionKind::Accept, Some(sdp.clone())), 200);
    assert_eq!(world.act(ActionKind::Accept, Some(sdp.clone())), 400, "twice");
    assert_eq!(world.act(ActionKind::Reject, None), 400, "in progress");
    assert_eq!(world.act(ActionKind::Terminate, None), 200);
    assert_eq!(world.act(ActionKind::Terminate, None), 400, "ended");
}

#[test]
fn unanswered_call_is_given_up_and_cannot_be_accepted_any_more() {
    let mut world = World::new(script(), &[Fault::ForgedSignature], &[], voice(500).into());
    world.run();
    assert_eq!(world.act(ActionKind::Accept, Some("v=0\r\n".to_owned())), 400);
    let hung_up = world.call.timeline().entries().iter().find(|e| matches!(e.what, What::HungUp)).unwrap();
    assert_eq!(hung_up.at.since(Time::from_nanos(1_000_000_000)), Span::from_secs(8));
}

#[test]
fn twenty_seconds_without_media_end_the_call_with_138021() {
    let mut world = World::new(UserScript { hang_up_after: None, ..script() }, &[], &[], voice(500).into());
    world.business.take_remote(&world.call.relay.offer(), "active");
    let sdp = world.business.sdp.clone();
    assert_eq!(world.act(ActionKind::Accept, Some(sdp)), 200);
    let mut now = world.now;
    let mut bodies = Vec::new();
    while !world.call.is_finished(now) {
        world.call.handle_timeout(now);
        while let Some(delivery) = world.call.poll_webhook(now) {
            world.call.handle_webhook_answer(&delivery, 200, Span::ZERO, now);
            bodies.push((delivery.event, now, String::from_utf8(delivery.body).unwrap()));
        }
        now = world.call.poll_timeout(now).unwrap().max(now + Span::from_micros(1));
    }
    let (event, at, body) = bodies.pop().unwrap();
    assert_eq!((event.as_str(), at.since(world.now)), ("terminate", Span::from_secs(20)));
    assert_eq!(body.matches("138021").count(), 2, "in both places");
}

#[test]
fn called_user_rings_answers_and_hears() {
    for (answer_setup, faults) in [("passive", vec![]), ("actpass", vec![Fault::AnswersActpass]), ("active", vec![Fault::AnswersActive])] {
        let greeting: Arc<[i16]> = voice(1_000).into();
        let mut business = Business::new(greeting.clone(), &[]).unwrap();
        let offer = business.describe("actpass");
        let mut relay = RelayConfig::new(Some("198.51.100.1:3480".parse().unwrap()), None, 42, 1_795_300_000_000, script());
        relay.faults = faults;
        let config = CallConfig { id: "wacid.B".to_owned(), account: Account::default(), relay };
        let action = Action { kind: ActionKind::Connect, call_id: None, to: Some("1".to_owned()), sdp: Some(offer), opaque: None };
        let mut now = Time::ZERO;
        let (call, reply) = MetaCall::outgoing(config, &action, now);
        assert!(reply.status == 200 && reply.body.contains("wacid.B"));
        let mut call = call.unwrap();
        let mut events = Vec::new();
        while !call.is_finished(now) {
            call.handle_timeout(now);
            business.handle_timeout(now);
            while let Some(delivery) = call.poll_webhook(now) {
                call.handle_webhook_answer(&delivery, 200, Span::ZERO, now);
                let body: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
                match delivery.event.as_str() {
                    "connect" => {
                        let sdp = body["entry"][0]["changes"][0]["value"]["calls"][0]["session"]["sdp"].as_str().unwrap();
                        assert!(sdp.contains(&format!("a=setup:{answer_setup}\r\n")));
                        business.take_remote(sdp, "actpass");
                        business.start(now);
                    }
                    "ACCEPTED" => business.open_gate(now),
                    _ => {}
                }
                events.push(delivery.event);
            }
            // A wire without delay, drained until it is still.
            loop {
                let mut is_still = true;
                while let Some(transmit) = call.poll_transmit(now) {
                    business.handle_datagram(transmit.local, &transmit.bytes, now);
                    is_still = false;
                }
                while let Some((remote, bytes)) = business.poll_transmit() {
                    call.handle_datagram(remote, business.locals[0], &bytes, now);
                    is_still = false;
                }
                if is_still {
                    break;
                }
            }
            let next = call.poll_timeout(now).unwrap_or(Time::MAX).min(business.poll_timeout(now));
            now = next.clamp(now + Span::from_micros(10), now + Span::from_secs(1));
        }
        assert_eq!(events, ["RINGING", "connect", "ACCEPTED", "terminate"]);
        let found = correlate(&greeting, call.heard(), 16_000).unwrap();
        assert_eq!(found.lost_ms, 0);
        let context = Context { kind: CallKind::BusinessInitiated, limits: Limits::default(), reference: Some(greeting) };
        let bad: Vec<_> = judge(call.timeline().entries(), call.heard(), &context).into_iter().filter(|v| !v.pass).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}
