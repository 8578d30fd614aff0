//! Candidates and credentials as signalling sees them.
//!
//! Decides: priorities and foundations (I6 to I8), which remote candidates are usable (I11), what fresh credentials look like (I5).
//! Refuses: SDP text (`signalling::sdp` reads and writes candidate lines), and which interfaces may be bound.

use crate::rng::Entropy;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Kind of a candidate (RFC 8445 section 5.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CandidateKind {
    /// The address of a local interface.
    Host,
    /// The address a STUN server, or configuration for a 1:1 NAT, says we have.
    ServerReflexive,
    /// Learned from a connectivity check.
    PeerReflexive,
    /// Lent by a TURN server.
    Relayed,
}

impl CandidateKind {
    /// The recommended type preference (RFC 8445 section 5.1.2.2).
    pub const fn type_preference(self) -> u8 {
        match self {
            Self::Host => 126,
            Self::PeerReflexive => 110,
            Self::ServerReflexive => 100,
            Self::Relayed => 0,
        }
    }
}

/// Priority of a candidate of `component` 1 to 256 (RFC 8445 section 5.1.2.1, I6).
///
/// `local_preference` is 65 535 on a host with one address; with several, each candidate has its own (RFC 8421 section 4).
//= rfc8445#section-5.1.2.1  2^24 type preference + 2^8 local preference + 256 - component
//= rules#I6
pub const fn priority(kind: CandidateKind, local_preference: u16, component: u16) -> u32 {
    (kind.type_preference() as u32) << 24 | (local_preference as u32) << 8 | 256u32.saturating_sub(component as u32)
}

/// The PRIORITY of a check sent from a candidate of this priority: what a peer-reflexive candidate learned from it would have (I7).
//= rfc8445#section-7.1.1  its priority is computed based on the algorithm in Section 5.1.2, except that ... the type preference for peer-reflexive
//= rules#I7
pub const fn check_priority(local_priority: u32) -> u32 {
    (CandidateKind::PeerReflexive.type_preference() as u32) << 24 | local_priority & 0x00FF_FFFF
}

/// Priority of a pair: `controlling` is ours, for we always are (RFC 8445 section 6.1.2.3, I13).
//= rfc8445#section-6.1.2.3  2^32 min(G, D) + 2 max(G, D) + (G > D)
//= rules#I13
pub const fn pair_priority(controlling: u32, controlled: u32) -> u64 {
    let (low, high) = if controlling > controlled { (controlled, controlling) } else { (controlling, controlled) };
    // Saturating: priorities of a peer that exceed 2^31 - 1 break the RFC and must not break us.
    ((low as u64) << 32).saturating_add(2 * high as u64 + (controlling > controlled) as u64)
}

/// A transport address that ICE may use. Component is always 1 (I10), transport always UDP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The address to advertise or to send checks to.
    pub address: SocketAddr,
    /// Where it comes from.
    pub kind: CandidateKind,
    /// Priority (RFC 8445 section 5.1.2).
    pub priority: u32,
    /// Foundation: 1 to 32 ice-chars.
    pub foundation: String,
    /// The local socket's address behind it; equals `address` for host candidates. For remote candidates the `raddr`, if given.
    pub base: Option<SocketAddr>,
}

impl Candidate {
    /// A host candidate of ours: `address` is the bound socket's. Give each candidate of a call its own `local_preference`.
    pub fn host(address: SocketAddr, local_preference: u16) -> Self {
        Self::local(CandidateKind::Host, address, address, local_preference)
    }

    /// A server-reflexive candidate of ours: `address` is what the world sees of the socket bound to `base` (1:1 NAT, or told by a STUN server).
    pub fn server_reflexive(address: SocketAddr, base: SocketAddr, local_preference: u16) -> Self {
        Self::local(CandidateKind::ServerReflexive, address, base, local_preference)
    }

    /// A candidate of the peer, as signalled.
    pub fn remote(address: SocketAddr, kind: CandidateKind, priority: u32, foundation: impl Into<String>) -> Self {
        Self { address, kind, priority, foundation: foundation.into(), base: None }
    }

    /// Address of the socket that checks leave from.
    pub fn base_or_address(&self) -> SocketAddr {
        self.base.unwrap_or(self.address)
    }

    //= rules#I10
    fn local(kind: CandidateKind, address: SocketAddr, base: SocketAddr, local_preference: u16) -> Self {
        let foundation = foundation(kind, base.ip());
        Self { address, kind, priority: priority(kind, local_preference, 1), foundation, base: Some(base) }
    }
}

/// Whether checks may be sent to `address` (I11): no port 0, unspecified, multicast, broadcast or IPv4-mapped address; loopback and
/// link-local ones only when `allow_loopback`.
//= rules#I11
//= rules#G8
pub fn is_usable_remote(address: SocketAddr, allow_loopback: bool) -> bool {
    let near = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local(),
    };
    let impossible = match address.ip() {
        // 0.0.0.0/8 is "this network" (RFC 1122 section 3.2.1.3): never a destination.
        IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_multicast() || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => ip == Ipv6Addr::UNSPECIFIED || ip.is_multicast() || ip.to_ipv4_mapped().is_some(),
    };
    address.port() != 0 && !impossible && (allow_loopback || !near)
}

/// Same kind and same base address, same foundation (I8). All of our candidates use UDP, and a family has one STUN server at most.
//= rfc8445#section-5.1.1.3  same kind and base address, same foundation
//= rules#I8
fn foundation(kind: CandidateKind, base: IpAddr) -> String {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&[kind.type_preference()]);
    match base {
        IpAddr::V4(ip) => hash.update(&ip.octets()),
        IpAddr::V6(ip) => hash.update(&ip.octets()),
    }
    hash.finalize().to_string()
}

