//! Each way a call can go, step by step: what is fed, what must come out, in order.

mod orders;
mod world;

use std::sync::OnceLock;

use tipring_engine::error::{AdmitError, EndReason};
use tipring_engine::time::{Span, Time};

use super::*;
use crate::graph::{GraphAction, GraphError, GraphOutcome};

const NUMBER: &str = "1047000000000";
const UNIX: i64 = 1_795_300_000;

fn golden_sdp(id: &str) -> String {
    static FILE: OnceLock<serde_json::Value> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/sdp/meta_samples.json");
        serde_json::from_str(&std::fs::read_to_string(path).expect("golden file")).expect("JSON")
    });
    let case = file["cases"].as_array().expect("cases").iter().find(|c| c["id"] == id).expect("case");
    case["sdp"].as_str().expect("text").to_owned()
}

fn wacid(name: &str) -> Wacid {
    Wacid::new(name).expect("id")
}

fn connect_event(name: &str, direction: Direction, sdp: (SdpType, &str), timestamp_unix_s: i64) -> Event {
    let user = Party { phone: Personal::new("447700900123"), ..Party::default() };
    Event::Connect(Box::new(CallConnect {
        wacid: wacid(name),
        phone_number_id: Some(NUMBER.into()),
        direction: Some(direction),
        from: user.clone(),
        to: Party::default(),
        user,
        timestamp_unix_s: Some(timestamp_unix_s),
        sdp: Some((sdp.0, SdpText::new(sdp.1))),
        biz_opaque: None,
        deeplink_payload: None,
        cta_payload: None,
    }))
}

fn offer_event(name: &str, timestamp_unix_s: i64) -> Event {
    connect_event(name, Direction::UserInitiated, (SdpType::Offer, &golden_sdp("meta-offer-user-initiated")), timestamp_unix_s)
}

fn answer_event(name: &str) -> Event {
    connect_event(name, Direction::BusinessInitiated, (SdpType::Answer, &golden_sdp("meta-answer-business-initiated")), UNIX)
}

fn terminate_event(name: &str, status: TerminateStatus, duration_s: Option<u32>) -> Event {
    Event::Terminate(Box::new(CallTerminate {
        wacid: wacid(name),
        phone_number_id: Some(NUMBER.into()),
        direction: Some(Direction::UserInitiated),
        timestamp_unix_s: Some(UNIX + 60),
        status,
        start_unix_s: None,
        end_unix_s: None,
        duration_s,
        errors: Vec::new(),
        biz_opaque: None,
    }))
}

fn status_event(name: &str, status: CallStatusKind) -> Event {
    Event::Status(Box::new(CallStatus {
        wacid: wacid(name),
        phone_number_id: Some(NUMBER.into()),
        status,
        timestamp_unix_s: Some(UNIX),
        biz_opaque: None,
    }))
}

fn refused(http_status: u16, code: u32, message: &str) -> GraphOutcome {
    GraphOutcome::Refused(GraphError { http_status, code, message: message.into(), ..GraphError::default() })
}

fn ok() -> GraphOutcome {
    GraphOutcome::Success { wacid: None }
}

fn taken() -> GraphOutcome {
    refused(400, 100, "Call is already in progress")
}

fn local_ready() -> EngineEvent {
    EngineEvent::LocalReady(Box::new(crate::sdp::tests::local()))
}

/// One registry, its clock, and every effect as a short word.
struct Rig {
    sessions: Sessions,
    now: Time,
    last_request: Option<RequestId>,
    sdps: Vec<SdpText>,
    endings: Vec<Ending>,
}

