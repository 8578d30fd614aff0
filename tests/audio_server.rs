//! An audio server for tests: speaks the Twilio protocol (or takes whatever comes) over WebSocket, with or without TLS, and does what a closure says. Small enough to
//! be read whole; none of it is used by the product.

#![allow(clippy::disallowed_methods, reason = "a server over real sockets runs on the wall clock; nothing is asserted about it")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sound::tone;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tipring_engine::codec::g711::Law;
use tipring_signalling::stream::twilio::{self, Said};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// What a server does with a message: what it says back, in order. `None` at the end of the list closes the connection.
pub type Script = dyn Fn(usize, &Value) -> Vec<Option<String>> + Send + Sync;

/// A running server.
pub struct AudioServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// Every text message of every connection, with the number of the connection.
    pub got: Arc<Mutex<Vec<(usize, Value)>>>,
    /// The Authorization header of each connection.
    pub authorizations: Arc<Mutex<Vec<String>>>,
}

impl AudioServer {
    /// Listens on a free port of loopback.
    pub async fn start(tls: Option<TlsAcceptor>, script: Box<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let got = Arc::new(Mutex::new(Vec::new()));
        let authorizations = Arc::new(Mutex::new(Vec::new()));
        let (kept, headers, script): (_, _, Arc<Script>) = (Arc::clone(&got), Arc::clone(&authorizations), script.into());
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, headers, script, tls) = (Arc::clone(&kept), Arc::clone(&headers), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, number, &kept, &headers, &*script).await;
                            }
                        }
                        None => serve(stream, number, &kept, &headers, &*script).await,
                    }
                });
                number += 1;
            }
        });
        Self { address, got, authorizations }
    }

    /// Messages of this kind so far.
    pub fn events(&self, kind: &str) -> Vec<Value> {
        let got = self.got.lock().expect("no panic");
        got.iter().filter(|(_, message)| message["event"] == kind).map(|(_, message)| message.clone()).collect()
    }

    /// What was heard so far, of every connection one after the other: 8 kHz.
    pub fn heard(&self) -> Vec<i16> {
        let mut samples = Vec::new();
        for media in self.events("media") {
            let payload = media["media"]["payload"].as_str().expect("a payload");
            let text = json!({ "event": "media", "media": { "payload": payload } }).to_string();
            let Ok((Said::Media(bytes), None)) = twilio::read(&text) else { panic!("{text}") };
            let mut pcm = vec![0; bytes.len()];
            Law::Mu.decode(&bytes, &mut pcm);
            samples.extend(pcm);
        }
        samples
    }
}

/// A bot that says four seconds of a tone and a mark as soon as it is told of the call.
pub fn talker(hz: f64) -> Box<Script> {
    Box::new(move |_, message| {
        let sid = message["streamSid"].as_str().unwrap_or_default();
        let speech = tone(hz, 8_000, 4.0);
        let mut mu_law = vec![0; speech.len()];
        Law::Mu.encode(&speech, &mut mu_law);
        match message["event"].as_str() {
            Some("start") => {
                let pieces = mu_law.chunks(3_000).map(|piece| Some(twilio::write(&Said::Media(piece.to_vec()), sid)));
                pieces.chain([Some(twilio::write(&Said::Mark("said".into()), sid))]).collect()
            }
            _ => Vec::new(),
        }
    })
}

/// Waits for what must come, a minute at most: a busy machine takes its time.
pub async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    number: usize,
    got: &Mutex<Vec<(usize, Value)>>,
    headers: &Mutex<Vec<String>>,
    script: &Script,
) {
    #[expect(clippy::result_large_err, reason = "the shape that the library asks for")]
    let note = |request: &Request, response: Response| {
        let value = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        headers.lock().expect("no panic").push(value);
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(io, note).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(text.as_str()).expect("JSON");
        let answers = script(number, &message);
        got.lock().expect("no panic").push((number, message));
        for answer in answers {
            match answer {
                Some(text) => {
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                None => {
                    let _ = socket.close(None).await;
                    return;
                }
            }
        }
    }
}
