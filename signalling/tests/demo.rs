//! `tipring demo` as a library call: a clean call under garbage, and every fault with its stated outcome.
//!
//! Real time and real sockets on loopback. Haste is not judged here (`relaxed`): other tests share the machine.
#![cfg(feature = "demo")]

use std::path::PathBuf;
use tipring_signalling::cli::demo::{Expectation, Options, Scenario, relaxed, run, run_all};

/// A directory of this test's own, below the build directory.
fn out(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    // What an earlier run left would do no harm; it may also not be there.
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_clean_call_under_garbage_keeps_every_rule_and_its_speech() {
    let report = run(&Options { garbage: true, limits: relaxed(), ..Options::new(out("clean")) }).unwrap();
    let broken: Vec<String> = report.oracle.iter().filter(|v| !v.pass).map(ToString::to_string).collect();
    assert_eq!(broken, Vec::<String>::new());
    for speech in &report.speech {
        assert!(speech.is_whole(), "{speech:?}");
    }
    for check in &report.checks {
        assert!(check.pass, "{check:?}");
    }
    assert_eq!((report.speech.len(), report.checks.len(), report.exit_code()), (5, 3, 0));
    assert!(report.thrown.is_some_and(|t| t.datagrams > 1_000 && t.requests > 0), "{:?}", report.thrown);
    let dropped: u64 = report.drops.iter().map(|(_, n)| n).sum();
    assert!(dropped > 500, "garbage from the relay's own address is counted: {:?}", report.drops);
    //= meta#R-34 type=test
    assert!(report.oracle.iter().any(|v| v.rule == "R-34" && v.seen && v.pass));
    //= meta#R-31 type=test
    assert!(report.oracle.iter().any(|v| v.rule == "R-31" && v.seen && v.pass));
    assert!(report.recording.iter().all(|file| file.metadata().is_ok_and(|m| m.len() > 1_000)), "{:?}", report.recording);
    let legs = ["webhook", "Graph", "STUN", "DTLS", "RTP", "RTCP"];
    assert!(legs.iter().all(|leg| report.timeline.iter().any(|step| step.leg == *leg)));
    assert!(report.timeline.is_sorted_by_key(|step| step.at));
}

#[test]
fn every_fault_ends_in_its_stated_outcome_with_its_cause_named() {
    let results = run_all(&out("faults"), false, |_, _| {});
    assert_eq!(results.len(), Scenario::all().count());
    let mut wrong = Vec::new();
    for (scenario, result) in results {
        match result {
            Ok(report) if report.as_expected => {
                let code = if report.expectation() == Expectation::Works { 0 } else { 1 };
                assert_eq!(report.exit_code(), code, "{}", scenario.name());
                assert!(!report.cause.sentence.is_empty(), "{}", scenario.name());
            }
            Ok(report) => wrong.push(format!("{}: expected {}, found {:?}", scenario.name(), report.expectation(), report.cause)),
            Err(why) => wrong.push(format!("{}: {why}", scenario.name())),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_name_that_is_nearly_right_is_corrected() {
    assert!(Scenario::find("wrong-fingerprnt").unwrap_err().contains("`wrong-fingerprint`"));
    assert_eq!(Scenario::find("mute-peer").unwrap().expectation(), Expectation::Works);
    assert_eq!(Scenario::find("early-media").unwrap().expectation(), Expectation::Breaks("R-34"));
}