impl Rig {
    fn new(config: SessionConfig) -> Self {
        Self { sessions: Sessions::new(config), now: Time::from_nanos(1), last_request: None, sdps: Vec::new(), endings: Vec::new() }
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.sessions.handle(input, UNIX, self.now);
        let mut words = Vec::new();
        while let Some(effect) = self.sessions.poll_effect() {
            words.push(match effect {
                Effect::Graph { request, action, phone_number_id, .. } => {
                    assert_eq!(&*phone_number_id, NUMBER);
                    self.last_request = Some(request);
                    if let GraphAction::PreAccept { sdp, .. } | GraphAction::Accept { sdp, .. } | GraphAction::Connect { sdp, .. } = &action
                    {
                        self.sdps.push(sdp.clone());
                    }
                    action.name().to_owned()
                }
                Effect::OpenCall { remote, .. } => if remote.is_some() { "open" } else { "open-blank" }.to_owned(),
                Effect::SetRemote { .. } => "remote".to_owned(),
                Effect::OpenGate { .. } => "gate".to_owned(),
                Effect::CloseCall { reason, .. } => format!("close:{}", reason.code()),
                Effect::Notify { notice: Notice::Ended(ending), .. } => {
                    let word = format!("ended:{}", ending.verdict.code);
                    self.endings.push(*ending);
                    word
                }
                Effect::Notify { notice, .. } => match notice {
                    Notice::Offered { .. } => "offered".to_owned(),
                    Notice::Dialling { .. } => "dialling".to_owned(),
                    Notice::Missed { phone_number_id, .. } => {
                        assert_eq!(&*phone_number_id, NUMBER);
                        "missed".to_owned()
                    }
                    Notice::Status(status) => format!("status:{status:?}"),
                    Notice::Warning(_) => "warning".to_owned(),
                    other => format!("{other:?}"),
                },
            });
        }
        words
    }

    fn webhook(&mut self, event: Event) -> Vec<String> {
        self.feed(Input::Webhook(event))
    }

    fn reply(&mut self, outcome: GraphOutcome) -> Vec<String> {
        let request = self.last_request.expect("a request");
        self.feed(Input::GraphReply { request, outcome })
    }

    fn engine(&mut self, event: EngineEvent) -> Vec<String> {
        self.feed(Input::Engine { call: CallKey(1), event })
    }

    fn command(&mut self, command: Command) -> Vec<String> {
        self.feed(Input::Command { call: CallKey(1), command })
    }

    /// Lets time pass to the next deadline and says how many milliseconds that took.
    fn timeout(&mut self) -> (u64, Vec<String>) {
        let at = self.sessions.poll_timeout().expect("a deadline");
        assert!(at > self.now, "deadlines lie ahead");
        let passed = at.since(self.now).as_millis();
        self.now = at;
        (passed, self.feed(Input::Timeout))
    }

    /// A call that rings, with `pre_accept` done.
    fn ringing(config: SessionConfig) -> Self {
        let mut rig = Self::new(config);
        assert_eq!(rig.webhook(offer_event("wacid.A", UNIX)), ["offered", "open"]);
        assert_eq!(rig.engine(local_ready()), ["pre_accept"]);
        assert_eq!(rig.reply(ok()), ["PreAccepted"]);
        rig
    }

    fn active() -> Self {
        let mut rig = Self::ringing(SessionConfig::default());
        assert_eq!(rig.engine(EngineEvent::MediaReady), ["MediaReady"]);
        assert_eq!(rig.command(Command::Accept), ["accept"]);
        assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);
        rig
    }

    fn is_empty(&self) -> bool {
        self.sessions.calls().count() == 0 && self.sessions.poll_timeout().is_none()
    }
}

//= meta#R-32 type=test
#[test]
fn a_user_calls_and_hangs_up() {
    let mut rig = Rig::active();
    assert_eq!(rig.sdps.len(), 2);
    assert!(core::ptr::eq(rig.sdps[0].as_str(), rig.sdps[1].as_str()), "accept carries the very bytes of pre_accept");
    assert!(rig.sdps[0].as_str().contains("a=setup:active\r\n"));
    assert_eq!(rig.sessions.poll_timeout(), None, "an active call waits for nothing");
    assert_eq!(rig.sessions.call(CallKey(1)).expect("call").state, CallState::Active);
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, Some(50))), ["close:HANG_UP", "ended:HANG_UP"]);
    let ending = &rig.endings[0];
    assert!(ending.answered && ending.confirmed && ending.duration_s == Some(50));
    assert!(rig.is_empty());
}

