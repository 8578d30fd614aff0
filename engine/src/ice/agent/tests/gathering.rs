//! Server-reflexive candidates: what is asked, what counts as an answer, and that nothing waits for a silent server.

use super::*;

const SERVER4: &str = "10.77.3.3:3478";
const SERVER6: &str = "[fd77::3]:3478";
const SEEN4: &str = "203.0.113.9:61000";

/// An agent, its questions as (time in ms, path, id), and no peer.
struct Rig {
    agent: Agent,
    now: Time,
    asked: Vec<(u64, Path, TransactionId)>,
    gathered: Option<u64>,
}

impl Rig {
    fn new(servers: &[&str]) -> Self {
        let config = IceConfig { stun_servers: servers.iter().map(|s| at(s)).collect(), ..IceConfig::default() };
        let mut entropy = SeededRng::new(7);
        let credentials = Credentials::generate(&mut entropy);
        let locals = vec![Candidate::host(at(BASE4), 65_535), Candidate::host(at(BASE6), 65_534)];
        let mut agent = Agent::new(config, credentials, locals, &mut entropy);
        assert_eq!(agent.start_gathering(Time::ZERO), !servers.is_empty());
        let mut rig = Self { agent, now: Time::ZERO, asked: Vec::new(), gathered: None };
        rig.drain();
        rig
    }

    fn drain(&mut self) {
        let mut out = [0; crate::limits::SEND_BYTES_MAX];
        while let Some((length, path)) = self.agent.poll_transmit(&mut out, self.now) {
            let message = StunView::new_checked(&out[..length]).expect("well-formed");
            assert_eq!((message.class(), message.username(), message.has_integrity()), (Class::Request, None, false));
            assert!(message.priority().is_none() && message.controlling().is_none(), "nothing of the call for the server to see");
            self.asked.push((self.now.as_millis(), path, message.id()));
        }
        while let Some(event) = self.agent.poll_event() {
            assert_eq!(event, IceEvent::Gathered);
            assert_eq!(self.gathered.replace(self.now.as_millis()), None, "once");
        }
        assert!(self.agent.poll_timeout().is_none_or(|t| t > self.now));
    }

    fn run_until(&mut self, end_ms: u64) {
        while let Some(next) = self.agent.poll_timeout().filter(|&t| t <= ms(end_ms)) {
            self.now = next;
            self.agent.handle_timeout(next);
            self.drain();
        }
        self.now = ms(end_ms);
    }

    fn answer(&mut self, path: Path, class: Class, id: TransactionId, write: impl FnOnce(&mut StunWriter<'_>)) -> Result<(), DropReason> {
        let mut out = [0; 200];
        let mut writer = StunWriter::new(&mut out, class, id);
        write(&mut writer);
        let length = writer.finish_bare(None).expect("it fits");
        let outcome = self.agent.handle_stun(path, &out[..length], self.now);
        self.drain();
        outcome
    }

    fn reflexive(&self) -> Vec<Candidate> {
        self.agent.local_candidates().iter().filter(|c| c.kind == CandidateKind::ServerReflexive).cloned().collect()
    }
}

//= rfc8445#section-5.1.1.2:reflexive type=test
//= rfc8445#section-5.1.3 type=test
#[test]
fn each_family_asks_its_own_server_and_both_answers_become_candidates() {
    let mut rig = Rig::new(&[SERVER4, SERVER6]);
    rig.run_until(15);
    assert_eq!(rig.asked.iter().map(|a| (a.0, a.1)).collect::<Vec<_>>(), [(0, path(BASE4, SERVER4)), (10, path(BASE6, SERVER6))]);
    let (id4, id6) = (rig.asked[0].2, rig.asked[1].2);
    assert_eq!(
        rig.answer(path(BASE4, SERVER4), Class::Success, id4, |w| {
            w.xor_mapped_address(at(SEEN4));
        }),
        Ok(())
    );
    assert_eq!(rig.gathered, None, "the other family is still asked");
    // Without a NAT the server sees the base: redundant (RFC 8445 section 5.1.3).
    assert_eq!(
        rig.answer(path(BASE6, SERVER6), Class::Success, id6, |w| {
            w.xor_mapped_address(at(BASE6));
        }),
        Ok(())
    );
    assert_eq!(rig.gathered, Some(15));
    let found = rig.reflexive();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].address, found[0].base), (at(SEEN4), Some(at(BASE4))));
    assert_eq!(found[0].priority, crate::ice::priority(CandidateKind::ServerReflexive, 65_535, 1), "the local preference of its base");
    assert!(rig.agent.local_candidates().is_sorted_by_key(|c| core::cmp::Reverse(c.priority)));
    assert_eq!((rig.agent.stats().gather_sent, rig.agent.stats().gather_answered), (2, 2));
    rig.run_until(10_000);
    assert_eq!((rig.asked.len(), rig.agent.poll_timeout()), (2, None), "nothing is asked any more");
}