/// A username fragment and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Username fragment: ours 16 ice-chars; theirs any printable text without blank or colon (I5).
    pub ufrag: String,
    /// Password: ours 24 ice-chars; theirs as it stands in the SDP, `==` included (M4).
    pub pwd: String,
}

impl Credentials {
    /// Fresh credentials of ours: 96 random bits of fragment, 144 of password (RFC 8445 section 5.3 asks for 24 and 128).
    //= rfc8445#section-5.3  24 and 128 bits at least
    //= rules#I5
    pub fn generate(entropy: &mut dyn Entropy) -> Self {
        Self { ufrag: ice_chars(16, entropy), pwd: ice_chars(24, entropy) }
    }
}

//= rules#G9
impl core::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).field("pwd", &"(redacted)").finish()
    }
}

/// `count` ice-chars (RFC 8839 section 5.1): there are 64 of them, so six bits of a byte choose one without bias.
fn ice_chars(count: usize, entropy: &mut dyn Entropy) -> String {
    let mut bytes = vec![0; count];
    entropy.fill(&mut bytes);
    bytes.iter().map(|b| char::from(ICE_CHARS[usize::from(b & 63)])).collect()
}

const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;
    use serde_json::Value;

    fn golden(name: &str) -> Value {
        let path = format!("{}/../tests/golden/ice/{name}", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect("golden file is JSON")
    }

    fn number(value: &Value) -> u64 {
        value.as_u64().expect("a number")
    }

    //= rfc8445#section-5.1.2.1 type=test
    //= rules#I6 type=test
    //= rules#I7 type=test
    #[test]
    fn priorities_match_the_golden_table() {
        let table = golden("priority.json");
        let cases = table["cases"].as_array().expect("cases");
        assert_eq!(cases.len(), 24);
        for case in cases {
            let kind = match case["type"].as_str() {
                Some("host") => CandidateKind::Host,
                Some("prflx") => CandidateKind::PeerReflexive,
                Some("srflx") => CandidateKind::ServerReflexive,
                Some("relay") => CandidateKind::Relayed,
                other => panic!("unknown type {other:?}"),
            };
            let got = priority(kind, number(&case["local_pref"]) as u16, number(&case["component"]) as u16);
            assert_eq!(u64::from(got), number(&case["priority"]), "{case}");
        }
        let host = priority(CandidateKind::Host, 65_535, 1);
        assert_eq!(u64::from(check_priority(host)), number(&table["prflx_for_host_65535"]));
        for seen in table["meta_seen"].as_array().expect("meta_seen") {
            let line = number(&seen["line_priority"]);
            assert_eq!(line >> 24, number(&seen["type_pref"]));
            assert_eq!(line >> 8 & 0xFFFF, number(&seen["local_pref"]), "{seen}");
        }
    }

    //= rfc8445#section-6.1.2.3 type=test
    //= rules#I13 type=test
    #[test]
    fn pair_priorities_match_the_golden_table() {
        for case in golden("pair_priority.json")["cases"].as_array().expect("cases") {
            let got = pair_priority(number(&case["G_controlling"]) as u32, number(&case["D_controlled"]) as u32);
            assert_eq!(got, number(&case["pair_priority"]), "{case}");
        }
        assert_eq!(pair_priority(u32::MAX, u32::MAX), u64::MAX);
    }

    //= rfc8445#section-5.1.1.3 type=test
    //= rules#I8 type=test
    #[test]
    fn same_kind_and_base_address_same_foundation() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let first = Candidate::host(at("192.0.2.1:5000"), 65_535);
        assert_eq!(first.foundation, Candidate::host(at("192.0.2.1:6000"), 1).foundation);
        assert_ne!(first.foundation, Candidate::host(at("192.0.2.2:5000"), 65_535).foundation);
        assert_ne!(first.foundation, Candidate::server_reflexive(at("203.0.113.9:1"), first.address, 65_535).foundation);
        assert!((1..=32).contains(&first.foundation.len()));
        assert_eq!(first.base_or_address(), first.address);
    }

    //= rules#I11 type=test
    #[test]
    fn unusable_remote_addresses_are_told_apart() {
        let usable = |text: &str, near| is_usable_remote(text.parse().expect("an address"), near);
        for good in ["10.77.1.1:3484", "[fd77::1]:3484", "203.0.113.7:1"] {
            assert!(usable(good, false) && usable(good, true), "{good}");
        }
        for near in ["127.0.0.1:9", "[::1]:9", "169.254.7.7:9", "[fe80::1]:9"] {
            assert!(!usable(near, false) && usable(near, true), "{near}");
        }
        for bad in
            ["10.77.1.1:0", "0.0.0.0:9", "0.1.2.3:9", "[::]:9", "224.0.0.1:9", "[ff02::1]:9", "255.255.255.255:9", "[::ffff:10.0.0.1]:9"]
        {
            assert!(!usable(bad, false) && !usable(bad, true), "{bad}");
        }
    }

    //= rfc8445#section-5.3 type=test
    //= rules#I5 type=test
    #[test]
    fn generated_credentials_are_long_distinct_ice_chars_and_stay_out_of_debug() {
        let mut entropy = SeededRng::new(3);
        let (one, two) = (Credentials::generate(&mut entropy), Credentials::generate(&mut entropy));
        assert_eq!((one.ufrag.len(), one.pwd.len()), (16, 24));
        assert!(one.pwd.bytes().chain(one.ufrag.bytes()).all(|b| ICE_CHARS.contains(&b)));
        assert_ne!(one, two);
        assert!(!format!("{one:?}").contains(&one.pwd));
    }
}