#[test]
fn auto_answer_waits_for_media() {
    let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    assert_eq!(rig.engine(EngineEvent::MediaReady), ["MediaReady", "accept"]);
    assert_eq!(rig.command(Command::Accept), [""; 0]);
    assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);
}

#[test]
fn media_before_the_pre_accept_reply_does_not_overtake_it() {
    let mut rig = Rig::new(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    rig.webhook(offer_event("wacid.A", UNIX));
    assert_eq!(rig.engine(local_ready()), ["pre_accept"]);
    assert_eq!(rig.engine(EngineEvent::MediaReady), ["MediaReady"]);
    assert_eq!(rig.reply(ok()), ["PreAccepted", "accept"]);
}

#[test]
fn without_pre_accept_the_accept_goes_first() {
    let mut rig = Rig::new(SessionConfig { auto_answer: true, pre_accept: false, ..SessionConfig::default() });
    rig.webhook(offer_event("wacid.A", UNIX));
    assert_eq!(rig.engine(local_ready()), ["accept"]);
    assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);
    assert_eq!(rig.engine(EngineEvent::MediaReady), ["MediaReady"]);
}

#[test]
fn late_media_is_accepted_or_given_up() {
    let mut rig = Rig::ringing(SessionConfig::default());
    assert_eq!(rig.command(Command::Accept), [""; 0]);
    assert_eq!(rig.timeout(), (8_000, vec!["warning".into(), "accept".into()]));
    assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);

    let mut rig = Rig::ringing(SessionConfig { accept_without_media: false, ..SessionConfig::default() });
    rig.command(Command::Accept);
    assert_eq!(rig.timeout(), (8_000, vec!["close:CANCELLED".into(), "terminate".into()]));
    rig.reply(ok());
    assert_eq!(rig.timeout(), (20_000, vec!["ended:MEDIA_NOT_READY".into()]));
    assert!(!rig.endings[0].confirmed && rig.is_empty());
}

//= meta#R-33 type=test
#[test]
fn nobody_accepts_within_the_window() {
    let mut rig = Rig::new(SessionConfig::default());
    rig.webhook(offer_event("wacid.A", UNIX - 5));
    rig.engine(local_ready());
    rig.reply(ok());
    // The webhook was 5 s old: 20 s of the 25 are left.
    assert_eq!(rig.timeout(), (20_000, vec!["close:CANCELLED".into(), "terminate".into()]));
    rig.reply(ok());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), ["ended:NOT_ANSWERED"]);
    assert!(rig.endings[0].confirmed && !rig.endings[0].answered && rig.is_empty());
}

#[test]
fn the_application_rejects_or_hangs_up() {
    // Before pre_accept by `reject`, afterwards by `terminate` (5.8 item 7).
    let mut rig = Rig::new(SessionConfig::default());
    rig.webhook(offer_event("wacid.A", UNIX));
    assert_eq!(rig.command(Command::Reject), ["close:CANCELLED", "reject"]);
    assert_eq!(rig.engine(local_ready()), [""; 0]);
    rig.reply(ok());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), ["ended:REJECTED"]);

    let mut rig = Rig::ringing(SessionConfig::default());
    assert_eq!(rig.command(Command::Reject), ["close:CANCELLED", "terminate"]);
    assert_eq!(rig.command(Command::Accept), [""; 0]);

    let mut rig = Rig::active();
    assert_eq!(rig.command(Command::Terminate), ["close:HANG_UP", "terminate"]);
    assert_eq!(rig.command(Command::Terminate), [""; 0]);
    assert_eq!(rig.reply(ok()), [""; 0]);
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, Some(3))), ["ended:HANG_UP"]);
    assert_eq!(rig.endings[0].duration_s, Some(3));
}

