//! TOML to a checked configuration.
//!
//! Decides: keys, defaults, ranges, and that every fault is told at once with its line and its fix. Given: text and a source of secrets.
//! Refuses: literal secrets, unknown keys, and plain HTTP on an address that others can reach.

mod api;
mod audio;
mod bridge;
mod loopback;
mod ng;
mod outbound;
mod overrides;
mod reader;
mod rtp;
mod secret;
mod store;
mod tenants;
#[cfg(test)]
mod tests;
mod watchdogs;

pub use api::{ApiConfig, ApiKey, CdrConfig, HookConfig, PromptConfig, Scope};
pub(crate) use audio::{AudioBody, target_of};
pub use audio::{AudioBridge, AudioTarget};
pub use ng::NgConfig;
pub use outbound::OutboundConfig;
pub use overrides::from_environment as overrides_from_environment;
pub use reader::Fault;
pub use rtp::TrunkConfig;
pub(crate) use secret::resolve as resolve_secret;
pub use secret::{ProcessSecrets, Secret, SecretSource};
pub use store::StoreConfig;
pub use tenants::{AppConfig, NumberConfig, NumberRole, WebhookConfig};
pub(crate) use tenants::{DEFAULT_APP, read_one_number};

use bridge::{read_bridge, read_record};
use reader::{Reader, Section, nearest};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tipring_engine::bridge::rtp::{AddressRange, RtpLegParams};
use tipring_engine::engine::{AddressRule, EngineConfig};
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;

/// Everything the daemon needs to know. Plain data; build it in code or with [`Config::from_toml`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener for webhooks, health and metrics.
    pub http: HttpConfig,
    /// The media engine. Empty `addresses` means: the address of the default route, found at start.
    pub engine: EngineConfig,
    /// How Meta's Graph API is reached.
    pub graph: GraphConfig,
    /// Webhook verification; absent when the daemon serves Direct mode only.
    pub webhook: Option<WebhookConfig>,
    /// Apps at Meta, where there are several; `webhook` is one of its own if it has secrets.
    pub apps: Vec<AppConfig>,
    /// Where plain RTP may go, and who vouches that it ends there.
    pub trunks: Vec<TrunkConfig>,
    /// The business numbers that are answered.
    pub numbers: Vec<NumberConfig>,
    /// Direct mode; absent: off.
    pub direct: Option<DirectConfig>,
    /// The native call API; absent: off.
    pub api: Option<ApiConfig>,
    /// Recordings that requests may name.
    pub prompts: Vec<PromptConfig>,
    /// Call detail records; absent: none are written.
    pub cdr: Option<CdrConfig>,
    /// What outlives a crash; absent: nothing does.
    pub store: Option<StoreConfig>,
    /// Where recordings go; absent: no bridge may record.
    pub record: Option<RecordConfig>,
    /// The listener for SIP proxies; absent: off.
    pub ng: Option<NgConfig>,
    /// Where audio connections may go.
    pub audio_targets: Vec<AudioTarget>,
    /// What is logged and how.
    pub log: LogConfig,
    /// How long calls may go on after the first stop signal.
    pub drain_max: Duration,
    /// The file that all of this was read from, for a reload; absent when it was built in code.
    pub source: Option<PathBuf>,
    /// Calls that we make.
    pub outbound: OutboundConfig,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key in PEM; absent: plain HTTP.
    pub tls: Option<TlsPaths>,
    /// A proxy in front ends TLS, so plain HTTP is fine on any address.
    pub behind_proxy: bool,
    /// Connections at a time.
    pub connections_max: usize,
    /// Time for the head and, again, for the body of a request.
    pub read_timeout: Duration,
}

/// Certificate chain and private key, both PEM.
#[derive(Clone, Debug)]
pub struct TlsPaths {
    /// Chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// `[graph]`
#[derive(Clone, Debug)]
pub struct GraphConfig {
    /// `https://graph.facebook.com`, or `http://` to a loopback address for tests.
    pub base_url: String,
    /// As `v25.0`.
    pub version: String,
    /// For a whole request.
    pub timeout: Duration,
    /// For TCP and TLS.
    pub connect_timeout: Duration,
    /// Requests at a time.
    pub in_flight_max: usize,
}

/// What a caller hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeConfig {
    /// What is attached to the call.
    pub kind: BridgeKind,
    /// Record both directions into `[record] directory`.
    pub record: bool,
}

