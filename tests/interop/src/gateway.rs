//! Our side of a foreign peer: a daemon in Direct mode on loopback that echoes, and plain HTTP to it or to another local server.
//!
//! Decides: the daemon's configuration, and that each session bridges to echo. Refuses: judging what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use tipring_signalling::config::{AudioTarget, Config, DirectConfig, Secret};
use tipring_signalling::shell::{Daemon, DaemonHandle};

use crate::Failure;

/// The bearer token of the daemon: it listens on loopback, for as long as a judge runs.
pub const TOKEN: &str = "a-token-of-one-interop-run";

/// Blocking HTTP, for a program that does one thing at a time.
pub struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

/// An answer.
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The Location header, empty if there is none.
    pub location: String,
    /// The body.
    pub text: String,
}

impl Reply {
    /// The body as JSON; null if it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// This answer if its status is below 300, else what the server said.
    pub fn ok(self, what: &str) -> Result<Self, Failure> {
        if self.status < 300 { Ok(self) } else { Err(format!("{what} was answered {}: {}", self.status, self.text)) }
    }
}

impl Http {
    pub fn new() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // The runtime rests between requests and would not see that the server has closed an idle connection: none is kept.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build();
        Ok(Self { runtime: runtime.map_err(|e| format!("no runtime: {e}"))?, client: client.map_err(|e| format!("no HTTP client: {e}"))? })
    }

    /// One request. `body` is its content type and text.
    pub fn ask(&self, method: &str, url: &str, body: Option<(&str, String)>) -> Result<Reply, Failure> {
        let method = method.parse().map_err(|_| format!("{method} is no method"))?;
        let mut request = self.client.request(method, url).bearer_auth(TOKEN);
        if let Some((kind, text)) = body {
            request = request.header(CONTENT_TYPE, kind).body(text);
        }
        self.runtime.block_on(async {
            let answer = request.send().await.map_err(|e| format!("{url} does not answer: {e}"))?;
            let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok()).unwrap_or_default().to_owned();
            let status = answer.status().as_u16();
            let text = answer.text().await.map_err(|e| format!("{url} broke off: {e}"))?;
            Ok(Reply { status, location, text })
        })
    }
}

/// A daemon in Direct mode.
pub struct Gateway {
    /// None: in a process of its own.
    daemon: Option<DaemonHandle>,
    /// `http://127.0.0.1:PORT`
    pub base: String,
    /// The way to it.
    pub http: Http,
}

impl Gateway {
    /// Starts the daemon inside this process, on loopback only.
    pub fn start() -> Result<Self, Failure> {
        let (daemon, base) = Self::daemon(|_| {})?;
        Ok(Self { daemon: Some(daemon), base, http: Http::new()? })
    }

    /// As [`Self::start`]; audio may go to these servers.
    pub fn start_with(targets: Vec<AudioTarget>) -> Result<Self, Failure> {
        let (daemon, base) = Self::daemon(|config| config.audio_targets = targets)?;
        Ok(Self { daemon: Some(daemon), base, http: Http::new()? })
    }

    /// The way to a daemon that runs elsewhere on this machine.
    pub fn at(base: String) -> Result<Self, Failure> {
        Ok(Self { daemon: None, base, http: Http::new()? })
    }

    /// A daemon in this process, with what `change` makes of its configuration; and its address.
    pub fn daemon(change: impl FnOnce(&mut Config)) -> Result<(DaemonHandle, String), Failure> {
        let loopback = std::net::Ipv4Addr::LOCALHOST;
        let mut config = Config::default();
        config.http.listen = (loopback, 0).into();
        config.engine.addresses = vec![loopback.into()];
        config.engine.allow_loopback = true;
        config.engine.ports = 43_000..=43_399;
        config.engine.rtp_targets = vec!["127.0.0.0/8".parse().map_err(|e| format!("{e}"))?];
        let mut direct = DirectConfig::new(Secret::new(TOKEN));
        direct.listen = (loopback, 0).into();
        config.direct = Some(direct);
        config.drain_max = Duration::from_secs(1);
        change(&mut config);
        let daemon = Daemon::start(config, Arc::new(|_| {})).map_err(|e| format!("the daemon does not start: {e}"))?;
        let base = format!("http://{}", daemon.direct_addr().ok_or("the daemon has no Direct mode")?);
        Ok((daemon, base))
    }

    /// Gives an offer; returns the address of the session, and our answer.
    pub fn give_offer(&self, offer: String) -> Result<(String, String), Failure> {
        let url = format!("{}/v1/sessions?gate=open", self.base);
        let reply = self.http.ask("POST", &url, Some(("application/sdp", offer)))?.ok("the offer")?;
        Ok((format!("{}{}", self.base, reply.location), reply.text))
    }