#[test]
fn a_silent_server_is_asked_three_times_and_costs_its_patience() {
    let mut rig = Rig::new(&[SERVER4]);
    rig.run_until(5_000);
    assert_eq!(rig.asked.iter().map(|a| a.0).collect::<Vec<_>>(), [0, 100, 300]);
    assert!(rig.asked.iter().all(|a| a.2 == rig.asked[0].2), "a repetition has the id of the first");
    assert_eq!((rig.gathered, rig.reflexive().len()), (Some(350), 0));
    let (there, id) = (rig.asked[0].1, rig.asked[0].2);
    assert_eq!(
        rig.answer(there, Class::Success, id, |w| {
            w.xor_mapped_address(at(SEEN4));
        }),
        Err(DropReason::StunUnexpected),
        "too late"
    );
}

#[test]
fn only_the_server_that_was_asked_is_believed() {
    let mut rig = Rig::new(&[SERVER4]);
    let (there, id) = (rig.asked[0].1, rig.asked[0].2);
    let lie = |w: &mut StunWriter<'_>| {
        w.xor_mapped_address(at("192.0.2.66:6666"));
    };
    for from in [path(BASE4, "10.77.3.4:3478"), path(BASE4, "10.77.3.3:3479"), path("10.77.0.1:5001", SERVER4)] {
        assert_eq!(rig.answer(from, Class::Success, id, lie), Err(DropReason::StunUnexpected));
    }
    assert_eq!(rig.answer(there, Class::Success, TransactionId([1; 12]), lie), Err(DropReason::StunUnexpected));
    assert_eq!(rig.answer(there, Class::Success, id, |_| ()), Err(DropReason::StunMalformed), "no address in it");
    for nonsense in ["127.0.0.1:5000", "0.0.0.0:5000", "224.0.0.1:5000", "203.0.113.9:0", "[fd77::9]:5000"] {
        assert_eq!(
            rig.answer(there, Class::Success, id, |w| {
                w.xor_mapped_address(at(nonsense));
            }),
            Err(DropReason::StunMalformed)
        );
    }
    assert_eq!(rig.gathered, None);
    assert_eq!(
        rig.answer(there, Class::Success, id, |w| {
            w.xor_mapped_address(at(SEEN4));
        }),
        Ok(())
    );
    assert_eq!(rig.reflexive()[0].address, at(SEEN4));
}

#[test]
fn a_server_that_refuses_is_not_asked_again() {
    // 300 Try Alternate would have us ask elsewhere: never (S17).
    for code in [300, 400, 500] {
        let mut rig = Rig::new(&[SERVER4]);
        let (there, id) = (rig.asked[0].1, rig.asked[0].2);
        assert_eq!(
            rig.answer(there, Class::Error, id, |w| {
                w.error_code(code, "no");
            }),
            Ok(())
        );
        assert_eq!((rig.gathered, rig.reflexive().len()), (Some(0), 0));
        rig.run_until(2_000);
        assert_eq!(rig.asked.len(), 1);
    }
}

