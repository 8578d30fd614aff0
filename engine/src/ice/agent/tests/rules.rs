//! Rules of our checklist that no other test of the agent holds.

use super::*;

//= rules#I2 type=test
#[test]
fn i2_the_tie_breaker_is_64_random_bits_and_one_per_session() {
    let tie_breaker = |seed| {
        let mut entropy = SeededRng::new(seed);
        let credentials = Credentials::generate(&mut entropy);
        Agent::new(IceConfig::default(), credentials, vec![Candidate::host(at(BASE4), 65_535)], &mut entropy).tie_breaker
    };
    let all: HashSet<u64> = (0..200).map(tie_breaker).collect();
    assert_eq!(all.len(), 200);
    assert_eq!(all.iter().fold(0, |any, one| any | one), u64::MAX, "each bit is set in some");
    assert_eq!(all.iter().fold(u64::MAX, |every, one| every & one), 0, "and in none of them always");
    // Checks, their repetitions, the nomination, consent.
    let mut world = World::meta(|c| if c.at_ms < 500 { Reply::Silence } else { OK });
    world.run_until(20_000);
    assert_eq!(world.checks.iter().map(|c| c.tie_breaker).collect::<HashSet<_>>().len(), 1);
}

//= rules#I18 type=test
#[test]
fn i18_a_triggered_check_ends_the_repetitions_of_the_old_one_whose_answer_still_counts() {
    let config = IceConfig { pacing: CheckPacing::Rfc8445, ..IceConfig::default() };
    let mut world = World::started(config, &[RELAY4], |c| match c.nth {
        _ if c.nominates => OK,
        0 => slow(700),
        _ => Reply::Silence,
    });
    world.run_until(100);
    let request = world.request(|w| {
        w.priority(1_853_824_767).controlled(7);
    });
    assert_eq!(world.deliver(path(BASE4, RELAY4), &request), Ok(()));
    world.run_until(2_000);
    // At 500 ms the first request would have been repeated; at 600 ms the triggered one is.
    assert_eq!(
        world.checks.iter().map(|c| (c.at_ms, c.nominates)).collect::<Vec<_>>(),
        [(0, false), (100, false), (600, false), (700, true)]
    );
    assert_ne!(world.checks[0].id, world.checks[1].id);
    assert_eq!(world.checks[1].id, world.checks[2].id);
    assert_eq!((world.nominated().0, world.drops.len()), (710, 0));
}

//= rules#I22 type=test
#[test]
fn i22_a_list_of_failed_pairs_fails_only_when_patience_is_over() {
    let refusing = |c: &Check| if c.at_ms < 20_000 { Reply::Error { after_ms: 10, code: 400, signed: true } } else { OK };
    let mut world = World::meta(refusing);
    world.run_until(39_499);
    assert!(world.agent.pairs.iter().all(|p| p.state == PairState::Failed));
    assert_eq!((world.checks.len(), world.events.len()), (2, 0), "both pairs failed at once, and the list has not");
    world.run_until(60_000);
    assert_eq!(world.failed(), (39_500, EndReason::IceTimeout));
    // Within patience the peer may still check us, and that makes a pair good.
    let mut world = World::meta(refusing);
    world.run_until(20_000);
    let request = world.request(|w| {
        w.priority(1_853_824_767).controlled(7);
    });
    assert_eq!(world.deliver(path(BASE4, RELAY4), &request), Ok(()));
    world.run_until(21_000);
    assert_eq!(world.nominated(), (20_020, path(BASE4, RELAY4)));
}

//= rules#I27 type=test
#[test]
fn i27_use_candidate_of_the_peer_nominates_nothing() {
    let mut world = World::v4(|c| if c.at_ms < 1_000 { Reply::Silence } else { OK });
    world.run_until(100);
    let request = world.request(|w| {
        w.priority(1_853_824_767).controlled(7).use_candidate();
    });
    assert_eq!(world.deliver(path(BASE4, RELAY4), &request), Ok(()));
    world.run_until(900);
    assert_eq!((world.answers.len(), world.events.len(), world.agent.selected()), (1, 0, None));
    assert!(world.checks.iter().all(|c| !c.nominates), "nothing is valid yet");
    world.run_until(2_000);
    assert_eq!(world.checks.iter().filter(|c| c.nominates).count(), 1, "the nomination is ours");
    // Nor does it move us to another pair later.
    let stranger = path(BASE4, "10.77.9.9:7000");
    assert_eq!(world.deliver(stranger, &request), Ok(()));
    world.run_until(60_000);
    assert_eq!((world.answers.len(), world.events.len()), (2, 1));
    assert_eq!(world.agent.selected(), Some(path(BASE4, RELAY4)));
    assert!(world.checks.iter().all(|c| c.path != stranger));
}

//= rules#I28 type=test
#[test]
fn i28_repetitions_on_other_pairs_end_with_the_nomination() {
    let config = IceConfig { pacing: CheckPacing::Rfc8445, ..IceConfig::default() };
    let mut world = World::started(config, &[RELAY4, RELAY6], |c| slow(if c.is_v6() { 2_000 } else { 10 }));
    world.run_until(60_000);
    let (at_ms, selected) = world.nominated();
    assert!(at_ms < 500 && selected == path(BASE4, RELAY4));
    assert_eq!(world.checks.iter().filter(|c| c.is_v6()).count(), 1, "not repeated at 500 ms");
    assert!(world.drops.is_empty(), "its late answer is known, and means nothing: {:?}", world.drops);
    assert_eq!(world.agent.selected(), Some(selected));
}

//= rules#I34 type=test
#[test]
fn i34_nothing_but_consent_leaves_a_selected_pair() {
    let mut world = World::v4(|_| OK);
    world.run_until(600_000);
    let later: Vec<_> = world.checks.iter().filter(|c| c.at_ms > world.nominated().0).collect();
    assert!((100..=150).contains(&later.len()), "{}", later.len());
    assert!(later.windows(2).all(|w| (4_000..=6_000).contains(&(w[1].at_ms - w[0].at_ms))));
    assert_eq!(world.agent.stats().consent_sent, later.len() as u64);
    // Whatever is no request, an indication for one, would be here.
    assert!(world.answers.is_empty());
}
