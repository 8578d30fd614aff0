//! How long set-up takes, in virtual time: tables of docs/protocols/ice.md, measured again on every run.
//!
//! A relay answers a check if it arrives at or after the moment at which the relay can answer. "Nominated at the relay" is the arrival of the first
//! USE-CANDIDATE it can answer; "nominated here" is its answer's arrival, when DTLS starts.

use super::*;
use crate::ice::StartPacer;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocols/ice.md"));

/// Rows of a table, compared with the page as they stand there.
fn stands_in_the_page(rows: &[String]) {
    let missing: Vec<&str> = rows.iter().map(String::as_str).filter(|row| !PAGE.contains(row)).collect();
    assert!(missing.is_empty(), "docs/protocols/ice.md differs from what is measured; it should say:\n{}\n", rows.join("\n"));
}

/// Times in ms from the moment the relay can answer to the nomination, (at the relay, here).
fn nomination_after(pacing: CheckPacing, remotes: &[&str], can_answer_ms: u64, rtt_ms: u64) -> (u64, u64) {
    let half = rtt_ms / 2;
    let relay = move |c: &Check| if c.at_ms + half >= can_answer_ms { slow(rtt_ms) } else { Reply::Silence };
    // A configuration of its own: turns are shared by what shares a clock.
    let mut world = World::started(IceConfig { pacing, ..IceConfig::default() }, remotes, relay);
    world.run_until(60_000);
    let here = world.nominated().0;
    let sent = world.checks.iter().find(|c| c.nominates && c.at_ms + half >= can_answer_ms).expect("it was nominated").at_ms;
    (sent + half - can_answer_ms, here - can_answer_ms)
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

//= rfc8445#section-14.3 type=test
#[test]
fn a_relay_that_learns_our_sdp_late_is_caught_within_a_round_trip_and_60_ms() {
    let mut rows = Vec::new();
    for (name, pacing) in [("eager", CheckPacing::Eager), ("RFC 8445", CheckPacing::Rfc8445)] {
        for rtt in [20, 80, 200] {
            let moments = (100..3_100).step_by(7);
            let (mut relay, mut here): (Vec<u64>, Vec<u64>) =
                moments.map(|at| nomination_after(pacing, &[RELAY4, RELAY6], at, rtt)).unzip();
            relay.sort_unstable();
            here.sort_unstable();
            let cell = |sorted: &[u64]| format!("{} / {} / {}", percentile(sorted, 50), percentile(sorted, 95), percentile(sorted, 100));
            if pacing == CheckPacing::Eager {
                assert!(percentile(&relay, 100) <= rtt + 60, "rtt {rtt}: {}", cell(&relay));
            } else {
                assert!(percentile(&relay, 50) > rtt + 60, "else the eager timer would be for nothing");
            }
            rows.push(format!("| {name} | {rtt} ms | {} ms | {} ms |", cell(&relay), cell(&here)));
        }
    }
    stands_in_the_page(&rows);
}

/// What a dead family adds to a set-up over the other one alone.
//= rules#I9 type=test
#[test]
fn a_dead_family_costs_less_than_300_ms() {
    let mut rows = Vec::new();
    for (name, is_v6_dead) in [("IPv6", true), ("IPv4", false)] {
        for rtt in [20, 80, 200] {
            let alive = if is_v6_dead { RELAY4 } else { RELAY6 };
            let mut alone = World::started(IceConfig::default(), &[alive], move |_| slow(rtt));
            let mut both =
                World::started(
                    IceConfig::default(),
                    &[RELAY4, RELAY6],
                    move |c| if c.is_v6() == is_v6_dead { Reply::Silence } else { slow(rtt) },
                );
            let times = [&mut alone, &mut both].map(|world| {
                world.run_until(5_000);
                assert_eq!(world.nominated().1.remote, at(alive));
                world.nominated().0
            });
            assert!(times[1] - times[0] < 300, "{times:?}");
            rows.push(format!("| {name} | {rtt} ms | {} ms | {} ms | {} ms |", times[0], times[1], times[1] - times[0]));
        }
    }
    stands_in_the_page(&rows);
}

/// `count` calls whose offers come at once, their relays able to answer 300 ms later; times from that moment to the nomination here, sorted.
fn burst(count: u64, spacing: Span) -> Vec<u64> {
    let config = IceConfig { starts: StartPacer::new(spacing), ..IceConfig::default() };
    let mut worlds: Vec<World> = (0..count)
        .map(|_| {
            let relay = |c: &Check| if c.at_ms >= 300 { slow(20) } else { Reply::Silence };
            World::started(config.clone(), &[RELAY4, RELAY6], relay)
        })
        .collect();
    // One clock for all: they share the turns.
    while let Some((next, i)) = worlds.iter().enumerate().filter_map(|(i, w)| Some((w.next()?, i))).min() {
        if next > ms(30_000) {
            break;
        }
        worlds[i].step(next);
        if worlds[i].events.iter().any(|(_, e)| matches!(e, IceEvent::Nominated { .. })) && worlds[i].towards_us.is_empty() {
            // From here on it only asks for consent, which takes no turns.
            worlds[i].stopped = true;
        }
    }
    let mut times: Vec<u64> = worlds.iter().map(|w| w.nominated().0 - 300).collect();
    times.sort_unstable();
    times
}

/// The figures of docs/adr/0007.
//= rfc8445#section-14.2:all-agents type=test
#[test]
fn a_burst_of_calls_shares_the_turns() {
    let mut rows = Vec::new();
    for (name, spacing) in [("5 ms", Span::from_millis(5)), ("250 us", Span::from_micros(250)), ("none", Span::ZERO)] {
        for count in [1, 50, 200] {
            let times = burst(count, spacing);
            rows.push(format!("| {name} | {count} | {} ms | {} ms |", percentile(&times, 50), percentile(&times, 100)));
            if name == "250 us" {
                assert!(percentile(&times, 100) <= 20 + 20 + 60 + 60, "{times:?}");
            }
        }
    }
    const ADR: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/adr/0007-stun-starts-over-all-calls.md"));
    let missing = rows.iter().any(|row| !ADR.contains(row.as_str()));
    assert!(!missing, "docs/adr/0007 differs from what is measured; it should say:\n{}\n", rows.join("\n"));
}

//= rfc8445#section-14.2 type=test
//= rfc8445#section-14.2:all-agents type=test
//= rules#I16:all-calls type=test
#[test]
fn with_the_letter_of_the_rfc_no_two_starts_of_any_calls_are_closer_than_5_ms() {
    let starts = StartPacer::new(crate::ice::SPACING_BEHIND_NAT);
    let config = IceConfig { starts, ..IceConfig::default() };
    let mut worlds: Vec<World> = (0..20).map(|_| World::started(config.clone(), &[RELAY4, RELAY6], |_| slow(40))).collect();
    while let Some((next, i)) = worlds.iter().enumerate().filter_map(|(i, w)| Some((w.next()?, i))).min().filter(|n| n.0 <= ms(2_000)) {
        worlds[i].step(next);
    }
    let mut seen = HashSet::new();
    let mut times: Vec<u64> = Vec::new();
    for (call, world) in worlds.iter().enumerate() {
        assert!(world.nominated().0 < 2_000);
        // The first send of an id is a start; the nominating check's repetitions are none.
        times.extend(world.checks.iter().filter(|c| seen.insert((call, c.id))).map(|c| c.at_ms));
    }
    times.sort_unstable();
    assert!(times.len() >= 40 && times.windows(2).all(|w| w[1] - w[0] >= 5), "{times:?}");
}

/// A pause of our own between the arrival of an answer and its reading makes the path seem slow, once. DTLS is timed by the least that was seen (seed 256).
#[test]
fn the_round_trip_is_the_least_that_was_seen() {
    for (check_ms, nomination_ms) in [(20, 45), (45, 20)] {
        let mut world = World::v4(move |c| slow(if c.nominates { nomination_ms } else { check_ms }));
        world.run_until(1_000);
        assert!(world.events.iter().any(|(_, event)| matches!(event, IceEvent::Nominated { .. })));
        assert_eq!(world.agent.rtt(), Some(Span::from_millis(20)), "{check_ms} and {nomination_ms} ms");
    }
}
