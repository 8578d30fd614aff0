//! Which addresses of this host may be bound and advertised.
//!
//! Decides: that loopback, link-local and multicast addresses, and those of container and virtual-machine bridges, are no candidates unless told
//! (F-MAM: a host stuck on 169.254 addresses while the caller waited); which of the rest stands for its family. Given: the interfaces and the
//! policy. Refuses: to ask anybody outside the host.

use super::sys;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use std::net::UdpSocket;

/// What may be bound. A deny rule wins over everything. An allow rule wins over the built-in refusal of bridges, and if it names the network over
/// that of loopback and link-local addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddressPolicy {
    /// Loopback too: for tests and the demo.
    pub allow_loopback: bool,
    /// If not empty: only what one of these names.
    pub allow: Vec<AddressRule>,
    /// Never what one of these names.
    pub deny: Vec<AddressRule>,
}

/// Names interfaces or addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressRule {
    /// An interface, or with a `*` at its end all whose names start so.
    Interface(String),
    /// The addresses of a network: address and prefix length.
    Network(IpAddr, u8),
}

impl AddressRule {
    fn matches(&self, interface: Option<&str>, address: IpAddr) -> bool {
        match self {
            Self::Interface(name) => interface.is_some_and(|interface| has_name(interface, name)),
            Self::Network(IpAddr::V4(network), prefix) => match address {
                IpAddr::V4(address) => (network.to_bits() ^ address.to_bits()).checked_shr(32 - u32::from(*prefix)).unwrap_or(0) == 0,
                IpAddr::V6(_) => false,
            },
            Self::Network(IpAddr::V6(network), prefix) => match address {
                IpAddr::V6(address) => (network.to_bits() ^ address.to_bits()).checked_shr(128 - u32::from(*prefix)).unwrap_or(0) == 0,
                IpAddr::V4(_) => false,
            },
        }
    }
}

impl FromStr for AddressRule {
    type Err = &'static str;

    /// `eth0`, `wlan*`, `10.0.0.0/8`, `10.0.0.5`, `2001:db8::/32`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        if let Ok(address) = address.parse::<IpAddr>() {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Ok(longest), str::parse::<u8>).map_err(|_| "the prefix length is not a number")?;
            return if prefix <= longest { Ok(Self::Network(address, prefix)) } else { Err("the prefix is longer than the address") };
        }
        let stem = text.strip_suffix('*').unwrap_or(text);
        let is_name =
            !text.is_empty() && stem.len() < INTERFACE_NAME_BYTES && stem.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b'*');
        if is_name {
            Ok(Self::Interface(text.to_owned()))
        } else {
            Err("it is neither an address, nor a network, nor the name of an interface")
        }
    }
}

impl fmt::Display for AddressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => f.write_str(name),
            Self::Network(address, prefix) => write!(f, "{address}/{prefix}"),
        }
    }
}

/// An address and the interface that has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InterfaceAddress {
    /// As the system names it: `eth0`.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
}

impl AddressPolicy {
    /// Why `address` may not be a candidate; none if it may. The interface is known when the host's addresses were looked up.
    pub fn refusal(&self, interface: Option<&str>, address: IpAddr) -> Option<String> {
        if address.is_unspecified() {
            return Some("it is the unspecified address: name the interface's own address".to_owned());
        }
        if address.is_multicast() {
            return Some("it is a multicast address".to_owned());
        }
        if let Some(rule) = self.deny.iter().find(|rule| rule.matches(interface, address)) {
            return Some(format!("candidate_deny names it: {rule}"));
        }
        let is_named_itself = self.allow.iter().any(|rule| matches!(rule, AddressRule::Network(..)) && rule.matches(interface, address));
        if is_named_itself {
            return None;
        }
        let is_named = self.allow.iter().any(|rule| rule.matches(interface, address));
        if !self.allow.is_empty() && !is_named && interface.is_some() {
            return Some("candidate_allow does not name it".to_owned());
        }
        if address.is_loopback() && !self.allow_loopback {
            return Some("it is a loopback address, which Meta cannot reach; allow_loopback is for tests and the demo".to_owned());
        }
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if link_local {
            return Some("it is a link-local address, which no relay can reach".to_owned());
        }
        if is_named {
            return None;
        }
        let bridge = BRIDGES.iter().find(|pattern| interface.is_some_and(|interface| has_name(interface, pattern)));
        bridge
            .map(|pattern| format!("its interface is a bridge of containers or virtual machines ({pattern}); candidate_allow can name it"))
    }
}

