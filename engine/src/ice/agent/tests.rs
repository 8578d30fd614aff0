use super::*;
use crate::rng::SeededRng;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn no_usable_remote_fails_at_once_and_sends_nothing() {
    let mut entropy = SeededRng::new(1);
    let credentials = Credentials::generate(&mut entropy);
    let mut agent =
        Agent::new(IceConfig::default(), credentials.clone(), vec![Candidate::host(at("10.77.0.1:5000"), 65_535)], &mut entropy);
    let remote = Candidate::remote(at("127.0.0.1:9"), crate::ice::CandidateKind::Host, 1, "1");
    assert!(agent.set_remote(credentials.clone(), true, std::slice::from_ref(&remote), Time::ZERO));
    assert!(!agent.set_remote(credentials, true, &[remote], Time::ZERO));
    assert_eq!(agent.poll_transmit(&mut [0; 1_200], Time::ZERO), None);
    assert_eq!(agent.poll_event(), Some(IceEvent::Failed(EndReason::IceNoCandidates)));
    assert_eq!((agent.poll_event(), agent.poll_timeout()), (None, None));
    assert_eq!(agent.stats().remotes_skipped, 1);
}
