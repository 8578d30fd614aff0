//! What handshakes may cost in memory, the TLS library's included: the resident set of this process, which runs nothing else.

use tipring_engine::dtls::{Certificate, Dtls, DtlsConfig, DtlsContext, DtlsRole};
use tipring_engine::time::{Span, Time};
use tipring_tests::process::resident_bytes;

/// 2026-11-22.
const UNIX_TIME_S: i64 = 1_795_305_600;
/// The allocator keeps and rounds; what leaks grows far beyond this.
const SLACK_BYTES: usize = 3 << 20;

fn start(context: &DtlsContext, role: DtlsRole) -> Dtls {
    Dtls::new(context, role, &[context.fingerprint()], Span::from_millis(1), Time::ZERO).expect("valid arguments")
}

fn exchange(client: &mut Dtls, server: &mut Dtls) {
    let mut out = [0; 1_500];
    for _ in 0..4 {
        while let Some(len) = client.poll_transmit(&mut out) {
            let _ = server.handle_datagram(&out[..len], Time::ZERO);
        }
        while let Some(len) = server.poll_transmit(&mut out) {
            let _ = client.handle_datagram(&out[..len], Time::ZERO);
        }
    }
    while client.poll_event().is_some() || server.poll_event().is_some() {}
}

fn connected(context: &DtlsContext) -> [Dtls; 2] {
    let (mut client, mut server) = (start(context, DtlsRole::Client), start(context, DtlsRole::Server));
    exchange(&mut client, &mut server);
    assert!(client.is_connected() && server.is_connected());
    [client, server]
}

fn hostile() -> Vec<Vec<u8>> {
    let path = format!("{}/golden/dtls/hostile_datagrams.json", env!("CARGO_MANIFEST_DIR"));
    let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the golden file")).expect("JSON");
    let unhex = |text: &str| (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex")).collect();
    let mut all: Vec<Vec<u8>> = file["cases"].as_array().expect("cases").iter().map(|c| unhex(c["hex"].as_str().expect("hex"))).collect();
    // Certificates that never end, of every length: what reassembly would like to keep.
    all.extend((1_000u16..1_200).map(|total| {
        let [high, low] = total.to_be_bytes();
        vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, high, low, 0, 14, 11, 0, high, low, 0, 1, 0, 0, 0, 0, 0, 2, 0xff, 0xff]
    }));
    assert!(all.len() > 205);
    all
}

/// One test, so that no other thread of this process allocates meanwhile.
#[test]
fn handshakes_leave_nothing_behind_and_hostile_ones_fill_nothing() {
    let context = DtlsContext::new(DtlsConfig::default(), Certificate::generate(UNIX_TIME_S).expect("a certificate")).expect("a context");
    for _ in 0..50 {
        drop(connected(&context));
    }

    // Handshakes that come and go.
    let before = resident_bytes() as usize;
    for _ in 0..400 {
        drop(connected(&context));
    }
    let grown = (resident_bytes() as usize).saturating_sub(before);
    assert!(grown < SLACK_BYTES, "400 handshakes left {grown} bytes");

    // Released ones that stay: what a call keeps after the grace.
    let before = resident_bytes() as usize;
    let mut released = Vec::new();
    for _ in 0..200 {
        let mut ends = connected(&context);
        ends.iter_mut().for_each(Dtls::release);
        released.push(ends);
    }
    let of_released = (resident_bytes() as usize).saturating_sub(before) / 400;
    assert!(of_released < 4 << 10, "a released connection keeps {of_released} bytes");

    // Complete ones that stay.
    let before = resident_bytes() as usize;
    let complete: Vec<_> = (0..200).map(|_| connected(&context)).collect();
    let of_complete = (resident_bytes() as usize).saturating_sub(before) / 400;
    assert!(of_complete < 64 << 10, "a complete connection keeps {of_complete} bytes");
    drop((complete, released));

    // A flood from the peer's own address, at three phases and in both roles, goes on and on.
    let hostile = hostile();
    for victim in 0..2 {
        for phase in 0..3 {
            let mut ends = match phase {
                0 => [start(&context, DtlsRole::Client), start(&context, DtlsRole::Server)],
                1 => {
                    let mut ends = [start(&context, DtlsRole::Client), start(&context, DtlsRole::Server)];
                    let mut out = [0; 1_500];
                    let len = ends[0].poll_transmit(&mut out).expect("a hello");
                    ends[1].handle_datagram(&out[..len], Time::ZERO).expect("taken");
                    ends
                }
                _ => connected(&context),
            };
            let mut flood = |rounds: usize| {
                let mut out = [0; 1_500];
                for _ in 0..rounds {
                    for datagram in &hostile {
                        let _ = ends[victim].handle_datagram(datagram, Time::ZERO);
                        while phase != 0 && ends[victim].poll_transmit(&mut out).is_some() {}
                    }
                }
            };
            flood(5);
            let before = resident_bytes() as usize;
            flood(50);
            let grown = (resident_bytes() as usize).saturating_sub(before);
            assert!(grown < 1 << 20, "victim {victim}, phase {phase}: a flood of 10,000 datagrams left {grown} bytes");
        }
    }
    println!("per connection: {of_complete} bytes complete, {of_released} bytes released");
}
