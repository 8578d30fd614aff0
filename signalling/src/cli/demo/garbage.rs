//! Noise for every port of ours while a call runs: random bytes, truncated STUN, spoofed RTP and DTLS, broken HTTP.
//!
//! Given: where to. Decides: what is thrown. Refuses: to hit anything but loopback addresses it was given. Noise from the relay's own address, which passes the
//! kernel's filter, is thrown by the simulator (`Fault::Garbage`).

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::rng::{Entropy, SeededRng};

/// A running thrower.
pub(super) struct Garbage {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Thrown>,
}

/// What was thrown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Thrown {
    /// Datagrams.
    pub datagrams: u64,
    /// Broken HTTP requests.
    pub requests: u64,
}

impl Garbage {
    /// Throws at the media ports on both loopback addresses, and at the HTTP listener, until stopped.
    pub(super) fn start(ports: RangeInclusive<u16>, http: SocketAddr) -> Result<Self, String> {
        let no = |e: std::io::Error| format!("no socket to throw garbage from: {e}");
        let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(no)?;
        let v6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let (stop, stopped) = mpsc::channel();
        let body = move || {
            let mut rng = SeededRng::new(0x6761_7262);
            let mut thrown = Thrown::default();
            let mut round = 0_u64;
            loop {
                for port in ports.clone() {
                    let bytes = datagram(&mut rng);
                    // A port that nobody has answers with ICMP; that is no reason to stop.
                    thrown.datagrams += u64::from(v4.send_to(&bytes, (IpAddr::V4(Ipv4Addr::LOCALHOST), port)).is_ok());
                    if let Some(v6) = &v6 {
                        thrown.datagrams += u64::from(v6.send_to(&bytes, (IpAddr::V6(Ipv6Addr::LOCALHOST), port)).is_ok());
                    }
                }
                if round.is_multiple_of(HTTP_EVERY) {
                    thrown.requests += u64::from(throw_request(http, &mut rng));
                }
                round += 1;
                match stopped.recv_timeout(PAUSE) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return thrown,
                }
            }
        };
        let thread = std::thread::Builder::new().name("garbage".into()).spawn(body).map_err(no)?;
        Ok(Self { stop, thread })
    }

    /// Stops, and says what was thrown.
    pub(super) fn stop(self) -> Thrown {
        // The thread may have ended by itself; then there is nobody to tell.
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

/// One datagram of noise, each kind as likely as the other.
fn datagram(rng: &mut SeededRng) -> Vec<u8> {
    let mut bytes = vec![0; 1 + rng.below(300) as usize];
    rng.fill(&mut bytes);
    match rng.below(4) {
        // A Binding request that stops in the middle of its header or attributes.
        0 => {
            let mut stun = vec![0, 1, 0, 88, 0x21, 0x12, 0xa4, 0x42];
            stun.extend_from_slice(&bytes[..bytes.len().min(30)]);
            stun
        }
        // RTP of Opus with a made-up source and no valid tag.
        1 => {
            bytes.resize(bytes.len().max(60), 0);
            (bytes[0], bytes[1]) = (0x80, 111);
            bytes
        }
        // A clear fatal alert: handshake_failure.
        2 => vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        _ => bytes,
    }
}

fn throw_request(http: SocketAddr, rng: &mut SeededRng) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&http, Duration::from_millis(200)) else { return false };
    let written = match rng.below(3) {
        0 => {
            let mut bytes = [0; 200];
            rng.fill(&mut bytes);
            stream.write_all(&bytes)
        }
        1 => stream.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"),
        _ => stream.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=00\r\nContent-Len"),
    };
    written.is_ok()
}

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(10);
/// Rounds between two broken requests.
const HTTP_EVERY: u64 = 20;