#[test]
fn hanging_up_waits_for_the_request_in_flight() {
    let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    rig.engine(EngineEvent::MediaReady);
    assert_eq!(rig.command(Command::Terminate), ["close:CANCELLED"], "media goes at once");
    assert_eq!(rig.reply(ok()), ["terminate"], "no gate for a call that is being ended");

    let mut rig = Rig::new(SessionConfig::default());
    rig.webhook(offer_event("wacid.A", UNIX));
    rig.engine(local_ready());
    rig.command(Command::Terminate);
    assert_eq!(rig.reply(refused(400, 138_008, "SDP Validation error")), ["reject"], "Meta never took our SDP");

    let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    rig.engine(EngineEvent::MediaReady);
    rig.command(Command::Terminate);
    assert_eq!(rig.reply(taken()), ["ended:CANCELLED"], "somebody else has it: not ours to terminate");
}

#[test]
fn the_engine_ends_the_call() {
    let mut rig = Rig::active();
    let ended = |reason| EngineEvent::Ended { reason, evidence: Box::default() };
    assert_eq!(rig.engine(ended(EndReason::ConsentLost)), ["terminate"], "there is nothing to close any more");
    rig.reply(ok());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Failed, Some(9))), ["ended:CONSENT_LOST"]);
    assert_eq!(rig.endings[0].verdict.evidence, [("meta", "META_FAILED".to_owned())]);

    let mut rig = Rig::new(SessionConfig::default());
    rig.webhook(offer_event("wacid.A", UNIX));
    assert_eq!(rig.engine(EngineEvent::NotAdmitted(AdmitError::Ports)), ["reject"]);
    rig.reply(ok());
    assert_eq!(rig.timeout().1, ["ended:FULL_PORTS"]);
}

/// Meta sees only silence (138021); the engine knows that no check was ever answered.
#[test]
fn the_verdict_names_the_cause_and_metas_word_is_evidence() {
    use crate::verdict::{Evidence, Reached};
    let checking =
        || Evidence { reached: Some(Reached::Checking), checks_sent: Some(160), checks_answered: Some(0), ..Evidence::default() };
    let gone = |evidence| EngineEvent::Ended { reason: EndReason::HangUp, evidence: Box::new(evidence) };
    let failed = || match terminate_event("wacid.A", TerminateStatus::Failed, Some(20)) {
        Event::Terminate(mut terminate) => {
            terminate.errors.push(MetaError { code: 138_021, details: String::new() });
            Event::Terminate(terminate)
        }
        other => other,
    };
    // Accepted without media, for the application wanted it and the relay might have woken up by it.
    let silent = || {
        let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
        assert_eq!(rig.timeout().1, ["warning", "accept"]);
        assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);
        rig
    };
    let mut rig = silent();
    assert_eq!(rig.webhook(failed()), ["close:HANG_UP"], "the engine's last word is awaited");
    assert_eq!(rig.engine(gone(checking())), ["ended:ICE_TIMEOUT"]);
    let verdict = &rig.endings[0].verdict;
    assert_eq!(verdict.evidence.last(), Some(&("meta", "META_138021".to_owned())));
    assert!(verdict.evidence.contains(&("checks_sent", "160".to_owned())), "{:?}", verdict.evidence);
    assert_eq!((rig.endings[0].duration_s, rig.endings[0].confirmed), (Some(20), true));
    assert!(rig.is_empty());

    // The engine does not answer in time: then Meta's word is all there is, and nothing waits for ever.
    let mut rig = silent();
    rig.webhook(failed());
    assert_eq!(rig.command(Command::Terminate), [""; 0], "it is over already");
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), [""; 0]);
    assert_eq!(rig.timeout().1, ["ended:META_138021"]);
    assert!(rig.is_empty());

    // The user gave the silence up: for Meta that is a call like any other.
    let mut rig = silent();
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, Some(9))), ["close:HANG_UP"]);
    assert_eq!(rig.engine(gone(checking())), ["ended:ICE_TIMEOUT"]);

    // Media stood on our side: what Meta says is the cause, with our figures beside it.
    let mut rig = Rig::active();
    assert_eq!(rig.webhook(failed()), ["close:HANG_UP"]);
    let media = Evidence { reached: Some(Reached::Media), packets_out: Some(900), packets_in: Some(0), ..Evidence::default() };
    assert_eq!(rig.engine(gone(media)), ["ended:META_138021"]);
    assert!(rig.endings[0].verdict.evidence.contains(&("packets_out", "900".to_owned())));

    // We gave it up ourselves for want of media.
    let config = SessionConfig { auto_answer: true, accept_without_media: false, ..SessionConfig::default() };
    let mut rig = Rig::ringing(config);
    assert_eq!(rig.timeout().1, ["close:CANCELLED", "terminate"]);
    assert_eq!(rig.engine(gone(checking())), [""; 0]);
    rig.reply(ok());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), ["ended:ICE_TIMEOUT"]);
    assert_eq!(rig.endings[0].verdict.evidence.last(), Some(&("gave_up", "MEDIA_NOT_READY".to_owned())));
}

