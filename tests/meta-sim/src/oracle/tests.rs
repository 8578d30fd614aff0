//! Each rule of the judge in both directions: a good trace passes all, each misdeed or change fails its own rule.

use super::*;
use crate::business::Misdeed;
use crate::correlate::tests::speech as voice;
use crate::testing::World;
use crate::user::UserScript;

fn run(misdeeds: &[Misdeed]) -> (Vec<Entry>, Vec<i16>, Arc<[i16]>) {
    let greeting: Arc<[i16]> = voice(1_500).into();
    let script = UserScript { hang_up_after: Some(Span::from_secs(12)), ..UserScript::default() };
    let mut world = World::new(script, &[], misdeeds, greeting.clone());
    world.run();
    (world.call.timeline().entries().to_vec(), world.call.heard().to_vec(), greeting)
}

fn context(reference: Option<Arc<[i16]>>) -> Context {
    Context { kind: CallKind::UserInitiated, limits: Limits::default(), reference }
}

fn failing(entries: &[Entry], heard: &[i16], reference: Option<Arc<[i16]>>) -> Vec<&'static str> {
    judge(entries, heard, &context(reference)).iter().filter(|v| !v.pass).map(|v| v.rule).collect()
}

#[test]
fn good_call_passes_every_rule_and_shows_nearly_all() {
    let (entries, heard, greeting) = run(&[]);
    let verdicts = judge(&entries, &heard, &context(Some(greeting)));
    let report: Vec<String> = verdicts.iter().map(ToString::to_string).collect();
    assert!(verdicts.iter().all(|v| v.pass), "{}", report.join("\n"));
    let unseen: Vec<_> = verdicts.iter().filter(|v| !v.seen).map(|v| v.rule).collect();
    assert_eq!(unseen, ["R-45", "UIC-terminate"], "{}", report.join("\n"));
}

#[test]
fn each_misdeed_on_the_wire_fails_its_rule() {
    let cases: &[(Misdeed, &[&str])] = &[
        (Misdeed::Controlled, &["R-23"]),
        (Misdeed::NominatesAtOnce, &["R-25", "R-24"]),
        (Misdeed::NominatesBoth, &["R-24"]),
        (Misdeed::DtlsBeforeNomination, &["R-25b"]),
        (Misdeed::MediaBeforeAccept, &["R-34"]),
        (Misdeed::NoPreAccept, &["R-32"]),
        (Misdeed::SecondSsrc, &["R-19"]),
        (Misdeed::SkipsSeq, &["RFC3550-5.1", "R-17"]),
        (Misdeed::SlowMedia, &["R-29"]),
        (Misdeed::NoReports, &["R-39"]),
        (Misdeed::NoConsent, &["RFC7675-5.1"]),
    ];
    for (misdeed, rules) in cases {
        let (entries, heard, _) = run(&[*misdeed]);
        assert_eq!(misdeed.rule(), rules[0]);
        assert_eq!(failing(&entries, &heard, None), *rules, "{misdeed:?}");
    }
}

