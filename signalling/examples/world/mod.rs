//! What the examples need beside themselves: a simulated Meta with a user, the daemon, and an application's HTTP and WebSocket to it. In production the first two are
//! Meta and `tipring serve`; what `Api` does is all that an application has to.

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::time::Span;
use tipring_meta_sim::shell::{CallReport, Sim, SimConfig};
use tipring_meta_sim::user::{Speech, Typing, UserScript};
use tipring_signalling::config::{
    ApiConfig, ApiKey, AudioTarget, BridgeConfig, Config, NumberConfig, PromptConfig, Scope, Secret, WebhookConfig,
};
use tipring_signalling::shell::{Daemon, DaemonHandle};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const KEY: &str = "the key of an example";

/// The application's end of the native API.
pub struct Api {
    client: Client,
    base: String,
    events: WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>,
}

#[allow(dead_code, reason = "no example uses everything")]
impl Api {
    /// The next event; waits for it as long as it takes, within reason.
    pub async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(60), self.events.next()).await.expect("an event within a minute");
            let message = message.expect("the stream goes on").expect("a message");
            if let Ok(event) = serde_json::from_str(message.to_text().unwrap_or_default()) {
                return event;
            }
        }
    }

    /// `POST /v1/calls/ID/ACTION`.
    pub async fn post(&self, event: &Value, action: &str, body: Value) {
        let id = event["call_id"].as_str().expect("events of calls name them");
        let url = format!("{}/calls/{id}/{action}", self.base);
        let answer = self.client.post(url).bearer_auth(KEY).json(&body).send().await.expect("the daemon answers");
        let status = answer.status();
        assert!(status.is_success(), "{action}: {status} {}", answer.text().await.unwrap_or_default());
    }
}

/// Meta and the daemon on loopback.
pub struct World {
    sim: Arc<Sim>,
    daemon: DaemonHandle,
}

#[allow(dead_code, reason = "no example uses everything")]
impl World {
    /// Starts both. `audio` names the audio server that calls may be bridged to, if there is one.
    pub async fn start(audio: Option<String>) -> (Self, Api) {
        let sim = Arc::new(Sim::start(SimConfig::new("")).await.expect("a simulator"));
        let account = sim.account();
        let mut api = ApiConfig::new(vec![ApiKey { name: "bot".into(), token: Secret::new(KEY), scopes: Scope::ALL.to_vec() }]);
        api.listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::on_loopback(41_000..=41_999);
        config.api = Some(api);
        config.graph.base_url = sim.graph_url();
        config.webhook = Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new(account.app_secret.as_str())]));
        config.numbers = vec![NumberConfig {
            phone_number_id: account.phone_number_id.clone(),
            access_token: Secret::new(account.access_token.as_str()),
            keying: Default::default(),
            bridge: BridgeConfig::ECHO,
            waits: true,
            ..NumberConfig::new("", Secret::new(""))
        }];
        let wav = |name: &str| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets").join(name);
        config.prompts = vec![
            PromptConfig { name: "menu".into(), wav: wav("greeting.wav") },
            PromptConfig { name: "hours".into(), wav: wav("caller.wav") },
        ];
        config.audio_targets = audio.into_iter().map(|url| AudioTarget { url, authorization: None, ca: None }).collect();
        let daemon = Daemon::start(config, Arc::new(|_| {})).expect("a daemon");
        sim.set_webhook_url(format!("http://{}/webhook", daemon.webhook_addr()));
        let address = daemon.api_addr().expect("an API");
        let mut request = format!("ws://{address}/v1/events").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
        let (events, _) = connect_async(request).await.expect("a stream of events");
        let api = Api { client: Client::new(), base: format!("http://{address}/v1"), events };
        (Self { sim, daemon }, api)
    }

    /// A user calls, speaks for some seconds after `speaks_after`, types, and hangs up unless we do.
    pub fn user(&self, speaks_after: u64, typing: &[(u64, &str)], hangs_up_after: Option<u64>) -> JoinHandle<CallReport> {
        let typed = |&(after, digits): &(u64, &str)| Typing { after: Span::from_millis(after), digits: digits.into() };
        let script = UserScript {
            speech: vec![Speech { after: Span::from_millis(speaks_after), pcm: voice() }],
            typing: typing.iter().map(typed).collect(),
            hang_up_after: hangs_up_after.map(Span::from_millis),
            ..UserScript::default()
        };
        let sim = Arc::clone(&self.sim);
        tokio::spawn(async move { sim.call(script, &[]).await.expect("a report") })
    }

    /// Stops the daemon.
    pub async fn stop(self) {
        let daemon = self.daemon;
        tokio::task::spawn_blocking(move || daemon.shutdown()).await.expect("the daemon stops");
    }
}

/// What the simulated user says, mono at 16 kHz.
pub fn voice() -> Arc<[i16]> {
    let wav = hound::WavReader::new(&include_bytes!("../../assets/caller.wav")[..]).expect("a WAV file");
    wav.into_samples::<i16>().map(Result::unwrap).collect()
}