#[test]
fn an_offer_we_cannot_use_is_rejected() {
    let mut rig = Rig::new(SessionConfig::default());
    let sdp = golden_sdp("meta-offer-user-initiated").replace("opus", "speex");
    let event = connect_event("wacid.A", Direction::UserInitiated, (SdpType::Offer, &sdp), UNIX);
    assert_eq!(rig.webhook(event), ["offered", "reject"]);
    rig.reply(ok());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), ["ended:CODEC_REFUSED"]);
}

#[test]
fn somebody_else_took_it() {
    let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    rig.engine(EngineEvent::MediaReady);
    assert_eq!(rig.reply(taken()), ["close:CANCELLED", "ended:TAKEN_ELSEWHERE"]);
    assert!(rig.is_empty());
}

#[test]
fn a_lost_accept_is_repeated_once_and_proven_by_media() {
    let start = || {
        let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
        rig.engine(EngineEvent::MediaReady);
        assert_eq!(rig.reply(GraphOutcome::Lost), ["accept"]);
        rig
    };
    let mut rig = start();
    assert_eq!(rig.reply(ok()), ["gate", "Accepted"]);

    let mut rig = start();
    assert_eq!(rig.reply(taken()), [""; 0]);
    assert_eq!(rig.engine(EngineEvent::FirstMediaIn), ["gate", "Accepted"]);

    let mut rig = start();
    rig.engine(EngineEvent::FirstMediaIn);
    assert_eq!(rig.reply(taken()), ["gate", "Accepted"]);

    let mut rig = start();
    rig.reply(taken());
    assert_eq!(rig.timeout(), (5_000, vec!["close:CANCELLED".into(), "ended:ACCEPT_UNPROVEN".into()]));

    let mut rig = start();
    assert_eq!(rig.reply(GraphOutcome::Lost), ["close:CANCELLED", "terminate"]);
    assert_eq!(rig.reply(GraphOutcome::Lost), ["terminate"]);
    assert_eq!(rig.reply(GraphOutcome::Lost), [""; 0]);
    assert_eq!(rig.timeout().1, ["ended:GRAPH_NO_REPLY"]);
    assert!(rig.is_empty());
}

#[test]
fn refusals_of_accept_end_the_call_once() {
    for (outcome, expected) in [
        (refused(400, 138_008, "SDP Validation error"), vec!["close:CANCELLED", "terminate"]),
        (refused(400, 100, "Call has ended"), vec!["close:CANCELLED", "ended:META_100"]),
        (refused(500, 131_000, "Something went wrong"), vec!["accept"]),
        (GraphOutcome::NotSent, vec!["accept"]),
    ] {
        let mut rig = Rig::ringing(SessionConfig { auto_answer: true, ..SessionConfig::default() });
        rig.engine(EngineEvent::MediaReady);
        assert_eq!(rig.reply(outcome), expected);
    }
}

#[test]
fn a_pre_accept_that_gets_no_reply_is_not_fatal() {
    let mut rig = Rig::new(SessionConfig { auto_answer: true, ..SessionConfig::default() });
    rig.webhook(offer_event("wacid.A", UNIX));
    rig.engine(local_ready());
    rig.engine(EngineEvent::MediaReady);
    assert_eq!(rig.timeout(), (15_000, vec!["pre_accept".into()]), "a request without reply counts as lost");
    assert_eq!(rig.reply(GraphOutcome::Lost), ["warning", "accept"]);
}