#[test]
fn an_address_that_configuration_maps_is_not_asked_for() {
    let mapped = Candidate { base: Some(at(BASE4)), ..Candidate::host(at("203.0.113.7:5000"), 65_535) };
    let config = IceConfig { stun_servers: vec![at(SERVER4)], ..IceConfig::default() };
    let mut entropy = SeededRng::new(7);
    let mut agent = Agent::new(config, Credentials::generate(&mut entropy), vec![mapped], &mut entropy);
    assert!(!agent.start_gathering(Time::ZERO));
    assert_eq!(agent.poll_timeout(), None);
}

/// The checks do not wait for the server, and what it tells changes no pair: the base is what sends.
#[test]
fn checks_go_on_beside_and_the_pairs_stay_the_same() {
    let config = IceConfig { stun_servers: vec![at(SERVER4)], ..IceConfig::default() };
    let mut entropy = SeededRng::new(42);
    let locals = vec![Candidate::host(at(BASE4), 65_535)];
    let mut agent = Agent::new(config, Credentials::generate(&mut entropy), locals, &mut entropy);
    assert!(agent.start_gathering(Time::ZERO));
    let credentials = Credentials { ufrag: RELAY_UFRAG.into(), pwd: RELAY_PWD.into() };
    let remote = Candidate::remote(at(RELAY4), CandidateKind::Host, 2_122_260_223, "1");
    assert!(agent.set_remote(credentials, true, &[remote], Time::ZERO));
    let (mut out, mut to) = ([0; 500], Vec::new());
    let mut question = None;
    for t in 0..20 {
        while let Some((length, path)) = agent.poll_transmit(&mut out, ms(t)) {
            to.push(path.remote);
            let view = StunView::new_checked(&out[..length]).expect("well-formed");
            question = question.or((path.remote == at(SERVER4)).then(|| view.id()));
        }
    }
    assert!(to.contains(&at(SERVER4)) && to.contains(&at(RELAY4)), "{to:?}");
    let mut writer = StunWriter::new(&mut out, Class::Success, question.expect("asked"));
    writer.xor_mapped_address(at(SEEN4));
    let length = writer.finish(None).expect("it fits");
    assert_eq!(agent.handle_stun(path(BASE4, SERVER4), &out[..length], ms(20)), Ok(()));
    assert_eq!(agent.poll_event(), Some(IceEvent::Gathered));
    assert_eq!((agent.pairs.len(), agent.local_candidates().len()), (1, 2));
    // The other order: the pair of the reflexive candidate is pruned, being that of its base.
    assert_eq!(crate::ice::pair::form(agent.local_candidates(), &[Candidate::remote(at(RELAY4), CandidateKind::Host, 1, "1")], 8).len(), 1);
}

/// stun-rs reads what we ask, and we read what it answers.
#[test]
fn another_implementation_understands_the_question_and_is_understood() {
    use stun_rs::attributes::stun::{Fingerprint, XorMappedAddress};
    use stun_rs::methods::BINDING;
    use stun_rs::{MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessageBuilder};
    let mut out = [0; 200];
    let id = TransactionId(*b"twelve bytes");
    let length = Gatherer::write(id, &mut out).expect("it fits");
    let (question, read) = MessageDecoderBuilder::default().build().decode(&out[..length]).expect("stun-rs reads it");
    assert_eq!((read, question.method(), question.class()), (length, BINDING, MessageClass::Request));
    assert_eq!(question.transaction_id().as_bytes(), &id.0);
    for (base, server, seen) in [(BASE4, SERVER4, SEEN4), (BASE6, SERVER6, "[2001:db8::77]:61000")] {
        let mut rig = Rig::new(&[server]);
        rig.run_until(15);
        let answer = StunMessageBuilder::new(BINDING, MessageClass::SuccessResponse)
            .with_transaction_id(stun_rs::TransactionId::from(rig.asked[0].2.0))
            .with_attribute(XorMappedAddress::from(at(seen)))
            .with_attribute(Fingerprint::default())
            .build();
        let mut bytes = [0; 200];
        let length = MessageEncoderBuilder::default().build().encode(&mut bytes, &answer).expect("stun-rs writes it");
        assert_eq!(rig.agent.handle_stun(path(base, server), &bytes[..length], rig.now), Ok(()));
        assert_eq!(rig.reflexive()[0].address, at(seen));
    }
}
