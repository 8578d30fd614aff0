//! What is told of calls: in order, once, bounded.

use super::*;
use crate::session::{Ending, Personal};
use crate::verdict::Verdict;
use tipring_engine::error::EndReason;
use tipring_engine::rng::SeededRng;

fn at(ms: u64) -> At {
    At { now: Time::ZERO + Span::from_millis(ms), unix_ms: 1_795_300_000_000 + ms as i64 }
}

fn offered() -> Notice {
    let user = Party { phone: Personal::new("447700900123"), ..Party::default() };
    Notice::Offered { phone_number_id: "1047".into(), user: Box::new(user), deeplink_payload: None, cta_payload: Some("cta".into()) }
}

fn ended(answered: bool) -> Notice {
    let verdict = Verdict::of_end(if answered { EndReason::HangUp } else { EndReason::IceTimeout }, &Default::default());
    Notice::Ended(Box::new(Ending { verdict, answered, duration_s: Some(7), confirmed: true }))
}

fn media_ended() -> CallEvent {
    CallEvent::Ended(Box::new(Ended { reason: EndReason::HangUp, stats: CallStats::default(), flight_recorder: Vec::new() }))
}

struct World {
    book: Book,
    rng: SeededRng,
}

impl World {
    fn new() -> Self {
        let mut rng = SeededRng::new(7);
        Self { book: Book::new(&mut rng), rng }
    }

    fn notice(&mut self, key: u64, notice: &Notice, ms: u64) {
        let wacid = Wacid::new("wacid.A");
        self.book.notice(CallKey(key), wacid.as_ref(), notice, at(ms), &mut self.rng);
    }

    fn events(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.book.poll_event()).map(|e| serde_json::from_str(&e.json).expect("JSON")).collect()
    }
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["type"].as_str()).collect()
}