#[test]
fn each_change_to_a_good_trace_fails_its_rule_alone() {
    let (good, heard, greeting) = run(&[]);
    let check = |name: &str, rules: &[&str], change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = good.clone();
        change(&mut entries);
        assert_ne!(entries, good, "{name} changed nothing");
        assert_eq!(failing(&entries, &heard, None), rules, "{name}");
    };
    let nth_rtp = |entries: &mut Vec<Entry>, n: usize| {
        let mine = |(_, e): &(usize, &Entry)| e.direction == Direction::FromBusiness && matches!(e.what, What::Rtp { .. });
        entries.iter().enumerate().filter(mine).map(|(at, _)| at).nth(n).unwrap()
    };
    check("relay checks first", &["R-22"], &|entries| {
        let mut first = entries.iter().find(|e| e.leg == Leg::Stun).unwrap().clone();
        (first.direction, first.at) = (Direction::FromMeta, Time::ZERO);
        if let What::StunRequest { id, use_candidate, .. } = &mut first.what {
            (*id, *use_candidate) = ([9; 12], false);
        }
        entries.insert(0, first);
    });
    check("unauthentic check", &["RFC8445-7.2.2"], &|entries| {
        let what =
            entries.iter_mut().find_map(|e| if let What::StunRequest { authentic, .. } = &mut e.what { Some(authentic) } else { None });
        *what.unwrap() = false;
    });
    check("media on another path", &["R-26"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { path, .. } = &mut entries[at].what {
            path.remote.set_port(9);
        }
    });
    check("server hello first", &["R-28"], &|entries| {
        let first = entries.iter_mut().find_map(|e| if let What::Dtls { handshake, .. } = &mut e.what { Some(handshake) } else { None });
        *first.unwrap() = Some(2);
    });
    check("late client hello", &["R-28b"], &|entries| {
        for entry in entries.iter_mut().filter(|e| matches!(e.what, What::Dtls { .. })) {
            entry.at += Span::from_millis(200);
        }
    });
    check("long flight", &["R-27"], &|entries| {
        let first = entries.iter_mut().find_map(|e| if let What::Dtls { bytes, .. } = &mut e.what { Some(bytes) } else { None });
        *first.unwrap() = 1_201;
    });
    check("RSA certificate", &["R-27b"], &|entries| {
        let key = entries.iter_mut().find_map(|e| if let What::Certificate { key, .. } = &mut e.what { Some(key) } else { None });
        *key.unwrap() = "RSA".to_owned();
    });
    check("G.711", &["R-16"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { payload_type, ticks, .. } = &mut entries[at].what {
            (*payload_type, *ticks) = (0, None);
        }
    });
    check("timestamp jump", &["R-17"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { timestamp, .. } = &mut entries[at].what {
            *timestamp += 7;
        }
    });
    check("40 ms packet", &["R-18"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { ticks, .. } = &mut entries[at].what {
            *ticks = Some(1_920);
        }
    });
    check("header extension", &["RFC8285-5"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { has_extras, .. } = &mut entries[at].what {
            *has_extras = true;
        }
    });
    check("second marker", &["RFC3551-4.1"], &|entries| {
        let at = nth_rtp(entries, 50);
        if let What::Rtp { marker, .. } = &mut entries[at].what {
            *marker = true;
        }
    });
    check("no name in a report", &["R-39"], &|entries| {
        let mine = |e: &&mut Entry| e.direction == Direction::FromBusiness;
        let name =
            entries.iter_mut().filter(mine).find_map(|e| if let What::Rtcp { cname, .. } = &mut e.what { Some(cname) } else { None });
        *name.unwrap() = None;
    });
    check("silence", &["R-39b"], &|entries| {
        let last = entries.last().unwrap().at;
        entries.push(Entry { at: last, leg: Leg::User, direction: Direction::FromMeta, what: What::Silence { ms: 30_000 } });
    });
    check("ice-lite", &["R-21"], &|entries| fault(entries, "R-21"));
    check("two fingerprints", &["R-40"], &|entries| fault(entries, "R-40"));
    check("another SDP in accept", &["UIC-same-sdp"], &|entries| {
        let sdp = entries.iter_mut().find_map(|e| match &mut e.what {
            What::GraphRequest { action, sdp } if action == "accept" => Some(sdp),
            _ => None,
        });
        *sdp.unwrap() = Some([0; 32]);
    });
    check("slow webhook answer", &["R-38"], &|entries| {
        let took =
            entries.iter_mut().find_map(|e| if let What::WebhookAnswered { took_ms, .. } = &mut e.what { Some(took_ms) } else { None });
        *took.unwrap() = 5_000;
    });
    check("connect long ago", &["R-33"], &|entries| {
        entries.retain(|e| !matches!(&e.what, What::WebhookSent { event } if event == "connect"));
        let what = What::WebhookSent { event: "connect".to_owned() };
        for entry in entries.iter_mut() {
            entry.at += Span::from_secs(31);
        }
        entries.push(Entry { at: Time::ZERO, leg: Leg::Webhook, direction: Direction::FromMeta, what });
    });
    check("forgery taken", &["R-45"], &|entries| {
        let genuine = entries
            .iter_mut()
            .find_map(|e| if let What::WebhookAnswered { is_genuine, .. } = &mut e.what { Some(is_genuine) } else { None });
        *genuine.unwrap() = false;
    });
    check("BYE without terminate", &["UIC-terminate"], &|entries| {
        let mine = |e: &&mut Entry| e.direction == Direction::FromBusiness;
        let bye = entries.iter_mut().filter(mine).find_map(|e| if let What::Rtcp { bye, .. } = &mut e.what { Some(bye) } else { None });
        *bye.unwrap() = true;
    });
    check("accepted twice", &["R-35"], &|entries| {
        let accept = entries.iter().find(|e| matches!(&e.what, What::GraphReply { action, .. } if action == "accept")).unwrap().clone();
        entries.push(accept);
    });
    check("slow pace", &["RFC3550-P5"], &|entries| {
        let first = nth_rtp(entries, 0);
        let start = entries[first].at;
        for entry in entries.iter_mut().filter(|e| e.at > start) {
            entry.at = start + entry.at.since(start).scale(11, 10);
        }
    });
    let mut clipped = heard.clone();
    clipped[..16_000 / 2].fill(0);
    assert_eq!(failing(&good, &clipped, Some(greeting)), ["R-31"]);
}

