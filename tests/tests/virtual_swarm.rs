//! Many seeds at once: how fast calls are set up, and that the shrinker finds the least of a failure. The swarm itself is the target `swarm`.

use tipring_engine::rng::{Entropy, SeededRng};
use tipring_engine::time::{Span, Time};
use tipring_meta_sim::timeline::{Direction, What};
use tipring_tests::world::{Class, LinkConfig, Outcome, Plan, Sketch, World, attempt, seeds, shrink, swarm};

/// p50, p90, p99 and the longest.
fn percentiles(mut spans: Vec<Span>) -> [Span; 4] {
    spans.sort_unstable();
    [50, 90, 99, 100].map(|of_100| spans[(spans.len() * of_100 / 100).min(spans.len() - 1)])
}

fn show(what: &str, spans: Vec<Span>) -> [Span; 4] {
    let of = percentiles(spans);
    let [p50, p90, p99, max] = of.map(|span| span.as_micros() as f64 / 1_000.0);
    println!("{what}: p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
    of
}

/// When the relay could answer, when it was told the nominated pair, when we knew that, and when we had keys. It can answer when it was given
/// our SDP and a check could have arrived: one that left when the call was opened, `one_way` before.
fn stages(outcome: &Outcome, one_way: Span) -> [Time; 4] {
    let ours = outcome.ended.as_ref().expect("a media call").stats.milestones;
    let arrives = ours.first_check.map(|at| at + one_way);
    let all = [outcome.stages.sdp.max(arrives), outcome.stages.nominated, ours.ice_connected, ours.dtls_connected];
    all.map(|at| at.expect("a call that was set up"))
}

fn brief(seed: u64, link: &LinkConfig) -> Plan {
    Plan::clean(seed).on(link).short(Span::from_millis(400)).numbered()
}

#[test]
fn a_pair_is_nominated_within_a_round_trip_and_60_ms_and_keys_come_two_round_trips_later() {
    let name = "virtual_swarm::a_pair_is_nominated_within_a_round_trip_and_60_ms_and_keys_come_two_round_trips_later";
    let times = swarm(name, seeds(0..1_000), |seed| {
        let delay = Span::from_micros(2_000 + SeededRng::new(seed ^ 0x5e7).below(98_000));
        let [able, nominated, told, keys] = stages(&World::run(brief(seed, &LinkConfig { delay, ..LinkConfig::default() })), delay);
        let rtt = delay.times(2);
        let over = nominated.since(able + rtt);
        assert!(over <= Span::from_millis(60), "nominated {} us after the round trip of {} us", over.as_micros(), rtt.as_micros());
        // Computing takes no virtual time.
        assert!(
            told + rtt.times(2) >= keys,
            "keys {} us after the nomination, round trip {} us",
            keys.since(told).as_micros(),
            rtt.as_micros()
        );
        (over, keys.since(told))
    });
    let (over, handshakes) = times.into_iter().unzip();
    show("nomination, beyond one round trip", over);
    show("handshake, round trips of 4 to 200 ms", handshakes);
}

/// From the moment the relay can answer to keys, at 10 % loss and round trips of 10 to 140 ms: p99.
fn ready(name: &str, what: &str, dtls_timer: Option<Span>) -> Span {
    let times = swarm(name, seeds(0..1_000), |seed| {
        let mut rng = SeededRng::new(seed ^ 0x105);
        let delay = Span::from_millis(5 + rng.below(56));
        let link = LinkConfig { delay, jitter: Span::from_millis(rng.below(11)), loss: 1_000, ..LinkConfig::default() };
        let [able, _, _, keys] = stages(&World::run(Plan { dtls_timer, ..brief(seed, &link) }), delay);
        (keys.since(able), seed)
    });
    if let Some((slowest, seed)) = times.iter().max() {
        println!("slowest: {} ms (seed {seed})", slowest.as_millis());
    }
    let [_, _, p99, _] = show(what, times.into_iter().map(|(span, _)| span).collect());
    p99
}

/// The relay repeats as libwebrtc does: after 50 ms, doubling.
#[test]
fn media_is_ready_within_1500_ms_at_ten_percent_loss_for_99_calls_of_a_hundred() {
    let name = "virtual_swarm::media_is_ready_within_1500_ms_at_ten_percent_loss_for_99_calls_of_a_hundred";
    let p99 = ready(name, "media ready at 10 % loss, a relay with the timer of libwebrtc", Some(Span::from_millis(50)));
    assert!(p99 < Span::from_millis(1_500), "{} ms", p99.as_millis());
}

/// Nothing that a client may send makes AWS-LC repeat a flight before its own timer: one second, then two, then four.
#[test]
fn a_relay_with_a_timer_of_a_second_costs_seconds_that_are_its_own() {
    let name = "virtual_swarm::a_relay_with_a_timer_of_a_second_costs_seconds_that_are_its_own";
    let p99 = ready(name, "media ready at 10 % loss, a relay with a timer of one second", None);
    assert!(p99 < Span::from_millis(3_500), "{} ms", p99.as_millis());
}

/// A failure is planted in every call in which two classes meet and faults go on for a while; everything else has to go.
#[test]
fn a_planted_failure_is_shrunk_to_what_it_needs() {
    let fails = |sketch: &Sketch| {
        let is_planted = sketch.has(Class::Loss) && sketch.has(Class::WallClock) && sketch.faults_ms >= 900;
        attempt(sketch, |plan| plan.planted = is_planted.then(|| Span::from_millis(300)))
    };
    let mut shrunk = 0;
    for seed in 0..400 {
        let sketch = Sketch::draw(seed);
        let Err(why) = fails(&sketch) else { continue };
        assert_eq!(why, "a planted failure", "seed {seed}");
        let least = shrink(&sketch, |sketch| fails(sketch).is_err());
        assert_eq!(least.classes, [Class::Loss, Class::WallClock], "seed {seed}");
        assert!((900..1_000).contains(&least.faults_ms), "{}", least.command());
        assert!(
            least.command().starts_with(&format!("cargo swarm -- --seed {seed} --only loss,wall-clock --faults-ms 9")),
            "{}",
            least.command()
        );
        shrunk += 1;
        if shrunk == 3 {
            return;
        }
    }
    panic!("only {shrunk} of 400 seeds have both classes");
}

/// Scenario 25, all of its calls: two hundred at 1 % loss, each with words of its own; then our side hangs up on all of them.
//= rules#G10 type=test
#[test]
fn two_hundred_calls_hear_their_own_words_only_and_end_with_bye_and_terminate() {
    let name = "virtual_swarm::two_hundred_calls_hear_their_own_words_only_and_end_with_bye_and_terminate";
    let link = LinkConfig { loss: 100, ..LinkConfig::default() };
    let calls = swarm(name, seeds(0..200), |seed| {
        let mut plan = Plan::clean(seed).on(&link).short(Span::from_secs(60)).numbered();
        plan.hang_up_after = Some(Span::from_secs(30));
        let outcome = World::run(plan);
        assert_eq!(outcome.reason(), "HANG_UP");
        let echoed = outcome.echoed;
        assert_eq!((echoed.foreign, echoed.repeated), (0, 0), "{echoed:?}");
        assert!(echoed.back >= 1_300, "{echoed:?}");
        let ours = outcome.timeline.iter().filter(|entry| entry.direction == Direction::FromBusiness);
        let (mut sent, mut said) = (Vec::new(), (0, 0));
        for entry in ours {
            match &entry.what {
                What::Rtp { seq, .. } => sent.push((entry.at, *seq)),
                What::Rtcp { bye: true, .. } => said.0 += 1,
                What::GraphRequest { action, .. } if action == "terminate" => said.1 += 1,
                _ => {}
            }
        }
        assert!(said.0 <= 1 && said.1 == 1, "BYE is said once, and may be what is lost; terminate once: {said:?}");
        // One way is 10 ms for each: what arrives 20 ms after its predecessor left so.
        let next = sent.windows(2).filter(|pair| pair[1].1 == pair[0].1.wrapping_add(1));
        let off: Vec<Span> = next.map(|pair| Span::from_nanos(pair[1].0.since(pair[0].0).as_nanos().abs_diff(20_000_000))).collect();
        (off, said.0)
    });
    let byes: u32 = calls.iter().map(|(_, byes)| byes).sum();
    assert!(calls.len() < 200 || byes >= 190, "{byes} of 200 BYEs arrived at 1 % loss");
    let [_, _, p99, _] = show("interval between our packets, off 20 ms", calls.into_iter().flat_map(|(off, _)| off).collect());
    assert!(p99 < Span::from_millis(5), "{} us", p99.as_micros());
}
