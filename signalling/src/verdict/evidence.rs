//! What the engine knows about a call, as far as a verdict leans on it.
//!
//! Decides: which figures are told, under which names, and how far the call had come. Is given: the figures of a call and the candidates of
//! our SDP. Refuses: judging (`verdict.rs`), and anything that names a person, a number or an address.

use core::net::IpAddr;

use tipring_engine::call::{CallStats, LocalParams};
use tipring_engine::error::DropReason;
use tipring_engine::ice::CandidateKind;
use tipring_engine::time::Time;

use super::DtlsEvidence;

/// What our SDP offered: how many candidates of which kind, and whether the Internet can reach any of them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LocalCandidates {
    /// Addresses of this host, or what a 1:1 NAT maps them to.
    pub hosts: u8,
    /// Addresses that a STUN server has seen.
    pub reflexive: u8,
    /// Of all of them, those that the Internet cannot route to.
    pub unroutable: u8,
}

impl LocalCandidates {
    /// Of the parameters that our SDP is written from.
    pub fn of(local: &LocalParams) -> Self {
        let count = |is: &dyn Fn(&tipring_engine::ice::Candidate) -> bool| {
            u8::try_from(local.candidates.iter().filter(|c| is(c)).count()).unwrap_or(u8::MAX)
        };
        Self {
            hosts: count(&|c| c.kind == CandidateKind::Host),
            reflexive: count(&|c| c.kind == CandidateKind::ServerReflexive),
            unroutable: count(&|c| is_unroutable(c.address.ip())),
        }
    }

    /// Whether nothing in our SDP can be reached from the Internet.
    pub fn is_private_only(&self) -> bool {
        self.unroutable > 0 && self.unroutable == self.hosts.saturating_add(self.reflexive)
    }
}

/// How far a call had come when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reached {
    /// No pair was nominated.
    Checking,
    /// A pair was nominated; the DTLS handshake was not complete.
    Handshake,
    /// Keys on both sides.
    Media,
}

/// Requests of one kind: checks of an address family, or questions to a STUN server.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Family {
    /// Datagrams sent.
    pub sent: u64,
    /// Answered by an authentic success.
    pub answered: u64,
}

/// What the engine knows about a call that ended, as far as it matters for the verdict. Unknown members stay `None`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Evidence {
    /// How far it had come.
    pub reached: Option<Reached>,
    /// Connectivity checks sent.
    pub checks_sent: Option<u64>,
    /// Authentic answers to them.
    pub checks_answered: Option<u64>,
    /// Authentic error answers to them.
    pub checks_refused: Option<u64>,
    /// STUN that came in and was signed with another password, or not at all.
    pub stun_unsigned: Option<u64>,
    /// Checks over IPv4.
    pub ipv4: Option<Family>,
    /// Checks over IPv6.
    pub ipv6: Option<Family>,
    /// Questions to STUN servers and the addresses they told, if any were asked.
    pub stun_server: Option<Family>,
    /// Datagrams that the operating system refused to send: no route, a firewall of the host.
    pub sends_refused: Option<u64>,
    /// What the engine knows of the handshake; `None` where there was none.
    pub dtls: Option<DtlsEvidence>,
    /// What our SDP offered.
    pub local: Option<LocalCandidates>,
    /// Media packets sent.
    pub packets_out: Option<u64>,
    /// Authentic media packets received.
    pub packets_in: Option<u64>,
    /// Milliseconds from opening to media ready.
    pub setup_ms: Option<u64>,
    /// Milliseconds before the end at which our last media packet left.
    pub last_out_ms: Option<u64>,
    /// Milliseconds before the end at which the last authentic media or report came.
    pub last_in_ms: Option<u64>,
}

