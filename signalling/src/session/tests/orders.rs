//! Calls that we make, with what Meta says in every order that it can come in.

use super::*;

/// One thing that happens to a call of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// The reply to `connect`, with the id.
    Reply,
    /// The webhook with the SDP answer.
    Answer,
    Ringing,
    /// `ACCEPTED` or `REJECTED`.
    Decision,
    /// ICE and DTLS are done.
    Media,
    /// The user is heard.
    Heard,
}

/// Every order of `steps` in which nothing of the media precedes the answer that makes it possible.
fn orders(steps: &[Step]) -> Vec<Vec<Step>> {
    if steps.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (n, &first) in steps.iter().enumerate() {
        let rest: Vec<Step> = steps.iter().enumerate().filter(|(at, _)| *at != n).map(|(_, step)| *step).collect();
        for mut order in orders(&rest) {
            order.insert(0, first);
            all.push(order);
        }
    }
    let at = |order: &[Step], step| order.iter().position(|s| *s == step);
    all.retain(|order| {
        let known = at(order, Step::Answer).max(at(order, Step::Reply));
        let is_after = |a: Option<usize>, b: Option<usize>| a.is_none() || b.is_none() || a > b;
        is_after(at(order, Step::Media), known) && is_after(at(order, Step::Heard), at(order, Step::Media).max(known))
    });
    all
}

fn play(config: SessionConfig, order: &[Step], decision: CallStatusKind) -> (Rig, Vec<String>) {
    let mut rig = Rig::new(config);
    rig.feed(Input::Dial(dial()));
    rig.engine(local_ready());
    let mut words = Vec::new();
    for step in order {
        words.extend(match step {
            Step::Reply => rig.reply(created("wacid.B")),
            Step::Answer => rig.webhook(answer_event("wacid.B")),
            Step::Ringing => rig.webhook(status_event("wacid.B", CallStatusKind::Ringing)),
            Step::Decision => rig.webhook(status_event("wacid.B", decision)),
            Step::Media => rig.engine(EngineEvent::MediaReady),
            Step::Heard => rig.engine(EngineEvent::FirstMediaIn),
        });
    }
    (rig, words)
}

fn count(words: &[String], word: &str) -> usize {
    words.iter().filter(|w| *w == word).count()
}

#[test]
fn a_pick_up_is_told_once_in_whatever_order_it_comes() {
    let orders = orders(&[Step::Reply, Step::Answer, Step::Ringing, Step::Decision, Step::Media, Step::Heard]);
    assert!(orders.len() > 50, "{}", orders.len());
    for signal in [AnswerSignal::Either, AnswerSignal::Accepted] {
        for order in &orders {
            let config = SessionConfig { answer_signal: signal, ..SessionConfig::default() };
            let (mut rig, words) = play(config, order, CallStatusKind::Accepted);
            let told = (count(&words, "remote"), count(&words, "gate"), count(&words, "Answered"));
            assert_eq!(told, (1, 1, 1), "{signal:?} {order:?}: {words:?}");
            let at = |word: &str| words.iter().position(|w| w == word);
            if signal == AnswerSignal::Accepted {
                assert!(at("status:Accepted") < at("gate"), "nothing else opens the gate: {order:?}: {words:?}");
            }
            let rang_late = at("status:Ringing").is_some_and(|rang| Some(rang) > at("Answered"));
            assert!(count(&words, "status:Ringing") <= 1 && !rang_late, "statuses never lead backwards: {order:?}: {words:?}");
            let end = rig.webhook(terminate_event("wacid.B", TerminateStatus::Completed, Some(9)));
            assert_eq!(end, ["close:HANG_UP", "ended:HANG_UP"], "{order:?}");
            assert!(rig.is_empty());
        }
    }
}

#[test]
fn a_refusal_is_told_once_in_whatever_order_it_comes() {
    for order in orders(&[Step::Reply, Step::Answer, Step::Ringing, Step::Decision, Step::Media]) {
        let (mut rig, words) = play(SessionConfig::default(), &order, CallStatusKind::Rejected);
        assert_eq!((count(&words, "status:Rejected"), count(&words, "gate")), (1, 0), "{order:?}: {words:?}");
        let end = rig.webhook(terminate_event("wacid.B", TerminateStatus::Completed, None));
        assert_eq!(end, ["close:CANCELLED", "ended:USER_DECLINED"], "{order:?}");
        assert!(rig.is_empty());
    }
}

#[test]
fn a_voice_before_the_pick_up_does_not_count_where_only_accepted_does() {
    let config = SessionConfig { answer_signal: AnswerSignal::Accepted, ..SessionConfig::default() };
    let (mut rig, words) = play(config, &[Step::Reply, Step::Answer, Step::Media, Step::Heard], CallStatusKind::Accepted);
    assert_eq!(count(&words, "gate"), 0, "an announcement is not the user");
    assert_eq!(rig.timeout(), (60_000, vec!["close:CANCELLED".into(), "terminate".into()]), "and it rings no longer than it may");
}