//= meta#R-36 type=test
#[test]
fn terminate_before_connect_leaves_a_tombstone() {
    let mut rig = Rig::new(SessionConfig::default());
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), [""; 0]);
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX)), [""; 0]);
    assert_eq!(rig.sessions.counts().tombstoned, 1);
    rig.now += Span::from_secs(47 * 3_600);
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX + 1)), [""; 0], "47 h later as well");
}

//= meta#R-35 type=test
//= meta#R-41 type=test
#[test]
fn repetitions_act_once_and_changes_are_ignored_loudly() {
    let mut rig = Rig::ringing(SessionConfig::default());
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX)), [""; 0]);
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX + 1)), [""; 0], "another timestamp, the same SDP");
    assert_eq!(rig.sessions.counts().duplicates, 2);
    let other = connect_event("wacid.A", Direction::UserInitiated, (SdpType::Offer, "v=0\r\n"), UNIX);
    assert_eq!(rig.webhook(other), ["warning"]);
    assert_eq!(rig.sessions.counts().changed_sdp, 1);
    rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None));
    assert_eq!(rig.webhook(terminate_event("wacid.A", TerminateStatus::Completed, None)), [""; 0]);
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX + 2)), [""; 0], "ended calls stay ended");
    assert_eq!(rig.endings.len(), 1);
}

//= meta#R-37 type=test
#[test]
fn a_stale_connect_is_missed_without_any_request() {
    let mut rig = Rig::new(SessionConfig::default());
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX - 26)), ["missed", "ended:WEBHOOK_STALE"]);
    assert_eq!(rig.webhook(offer_event("wacid.A", UNIX)), [""; 0]);
    assert_eq!(rig.webhook(offer_event("wacid.B", UNIX - 25)), ["offered", "open"], "25 s is the last second");
    assert_eq!(rig.webhook(offer_event("wacid.C", UNIX + 3_600)), ["offered", "open"], "a clock of ours that is slow");
    assert_eq!(rig.sessions.counts().stale, 1);
}

#[test]
fn calls_beyond_the_limit_are_rejected() {
    let mut rig = Rig::new(SessionConfig { calls_max: 1, ..SessionConfig::default() });
    rig.webhook(offer_event("wacid.A", UNIX));
    assert_eq!(rig.webhook(offer_event("wacid.B", UNIX)), ["reject"]);
    assert_eq!(rig.webhook(offer_event("wacid.C", UNIX)), [""; 0]);
    assert_eq!(rig.sessions.counts().refused_full, 2);
    assert_eq!(rig.feed(Input::Dial(dial())), ["dialling", "ended:FULL_CALLS"]);
}

fn dial() -> Box<Dial> {
    Box::new(Dial { phone_number_id: NUMBER.into(), to: Personal::new("447700900123"), recipient: None, biz_opaque: None })
}

fn dialled() -> Rig {
    let mut rig = Rig::new(SessionConfig::default());
    assert_eq!(rig.feed(Input::Dial(dial())), ["dialling", "open-blank"]);
    assert_eq!(rig.engine(local_ready()), ["connect"]);
    assert!(rig.sdps[0].as_str().contains("a=setup:actpass\r\n"));
    rig
}

fn created(name: &str) -> GraphOutcome {
    GraphOutcome::Success { wacid: Some(wacid(name)) }
}

#[test]
fn we_call_and_the_user_picks_up() {
    let mut rig = dialled();
    assert_eq!(rig.reply(created("wacid.B")), [""; 0]);
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Ringing)), ["status:Ringing"]);
    assert_eq!(rig.webhook(answer_event("wacid.B")), ["remote"]);
    assert_eq!(rig.engine(EngineEvent::MediaReady), ["MediaReady"], "the path stands, but nobody has picked up");
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Accepted)), ["status:Accepted", "gate", "Answered"]);
    assert_eq!(rig.engine(EngineEvent::FirstMediaIn), [""; 0]);
    assert_eq!(rig.command(Command::Terminate), ["close:HANG_UP", "terminate"]);
}