/// The kinds of bridges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BridgeKind {
    /// The caller hears itself.
    Echo,
    /// A WAV file, then silence.
    Play(PathBuf),
    /// A WAV file, then echo.
    PlayThenEcho(PathBuf),
    /// A plain RTP leg: somebody else's audio.
    Rtp(Box<RtpLegParams>),
    /// An audio server: a bot, Asterisk.
    Audio(Box<AudioBridge>),
}

impl BridgeKind {
    /// Whether the call ends when its other end has left.
    pub fn hangs_up(&self) -> bool {
        matches!(self, Self::Audio(audio) if audio.hangs_up)
    }

    /// The file to play, if any.
    pub fn wav(&self) -> Option<&PathBuf> {
        match self {
            Self::Echo | Self::Rtp(_) | Self::Audio(_) => None,
            Self::Play(path) | Self::PlayThenEcho(path) => Some(path),
        }
    }
}

/// `[direct]`
#[derive(Clone, Debug)]
pub struct DirectConfig {
    /// Where to listen; loopback unless `behind_proxy`.
    pub listen: SocketAddr,
    /// Bearer token that every request must carry.
    pub token: Secret,
    /// A proxy in front ends TLS, so another address than loopback is fine.
    pub behind_proxy: bool,
    /// Sessions at a time.
    pub sessions_max: usize,
    /// Bridge of sessions that do not name one.
    pub bridge: BridgeConfig,
}

/// `[record]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordConfig {
    /// Directory, made at start.
    pub directory: PathBuf,
    /// Write one Ogg/Opus file per direction, not decoded.
    pub ogg: bool,
    /// Write one stereo WAV: caller left, we right.
    pub wav: bool,
}

/// `[log]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// One JSON object per line instead of text.
    pub json: bool,
    /// Filter as of `tracing-subscriber`, for example `info` or `tipring=debug`.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            engine: EngineConfig::default(),
            graph: GraphConfig::default(),
            webhook: None,
            apps: Vec::new(),
            trunks: Vec::new(),
            numbers: Vec::new(),
            direct: None,
            api: None,
            prompts: Vec::new(),
            cdr: None,
            store: None,
            record: None,
            ng: None,
            audio_targets: Vec::new(),
            log: LogConfig { json: false, filter: "info".into() },
            drain_max: Duration::from_secs(30),
            source: None,
            outbound: OutboundConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8_080)),
            tls: None,
            behind_proxy: false,
            connections_max: 512,
            read_timeout: Duration::from_secs(5),
        }
    }
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self {
            base_url: "https://graph.facebook.com".into(),
            version: "v25.0".into(),
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            in_flight_max: 64,
        }
    }
}

impl BridgeConfig {
    /// Echo, not recorded.
    pub const ECHO: Self = Self { kind: BridgeKind::Echo, record: false };
}

impl DirectConfig {
    /// Loopback port 8480 with this token, echo by default.
    pub fn new(token: Secret) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8_480)),
            token,
            behind_proxy: false,
            sessions_max: 200,
            bridge: BridgeConfig::ECHO,
        }
    }
}

/// Largest configuration file taken, in bytes.
const CONFIG_BYTES_MAX: usize = 1 << 20;

impl Config {
    /// Reads the text of a configuration file.
    ///
    /// Every fault is reported at once. A fault never shows any part of a secret.
    pub fn from_toml(text: &str, source: &dyn SecretSource) -> Result<Self, Vec<Fault>> {
        Self::from_toml_with(text, &[], source)
    }