impl Evidence {
    /// Of a call's figures and of what our SDP offered.
    pub fn of(stats: &CallStats, local: LocalCandidates) -> Self {
        let before_end = |at: Option<Time>| at.zip(stats.milestones.ended).map(|(at, ended)| ended.since(at).as_millis());
        let reached = match (stats.milestones.ice_connected, stats.milestones.dtls_connected) {
            (None, _) => Reached::Checking,
            (Some(_), None) => Reached::Handshake,
            (Some(_), Some(_)) => Reached::Media,
        };
        Self {
            reached: Some(reached),
            checks_sent: Some(stats.ice.checks_sent),
            checks_answered: Some(stats.ice.checks_answered),
            checks_refused: Some(stats.ice.checks_refused),
            stun_unsigned: Some(stats.drops.of(DropReason::StunUnauthenticated)),
            ipv4: Some(Family { sent: stats.ice.ipv4_sent, answered: stats.ice.ipv4_answered }),
            ipv6: Some(Family { sent: stats.ice.ipv6_sent, answered: stats.ice.ipv6_answered }),
            stun_server: Some(Family { sent: stats.ice.gather_sent, answered: stats.ice.gather_answered }),
            sends_refused: Some(stats.sends_refused),
            dtls: stats.milestones.ice_connected.map(|_| DtlsEvidence::of(&stats.dtls)),
            local: Some(local),
            packets_out: Some(stats.rtp_out),
            packets_in: Some(stats.rtp_in),
            setup_ms: stats.milestones.dtls_connected.map(|t| t.since(stats.milestones.opened).as_millis()),
            last_out_ms: before_end(stats.last_rtp_out),
            last_in_ms: before_end(stats.last_media_in),
        }
    }

    /// Whether nothing in our SDP could be reached from the Internet.
    pub(super) fn is_private_only(&self) -> bool {
        self.local.is_some_and(|local| local.is_private_only())
    }

    /// Name and value of every known member that says something.
    pub(super) fn list(&self) -> Vec<(&'static str, String)> {
        let text = |value: Option<u64>| value.map(|v| v.to_string());
        let some = |value: Option<u64>| text(value.filter(|&v| v > 0));
        let family = |family: Option<Family>| family.filter(|f| f.sent > 0).map(|f| format!("{} sent, {} answered", f.sent, f.answered));
        let reached = self.reached.map(|reached| {
            match reached {
                Reached::Checking => "checks",
                Reached::Handshake => "dtls",
                Reached::Media => "media",
            }
            .to_owned()
        });
        let local = self.local.filter(|l| l.hosts + l.reflexive > 0);
        let members = [
            ("reached", reached),
            ("checks_sent", text(self.checks_sent)),
            ("checks_answered", text(self.checks_answered)),
            ("checks_refused", some(self.checks_refused)),
            ("stun_unsigned", some(self.stun_unsigned)),
            ("ipv4", family(self.ipv4)),
            ("ipv6", family(self.ipv6)),
            ("stun_server", family(self.stun_server)),
            ("sends_refused", some(self.sends_refused)),
            ("candidates", local.map(|l| format!("{} host, {} reflexive, {} of them not routable", l.hosts, l.reflexive, l.unroutable))),
            ("packets_out", text(self.packets_out)),
            ("packets_in", text(self.packets_in)),
            ("setup_ms", text(self.setup_ms)),
            ("last_out_ms", text(self.last_out_ms)),
            ("last_in_ms", text(self.last_in_ms)),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Whether the Internet has no route to `address`. Loopback does not count: it is only ever advertised to a peer on this machine.
pub fn is_unroutable(address: IpAddr) -> bool {
    match address {
        // RFC 1918, RFC 3927, RFC 6598 (a provider's NAT), RFC 2544.
        IpAddr::V4(ip) => {
            let octets = ip.octets();
            ip.is_private()
                || ip.is_link_local()
                || octets[0] == 100 && octets[1] & 0xC0 == 64
                || octets[0] == 198 && octets[1] & 0xFE == 18
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tipring_engine::ice::Candidate;

    #[test]
    fn only_what_nobody_can_route_to_counts_as_private() {
        let unroutable = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.1",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "198.18.0.1",
            "198.19.0.1",
        ];
        for address in unroutable.iter().chain(&["fd00::1", "fe80::1"]) {
            assert!(is_unroutable(address.parse().expect("an address")), "{address}");
        }
        for address in ["172.32.0.1", "100.63.0.1", "100.128.0.1", "198.20.0.1", "8.8.8.8", "127.0.0.1", "2a03:2880::1", "::1"] {
            assert!(!is_unroutable(address.parse().expect("an address")), "{address}");
        }
        let mut local = crate::sdp::tests::local();
        assert!(!LocalCandidates::of(&local).is_private_only());
        let base = "10.0.0.5:40000".parse().expect("an address");
        local.candidates = vec![Candidate::host(base, 1)];
        assert!(LocalCandidates::of(&local).is_private_only());
        local.candidates.push(Candidate::server_reflexive("203.0.113.5:40000".parse().expect("an address"), base, 1));
        assert_eq!(LocalCandidates::of(&local), LocalCandidates { hosts: 1, reflexive: 1, unroutable: 1 });
        assert!(!LocalCandidates::of(&local).is_private_only());
        local.candidates.clear();
        assert!(!LocalCandidates::of(&local).is_private_only());
    }
}
