//! The ledger tells a good business from bad ones.

use super::*;

fn config(rates: Rates) -> LedgerConfig {
    LedgerConfig {
        seed: 7,
        unix_ms: 1_795_300_000_000,
        numbers: vec![Number { account: Account::default(), app_secrets: vec!["secret".into()], has_partner: false }],
        rates,
        offer: "v=0\r\n".into(),
        answer: "v=0\r\n".into(),
        patience: Span::from_secs(40),
        silence_max: Span::from_secs(20),
    }
}

fn ask(ledger: &mut Ledger, id: &str, action: &str, sdp: Option<&str>, now: Time) -> Wire {
    let mut body = json!({"messaging_product": "whatsapp", "call_id": id, "action": action});
    if let Some(sdp) = sdp {
        body["session"] = json!({"sdp_type": "answer", "sdp": sdp});
    }
    let path = format!("/v25.0/{}/calls", Account::default().phone_number_id);
    ledger.handle_request("POST", &path, Some("Bearer meta-sim-token"), body.to_string().as_bytes(), now)
}

fn run(ledger: &mut Ledger, until: Time) {
    while let Some(at) = ledger.poll_timeout().filter(|at| *at <= until) {
        ledger.handle_timeout(at);
        while let Some(post) = ledger.poll_webhook(at) {
            ledger.handle_webhook_answer(post.id, 200, at);
        }
    }
}

fn ms(ms: u64) -> Time {
    Time::ZERO + Span::from_millis(ms)
}

#[test]
fn a_good_business_is_not_blamed() {
    let mut ledger = Ledger::new(config(Rates::default()));
    let id = ledger.user_calls(0, ms(0));
    run(&mut ledger, ms(300));
    for (action, sdp, at) in [("pre_accept", Some("a"), 300), ("accept", Some("a"), 600), ("terminate", None, 900)] {
        assert!(matches!(ask(&mut ledger, &id, action, sdp, ms(at)), Wire::Reply(reply, _) if reply.status == 200), "{action}");
    }
    run(&mut ledger, ms(100_000));
    let judgement = ledger.judge();
    assert_eq!(judgement.faults, Vec::<String>::new());
    assert_eq!((judgement.figures.answered, judgement.figures.ended_by), (1, [0, 1, 0, 0]));
    assert_eq!(ledger.acknowledged().map(|(_, event)| event.as_str()).collect::<Vec<_>>(), ["connect", "terminate"]);
}

#[test]
fn each_misdeed_is_seen() {
    type Deeds<'a> = &'a [(&'a str, Option<&'a str>, u64)];
    let rows: &[(&str, Deeds<'_>)] = &[
        (
            "although the first reply had arrived",
            &[("pre_accept", Some("a"), 300), ("accept", Some("a"), 600), ("accept", Some("a"), 700), ("terminate", None, 900)],
        ),
        ("two answers", &[("pre_accept", Some("a"), 300), ("accept", Some("b"), 600), ("terminate", None, 900)]),
        ("after the end", &[("pre_accept", Some("a"), 300), ("terminate", None, 900), ("accept", Some("a"), 1_000)]),
        ("its end had been told", &[("pre_accept", Some("a"), 300), ("terminate", None, 60_000)]),
    ];
    for (fault, deeds) in rows {
        let mut ledger = Ledger::new(config(Rates::default()));
        let id = ledger.user_calls(0, ms(0));
        for (action, sdp, at) in *deeds {
            run(&mut ledger, ms(*at));
            let _ = ask(&mut ledger, &id, action, *sdp, ms(*at));
        }
        run(&mut ledger, ms(200_000));
        let faults = ledger.judge().faults;
        assert!(faults.iter().any(|f| f.contains(fault)), "{fault}: {faults:?}");
    }
}

#[test]
fn the_call_of_another_partner_is_not_ours_to_end() {
    let mut with_partner = config(Rates { partner_takes: 1_000, ..Rates::default() });
    with_partner.numbers[0].has_partner = true;
    let mut ledger = Ledger::new(with_partner);
    let id = ledger.user_calls(0, ms(0));
    run(&mut ledger, ms(2_000));
    assert!(
        matches!(ask(&mut ledger, &id, "accept", Some("a"), ms(2_000)), Wire::Reply(reply, _) if reply.body.contains("already in progress"))
    );
    let _ = ask(&mut ledger, &id, "terminate", None, ms(2_100));
    run(&mut ledger, ms(100_000));
    assert!(ledger.judge().faults.iter().any(|f| f.contains("another partner")));
}

#[test]
fn a_call_whose_media_stopped_is_ended_by_meta_and_that_is_told() {
    let mut ledger = Ledger::new(config(Rates::default()));
    let id = ledger.user_calls(0, ms(0));
    let _ = ask(&mut ledger, &id, "accept", Some("a"), ms(300));
    ledger.calls.get_mut(&id).unwrap().talks_for = None;
    ledger.handle_silence(&id, ms(1_000));
    run(&mut ledger, ms(100_000));
    let judgement = ledger.judge();
    assert_eq!(judgement.figures.ended_by, [0, 0, 0, 1]);
    assert!(judgement.faults.iter().any(|f| f.contains("left to Meta")));
}

#[test]
fn webhooks_come_twice_and_together_and_are_signed() {
    let mut ledger = Ledger::new(config(Rates { duplicated: 1_000, batched: 500, delayed: 300, ..Rates::default() }));
    for n in 0..20 {
        ledger.user_calls(0, ms(n * 10));
    }
    let (mut posts, mut most) = (0, 0);
    while let Some(at) = ledger.poll_timeout() {
        ledger.handle_timeout(at);
        while let Some(post) = ledger.poll_webhook(at) {
            assert_eq!(post.signature, sign("secret", &post.body));
            posts += 1;
            most = most.max(post.events.len());
            // Refused once: it comes again.
            let status = if posts % 7 == 0 { 503 } else { 200 };
            ledger.handle_webhook_answer(post.id, status, at);
        }
    }
    let figures = ledger.judge().figures;
    assert!(most > 2 && figures.batches > 0 && figures.duplicates == 40, "{figures}");
    assert!(ledger.acknowledged().count() >= 80);
}