    /// The same, with single keys overridden: pairs of `TIPRING__SECTION__KEY` and a value (docs/CONFIG.md).
    pub fn from_toml_with(text: &str, overrides: &[(String, String)], source: &dyn SecretSource) -> Result<Self, Vec<Fault>> {
        let mut r = Reader::new(text, source);
        if text.len() > CONFIG_BYTES_MAX {
            r.fault("", None, "the file is larger than 1 MiB", "this is not a configuration file of tipring");
            return Err(r.faults);
        }
        let mut table = match toml::de::DeTable::parse(text) {
            Ok(table) => table,
            Err(e) => {
                // The message of the parser names what it expected; the source line is left out, since it may hold a secret.
                r.fault("", e.span().as_ref(), format!("is not TOML: {}", e.message()), "correct the syntax; https://toml.io shows it");
                return Err(r.faults);
            }
        };
        r.faults.extend(overrides::apply(&mut table, overrides));
        let mut root = Section::root(&table);
        let config = Self::read(&mut r, &mut root);
        root.finish(&mut r);
        r.faults.sort_by_key(|f| f.line);
        if r.faults.is_empty() { Ok(config) } else { Err(r.faults) }
    }

    fn read(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let http = read_http(r, root);
        let trunks = rtp::read_trunks(r, root);
        let (engine, drain_max) = read_engine(r, root, trunks.iter().flat_map(|t| t.targets.clone()).collect());
        let graph = read_graph(r, root);
        let has_apps = root.is_set("app");
        let webhook = tenants::read_webhook(r, root, has_apps);
        let apps = tenants::read_apps(r, root, webhook.as_ref().map_or("/webhook", |w| &w.path));
        let record = read_record(r, root);
        let records = record.is_some();
        let audio_targets = audio::read_targets(r, root);
        let mut numbers: Vec<NumberConfig> = Vec::new();
        let tables = root.tables(r, "number");
        let number_count = tables.len();
        for mut table in tables {
            let path = table.path_of("phone_number_id");
            let span = table.span.clone();
            if let Some(number) = tenants::read_number(r, &mut table, records, &audio_targets) {
                let is_default = webhook.as_ref().is_some_and(|w| !w.app_secrets.is_empty());
                let knows = |name: &str| apps.iter().any(|a| a.name == name) || (is_default && name == DEFAULT_APP);
                if number.app.as_deref().is_some_and(|name| !knows(name)) {
                    r.fault(
                        table.path_of("app"),
                        Some(&span),
                        "is the name of no [[app]]",
                        "write the name of one, or \"default\" for that of [webhook]",
                    );
                }
                if numbers.iter().any(|n| n.phone_number_id == number.phone_number_id) {
                    r.fault(path, Some(&span), "stands twice in the file", "keep one [[number]] per phone_number_id");
                }
                numbers.push(number);
            }
            table.finish(r);
        }
        let ng = ng::read_ng(r, root);
        if ng.is_some() && !engine.stun_servers.is_empty() && engine.public_addresses.is_empty() {
            r.fault("ng", None, "and engine.stun_servers do not fit together: its answers cannot wait", "name public_addresses instead");
        }
        let direct_section = root.value("direct").is_some();
        let direct = read_direct(r, root, records, &audio_targets);
        let api = api::read_api(r, root);
        let prompts = api::read_prompts(r, root);
        let cdr = api::read_cdr(r, root);
        let store = store::read_store(r, root);
        if let Some(i) = numbers.iter().position(|n| n.waits).filter(|_| api.is_none()) {
            r.fault(format!("number[{i}].answer"), None, "is \"wait\", but nobody could accept its calls", "add [api] with a [[api.key]]");
        }
        let outbound = outbound::read(r, root);
        let mut log = root.table(r, "log");
        let log_config = LogConfig {
            json: match log.str(r, "format") {
                None | Some(("text", _)) => false,
                Some(("json", _)) => true,
                Some((_, span)) => {
                    r.fault("log.format", Some(&span), "is neither \"text\" nor \"json\"", "write one of the two");
                    false
                }
            },
            filter: log.str(r, "filter").map_or(default.log.filter, |(s, _)| s.to_owned()),
        };
        log.finish(r);

        let webhook_section = root.value("webhook").is_some() || has_apps;
        if number_count > 0 && !webhook_section {
            r.fault(
                "webhook",
                None,
                "is missing, but a [[number]] is configured",
                "add [webhook] with verify_token and app_secrets: calls arrive by webhook",
            );
        }
        // A number may also come by the API.
        if number_count == 0 && webhook_section && api.is_none() {
            r.fault("number", None, "is missing, but [webhook] is configured", "add a [[number]] with phone_number_id and access_token");
        }
        if number_count == 0 && !webhook_section && !direct_section && ng.is_none() {
            r.fault(
                "",
                None,
                "neither a number nor Direct mode is configured: there is nothing to do",
                "add [webhook] and [[number]] to answer WhatsApp calls, or [direct] to exchange SDP by hand",
            );
        }
        Self {
            http,
            engine,
            graph,
            webhook,
            numbers,
            direct,
            api,
            prompts,
            cdr,
            store,
            record,
            ng,
            audio_targets,
            log: log_config,
            drain_max,
            outbound,
            apps,
            trunks,
            source: None,
        }
    }
}

