//! Envelopes as documented, as seen, and as nobody should send them.

use serde_json::json;

use super::*;

fn events(values: &[Value]) -> Vec<Event> {
    let changes: Vec<_> = values.iter().map(|value| json!({"field": "calls", "value": value})).collect();
    parse(json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": changes}]}).to_string().as_bytes())
        .expect("envelope")
}

fn metadata() -> Value {
    json!({"display_phone_number": "15550001111", "phone_number_id": "1047000000000"})
}

#[test]
fn an_offer_of_a_user() {
    let read = events(&[json!({"metadata": metadata(),
        "contacts": [{"profile": {"name": "Ada"}, "wa_id": "447700900123", "user_id": "GB.1"}],
        "calls": [{"id": "wacid.A", "from": "447700900123", "to": "15550001111", "event": "connect", "timestamp": "1795300000",
            "direction": "USER_INITIATED", "deeplink_payload": "src=footer",
            "session": {"sdp": "v=0\r\n", "sdp_type": "offer"}, "connection": {"webrtc": {"sdp": "{}"}}}]})]);
    let [Event::Connect(connect)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(connect.wacid.as_str(), "wacid.A");
    assert_eq!(connect.phone_number_id.as_deref(), Some("1047000000000"));
    assert_eq!((connect.direction, connect.timestamp_unix_s), (Some(Direction::UserInitiated), Some(1_795_300_000)));
    assert_eq!(connect.sdp, Some((SdpType::Offer, SdpText::new("v=0\r\n"))));
    assert_eq!(connect.user.phone, Personal::new("447700900123"));
    assert_eq!(connect.user.name, Personal::new("Ada"));
    assert_eq!(connect.deeplink_payload.as_deref(), Some("src=footer"));
    let shown = format!("{read:?}");
    assert!(!shown.contains("447700900123") && !shown.contains("wacid.A") && !shown.contains("Ada") && !shown.contains("v=0"), "{shown}");
}

#[test]
fn strings_or_numbers_empty_strings_and_swapped_sides() {
    // `from` is ours although the user called, the number is withheld, the timestamp is a number, contacts are absent.
    let read = events(&[json!({"metadata": {"display_phone_number": "+1 555 000 1111", "phone_number_id": 1_047_000_000_000_u64},
        "calls": [{"id": "wacid.A", "from": "15550001111", "to": "", "to_user_id": "GB.7", "event": "CONNECT", "timestamp": 1_795_300_000,
            "direction": "USER_INITIATED", "session": {"sdp_type": "offer", "sdp": ""}}]})]);
    let [Event::Connect(connect)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(connect.phone_number_id.as_deref(), Some("1047000000000"));
    assert_eq!((connect.timestamp_unix_s, &connect.sdp), (Some(1_795_300_000), &None));
    assert_eq!((&connect.user.phone, &connect.user.user_id), (&None, &Personal::new("GB.7")));
}

#[test]
fn errors_are_found_in_both_places_once() {
    let error = json!({"code": 138_021, "title": "t", "message": "m", "error_data": {"details": "no media"}});
    let call = |errors: Value| {
        json!({"id": "wacid.X", "event": "terminate", "status": ["Failed"], "timestamp": "1795300030", "start_time": "1795300010",
        "end_time": 1_795_300_030, "duration": "20", "errors": errors})
    };
    for value in [
        json!({"calls": [call(json!([error]))], "errors": [error]}),
        json!({"calls": [call(json!([]))], "errors": [error]}),
        json!({"calls": [call(json!([error]))]}),
    ] {
        let read = events(&[value]);
        let [Event::Terminate(terminate)] = &read[..] else { panic!("{read:?}") };
        assert_eq!(terminate.status, TerminateStatus::Failed);
        assert_eq!(terminate.errors, [MetaError { code: 138_021, details: "no media".into() }]);
        assert_eq!((terminate.start_unix_s, terminate.end_unix_s), (Some(1_795_300_010), Some(1_795_300_030)));
        assert_eq!(terminate.duration_s, Some(20));
    }
}

//= meta#R-12 type=test
#[test]
fn statuses_and_what_is_not_ours() {
    let read = events(&[
        json!({"metadata": metadata(), "statuses": [
            {"id": "wacid.B", "timestamp": "1", "type": "call", "status": "RINGING", "biz_opaque_callback_date": "leg=42"},
            {"id": "wamid.M", "type": "message", "status": "accepted"},
            {"id": "wacid.B", "type": "call", "status": "PONDERING"}]}),
        json!({"errors": [{"code": "131044", "title": "payment"}], "metadata": metadata()}),
        json!({"metadata": metadata()}),
        json!({"calls": [{"id": "wacid.C", "event": "call_created"}, {"id": "wacid.C", "event": "call_recording_available"}, {"event": "connect"}, 7]}),
        json!(null),
    ]);
    let other = |what| Event::Other { what };
    let Event::Status(status) = &read[0] else { panic!("{read:?}") };
    assert_eq!((status.status, status.biz_opaque.as_deref()), (CallStatusKind::Ringing, Some("leg=42")));
    assert_eq!(read[1..3], [other(OtherEvent::Unknown), other(OtherEvent::Unknown)]);
    let Event::Errors { errors, .. } = &read[3] else { panic!("{read:?}") };
    assert_eq!(errors[0], MetaError { code: 131_044, details: "payment".into() });
    assert_eq!(read[4], other(OtherEvent::Empty));
    let Event::Carried(created) = &read[5] else { panic!("{read:?}") };
    assert_eq!((created.kind, created.wacid.as_ref().map(Wacid::as_str)), ("call.created", Some("wacid.C")));
    let Event::Carried(recording) = &read[6] else { panic!("{read:?}") };
    assert_eq!(recording.kind, "call.recording_available");
    let rest = [OtherEvent::Malformed, OtherEvent::Malformed, OtherEvent::Empty];
    assert_eq!(read[7..], rest.map(other));
}

#[test]
fn permission_replies_and_settings_come_through_beside_what_is_not_ours() {
    let reply = |response: &str, extra: serde_json::Value| {
        let mut reply = json!({"response": response, "response_source": "user_action"});
        reply.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        json!({"from": "447700900123", "from_user_id": "GB.1349", "id": "wamid.A", "type": "interactive", "context": {"id": "wamid.B"},
            "interactive": {"type": "call_permission_reply", "call_permission_reply": reply}})
    };
    let body = json!({"entry": [{"changes": [
        {"field": "messages", "value": {"metadata": metadata(), "messages": [
            {"type": "text"}, reply("accept", json!({"is_permanent": false, "expiration_timestamp": "1795904800"})), reply("reject", json!({"response_source": "automatic"}))]}},
        {"field": "account_settings_update", "value": {"type": "PHONE_NUMBER_SETTINGS",
            "phone_number_settings": {"phone_number_id": "1047", "calling": {"status": "ENABLED"}}}},
        {"field": "account_update", "value": {"event": "ACCOUNT_VIOLATION"}}]}]});
    let read = parse(body.to_string().as_bytes()).expect("an envelope");
    assert_eq!((&read[0], &read[3], &read[5]), (&Event::NotCalls, &Event::NotCalls, &Event::NotCalls));
    let (Event::Permission(yes), Event::Permission(no)) = (&read[1], &read[2]) else { panic!("{read:?}") };
    assert_eq!((yes.accepted, yes.is_permanent, yes.expires_unix_s, yes.by_user), (true, false, Some(1_795_904_800), true));
    assert_eq!(yes.user.user_id.as_ref().map(Personal::reveal), Some("GB.1349"));
    assert_eq!((no.accepted, no.expires_unix_s, no.by_user), (false, None, false));
    let (Event::Carried(settings), Event::Carried(update)) = (&read[4], &read[6]) else { panic!("{read:?}") };
    assert_eq!((settings.kind, settings.phone_number_id.as_deref()), ("account.settings_update", Some("1047")));
    assert!(settings.json.reveal().contains("ENABLED") && !format!("{settings:?}").contains("ENABLED"));
    assert_eq!(update.kind, "account.update");
}

//= meta#R-12 type=test
#[test]
fn message_receipts_are_passed_on() {
    let body = json!({"entry": [{"changes": [{"field": "messages", "value": {"statuses": [{"id": "wacid.Z", "status": "accepted"}]}}, {"value": {}}]}]});
    assert_eq!(parse(body.to_string().as_bytes()), Ok(vec![Event::NotCalls, Event::NotCalls]));
}

//= meta#R-13 type=test
#[test]
fn a_batch_of_a_thousand_changes_and_bodies_beyond_bounds() {
    let change = json!({"calls": [{"id": "wacid.A", "event": "terminate"}]});
    assert_eq!(events(&vec![change; 1_000]).len(), 1_000);
    assert_eq!(parse(&vec![b' '; BODY_BYTES_MAX + 1]), Err(EnvelopeError::TooLong));
    assert_eq!(parse(&vec![b'['; BODY_BYTES_MAX]).map_err(|e| matches!(e, EnvelopeError::NotJson { .. })), Err(true));
    assert_eq!(parse(b"{\n \"entry\": ]"), Err(EnvelopeError::NotJson { line: 2, column: 11 }));
    assert_eq!(parse(b"[]"), Err(EnvelopeError::NoEntry));
    assert_eq!(parse(br#"{"entry":[1,{"changes":5},{"changes":[null]}]}"#), Ok(vec![Event::NotCalls]));
}

#[test]
fn call_ids_are_opaque() {
    let id = Wacid::new("wacid.HBgM/=+ é").expect("id");
    assert_eq!(id.url_encoded(), "wacid.HBgM%2F%3D%2B%20%C3%A9");
    assert!(!format!("{id:?} {id}").contains("HBgM"));
    assert_eq!(Wacid::new(""), None);
    assert_eq!(Wacid::new("a\nb"), None);
    assert_eq!(Wacid::new(&"x".repeat(513)), None);
}

#[test]
fn what_belongs_to_calls_under_other_fields_is_carried() {
    let body = json!({"entry": [{"id": "1", "changes": [
        {"field": "messages", "value": {"metadata": metadata(), "messages": [
            {"id": "wacid.V", "from": "447700900123", "type": "audio", "audio": {"id": "7", "voice": true}},
            {"id": "wamid.A", "from": "447700900123", "type": "audio", "audio": {"id": "8"}}]}},
        {"field": "partner_solutions", "value": {"event": "SOLUTION_UPDATED", "solution_status": "ACTIVE"}},
        {"field": "account_settings_update", "value": {"type": "PHONE_NUMBER_SETTINGS", "phone_number_settings": {"phone_number_id": "1047000000000",
            "calling": {"srtp_key_exchange_protocol": "SDES"}}}},
        {"field": "account_settings_update", "value": {"type": "phone_number_settings", "phone_number_settings": {"phone_number_id": "1047000000000",
            "calling": {"status": "ENABLED", "sip": {"status": "DISABLED", "srtp_key_exchange_protocol": "dtls"}}}}},
        {"field": "account_settings_update", "value": {"phone_number_settings": {"phone_number_id": 1, "calling": {"status": "ENABLED"}}}}]}]});
    let read = parse(body.to_string().as_bytes()).expect("envelope");
    let carried: Vec<&Carried> = read.iter().filter_map(|e| if let Event::Carried(c) = e { Some(&**c) } else { None }).collect();
    let kinds: Vec<&str> = carried.iter().map(|c| c.kind).collect();
    let settings = "account.settings_update";
    assert_eq!(kinds, ["call.voicemail_available", "account.partner_solutions", settings, settings, settings]);
    assert_eq!(carried[0].wacid.as_ref().map(Wacid::as_str), Some("wacid.V"));
    let keying: Vec<_> = carried.iter().map(|c| keying_of_settings(c)).collect();
    assert_eq!(keying, [None, None, Some(KeyExchange::Sdes), Some(KeyExchange::Dtls), None]);
    assert_eq!(read.iter().filter(|e| **e == Event::NotCalls).count(), 5, "each of these bodies may be somebody else's as well");
}
