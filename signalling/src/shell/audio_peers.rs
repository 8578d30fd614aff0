//! Connections to audio servers: bots over WebSocket, Asterisk, AudioSocket. One thread for all of them, beside the one that owns the calls.
//!
//! Decides: when a connection is made again, when a server that does not read loses audio, and when it has left for good. Given: bridges of the configuration and of
//! requests. Refuses: to know what the messages mean (`stream` does), and to hold a call up: a link that nobody serves is silence.

use super::bridges::About;
use super::metrics::{AudioResult, Metrics};
use super::observe::{CallRef, Watch};
use super::tls;
use crate::config::{AudioBridge, AudioTarget, Secret, target_of};
use crate::stream::{Dialect, MESSAGE_BYTES_MAX, StreamInfo, StreamSession, Track, Wire};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::bridge::{Listener, PcmConfig, PcmLink, PcmPort, TapReader, pcm_port};
use tipring_engine::call::{FrameBuffer, Incoming, MediaPort, Outgoing};
use tipring_engine::codec::FRAME_SAMPLES_MAX;
use tipring_engine::time::Span;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The thread and what its connections need. Dropping it says goodbye on every connection.
pub(crate) struct AudioPeers {
    handle: Handle,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    targets: Vec<AudioTarget>,
    /// By the file of their certificates; none: the system's.
    tls: HashMap<Option<PathBuf>, Arc<rustls::ClientConfig>>,
    account: [u8; 16],
    watch: Watch,
    metrics: Arc<Metrics>,
}

impl AudioPeers {
    /// Reads certificates and starts the thread. The error is for an operator.
    pub(crate) fn start(targets: &[AudioTarget], watch_: &Watch, metrics: &Arc<Metrics>) -> Result<Self, String> {
        let tls = tls_configs(targets)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("the runtime of audio connections does not start: {e}"))?;
        let (stop, mut stopped) = watch::channel(false);
        let handle = runtime.handle().clone();
        let body = move || {
            runtime.block_on(async {
                // A sender that is gone is a stop as well.
                let _ = stopped.wait_for(|stop| *stop).await;
            });
            runtime.shutdown_timeout(FAREWELL_MAX);
        };
        let thread = std::thread::Builder::new().name("tipring-audio".into()).spawn(body);
        let thread = thread.map_err(|e| format!("the thread of audio connections does not start: {e}"))?;
        let mut account = [0; 16];
        tls::random(&mut account);
        let metrics = Arc::clone(metrics);
        Ok(Self { handle, stop, thread: Some(thread), targets: targets.to_vec(), tls, account, watch: watch_.clone(), metrics })
    }

    /// A port for one call; its connection is made at once, and begins to speak when the call listens.
    pub(crate) fn port(&self, bridge: &AudioBridge, call: &CallRef, about: &About) -> Box<dyn MediaPort> {
        Box::new(self.connect(bridge, Track::Inbound, call, about))
    }

    /// Lets a server hear one direction of a call beside whatever the call is bridged to. It hears until the tap is closed, and what it says is heard by nobody.
    /// More readers may follow the first, when the call's port is exchanged. The error is for a log.
    pub(crate) fn listen(
        &self,
        reader: TapReader,
        track: Track,
        bridge: &AudioBridge,
        call: &CallRef,
        about: &About,
    ) -> Result<mpsc::Sender<TapReader>, String> {
        let listener = Listener::new(reader, track == Track::Inbound, bridge.dialect.rate()).map_err(|e| e.to_string())?;
        // Who has left does not listen: there is nothing to be kept open for.
        let server = AudioBridge { hangs_up: true, ..bridge.clone() };
        let port = self.connect(&server, track, call, about);
        let (more, readers) = mpsc::channel(READERS_MAX);
        self.handle.spawn(feed(listener, readers, port, self.stop.subscribe()));
        Ok(more)
    }

    fn connect(&self, bridge: &AudioBridge, track: Track, call: &CallRef, about: &About) -> PcmPort {
        let bell = Arc::new(Bell::default());
        let queue = Span::from_millis(u64::try_from(bridge.queue.as_millis()).unwrap_or(u64::MAX));
        let config = PcmConfig { queue, ..PcmConfig::new(bridge.dialect.rate()) };
        let (port, link) = pcm_port(config, Arc::clone(&bell).into());
        let target = target_of(&bridge.url, &self.targets);
        let tls = target.and_then(|target| self.tls.get(&target.ca)).cloned();
        let mut call_bytes = [0; 16];
        tls::random(&mut call_bytes);
        let mut parameters: Vec<_> = about.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        parameters.retain(|(name, _)| bridge.parameters.iter().all(|(own, _)| own != name));
        parameters.extend(bridge.parameters.iter().cloned());
        let peer = Peer {
            bridge: bridge.clone(),
            authorization: target.and_then(|target| target.authorization.clone()),
            tls,
            ids: (self.account, call_bytes),
            parameters,
            track,
            call: call.clone(),
            watch: self.watch.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        self.handle.spawn(peer.run(link, bell, self.stop.subscribe()));
        port
    }
}