#[test]
fn a_call_is_told_in_order_and_ends_once_when_both_sides_are_over() {
    let mut world = World::new();
    world.notice(1, &offered(), 0);
    world.book.media_opened(CallKey(1), "echo");
    world.notice(1, &Notice::PreAccepted, 100);
    world.notice(1, &Notice::MediaReady, 200);
    world.notice(1, &Notice::Accepted, 300);
    world.notice(1, &ended(true), 5_000);
    let events = world.events();
    assert_eq!(kinds(&events), ["call.offered", "call.preaccepted", "call.media_ready", "call.accepted"], "media has not said goodbye");
    assert_eq!(events.iter().map(|e| e["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(events[0]["data"]["user"]["phone"], "447700900123");
    assert_eq!(events[0]["data"]["cta_payload"], "cta");
    assert_eq!(world.book.poll_timeout(), Some(at(7_000).now));
    world.book.media(CallKey(1), &media_ended(), at(5_010));
    let end = world.events();
    assert_eq!(kinds(&end), ["call.ended"]);
    let data = &end[0]["data"];
    assert_eq!(
        (data["disposition"].as_str(), data["duration_ms"].as_u64(), data["billed_s"].as_u64()),
        (Some("completed"), Some(4_710), Some(7))
    );
    assert_eq!(
        (data["voip_only"].as_bool(), data["verdict"]["code"].as_str(), data["accept_ms"].as_u64()),
        (Some(true), Some("HANG_UP"), Some(300))
    );
    assert!(data["media"].is_object() && data["mos"].is_null(), "nothing was received, so nobody can say how it sounded");
    assert_eq!(world.book.poll_timeout(), None);
    let (_, _, record) = world.book.poll_record().expect("a record");
    assert_eq!((record["answered"].as_bool(), record["ended_ms"].as_i64()), (Some(true), Some(1_795_300_005_010)));
    let id = ApiCallId::of(end[0]["call_id"].as_str().unwrap());
    assert_eq!(world.book.key(&id), Err(Lookup::Ended));
    assert_eq!(world.book.show(&id).unwrap()["ended"]["verdict"]["code"], "HANG_UP");
    assert_eq!(world.book.timeline(&id).unwrap()["events"].as_array().unwrap().len(), 5);
}

#[test]
fn an_end_without_media_is_told_at_once_and_with_silent_media_after_a_while() {
    let mut world = World::new();
    world.notice(1, &offered(), 0);
    world.notice(1, &ended(false), 10);
    let told = world.events();
    assert_eq!(kinds(&told), ["call.offered", "call.missed", "call.ended"]);
    // A user who was not spoken to can be called back.
    let id = ApiCallId::of(told[1]["call_id"].as_str().expect("an id"));
    assert_eq!(told[1]["data"]["callback"], format!("/v1/calls/{id}/callback"));
    assert_eq!(told[1]["data"]["user"]["phone"], "447700900123");
    let (number, phone, _) = world.book.caller(&id).expect("a caller");
    assert_eq!((&*number, phone.as_ref().map(Personal::reveal)), ("1047", Some("447700900123")));
    world.notice(2, &offered(), 0);
    world.book.media_opened(CallKey(2), "echo");
    world.notice(2, &ended(false), 10);
    world.book.handle_timeout(at(2_009));
    assert_eq!(kinds(&world.events()), ["call.offered"]);
    world.book.handle_timeout(at(2_010));
    let events = world.events();
    assert_eq!((kinds(&events), events[0]["data"]["disposition"].as_str()), (vec!["call.missed", "call.ended"], Some("failed")));
    world.book.media(CallKey(2), &media_ended(), at(3_000));
    assert!(world.events().is_empty() && world.book.is_quiet(), "the end is told once");
}

#[test]
fn a_call_that_came_too_late_leaves_a_record_too() {
    let mut world = World::new();
    world.notice(9, &ended(false), 0);
    assert_eq!(kinds(&world.events()), ["call.ended"]);
    assert!(world.book.poll_record().is_some());
}

#[test]
fn ended_calls_and_time_lines_are_bounded() {
    let mut world = World::new();
    for key in 0..ENDED_KEPT as u64 + 10 {
        world.notice(key, &offered(), 0);
        world.notice(key, &ended(false), 0);
        world.events();
    }
    assert_eq!(world.book.calls.len(), ENDED_KEPT);
    world.notice(99_999, &offered(), 0);
    for _ in 0..TIMELINE_MAX + 5 {
        world.notice(99_999, &Notice::Warning("odd"), 1);
    }
    let id = world.book.id(CallKey(99_999)).cloned().unwrap();
    let timeline = world.book.timeline(&id).unwrap();
    assert_eq!((timeline["events"].as_array().unwrap().len(), timeline["events_forgotten"].as_u64()), (TIMELINE_MAX, Some(6)));
    assert_eq!(world.book.list(Some("ended"), 3)["calls"].as_array().unwrap().len(), 3);
    assert_eq!(world.book.list(Some("offered"), 3)["total"], 1);
}

#[test]
fn what_the_application_alone_can_use_is_passed_on() {
    let mut world = World::new();
    world.notice(1, &offered(), 0);
    let id = world.book.id(CallKey(1)).cloned().unwrap();
    world.events();
    let json = Personal::new(r#"{"id":"wacid.A","event":"call_recording_available"}"#).unwrap();
    let carried = Carried { kind: "call.recording_available", phone_number_id: Some("1047".into()), wacid: Wacid::new("wacid.A"), json };
    world.book.carried(&carried, at(0));
    let reply = PermissionReply {
        phone_number_id: Some("1047".into()),
        user: Party { phone: Personal::new("447700900123"), ..Party::default() },
        message_id: None,
        accepted: true,
        is_permanent: false,
        expires_unix_s: Some(5),
        by_user: true,
        context_id: None,
    };
    world.book.permission(&reply, at(0));
    world.book.meta_errors(None, &[MetaError { code: 131_044, details: "payment".into() }], at(0));
    let events = world.events();
    assert_eq!(kinds(&events), ["call.recording_available", "permission.reply", "account.errors"]);
    assert_eq!(events[0]["call_id"], id.as_str());
    assert_eq!((events[1]["data"]["accepted"].as_bool(), events[1]["data"]["expires_s"].as_i64()), (Some(true), Some(5)));
    assert_eq!(events[2]["data"]["errors"][0]["code"], 131_044);
}