    /// Gives an offer and names the bridge; returns the address of the session, and what was answered.
    pub fn give_offer_bridged(&self, offer: String, bridge: &Value) -> Result<(String, Value), Failure> {
        self.give_offer_in(&json!({ "sdp": offer, "gate": "open", "bridge": bridge }))
    }

    /// The whole body of an offer; returns the address of the session, and what was answered.
    pub fn give_offer_in(&self, body: &Value) -> Result<(String, Value), Failure> {
        let body = body.to_string();
        let url = format!("{}/v1/sessions", self.base);
        let reply = self.http.ask("POST", &url, Some(("application/json", body)))?.ok("the offer")?;
        Ok((format!("{}{}", self.base, reply.location), reply.json()))
    }

    /// Asks for an offer; returns the address of the session, and our offer.
    pub fn ask_offer(&self) -> Result<(String, String), Failure> {
        let body = json!({ "role": "offer", "gate": "open" }).to_string();
        let url = format!("{}/v1/sessions", self.base);
        let made = self.http.ask("POST", &url, Some(("application/json", body)))?.ok("the wish for an offer")?.json();
        match (made["id"].as_str(), made["sdp"].as_str()) {
            (Some(id), Some(sdp)) => Ok((format!("{}/v1/sessions/{id}", self.base), sdp.to_owned())),
            _ => Err(format!("no offer in {made}")),
        }
    }

    /// Gives the answer to an offer of ours.
    pub fn give_answer(&self, session: &str, answer: String) -> Result<(), Failure> {
        self.http.ask("PUT", &format!("{session}/answer"), Some(("application/sdp", answer)))?.ok("the answer").map(drop)
    }

    /// State and figures of a session.
    pub fn session(&self, session: &str) -> Result<Value, Failure> {
        Ok(self.http.ask("GET", session, None)?.ok("the session")?.json())
    }

    /// Waits until audio flows, at most 15 s.
    #[expect(clippy::disallowed_methods, reason = "real peers run on the wall clock")]
    pub fn wait_open(&self, session: &str) -> Result<Value, Failure> {
        let begun = Instant::now();
        loop {
            let shown = self.session(session)?;
            match shown["state"].as_str() {
                Some("open") => return Ok(shown),
                Some("ended") => return Err(format!("the session ended before audio: {shown}")),
                _ if begun.elapsed() > Duration::from_secs(15) => return Err(format!("no audio after 15 s: {shown}")),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Hangs up.
    pub fn hang_up(&self, session: &str) -> Result<(), Failure> {
        self.http.ask("DELETE", session, None)?.ok("hanging up").map(drop)
    }

    /// Stops the daemon.
    pub fn stop(self) {
        if let Some(daemon) = self.daemon {
            daemon.shutdown();
        }
    }
}

/// What a judge measured in one case. A case is clean if every [`Self::check`] was.
pub struct Case {
    name: String,
    facts: Vec<String>,
    faults: Vec<String>,
}

impl Case {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), facts: Vec::new(), faults: Vec::new() }
    }

    /// A figure to show.
    pub fn fact(&mut self, text: impl Into<String>) {
        self.facts.push(text.into());
    }

    /// A figure that decides.
    pub fn check(&mut self, holds: bool, text: impl Into<String>) {
        let text = text.into();
        if !holds {
            self.faults.push(text.clone());
        }
        self.facts.push(text);
    }

    /// Notes the figures of our side that every case has.
    pub fn session(&mut self, shown: &Value) {
        let stats = &shown["stats"];
        let (rtp_in, rtp_out) = (stats["rtp_in"].as_u64().unwrap_or(0), stats["rtp_out"].as_u64().unwrap_or(0));
        let setup = stats["setup_us"]["dtls_connected"].as_u64().map_or("?".to_owned(), |us| format!("{} ms", us / 1_000));
        self.fact(format!("{}, set up in {setup}", stats["profile"].as_str().unwrap_or("no profile")));
        self.check(rtp_in > 50 && rtp_out > 50, format!("rtp in {rtp_in}, out {rtp_out}"));
        if let Some(drops) = stats["drops"].as_object().filter(|drops| !drops.is_empty()) {
            self.fact(format!("drops {}", Value::Object(drops.clone())));
        }
    }

    /// Prints the case; true if it is clean.
    pub fn print(self) -> bool {
        println!("{:<12} {}", self.name, self.facts.join("; "));
        for fault in &self.faults {
            println!("{:<12} NOT AS IT SHOULD BE: {fault}", self.name);
        }
        self.faults.is_empty()
    }
}