#[test]
fn a_stall_is_no_fault_when_it_is_told_however_late_the_judge_saw_what_came_before() {
    let (good, heard, _) = run(&[]);
    let is_mine = |e: &Entry| e.direction == Direction::FromBusiness && matches!(e.what, What::Rtp { .. });
    let packets: Vec<usize> = good.iter().enumerate().filter(|(_, e)| is_mine(e)).map(|(at, _)| at).collect();
    let (before, after) = (packets[49], packets[50]);
    // 16 frames were given up by a business that stood still for `stood`; the judge stood still with it for `judge`.
    let with = |stood: Span, judge: Span, is_told: bool| {
        let mut entries = good.clone();
        let split = entries[after].at;
        for (n, entry) in entries.iter_mut().enumerate().filter(|(_, e)| e.at >= split) {
            entry.at += stood;
            if let (true, What::Rtp { timestamp, marker, .. }) = (is_mine(entry), &mut entry.what) {
                *timestamp = timestamp.wrapping_add(16 * 960);
                *marker |= is_told && n == after;
            }
        }
        entries[before].at += judge;
        failing(&entries, &heard, None)
    };
    let frames = |n: u64| Span::from_millis(20 * n);
    assert_eq!(with(frames(16), Span::ZERO, true), [""; 0]);
    assert_eq!(with(frames(16), frames(15), true), [""; 0], "the judge was late as well");
    assert_eq!(with(frames(16), Span::ZERO, false), ["R-17", "RFC3550-P5"], "not told");
    assert_eq!(with(frames(15), Span::ZERO, true), ["R-17", "RFC3551-4.1", "RFC3550-P5"], "ahead of its time");
}

fn fault(entries: &mut [Entry], rule: &'static str) {
    let faults = entries.iter_mut().find_map(|e| if let What::SdpJudged { faults, .. } = &mut e.what { Some(faults) } else { None });
    faults.unwrap().push(crate::sdp::SdpFault { rule, is_refused: false, text: "made up".to_owned() });
}

#[test]
fn other_sdp_in_accept_is_refused_by_graph() {
    let greeting: Arc<[i16]> = voice(500).into();
    let script = UserScript { patience: Span::from_secs(4), ..UserScript::default() };
    let mut world = World::new(script, &[], &[Misdeed::OtherSdpInAccept], greeting);
    world.run();
    assert_eq!(world.actions.iter().map(|a| a.1).collect::<Vec<_>>(), [200, 400]);
    assert_eq!(failing(world.call.timeline().entries(), &[], None), ["UIC-same-sdp"]);
}