impl Drop for AudioPeers {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// What TLS trusts, for each target that uses it. The error is for an operator.
pub(super) fn tls_configs(targets: &[AudioTarget]) -> Result<HashMap<Option<PathBuf>, Arc<rustls::ClientConfig>>, String> {
    let mut configs = HashMap::new();
    for target in targets.iter().filter(|target| target.url.starts_with("wss:")) {
        if configs.contains_key(&target.ca) {
            continue;
        }
        let builder = rustls::ClientConfig::builder_with_provider(tls::provider());
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| format!("TLS provider: {e}"))?;
        let config = match &target.ca {
            Some(path) => {
                let mut roots = rustls::RootCertStore::empty();
                let fault = |e: &dyn std::fmt::Display| {
                    format!("audio_target.ca: {} cannot be used: {e}; name a file of PEM certificates", path.display())
                };
                for certificate in CertificateDer::pem_file_iter(path).map_err(|e| fault(&e))? {
                    roots.add(certificate.map_err(|e| fault(&e))?).map_err(|e| fault(&e))?;
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(tls::provider());
                let verifier = verifier.map_err(|e| {
                    format!("audio_target: this system has no certificates to trust ({e}); install ca-certificates, or set ca")
                })?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth()
            }
        };
        configs.insert(target.ca.clone(), Arc::new(config));
    }
    Ok(configs)
}

/// Woken by a shard at each tick; wakes the connection's task once until it has looked.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }
}

