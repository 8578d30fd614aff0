//! The engine at its edges: full, out of ports, draining, closed twice, and with a port that panics. Each ends in a named refusal or a named event; none waits.

use std::net::UdpSocket;
use tipring_engine::bridge::Echo;
use tipring_engine::call::{CallEvent, FrameBuffer, Incoming, MediaPort, Outgoing, SetupRole};
use tipring_engine::engine::{CallId, Engine, EngineConfig};
use tipring_engine::error::{AdmitError, EndReason};
use tipring_engine::time::Span;
use tipring_signalling::sdp;
use tipring_tests::process::bound;
use tipring_tests::str0m_peer::Str0mPeer;

fn config(ports: std::ops::RangeInclusive<u16>) -> EngineConfig {
    EngineConfig { addresses: vec!["127.0.0.1".parse().expect("an address")], allow_loopback: true, ports, ..EngineConfig::default() }
}

fn open(engine: &Engine) -> Result<CallId, AdmitError> {
    engine.open_call(SetupRole::Active, Box::new(Echo::default())).map(|(call, _)| call)
}

/// Waits for the end of `call`; everything else is read past.
fn ended(engine: &Engine, call: CallId) -> EndReason {
    for _ in 0..200 {
        if let Some((id, CallEvent::Ended(end))) = engine.next_event(Span::from_millis(100))
            && id == call
        {
            return end.reason;
        }
    }
    panic!("the call never ended");
}

#[test]
fn a_full_engine_refuses_and_takes_calls_again_when_one_has_ended() {
    let engine = Engine::start(EngineConfig { calls_max_per_shard: 2, ..config(42_800..=42_899) }).expect("an engine");
    let first = open(&engine).expect("room");
    let second = open(&engine).expect("room");
    assert_eq!(open(&engine), Err(AdmitError::Calls));
    engine.close(first, EndReason::Cancelled).expect("posted");
    assert_eq!(ended(&engine, first), EndReason::Cancelled);
    engine.close(first, EndReason::HangUp).expect("closing twice is no error");
    let third = open(&engine).expect("room again");
    assert_ne!(first, third, "a name is never used twice");
    engine.drain();
    assert_eq!(open(&engine), Err(AdmitError::Draining));
    for call in [second, third] {
        engine.close(call, EndReason::HangUp).expect("posted");
        assert_eq!(ended(&engine, call), EndReason::HangUp);
    }
    assert_eq!(engine.calls(), 0);
}

/// Scenario 25, the end of it.
#[test]
fn a_drained_engine_leaves_no_socket_behind() {
    let ports = 42_700..=42_799;
    let engine = Engine::start(config(ports.clone())).expect("an engine");
    let calls: Vec<_> = (0..60).map(|_| open(&engine).expect("room")).collect();
    assert_eq!(bound(&ports).len(), 60);
    engine.drain();
    for call in &calls {
        engine.close(*call, EndReason::HangUp).expect("posted");
    }
    let mut over: Vec<_> = std::iter::from_fn(|| engine.next_event(Span::from_secs(2)))
        .filter_map(|(id, event)| if let CallEvent::Ended(end) = event { Some((id, end.reason)) } else { None })
        .take(calls.len())
        .collect();
    over.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(over, calls.iter().map(|call| (*call, EndReason::HangUp)).collect::<Vec<_>>(), "one event for each call");
    assert_eq!(engine.calls(), 0);
    drop(engine);
    assert_eq!(bound(&ports), [0u16; 0]);
}

#[test]
fn handshakes_in_flight_are_bounded_apart_from_calls() {
    let engine = Engine::start(EngineConfig { handshakes_max: 1, ..config(42_900..=42_949) }).expect("an engine");
    open(&engine).expect("room");
    assert_eq!(open(&engine), Err(AdmitError::Handshakes));
}

#[test]
fn a_port_that_somebody_else_holds_is_passed_over_and_none_left_is_said() {
    let taken = UdpSocket::bind("127.0.0.1:42950").expect("a port of this test");
    let engine = Engine::start(config(42_950..=42_951)).expect("an engine");
    let (_, local) = engine.open_call(SetupRole::Active, Box::new(Echo::default())).expect("the other port");
    assert_eq!(local.candidates[0].address.port(), 42_951);
    assert_eq!(open(&engine), Err(AdmitError::Ports));
    drop(taken);
}

#[test]
fn every_fault_of_the_configuration_is_told_at_once() {
    let broken = EngineConfig {
        addresses: vec!["127.0.0.1".parse().expect("an address"), "169.254.1.1".parse().expect("an address")],
        complexity: 11,
        profiles: Vec::new(),
        ..EngineConfig::default()
    };
    let said = Engine::start(broken).err().expect("refused").to_string();
    for part in ["127.0.0.1", "169.254.1.1", "at most one per family", "complexity 11", "no SRTP profile"] {
        assert!(said.contains(part), "{part} is missing in: {said}");
    }
}

/// A host's code that breaks on its first frame.
struct Broken;

impl MediaPort for Broken {
    fn incoming(&mut self, _: Incoming<'_>) {}

    fn outgoing(&mut self, _: &mut FrameBuffer) -> Outgoing {
        panic!("a port of the host breaks (this message is part of the test)");
    }
}

#[test]
fn a_port_that_panics_ends_its_shards_calls_and_not_the_process() {
    let engine = Engine::start(config(42_952..=42_999)).expect("an engine");
    let bystander = open(&engine).expect("room");
    let mut peer = Str0mPeer::default();
    let remote = sdp::read_offer(&peer.offer()).expect("an offer");
    let (call, local) = engine.open_call(SetupRole::Active, Box::new(Broken)).expect("room");
    peer.take_answer(&sdp::write_answer(&remote, &local, 1));
    engine.set_remote(call, remote.params).expect("a usable peer");
    engine.open_gate(call).expect("posted");
    let peer = peer.run(500.0);
    let mut over = Vec::new();
    for _ in 0..200 {
        if let Some((id, CallEvent::Ended(end))) = engine.next_event(Span::from_millis(100)) {
            assert_eq!(end.reason, EndReason::InternalFault);
            over.push(id);
        }
        if over.len() == 2 {
            break;
        }
    }
    over.sort_unstable();
    assert_eq!(over, [bystander, call], "one event for each call of the shard");
    assert_eq!(open(&engine), Err(AdmitError::Calls), "a faulted shard takes no more calls");
    peer.stop();
}