#[test]
fn webhooks_that_outrun_the_reply_wait_for_it() {
    let mut rig = dialled();
    assert_eq!(rig.webhook(answer_event("wacid.B")), [""; 0]);
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Ringing)), [""; 0]);
    assert_eq!(rig.webhook(status_event("wacid.Z", CallStatusKind::Accepted)), [""; 0]);
    assert_eq!(rig.reply(created("wacid.B")), ["remote", "status:Ringing"]);
    assert_eq!(rig.engine(EngineEvent::FirstMediaIn), ["gate", "Answered"], "the first media starts the call as well");

    let mut rig = dialled();
    rig.webhook(terminate_event("wacid.B", TerminateStatus::Failed, None));
    assert_eq!(rig.reply(created("wacid.B")), ["close:CANCELLED", "ended:META_FAILED"]);
    assert!(rig.is_empty());
}

#[test]
fn a_lost_connect_is_never_repeated_but_found_by_its_webhook() {
    let mut rig = dialled();
    assert_eq!(rig.reply(GraphOutcome::Lost), [""; 0]);
    assert_eq!(rig.webhook(answer_event("wacid.B")), ["remote"]);
    assert_eq!(rig.sessions.by_wacid(&wacid("wacid.B")), Some(CallKey(1)));

    // The webhook comes first, and only then the loss is noticed (found by `cargo calls`, seed 1).
    let mut rig = dialled();
    assert_eq!(rig.webhook(answer_event("wacid.B")), [""; 0]);
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Ringing)), [""; 0]);
    assert_eq!(rig.reply(GraphOutcome::Lost), ["remote", "status:Ringing"]);

    // Given up while the `connect` was under way: when its id comes, the phone must not go on ringing.
    let mut rig = dialled();
    assert_eq!(rig.command(Command::Terminate), ["close:CANCELLED"]);
    assert_eq!(rig.reply(GraphOutcome::Lost), [""; 0]);
    assert_eq!(rig.webhook(answer_event("wacid.B")), ["terminate"]);

    let mut rig = dialled();
    rig.reply(GraphOutcome::Lost);
    assert_eq!(rig.timeout(), (10_000, vec!["close:CANCELLED".into(), "ended:GRAPH_NO_REPLY".into()]));
}

#[test]
fn calls_of_ours_that_come_to_nothing() {
    let mut rig = dialled();
    assert_eq!(rig.reply(refused(401, 138_006, "No approved call permission")), ["close:CANCELLED", "ended:META_138006"]);

    let mut rig = dialled();
    rig.reply(created("wacid.B"));
    assert_eq!(rig.timeout(), (60_000, vec!["close:CANCELLED".into(), "terminate".into()]), "nobody picked up");

    let mut rig = dialled();
    rig.reply(created("wacid.B"));
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Rejected)), ["status:Rejected"]);
    assert_eq!(rig.webhook(terminate_event("wacid.B", TerminateStatus::Completed, None)), ["close:CANCELLED", "ended:USER_DECLINED"]);

    let mut rig = dialled();
    assert_eq!(rig.command(Command::Terminate), ["close:CANCELLED"]);
    assert_eq!(rig.reply(created("wacid.B")), ["terminate"], "given up while `connect` was in flight");

    let mut rig = dialled();
    rig.reply(created("wacid.B"));
    let bad = connect_event("wacid.B", Direction::BusinessInitiated, (SdpType::Answer, "v=0\r\n"), UNIX);
    assert_eq!(rig.webhook(bad), ["close:CANCELLED", "terminate"]);
}

#[test]
fn statuses_never_lead_backwards() {
    let mut rig = dialled();
    rig.reply(created("wacid.B"));
    rig.webhook(status_event("wacid.B", CallStatusKind::Accepted));
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Ringing)), [""; 0]);
    assert_eq!(rig.webhook(status_event("wacid.B", CallStatusKind::Rejected)), [""; 0]);
    assert_eq!(rig.sessions.call(CallKey(1)).expect("call").state, CallState::Active);
}