/// What was found on this host, and what may be used of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Discovered {
    /// At most one per family, IPv4 first.
    pub chosen: Vec<IpAddr>,
    /// The rest, each with its reason.
    pub refused: Vec<(InterfaceAddress, String)>,
}

impl fmt::Display for Discovered {
    /// Every address that was refused, and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refused.is_empty() {
            return f.write_str("no interface has an address");
        }
        for (i, (found, why)) in self.refused.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{} on {}: {why}", found.address, found.interface)?;
        }
        Ok(())
    }
}

/// The addresses this host would use towards the Internet, at most one per family: of those that the policy lets through, the one that the routing
/// table picks. A family without a route is left out (a relay would never be reached over it), unless nothing else is there.
///
/// A host behind a 1:1 NAT gets its private address here; its public one is configuration.
pub fn local_addresses(policy: &AddressPolicy) -> Discovered {
    // Without a list of interfaces, for example in a sandbox, the routes still tell our addresses; their interfaces are unknown then.
    choose(policy, sys::interface_addresses().unwrap_or_default(), &routes())
}

/// What the kernel would send from. Connecting a UDP socket sends nothing; it only asks for a route. The targets are documentation addresses
/// (RFC 5737, RFC 3849).
fn routes() -> Vec<IpAddr> {
    let toward = |bind: &str, target: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|a| a.ip())
    };
    [toward("0.0.0.0:0", "192.0.2.1:9"), toward("[::]:0", "[2001:db8::1]:9")].into_iter().flatten().collect()
}

fn choose(policy: &AddressPolicy, mut found: Vec<InterfaceAddress>, routes: &[IpAddr]) -> Discovered {
    for &route in routes {
        if !found.iter().any(|f| f.address == route) {
            found.push(InterfaceAddress { interface: "(unknown)".to_owned(), address: route });
        }
    }
    let mut out = Discovered::default();
    let mut usable = Vec::new();
    for candidate in found {
        match policy.refusal(Some(&candidate.interface), candidate.address) {
            None => usable.push(candidate),
            Some(why) => out.refused.push((candidate, why)),
        }
    }
    for is_v4 in [true, false] {
        let route = routes.iter().find(|r| r.is_ipv4() == is_v4);
        let mut family: Vec<InterfaceAddress> = usable.iter().filter(|u| u.address.is_ipv4() == is_v4).cloned().collect();
        // The default route first; its address may have been refused, then the next best of a family that has a route.
        family.sort_by_key(|u| Some(&u.address) != route);
        let told = !policy.allow.is_empty();
        for (i, candidate) in family.into_iter().enumerate() {
            match (i, route) {
                (0, Some(_)) => out.chosen.push(candidate.address),
                (0, None) if told || candidate.address.is_loopback() => out.chosen.push(candidate.address),
                (0, None) => out.refused.push((candidate, "its family has no route to the Internet".to_owned())),
                _ => {
                    out.refused.push((candidate, "another address of its family stands for this host; set addresses to choose".to_owned()))
                }
            }
        }
    }
    out
}

fn has_name(interface: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(stem) => interface.starts_with(stem),
        None => interface == pattern,
    }
}

