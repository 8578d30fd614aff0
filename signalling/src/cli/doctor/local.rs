//! What of this machine a call needs: addresses, UDP ports, what a NAT makes of them, the certificate's time.

use super::Report;
use crate::config::Config;
use crate::shell::{certificate_end, unix_now};
use crate::verdict::is_unroutable;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use tipring_engine::engine::Engine;
use tipring_engine::wire::stun::{Class, StunView, StunWriter, TransactionId};

pub(super) fn look(config: &Config, stun: &[SocketAddr], report: &mut Report) {
    let addresses = look_at_addresses(config, report);
    look_at_ports(config, &addresses, report);
    let servers = if stun.is_empty() { config.engine.stun_servers.clone() } else { stun.to_vec() };
    if servers.is_empty() {
        report.skip("UDP by STUN", "no server is named: --stun ADDRESS:PORT, or engine.stun_servers");
    }
    for server in servers {
        look_through(config, &addresses, server, report);
    }
    look_at_certificate(config, report);
}

fn look_at_addresses(config: &Config, report: &mut Report) -> Vec<IpAddr> {
    // The engine finds them as it will when it serves.
    let engine = match Engine::start(config.engine.clone()) {
        Ok(engine) => engine,
        Err(e) => {
            report.fail("addresses", e.0, "set engine.addresses, or allow an interface by engine.candidate_allow");
            return Vec::new();
        }
    };
    let addresses = engine.config().addresses.clone();
    let public = &config.engine.public_addresses;
    let is_hidden = |ip: &IpAddr| is_unroutable(*ip) && !public.iter().any(|p| p.is_ipv4() == ip.is_ipv4());
    let list = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addresses.iter().all(is_hidden) && config.engine.stun_servers.is_empty() && !config.engine.allow_loopback {
        report.fail(
            "addresses",
            format!("only private addresses would stand in our SDP: {}", list(&addresses)),
            "set engine.public_addresses (1:1 NAT) or engine.stun_servers; a firewall must let UDP of engine.ports in",
        );
    } else {
        let seen = if public.is_empty() { String::new() } else { format!(", seen from outside as {}", list(public)) };
        report.pass("addresses", format!("{}{seen}", list(&addresses)));
    }
    addresses
}

fn look_at_ports(config: &Config, addresses: &[IpAddr], report: &mut Report) {
    let ports = &config.engine.ports;
    let (count, calls) = (ports.len(), config.engine.calls_max_per_shard * config.engine.cores.len().max(1));
    if addresses.is_empty() {
        return;
    }
    if bind(config, addresses[0]).is_none() {
        return report.fail(
            "UDP ports",
            format!("none of {}-{} can be bound", ports.start(), ports.end()),
            "free the range, or name another in engine.ports",
        );
    }
    if count < calls {
        return report.fail(
            "UDP ports",
            format!("{count} ports for up to {calls} calls"),
            "widen engine.ports: each call takes a port, which rests for 10 s afterwards; or lower engine.calls_max",
        );
    }
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let reserved = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let bounds: Vec<u16> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let overlaps = matches!(bounds.as_slice(), [low, high] if low <= ports.end() && ports.start() <= high);
    let is_reserved = reserved.trim().split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        low.parse::<u16>().is_ok_and(|low| low <= *ports.start()) && high.parse::<u16>().is_ok_and(|high| high >= *ports.end())
    });
    if overlaps && !is_reserved && !config.engine.allow_loopback {
        report.fail(
            "UDP ports",
            "the kernel gives the same ports to other programs",
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={}-{}", ports.start(), ports.end()),
        );
    } else {
        report.pass("UDP ports", format!("{}-{}, {count} of them", ports.start(), ports.end()));
    }
}

fn bind(config: &Config, address: IpAddr) -> Option<UdpSocket> {
    config.engine.ports.clone().rev().take(64).find_map(|port| UdpSocket::bind((address, port)).ok())
}

/// What the network makes of a datagram of ours.
fn look_through(config: &Config, addresses: &[IpAddr], server: SocketAddr, report: &mut Report) {
    let name = format!("UDP by STUN {server}");
    let Some(address) = addresses.iter().find(|a| a.is_ipv4() == server.is_ipv4()) else {
        return report.skip(&name, "we have no address of its family");
    };
    let Some(socket) = bind(config, *address) else { return report.skip(&name, "no port could be bound") };
    let Some(mapped) = ask(&socket, server) else {
        return report.fail(
            &name,
            "no answer in 3 s",
            "let UDP out of engine.ports and answers in, also to Meta's ports 3478, 3480, 3482, 3484 and 40012; or name another server",
        );
    };
    let local = socket.local_addr().ok();
    let advertised = config.engine.public_addresses.iter().chain(addresses).any(|ip| *ip == mapped.ip());
    let keeps_port = local.is_some_and(|local| local.port() == mapped.port());
    if config.engine.stun_servers.iter().any(|s| s.is_ipv4() == server.is_ipv4()) || (advertised && keeps_port) {
        report.pass(&name, format!("we are seen as {mapped}"));
    } else if advertised {
        report.fail(
            &name,
            format!("the address is right, but port {} becomes {}", local.map_or(0, |l| l.port()), mapped.port()),
            "this NAT is not 1:1: set engine.stun_servers, so that each call asks",
        );
    } else {
        report.fail(
            &name,
            format!("we are seen as {}, which stands in no SDP of ours", mapped.ip()),
            format!("set engine.public_addresses = [\"{}\"]", mapped.ip()),
        );
    }
}

/// Three requests, a second each.
fn ask(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    for _ in 0..3 {
        let mut id = [0; 12];
        crate::shell::random(&mut id);
        let mut request = [0; 64];
        let len = StunWriter::new(&mut request, Class::Request, TransactionId(id)).finish_bare(None)?;
        socket.send_to(&request[..len], server).ok()?;
        let mut buffer = [0; 1_500];
        if let Ok((len, from)) = socket.recv_from(&mut buffer)
            && from == server
            && let Ok(answer) = StunView::new_checked(&buffer[..len])
            && answer.id() == TransactionId(id)
        {
            return answer.xor_mapped_address();
        }
    }
    None
}

fn look_at_certificate(config: &Config, report: &mut Report) {
    let Some(paths) = &config.http.tls else {
        let why = if config.http.behind_proxy { "a proxy ends TLS" } else { "plain HTTP on loopback: a proxy has to end TLS" };
        return report.skip("certificate", why);
    };
    match certificate_end(paths) {
        Ok(end) => {
            let days = (end - unix_now()) / 86_400;
            match days {
                ..0 => {
                    report.fail("certificate", format!("it ended {} day(s) ago", -days), "renew it, then send SIGHUP: no restart is needed")
                }
                0..14 => {
                    report.fail("certificate", format!("it ends in {days} day(s)"), "renew it, then send SIGHUP: no restart is needed")
                }
                _ => report.pass("certificate", format!("good for {days} days")),
            }
        }
        Err(why) => report.fail("certificate", why, "write PEM files that belong together"),
    }
}