fn read_http(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> HttpConfig {
    let default = HttpConfig::default();
    let mut s = root.table(r, "http");
    let listen = s.socket(r, "listen", default.listen);
    let cert = s.path(r, "tls_cert");
    let key = s.path(r, "tls_key");
    let behind_proxy = s.bool(r, "behind_proxy", false);
    let span = s.span.clone();
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => Some(TlsPaths { cert, key }),
        (None, None) => None,
        (cert, _) => {
            let (missing, there) = if cert.is_some() { ("tls_key", "tls_cert") } else { ("tls_cert", "tls_key") };
            r.fault(format!("http.{missing}"), Some(&span), format!("is missing, but {there} is set"), "give both, as PEM files");
            None
        }
    };
    if tls.is_none() && !behind_proxy && !listen.ip().is_loopback() {
        r.fault(
            "http.listen",
            s.is_present().then_some(&span),
            format!("{listen} would serve plain HTTP to the network"),
            "set tls_cert and tls_key; or behind_proxy = true when a proxy ends TLS; or listen on 127.0.0.1",
        );
    }
    let config = HttpConfig {
        listen,
        tls,
        behind_proxy,
        connections_max: s.integer(r, "connections_max", 1..=65_536, default.connections_max as u64) as usize,
        read_timeout: Duration::from_millis(s.integer(r, "read_timeout_ms", 100..=60_000, default.read_timeout.as_millis() as u64)),
    };
    s.finish(r);
    config
}