impl Bell {
    /// Waits until it was rung since the last time.
    async fn heard(&self) {
        self.notify.notified().await;
        // Whoever rings from now on is heard the next time; what was done before the ring is seen by whoever looks after this.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

/// What comes from the server.
enum Heard {
    Text(String),
    Binary(Vec<u8>),
    /// It said goodbye (true), or the connection broke.
    Gone(bool, String),
}

/// How a connection ended.
enum End {
    /// The call is over, has gone elsewhere, or the daemon stops.
    CallOver,
    /// The server is done.
    PeerDone,
    /// Worth another try; why.
    Broken(String),
}

struct Peer {
    bridge: AudioBridge,
    authorization: Option<Secret>,
    tls: Option<Arc<rustls::ClientConfig>>,
    ids: ([u8; 16], [u8; 16]),
    parameters: Vec<(String, String)>,
    track: Track,
    call: CallRef,
    watch: Watch,
    metrics: Arc<Metrics>,
}

/// Ends the reading task with the connection.
struct Reading(AbortHandle);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Peer {
    /// Serves the link until the call is over or the server has left for good. The port says that it is finished when the link is dropped.
    async fn run(self, mut link: PcmLink, bell: Arc<Bell>, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let begun = self.watch.now();
            let end = self.connection(&mut link, &bell, &mut stop).await;
            let why = match end {
                End::CallOver => return,
                End::PeerDone => break tracing::info!(call = ?self.call, "the audio server is done"),
                End::Broken(why) => why,
            };
            self.metrics.audio(AudioResult::Broken);
            if self.watch.now().since(begun) >= HEALTHY_AFTER {
                failures = 0;
            }
            failures += 1;
            if failures > self.bridge.reconnects {
                break tracing::warn!(call = ?self.call, %why, failures, "the audio server is given up");
            }
            tracing::warn!(call = ?self.call, %why, failures, "the audio connection is made again");
            let pause = tokio::time::sleep(BACKOFF_FIRST * 2_u32.pow((failures - 1).min(5)));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = bell.heard() => link.pump(),
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                if link.is_closed() {
                    return;
                }
            }
        }
        if !self.bridge.hangs_up {
            // The call goes on: the link must stay, or its port would be finished.
            while !link.is_closed() {
                tokio::select! {
                    () = bell.heard() => link.pump(),
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        }
    }

    /// One connection from its first packet to its end.
    async fn connection(&self, link: &mut PcmLink, bell: &Bell, stop: &mut watch::Receiver<bool>) -> End {
        let (out, to_send) = mpsc::channel(MESSAGES_MAX);
        let (heard, mut incoming) = mpsc::channel(MESSAGES_MAX);
        let connect = tokio::time::timeout(CONNECT_MAX, self.connect(to_send, heard));
        tokio::pin!(connect);
        let _reading = loop {
            tokio::select! {
                connected = &mut connect => match connected {
                    Ok(Ok(reading)) => break reading,
                    Ok(Err(why)) => return End::Broken(why),
                    Err(_) => return End::Broken(format!("no connection within {} s", CONNECT_MAX.as_secs())),
                },
                () = bell.heard() => if link.is_closed() { return End::CallOver },
                _ = stop.wait_for(|stop| *stop) => return End::CallOver,
            }
        };
        self.metrics.audio(AudioResult::Connected);
        let mut stream = [0; 16];
        tls::random(&mut stream);
        let info = StreamInfo { track: self.track, ..StreamInfo::new(self.ids.0, self.ids.1, stream, self.parameters.clone()) };
        let mut session = StreamSession::new(self.bridge.dialect, info);
        let mut pcm = [0; FRAME_SAMPLES_MAX];
        let samples = link.rate().frame_samples();
        let mut has_begun = false;
        let mut looked = self.watch.now();
        loop {
            if link.is_closed() {
                session.stop();
                return self.flush(&mut session, &out).unwrap_or(End::CallOver);
            }
            if !has_begun && link.is_open() {
                // What was said while nobody was connected is old.
                while link.read(&mut pcm) {}
                session.start();
                has_begun = true;
            }
            while link.read(&mut pcm) {
                if out.capacity() > MESSAGES_RESERVED {
                    session.handle_audio(&pcm[..samples]);
                } else {
                    session.skip_audio();
                    self.metrics.audio(AudioResult::Unread);
                }
                if let Some(end) = self.flush(&mut session, &out) {
                    return end;
                }
            }
            while let Some(digit) = link.read_digit() {
                session.handle_digit(digit.symbol);
            }
            let now = self.watch.now();
            session.handle_link(link, now);
            if now.since(looked) >= LOOK_EVERY {
                looked = now;
                self.metrics.audio_queue(link.waiting() * FRAME_MS);
            }
            if let Some(end) = self.flush(&mut session, &out) {
                return end;
            }
            if session.is_over() {
                return End::PeerDone;
            }
            let wake = session.poll_timeout().map(|at| self.watch.instant(at));
            tokio::select! {
                () = bell.heard() => {}
                said = incoming.recv() => {
                    let now = self.watch.now();
                    let done = match said {
                        Some(Heard::Text(text)) => session.handle_text(&text, link, now),
                        Some(Heard::Binary(bytes)) => session.handle_binary(&bytes, link, now),
                        Some(Heard::Gone(true, _)) => return End::PeerDone,
                        Some(Heard::Gone(false, why)) => return End::Broken(why),
                        None => return End::Broken("the connection ended".into()),
                    };
                    if let Err(fault) = done {
                        self.metrics.audio(AudioResult::Fault);
                        if session.faults().is_power_of_two() {
                            tracing::warn!(call = ?self.call, %fault, so_far = session.faults(), "a message of the audio server");
                        }
                    }
                }
                () = sleep_until(wake) => {}
                _ = stop.wait_for(|stop| *stop) => {
                    session.stop();
                    return self.flush(&mut session, &out).unwrap_or(End::CallOver);
                }
            }
        }
    }

    /// Hands messages to the writing task. Never waits.
    fn flush(&self, session: &mut StreamSession, out: &mpsc::Sender<Wire>) -> Option<End> {
        while let Some(message) = session.poll_message() {
            match out.try_send(message) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Some(End::Broken("the server does not read".into())),
                Err(mpsc::error::TrySendError::Closed(_)) => return Some(End::Broken("the connection does not take messages".into())),
            }
        }
        None
    }

    /// Connects and starts a task for each direction.
    async fn connect(&self, to_send: mpsc::Receiver<Wire>, heard: mpsc::Sender<Heard>) -> Result<Reading, String> {
        let url = reqwest::Url::parse(&self.bridge.url).map_err(|e| e.to_string())?;
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = url.port_or_known_default().unwrap_or(0);
        let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("no connection: {e}"))?;
        // Frames of 20 ms must not wait for acknowledgements.
        let _ = tcp.set_nodelay(true);
        if let Dialect::AudioSocket(_) = self.bridge.dialect {
            let (read, write) = tcp.into_split();
            tokio::spawn(write_bytes(write, to_send));
            return Ok(Reading(tokio::spawn(read_bytes(read, heard)).abort_handle()));
        }
        if url.scheme() == "wss" {
            let tls = self.tls.clone().ok_or("there is no TLS for this target")?;
            let name = ServerName::try_from(host).map_err(|e| format!("the host's name cannot be proven: {e}"))?;
            let secured = TlsConnector::from(tls).connect(name, tcp).await.map_err(|e| format!("TLS: {e}"))?;
            return self.upgrade(secured, to_send, heard).await;
        }
        self.upgrade(tcp, to_send, heard).await
    }

