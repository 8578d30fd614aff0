//! `a=candidate` lines (RFC 8839 section 5.1).
//!
//! Decides: which candidates we take (I11). Refuses: pairing, and the policy on loopback (engine configuration).

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};

use tipring_engine::ice::{Candidate, CandidateKind};

use super::error::SdpWarningKind;

/// Reads the value of an `a=candidate` line. The error says why it is to be skipped.
//= rules#I10
pub(super) fn parse(value: &str) -> Result<Candidate, SdpWarningKind> {
    use SdpWarningKind as Skip;

    let mut words = value.split_ascii_whitespace();
    let mut next = || words.next().ok_or(Skip::CandidateMalformed);
    let foundation = next()?;
    let component = next()?;
    let transport = next()?;
    let priority = next()?;
    let address = next()?;
    let port = next()?;
    let typ = next()?;
    let kind = next()?;
    if foundation.len() > FOUNDATION_BYTES_MAX || typ != "typ" {
        return Err(Skip::CandidateMalformed);
    }
    if !transport.eq_ignore_ascii_case("udp") {
        return Err(Skip::CandidateTransport);
    }
    match component.parse::<u16>() {
        Ok(1) => {}
        Ok(_) => return Err(Skip::CandidateComponent),
        Err(_) => return Err(Skip::CandidateMalformed),
    }
    // The grammar ends at 2^31-1; values up to 2^32-1 have been seen and do no harm.
    let priority = priority.parse::<u32>().ok().filter(|&p| p > 0).ok_or(Skip::CandidateMalformed)?;
    //= meta#R-42  whichever port Meta names
    let port = port.parse::<u16>().map_err(|_| Skip::CandidateMalformed)?;
    let address: IpAddr = address.parse().map_err(|_| Skip::CandidateName)?;
    if port == 0 || !is_somewhere(address) {
        return Err(Skip::CandidateAddress);
    }
    let kind = match kind {
        k if k.eq_ignore_ascii_case("host") => CandidateKind::Host,
        k if k.eq_ignore_ascii_case("srflx") => CandidateKind::ServerReflexive,
        k if k.eq_ignore_ascii_case("prflx") => CandidateKind::PeerReflexive,
        k if k.eq_ignore_ascii_case("relay") => CandidateKind::Relayed,
        _ => return Err(Skip::CandidateMalformed),
    };

    let mut base_address = None;
    let mut base_port = None;
    // Unknown pairs are ignored; Meta's lines end in `generation 0 network-cost 50` and older ones in `ufrag x/8`.
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            "raddr" => base_address = value.parse::<IpAddr>().ok().filter(|a| !a.is_unspecified()),
            "rport" => base_port = value.parse::<u16>().ok(),
            _ => {}
        }
    }
    let base = base_address.zip(base_port).map(|(address, port)| SocketAddr::new(address, port));
    Ok(Candidate { address: SocketAddr::new(address, port), kind, priority, foundation: foundation.to_owned(), base })
}

/// Whether the address is one that the engine takes only if its configuration says so.
pub(super) fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// Appends `a=candidate:…` without line end.
//= rfc8445#section-15  a candidate line of ours
pub(super) fn write(out: &mut String, candidate: &Candidate) {
    let kind = match candidate.kind {
        CandidateKind::Host => "host",
        CandidateKind::ServerReflexive => "srflx",
        CandidateKind::PeerReflexive => "prflx",
        CandidateKind::Relayed => "relay",
    };
    let (ip, port) = (candidate.address.ip(), candidate.address.port());
    write!(out, "a=candidate:{} 1 udp {} {ip} {port} typ {kind}", candidate.foundation, candidate.priority).expect("a String takes all");
    if candidate.kind != CandidateKind::Host {
        // Mandatory for these kinds; an unspecified address hides ours (RFC 8839 section 5.1).
        let hidden = if ip.is_ipv4() { "0.0.0.0" } else { "::" };
        match candidate.base {
            Some(base) => write!(out, " raddr {} rport {}", base.ip(), base.port()),
            None => write!(out, " raddr {hidden} rport 9"),
        }
        .expect("a String takes all");
    }
}

/// Whether a host can be at this address at all.
//= rules#I11
pub(super) fn is_somewhere(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some()),
    }
}

const FOUNDATION_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::parse;

    //= meta#R-42 type=test
    #[test]
    fn every_port_is_as_good_as_those_that_meta_uses_today() {
        for port in 1..=u16::MAX {
            let candidate = parse(&format!("1 1 udp 2113937151 10.77.0.1 {port} typ host generation 0")).expect("a candidate");
            assert_eq!(candidate.address.port(), port);
        }
    }
}
