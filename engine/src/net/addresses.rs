//! Which addresses of this host may be bound and advertised.
//!
//! Decides: that loopback, link-local, unspecified and multicast addresses, and those of container bridges, are not candidates (F-MAM: a host stuck on 169.254
//! addresses while the caller waited). Given: the policy. Refuses: to ask anybody outside the host.

use core::net::IpAddr;
use std::net::UdpSocket;

/// What may be bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AddressPolicy {
    /// Loopback too: for tests and the demo.
    pub allow_loopback: bool,
}

impl AddressPolicy {
    /// Why `address` may not be a candidate; none if it may.
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        if address.is_unspecified() {
            return Some("it is the unspecified address: name the interface's own address");
        }
        if address.is_multicast() {
            return Some("it is a multicast address");
        }
        if address.is_loopback() && !self.allow_loopback {
            return Some("it is a loopback address, which Meta cannot reach; `allow_loopback` is for tests and the demo");
        }
        let link_local = match address {
            IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if link_local { Some("it is a link-local address, which no relay can reach") } else { None }
    }
}

/// The addresses this host would use towards the Internet, at most one per family: what the routing table picks, without sending anything.
///
/// A host behind a 1:1 NAT gets its private address here; its public one is configuration.
pub fn local_addresses(policy: AddressPolicy) -> Vec<IpAddr> {
    // Connecting a UDP socket sends nothing; it only asks the kernel for a route. The targets are documentation addresses (RFC 5737, RFC 3849).
    let toward = |bind: &str, target: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|a| a.ip())
    };
    let routes = [toward("0.0.0.0:0", "192.0.2.1:9"), toward("[::]:0", "[2001:db8::1]:9")];
    routes.into_iter().flatten().filter(|&a| policy.refusal(a).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reachable_addresses_pass() {
        let strict = AddressPolicy { allow_loopback: false };
        for bad in ["127.0.0.1", "::1", "0.0.0.0", "169.254.3.4", "fe80::1", "224.0.0.1", "255.255.255.255", "::"] {
            assert!(strict.refusal(bad.parse().expect("an address")).is_some(), "{bad}");
        }
        for good in ["192.0.2.7", "10.1.2.3", "2001:db8::7"] {
            assert_eq!(strict.refusal(good.parse().expect("an address")), None, "{good}");
        }
        assert_eq!(AddressPolicy { allow_loopback: true }.refusal("127.0.0.1".parse().expect("an address")), None);
        assert!(local_addresses(strict).iter().all(|a| !a.is_loopback()));
    }
}