    async fn upgrade<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        io: S,
        to_send: mpsc::Receiver<Wire>,
        heard: mpsc::Sender<Heard>,
    ) -> Result<Reading, String> {
        let mut request = self.bridge.url.as_str().into_client_request().map_err(|e| e.to_string())?;
        if let Some(token) = &self.authorization {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            request.headers_mut().insert(header::AUTHORIZATION, value.map_err(|_| "the authorization is not header text")?);
        }
        if let Some(subprotocol) = self.bridge.dialect.subprotocol() {
            request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX))
            .max_write_buffer_size(WRITE_BYTES_MAX);
        let (socket, _) = client_async_with_config(request, io, Some(config)).await.map_err(|e| format!("WebSocket: {e}"))?;
        let (sink, stream) = socket.split();
        tokio::spawn(write_messages(sink, to_send));
        Ok(Reading(tokio::spawn(read_messages(stream, heard)).abort_handle()))
    }
}

/// Is the call for a server that only listens: a frame each 20 ms, until the tap is closed and no other one follows, or the server has left.
async fn feed(mut listener: Listener, mut readers: mpsc::Receiver<TapReader>, mut port: PcmPort, mut stop: watch::Receiver<bool>) {
    let mut tick = tokio::time::interval(Duration::from_millis(FRAME_MS));
    let mut unheard = Box::new(FrameBuffer::default());
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let is_over = listener.is_over();
        listener.turn(|samples| port.incoming(Incoming::Pcm { samples, heard: true }));
        if port.outgoing(&mut unheard) == Outgoing::Finished {
            return;
        }
        if is_over {
            match readers.try_recv() {
                Ok(reader) => listener.replace(reader),
                Err(_) => return,
            }
        }
    }
}

