//! Where the peer of a fuzz body lives, and who it says it is. Given to the bodies of the ICE agent and of whole calls alike; decides nothing else and refuses none.

use core::net::SocketAddr;

pub(super) fn local(family: u8) -> SocketAddr {
    let text = if family == 4 { "10.77.0.1:5000" } else { "[fd77::1]:5000" };
    text.parse().expect("an address")
}

pub(super) fn remote(family: u8, host: u16) -> SocketAddr {
    match family {
        4 => SocketAddr::from(([10, 77, 1, host as u8], 3_484)),
        _ => SocketAddr::from(([0xfd77, 0, 0, 0, 0, 0, 1, host], 3_484)),
    }
}

pub(super) const THEIR_UFRAG: &str = "VyVkdwnq/UZtqVON";
pub(super) const THEIR_PWD: &str = "sGUUAvS/fOjzPtIoL72o2g==";