fn read_engine(r: &mut Reader<'_>, root: &mut Section<'_, '_>, targets: Vec<AddressRange>) -> (EngineConfig, Duration) {
    let default = EngineConfig::default();
    let mut s = root.table(r, "engine");
    let allow_loopback = s.bool(r, "allow_loopback", false);
    let addresses = s.addresses(r, "addresses");
    let public_addresses = s.addresses(r, "public_addresses");
    let span = s.span.clone();
    if let Some(ip) = addresses.iter().find(|a| a.is_loopback() && !allow_loopback) {
        r.fault(
            "engine.addresses",
            Some(&span),
            format!("{ip} cannot be reached by Meta"),
            "name an interface's address; or allow_loopback = true in tests",
        );
    }
    if let Some(ip) = public_addresses.iter().find(|p| !addresses.is_empty() && !addresses.iter().any(|a| a.is_ipv4() == p.is_ipv4())) {
        r.fault(
            "engine.public_addresses",
            Some(&span),
            format!("{ip} has no local address of its family to stand for"),
            "add that family to engine.addresses, or remove it here",
        );
    }
    let candidate_allow = read_rules(r, &mut s, "candidate_allow");
    let candidate_deny = read_rules(r, &mut s, "candidate_deny");
    let stun_servers = read_stun_servers(r, &mut s);
    let gather_ms = s.integer(r, "gather_ms", 50..=2_000, default.gather_patience.as_millis());
    if s.is_set("rtp_targets") {
        s.value("rtp_targets");
        r.fault(
            "engine.rtp_targets",
            Some(&span),
            "has become [[trunk]]",
            "write [[trunk]] with name, targets and attests_no_pstn = true (R-11)",
        );
    }
    let check_spacing = s.is_set("check_spacing_us").then(|| s.integer(r, "check_spacing_us", 0..=40_000, 0)).map(Span::from_micros);
    let mut ports = default.ports.clone();
    if let Some((text, span)) = s.str(r, "ports") {
        let parsed = text.split_once('-').and_then(|(a, b)| Some((a.trim().parse::<u16>().ok()?, b.trim().parse::<u16>().ok()?)));
        match parsed {
            Some((first, last)) if first >= 1_024 && first <= last => ports = first..=last,
            _ => {
                r.fault("engine.ports", Some(&span), "is not a range of UDP ports from 1024 to 65535", "write for example \"40000-49999\"")
            }
        }
    }
    let mut profiles = default.profiles.clone();
    if let Some(names) = s.strings(r, "profiles") {
        profiles.clear();
        for (name, span) in names {
            match PROFILES.iter().find(|(n, _)| *n == name) {
                Some((_, profile)) if profiles.contains(profile) => {
                    r.fault("engine.profiles", Some(&span), format!("{name} stands twice"), "remove one")
                }
                Some((_, profile)) => profiles.push(*profile),
                None => {
                    let known: Vec<_> = PROFILES.iter().map(|(n, _)| *n).collect();
                    let fix =
                        nearest(name, &known).map_or_else(|| format!("use {}", known.join(", ")), |n| format!("did you mean \"{n}\"?"));
                    r.fault("engine.profiles", Some(&span), "is not an SRTP profile", fix);
                }
            }
        }
        if profiles.is_empty() {
            r.fault("engine.profiles", Some(&span), "names no profile", "remove the key to have the default");
        }
    }
    let config = EngineConfig {
        addresses,
        public_addresses,
        candidate_allow,
        candidate_deny,
        stun_servers,
        gather_patience: Span::from_millis(gather_ms),
        check_spacing,
        allow_loopback,
        ports,
        cores: s.integers(r, "cores", 1_023).into_iter().map(|c| c as usize).collect(),
        calls_max_per_shard: s.integer(r, "calls_max", 1..=60_000, default.calls_max_per_shard as u64) as usize,
        handshakes_max: s.integer(r, "handshakes_max", 1..=10_000, default.handshakes_max as u64) as usize,
        load_max_percent: s.integer(r, "load_max_percent", 1..=100, u64::from(default.load_max_percent)) as u8,
        profiles,
        complexity: s.integer(r, "complexity", 0..=10, u64::from(default.complexity)) as u8,
        rtp_addresses: s.addresses(r, "rtp_addresses"),
        rtp_targets: targets,
        watchdogs: watchdogs::read(r, &mut s),
        ice_patience: Span::from_millis(s.integer(r, "ice_patience_ms", 2_000..=120_000, default.ice_patience.as_millis())),
        dtls_patience: Span::from_millis(s.integer(r, "dtls_patience_ms", 2_000..=60_000, default.dtls_patience.as_millis())),
    };
    let drain_max = Duration::from_secs(s.integer(r, "drain_s", 0..=86_400, 30));
    s.finish(r);
    (config, drain_max)
}

/// Interfaces and networks.
fn read_rules(r: &mut Reader<'_>, s: &mut Section<'_, '_>, key: &'static str) -> Vec<AddressRule> {
    let mut rules = Vec::new();
    for (i, (text, span)) in s.strings(r, key).unwrap_or_default().into_iter().enumerate() {
        match text.parse() {
            Ok(rule) => rules.push(rule),
            Err(why) => r.fault(
                format!("engine.{key}[{i}]"),
                Some(&span),
                format!("names nothing: {why}"),
                "write an interface as \"eth0\" or \"docker*\", or a network as \"10.0.0.0/8\"",
            ),
        }
    }
    rules
}

/// At most one server per family, by address: a name would have to be looked up, and could point elsewhere tomorrow.
fn read_stun_servers(r: &mut Reader<'_>, s: &mut Section<'_, '_>) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for (i, (text, span)) in s.strings(r, "stun_servers").unwrap_or_default().into_iter().enumerate() {
        let place = format!("engine.stun_servers[{i}]");
        match text.parse::<SocketAddr>() {
            Ok(server) if servers.iter().any(|s| s.is_ipv4() == server.is_ipv4()) => {
                r.fault(place, Some(&span), "is the second server of its family", "keep at most one for IPv4 and one for IPv6");
            }
            Ok(server) => servers.push(server),
            Err(_) => r.fault(
                place,
                Some(&span),
                "is not an address and port",
                "write for example \"198.51.100.7:3478\" or \"[2001:db8::7]:3478\"",
            ),
        }
    }
    servers
}