/// IFNAMSIZ of Linux, its end included.
const INTERFACE_NAME_BYTES: usize = 16;
/// Bridges and their ports, by the names that Docker, Podman, libvirt, LXC, CNI plug-ins and VirtualBox give them: what they address is this host only.
const BRIDGES: &[&str] = &[
    "docker*",
    "br-*",
    "veth*",
    "virbr*",
    "vnet*",
    "lxcbr*",
    "lxdbr*",
    "incusbr*",
    "podman*",
    "cni*",
    "flannel*",
    "cali*",
    "cilium*",
    "weave*",
    "kube-*",
    "nodelocaldns",
    "vboxnet*",
    "vmnet*",
    "dummy*",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn host(list: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        list.iter().map(|(interface, address)| InterfaceAddress { interface: (*interface).to_owned(), address: ip(address) }).collect()
    }

    fn rules(list: &[&str]) -> Vec<AddressRule> {
        list.iter().map(|r| r.parse().expect("a rule")).collect()
    }

    const CLOUD: &[(&str, &str)] = &[
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth0", "10.0.0.5"),
        ("eth0", "2600:1f18::5"),
        ("eth0", "fe80::5"),
        ("eth1", "10.9.0.5"),
        ("docker0", "172.17.0.1"),
        ("br-0a1b2c", "172.18.0.1"),
        ("veth12ab", "169.254.7.7"),
    ];

    #[test]
    fn only_reachable_addresses_pass() {
        let strict = AddressPolicy::default();
        for bad in ["127.0.0.1", "::1", "0.0.0.0", "169.254.3.4", "fe80::1", "224.0.0.1", "255.255.255.255", "::"] {
            assert!(strict.refusal(None, ip(bad)).is_some(), "{bad}");
        }
        for good in ["192.0.2.7", "10.1.2.3", "2001:db8::7"] {
            assert_eq!(strict.refusal(None, ip(good)), None, "{good}");
            assert_eq!(strict.refusal(Some("eth0"), ip(good)), None, "{good}");
        }
        let loose = AddressPolicy { allow_loopback: true, ..AddressPolicy::default() };
        assert_eq!(loose.refusal(Some("lo"), ip("127.0.0.1")), None);
        assert!(local_addresses(&strict).chosen.iter().all(|a| !a.is_loopback()));
    }

    #[test]
    fn bridges_are_passed_over_and_the_default_route_is_taken() {
        let found = choose(&AddressPolicy::default(), host(CLOUD), &[ip("10.0.0.5"), ip("2600:1f18::5")]);
        assert_eq!(found.chosen, [ip("10.0.0.5"), ip("2600:1f18::5")]);
        assert_eq!(found.refused.len(), CLOUD.len() - 2);
        let text = found.to_string();
        for part in [
            "172.17.0.1 on docker0: its interface is a bridge",
            "(br-*)",
            "fe80::5 on eth0: it is a link-local",
            "10.9.0.5 on eth1: another",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_family_without_a_route_is_left_out() {
        let found = choose(&AddressPolicy::default(), host(CLOUD), &[ip("10.0.0.5")]);
        assert_eq!(found.chosen, [ip("10.0.0.5")]);
        assert!(found.to_string().contains("2600:1f18::5 on eth0: its family has no route"));
    }

    #[test]
    fn the_host_may_say_otherwise() {
        let routes = [ip("10.0.0.5"), ip("2600:1f18::5")];
        let chosen = |allow: &[&str], deny: &[&str]| {
            let policy = AddressPolicy { allow: rules(allow), deny: rules(deny), ..AddressPolicy::default() };
            choose(&policy, host(CLOUD), &routes).chosen
        };
        assert_eq!(chosen(&["docker0"], &[]), [ip("172.17.0.1")], "told so, a bridge is as good as any");
        assert_eq!(chosen(&["eth1"], &[]), [ip("10.9.0.5")]);
        assert_eq!(
            chosen(&["eth*"], &["2600::/16"]),
            [ip("10.0.0.5")],
            "the name of an interface does not let its link-local address through"
        );
        assert_eq!(chosen(&["fe80::/10"], &[]), [ip("fe80::5")], "its network does");
        assert_eq!(chosen(&[], &["eth0"]), [ip("10.9.0.5")], "the next best");
        assert_eq!(chosen(&["10.0.0.0/8"], &["10.0.0.0/16"]), [ip("10.9.0.5")]);
        let none = choose(&AddressPolicy { deny: rules(&["eth*"]), ..AddressPolicy::default() }, host(CLOUD), &routes);
        assert_eq!(none.chosen, Vec::<IpAddr>::new());
        assert_eq!(none.refused.len(), CLOUD.len(), "each has its reason");
        assert!(none.to_string().contains("10.0.0.5 on eth0: candidate_deny names it: eth*"));
        assert_eq!(choose(&AddressPolicy::default(), Vec::new(), &[]).to_string(), "no interface has an address");
    }

    #[test]
    fn rules_read_back_and_nonsense_is_named() {
        for text in ["eth0", "wlan*", "*", "10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(text.parse::<AddressRule>().expect(text).to_string(), text);
        }
        assert_eq!("10.1.2.3".parse(), Ok(AddressRule::Network(ip("10.1.2.3"), 32)));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/x", "eth0/24", "a*b", "an-interface-name-that-is-too-long", "with space"] {
            assert!(bad.parse::<AddressRule>().is_err(), "{bad}");
        }
        assert!(rules(&["0.0.0.0/0"])[0].matches(None, ip("8.8.8.8")) && !rules(&["0.0.0.0/0"])[0].matches(None, ip("::1")));
        assert!(rules(&["::/0"])[0].matches(None, ip("2600::1")));
        assert!(rules(&["10.0.0.0/9"])[0].matches(None, ip("10.127.0.1")) && !rules(&["10.0.0.0/9"])[0].matches(None, ip("10.128.0.1")));
        assert!(rules(&["2600::/17"])[0].matches(None, ip("2600:7fff::1")) && !rules(&["2600::/17"])[0].matches(None, ip("2600:8000::1")));
    }
}
