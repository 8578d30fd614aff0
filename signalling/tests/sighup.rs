//! SIGHUP to the real process in the middle of a call: a new certificate, new secrets and a new number count at once, files with a fault change nothing, and the caller
//! notices none of it.
#![cfg(feature = "demo")]
#![allow(clippy::disallowed_methods, reason = "a process of its own runs on the wall clock; nothing is asserted about it")]

mod program;

use program::{addresses, tipring};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tipring_engine::time::Span;
use tipring_meta_sim::oracle::Verdict;
use tipring_meta_sim::shell::{Sim, SimConfig};
use tipring_meta_sim::user::UserScript;
use tipring_signalling::cli::demo::relaxed;
use tipring_signalling::webhook::signature;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "the-key-of-the-reload-test";
const ADDED: &str = "1047000000088";

struct World {
    sim: Arc<Sim>,
    child: Child,
    client: reqwest::Client,
    tls: TlsConnector,
    web: String,
    api: String,
    directory: PathBuf,
    log: Arc<Mutex<Vec<Value>>>,
    authority: Issuer<'static, KeyPair>,
}

impl World {
    async fn start(first_port: u16) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sighup");
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("an authority");
        let authority = Issuer::new(params, key);
        let sim = SimConfig { limits: relaxed(), has_ipv6: false, webhook_ca_pem: Some(root.pem().into_bytes()), ..SimConfig::new("") };
        let sim = Arc::new(Sim::start(sim).await.expect("a simulator"));
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).expect("a root");
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let mut tls = tls.with_root_certificates(roots).with_no_client_auth();
        // A session that is taken up again shows the certificate of its first handshake.
        tls.resumption = Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(tls));
        std::fs::write(directory.join("secret"), &sim.account().app_secret).expect("a secret");
        let mut world = Self {
            child: Command::new("true").spawn().expect("a process"),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            tls,
            web: String::new(),
            api: String::new(),
            directory,
            log: Arc::default(),
            authority,
            sim,
        };
        world.certify();
        world.configure(first_port, "the retired one", "");
        world.run().await;
        world
    }

    /// A new certificate and key of the same authority. Returns the certificate.
    fn certify(&self) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("parameters");
        let made = params.signed_by(&key, &self.authority).expect("a certificate");
        std::fs::write(self.directory.join("key.pem"), key.serialize_pem()).expect("a file");
        std::fs::write(self.directory.join("cert.pem"), made.pem()).expect("a file");
        CertificateDer::from_pem_slice(made.pem().as_bytes()).expect("a certificate")
    }

    /// The configuration, with one more app secret beside the simulator's, and more numbers.
    fn configure(&self, first_port: u16, other_secret: &str, numbers: &str) {
        std::fs::write(self.directory.join("other"), other_secret).expect("a secret");
        let at = |name: &str| self.directory.join(name).display().to_string();
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\ntls_cert = \"{}\"\ntls_key = \"{}\"\n[engine]\naddresses = [\"127.0.0.1\"]\nallow_loopback = true\nports = \"{first_port}-{}\"\n\
             [graph]\nbase_url = \"{}\"\n[webhook]\nverify_token = \"env:VERIFY\"\napp_secrets = [\"file:{}\", \"file:{}\"]\n\
             [[number]]\nphone_number_id = \"{}\"\naccess_token = \"env:TOKEN\"\n{numbers}\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [[api.key]]\nname = \"test\"\ntoken = \"env:KEY\"\nscopes = [\"calls:read\", \"calls:write\", \"admin\"]\n[log]\nformat = \"json\"\n",
            at("cert.pem"),
            at("key.pem"),
            first_port + 99,
            self.sim.graph_url(),
            at("secret"),
            at("other"),
            self.sim.account().phone_number_id,
        );
        std::fs::write(self.directory.join("tipring.toml"), text).expect("a configuration");
    }

    async fn run(&mut self) {
        let account = self.sim.account();
        let mut command = tipring(account);
        command.args(["serve", "--config"]).arg(self.directory.join("tipring.toml")).env("KEY", KEY).stdout(Stdio::null());
        self.child = command.spawn().expect("the daemon starts");
        let mut lines = BufReader::new(self.child.stderr.take().expect("standard error")).lines();
        let log = Arc::clone(&self.log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                log.lock().expect("the log").push(serde_json::from_str(&line).unwrap_or(Value::Null));
            }
        });
        let entry = self.logged("tipring runs", 1).await;
        (self.web, self.api) = addresses(&entry).expect("addresses");
        let port = self.web.rsplit(':').next().expect("a port");
        self.sim.set_webhook_url(format!("https://localhost:{port}/webhook"));
    }

    /// The line of the log that says this for the `count`th time.
    async fn logged(&self, message: &str, count: usize) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found =
                self.log.lock().expect("the log").iter().filter(|entry| entry["fields"]["message"] == message).nth(count - 1).cloned();
            if let Some(entry) = found {
                return entry;
            }
            assert!(tokio::time::Instant::now() < deadline, "{message} was not logged {count} times");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn hang_up(&self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-HUP", &id]).status().expect("kill runs").success());
    }

    /// Posts a webhook with this secret's signature; the status, and the certificate that was shown.
    async fn webhook(&self, secret: &str) -> (u16, CertificateDer<'static>) {
        let body = r#"{"object":"whatsapp_business_account","entry":[]}"#;
        let tcp = TcpStream::connect(&self.web).await.expect("a connection");
        let mut stream = self.tls.connect(ServerName::try_from("localhost").expect("a name"), tcp).await.expect("a handshake");
        let shown = stream.get_ref().1.peer_certificates().expect("certificates")[0].clone();
        let signature = signature::sign(body.as_bytes(), secret.as_bytes());
        let length = body.len();
        let request = format!(
            "POST /webhook HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\nX-Hub-Signature-256: {signature}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, shown)
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let url = format!("http://{}/v1/{path}", self.api);
        let answer = self.client.request(method.parse().expect("a method"), url).bearer_auth(KEY).send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    async fn active(&self) -> String {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let (_, calls) = self.ask("GET", "calls?state=active").await;
            if let Some(id) = calls["calls"][0]["id"].as_str() {
                return id.to_owned();
            }
            assert!(tokio::time::Instant::now() < deadline, "the call does not stand: {calls}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Packets sent in the call grow: it lives.
    async fn lives(&self, id: &str) {
        let sent = async || self.ask("GET", &format!("calls/{id}/stats")).await.1["rtp_out"].as_u64().unwrap_or(0);
        let (before, deadline) = (sent().await, tokio::time::Instant::now() + PATIENCE);
        while sent().await <= before {
            assert!(tokio::time::Instant::now() < deadline, "no packet leaves any more");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).expect("a file");
    assert!(text.contains(from));
    std::fs::write(file, text.replace(from, to)).expect("a file");
}

#[tokio::test]
async fn a_reload_in_the_middle_of_a_call_changes_what_it_should_and_nothing_else() {
    const PORTS: u16 = 35_600;
    let mut world = World::start(PORTS).await;
    let own = world.sim.account().app_secret.clone();
    let user = tokio::spawn({
        let sim = Arc::clone(&world.sim);
        let script = UserScript { hang_up_after: None, patience: Span::from_secs(110), ..UserScript::default() };
        async move { sim.call(script, &[]).await.expect("a report") }
    });
    let id = world.active().await;
    let (status, first) = world.webhook("the retired one").await;
    assert_eq!((status, world.webhook(&own).await.0, world.webhook("the fresh one").await.0), (200, 200, 401));
    assert_eq!(world.ask("GET", &format!("numbers/{ADDED}")).await.0, 404);

    // Everything changes at once.
    let second = world.certify();
    world.configure(
        PORTS,
        "the fresh one",
        &format!("[[number]]\nphone_number_id = \"{ADDED}\"\naccess_token = \"env:TOKEN\"\nanswer = \"wait\"\n"),
    );
    world.hang_up();
    world.logged("configuration reloaded", 1).await;
    let (status, shown) = world.webhook("the fresh one").await;
    assert!(status == 200 && shown == second && shown != first, "the new secret and the new certificate count: {status}");
    assert_eq!((world.webhook("the retired one").await.0, world.webhook(&own).await.0), (401, 200));
    let (status, number) = world.ask("GET", &format!("numbers/{ADDED}")).await;
    assert_eq!((status, number["answer"].as_str(), number["from"].as_str()), (200, Some("wait"), Some("file")), "{number}");
    world.lives(&id).await;

    // Files with a fault change nothing, and say so.
    std::fs::write(world.directory.join("cert.pem"), "no certificate").expect("a file");
    std::fs::write(world.directory.join("other"), "a third one").expect("a file");
    replace(&world.directory.join("tipring.toml"), "answer = \"wait\"", "answer = \"never\"");
    world.hang_up();
    world.logged("the certificate was not exchanged", 1).await;
    world.logged("the configuration was not reloaded", 1).await;
    let (status, shown) = world.webhook("the fresh one").await;
    assert!(status == 200 && shown == second, "what was there goes on: {status}");
    assert_eq!(world.webhook("a third one").await.0, 401);
    world.lives(&id).await;

    assert_eq!(world.ask("POST", &format!("calls/{id}/terminate")).await.0, 202);
    let report = tokio::time::timeout(PATIENCE, user).await.expect("an end in time").expect("the user");
    assert_eq!(report.failures(), Vec::<&Verdict>::new(), "the caller noticed something");
    assert!(!report.is_cut_off);
    let secrets = ["the retired one", "the fresh one", "a third one", own.as_str(), KEY];
    let log = world.log.lock().expect("the log").iter().map(Value::to_string).collect::<String>();
    assert!(secrets.iter().all(|secret| !log.contains(secret)), "a secret is in the log");
    world.child.kill().await.expect("it ends");
}