/// Names of profiles in the file.
const PROFILES: [(&str, Profile); 4] = [
    ("AEAD_AES_128_GCM", Profile::AeadAes128Gcm),
    ("AEAD_AES_256_GCM", Profile::AeadAes256Gcm),
    ("AES128_CM_SHA1_80", Profile::Aes128CmSha1_80),
    ("AES128_CM_SHA1_32", Profile::Aes128CmSha1_32),
];

fn read_graph(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> GraphConfig {
    let default = GraphConfig::default();
    let mut s = root.table(r, "graph");
    let mut base_url = default.base_url;
    if let Some((text, span)) = s.str(r, "base_url") {
        match check_base_url(text) {
            Ok(url) => base_url = url,
            Err(what) => {
                r.fault(
                    "graph.base_url",
                    Some(&span),
                    what,
                    "leave it out for https://graph.facebook.com; http:// is for a simulator on 127.0.0.1 only",
                );
            }
        }
    }
    let mut version = default.version;
    if let Some((text, span)) = s.str(r, "version") {
        if is_version(text) {
            version = text.to_owned();
        } else {
            r.fault("graph.version", Some(&span), "is not a Graph version", "write for example \"v25.0\"");
        }
    }
    let config = GraphConfig {
        base_url,
        version,
        timeout: Duration::from_millis(s.integer(r, "timeout_ms", 100..=60_000, default.timeout.as_millis() as u64)),
        connect_timeout: Duration::from_millis(s.integer(
            r,
            "connect_timeout_ms",
            100..=60_000,
            default.connect_timeout.as_millis() as u64,
        )),
        in_flight_max: s.integer(r, "in_flight_max", 1..=10_000, default.in_flight_max as u64) as usize,
    };
    s.finish(r);
    config
}

/// Takes `https://HOST`, or `http://` to a loopback address, without a trailing slash. The access token travels there.
pub(crate) fn check_base_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|_| "is not a URL".to_owned())?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("has a user, query or fragment".into());
    }
    let loopback = match url.host() {
        Some(reqwest_host) => match reqwest_host.to_string().trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_loopback(),
            Err(_) => false,
        },
        None => return Err("has no host".into()),
    };
    match url.scheme() {
        "https" => {}
        "http" if loopback => {}
        "http" => return Err("is plain HTTP to another machine: access tokens would travel in clear".into()),
        other => return Err(format!("has the scheme {other}")),
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn is_version(text: &str) -> bool {
    text.strip_prefix('v')
        .and_then(|t| t.split_once('.'))
        .is_some_and(|(major, minor)| [major, minor].iter().all(|p| !p.is_empty() && p.len() <= 3 && p.bytes().all(|b| b.is_ascii_digit())))
}

fn read_direct(r: &mut Reader<'_>, root: &mut Section<'_, '_>, records: bool, targets: &[AudioTarget]) -> Option<DirectConfig> {
    let mut s = root.table(r, "direct");
    if !s.is_present() {
        return None;
    }
    let default = DirectConfig::new(Secret::new(""));
    let listen = s.socket(r, "listen", default.listen);
    let token = s.secret(r, "token", "name a bearer token as \"env:NAME\" or \"file:PATH\"");
    let behind_proxy = s.bool(r, "behind_proxy", false);
    let span = s.span.clone();
    if !behind_proxy && !listen.ip().is_loopback() {
        r.fault(
            "direct.listen",
            Some(&span),
            format!("{listen} would serve plain HTTP to the network"),
            "listen on 127.0.0.1; or behind_proxy = true when a proxy ends TLS",
        );
    }
    let sessions_max = s.integer(r, "sessions_max", 1..=60_000, default.sessions_max as u64) as usize;
    let bridge = read_bridge(r, &mut s, records, targets);
    s.finish(r);
    Some(DirectConfig { listen, token: token?, behind_proxy, sessions_max, bridge })
}
