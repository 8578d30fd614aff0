//! Meta behind loopback HTTP for tests of the whole daemon: the simulator's ledger as Graph and as the sender of webhooks, a hook of the application, and a messaging receiver
//! that verifies what it gets.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tipring_engine::time::Time;
use tipring_meta_sim::ledger::{Ledger, LedgerConfig, Wire};
use tipring_signalling::webhook::signature;
use tokio::net::TcpListener;

/// How long what must come may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Meta, and the application: shared by its servers and the test.
pub struct World {
    pub ledger: Mutex<Ledger>,
    origin: Instant,
    /// Events that the hook was told.
    pub told: Mutex<Vec<Value>>,
    /// Bodies that the messaging receiver took, each with a signature that held.
    pub forwarded: Mutex<Vec<Vec<u8>>>,
    /// Secret that the messaging receiver verifies with.
    pub messages_secret: String,
    /// Requests to Graph: path and bearer.
    pub asked: Mutex<Vec<(String, String)>>,
    /// Status of the messaging receiver's next answers, and how long it takes for each.
    pub receiver: Mutex<(u16, Duration)>,
    pub client: reqwest::Client,
    pub address: SocketAddr,
}

impl World {
    /// Starts the servers. `ledger` gets the moment that its time begins at.
    pub async fn start(messages_secret: &str, ledger: impl FnOnce(u64) -> LedgerConfig) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let world = Arc::new(Self {
            ledger: Mutex::new(Ledger::new(ledger(unix_ms))),
            origin: Instant::now(),
            told: Mutex::default(),
            forwarded: Mutex::default(),
            messages_secret: messages_secret.to_owned(),
            asked: Mutex::default(),
            receiver: Mutex::new((200, Duration::ZERO)),
            client: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap(),
            address: listener.local_addr().unwrap(),
        });
        tokio::spawn(serve(Arc::clone(&world), listener));
        world
    }

    pub fn now(&self) -> Time {
        Time::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    pub fn ledger<T>(&self, f: impl FnOnce(&mut Ledger, Time) -> T) -> T {
        f(&mut self.ledger.lock().unwrap(), self.now())
    }

    /// Posts webhooks as they become due, for ever; each comes to every URL. What is refused comes again by itself.
    pub async fn post_webhooks(self: Arc<Self>, urls: Vec<String>) {
        loop {
            let due = self.ledger(|ledger, now| {
                ledger.handle_timeout(now);
                std::iter::from_fn(|| ledger.poll_webhook(now)).collect::<Vec<_>>()
            });
            for post in due {
                let (world, urls) = (Arc::clone(&self), urls.clone());
                tokio::spawn(async move {
                    let mut status = 200;
                    for url in urls {
                        let request = world.client.post(url).header("x-hub-signature-256", &post.signature);
                        let answer = request.header("content-type", "application/json").body(post.body.clone()).send().await;
                        // An app whose secret a URL does not know is refused there: Meta would have another URL for it.
                        match answer.map_or(0, |answer| answer.status().as_u16()) {
                            200 | 401 => {}
                            other => status = other,
                        }
                    }
                    world.ledger(|ledger, now| ledger.handle_webhook_answer(post.id, status, now));
                });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(world: Arc<World>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(Arc::clone(&world), request));
            // A daemon that is killed breaks its connections.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// `/events` is the application's hook, `/messages` the messaging receiver, everything else Graph.
async fn answer(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let reply = |status: u16, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
        Ok(response)
    };
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    match head.uri.path() {
        "/events" => {
            world.told.lock().unwrap().push(serde_json::from_slice(&body).expect("events are JSON"));
            reply(200, String::new())
        }
        "/messages" => {
            let (status, delay) = *world.receiver.lock().unwrap();
            tokio::time::sleep(delay).await;
            let is_genuine = signature::verify(&body, header("x-hub-signature-256"), &[world.messages_secret.as_bytes()]).is_ok();
            if !is_genuine {
                return reply(401, String::new());
            }
            if status == 200 {
                world.forwarded.lock().unwrap().push(body.to_vec());
            }
            reply(status, String::new())
        }
        path => {
            let bearer = header("authorization").unwrap_or_default();
            world.asked.lock().unwrap().push((path.to_owned(), bearer.to_owned()));
            let wire = world.ledger(|ledger, now| ledger.handle_request(head.method.as_str(), path, Some(bearer), &body, now));
            match wire {
                Wire::Reply(answer, delay) => {
                    tokio::time::sleep(Duration::from_nanos(delay.as_nanos())).await;
                    reply(answer.status, answer.body)
                }
                Wire::Silence => reply(500, String::new()),
            }
        }
    }
}

/// Waits, for as long as a busy machine may need.
pub async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < until, "{what} never came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A sample of Meta's SDP whose id contains `part`.
pub fn sdp(part: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/sdp/meta_samples.json");
    let samples: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let case = samples["cases"].as_array().unwrap().iter().find(|c| c["id"].as_str().unwrap().contains(part)).unwrap().clone();
    case["sdp"].as_str().unwrap().to_owned()
}