/// Sends until nobody has anything to say any more, then says goodbye.
async fn write_messages(mut sink: impl Sink<Message, Error = Error> + Unpin, mut messages: mpsc::Receiver<Wire>) {
    let mut ping = tokio::time::interval(PING_EVERY);
    ping.reset();
    loop {
        let message = tokio::select! {
            message = messages.recv() => match message {
                Some(Wire::Text(text)) => Message::text(text),
                Some(Wire::Binary(bytes)) => Message::binary(bytes),
                None => break,
            },
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    // A server that does not take the farewell does not hold us up.
    let _ = tokio::time::timeout(FAREWELL_MAX, sink.close()).await;
}

async fn read_messages(mut stream: impl Stream<Item = Result<Message, Error>> + Unpin, heard: mpsc::Sender<Heard>) {
    loop {
        let said = match tokio::time::timeout(SILENT_MAX, stream.next()).await {
            Err(_) => Heard::Gone(false, format!("not even a pong for {} s", SILENT_MAX.as_secs())),
            Ok(None) => Heard::Gone(false, "the connection ended without a farewell".into()),
            Ok(Some(Err(e))) => Heard::Gone(false, e.to_string()),
            Ok(Some(Ok(Message::Text(text)))) => Heard::Text(text.as_str().to_owned()),
            Ok(Some(Ok(Message::Binary(bytes)))) => Heard::Binary(bytes.into()),
            Ok(Some(Ok(Message::Close(frame)))) => {
                let code = frame.as_ref().map_or(1_005, |frame| u16::from(frame.code));
                // 1000 and no code at all: it meant it. Everything else (a restart, an overload, a fault) may pass.
                Heard::Gone(matches!(code, 1_000 | 1_005), format!("the server closed with {code}"))
            }
            Ok(Some(Ok(_))) => continue,
        };
        let is_last = matches!(said, Heard::Gone(..));
        if heard.send(said).await.is_err() || is_last {
            return;
        }
    }
}

async fn write_bytes(mut io: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Wire>) {
    while let Some(message) = messages.recv().await {
        let bytes = match message {
            Wire::Binary(bytes) => bytes,
            Wire::Text(text) => text.into_bytes(),
        };
        if io.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = tokio::time::timeout(FAREWELL_MAX, io.shutdown()).await;
}

async fn read_bytes(mut io: impl AsyncRead + Unpin, heard: mpsc::Sender<Heard>) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let said = match io.read(&mut buffer).await {
            Ok(0) => Heard::Gone(true, "the server closed".into()),
            Ok(len) => Heard::Binary(buffer[..len].to_vec()),
            Err(e) => Heard::Gone(false, e.to_string()),
        };
        let is_last = matches!(said, Heard::Gone(..));
        if heard.send(said).await.is_err() || is_last {
            return;
        }
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// TCP, TLS and upgrade together.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A connection that lived so long was good; what broke it is a new fault.
const HEALTHY_AFTER: Span = Span::from_secs(10);
/// The pause before the first new attempt; it doubles up to 32 times this.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Messages on their way in each direction: 1.3 s.
const MESSAGES_MAX: usize = 64;
/// Of those, kept for marks, digits and the farewell.
const MESSAGES_RESERVED: usize = 16;
/// Exchanges of a call's port that a listener may be behind.
const READERS_MAX: usize = 8;
/// How often the length of a queue is looked at.
const LOOK_EVERY: Span = Span::from_secs(1);
/// A frame of the queue.
const FRAME_MS: u64 = 20;
const PING_EVERY: Duration = Duration::from_secs(20);
/// Three pings unanswered.
const SILENT_MAX: Duration = Duration::from_secs(65);
const FAREWELL_MAX: Duration = Duration::from_secs(1);
/// What the operating system and TLS have not taken yet, per connection.
const WRITE_BYTES_MAX: usize = 1 << 18;
const READ_BYTES: usize = 16 * 1_024;
