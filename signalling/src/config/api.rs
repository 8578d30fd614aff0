//! `[api]`, `[[api.key]]`, `[[api.hook]]`, `[[prompt]]` and `[cdr]`: what programs may ask of the daemon, and what they are told.

use super::reader::{Reader, Section, nearest};
use super::secret::{self, Secret};
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[api]`: the native call API.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where to listen; loopback unless `behind_proxy`.
    pub listen: SocketAddr,
    /// A proxy in front ends TLS, so another address than loopback is fine.
    pub behind_proxy: bool,
    /// Who may ask what. At least one.
    pub keys: Vec<ApiKey>,
    /// Where events are delivered.
    pub hooks: Vec<HookConfig>,
    /// WebSocket listeners at a time.
    pub listeners_max: usize,
    /// Where business tokens of sign-ups go, one file per number; none: there are no sign-ups.
    pub token_directory: Option<PathBuf>,
}

impl ApiConfig {
    /// Loopback port 8481 with these keys, no webhooks.
    pub fn new(keys: Vec<ApiKey>) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8_481));
        Self { listen, behind_proxy: false, keys, hooks: Vec::new(), listeners_max: 64, token_directory: None }
    }
}

/// `[[api.key]]`: a bearer key and what it opens.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// For people.
    pub name: String,
    /// The key.
    pub token: Secret,
    /// What it opens.
    pub scopes: Vec<Scope>,
}

/// What a key may open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Look at calls and permissions.
    CallsRead,
    /// Make, take, end and bridge calls; ask users for permission.
    CallsWrite,
    /// Listen to the event stream.
    Events,
    /// Load, drain.
    Node,
    /// Numbers, their settings at Meta, sign-ups, and the configuration read again.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::CallsRead, Self::CallsWrite, Self::Events, Self::Node, Self::Admin];

    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CallsRead => "calls:read",
            Self::CallsWrite => "calls:write",
            Self::Events => "events",
            Self::Node => "node",
            Self::Admin => "admin",
        }
    }
}

/// `[[api.hook]]`: a URL that events are posted to.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// `https://`, or `http://` to a loopback address.
    pub url: String,
    /// Signs each body: HMAC-SHA256 in `X-Tipring-Signature`.
    pub secret: Secret,
    /// Types, or prefixes that end in a dot; empty: all.
    pub types: Vec<String>,
}

/// `[[prompt]]`: a recording that requests may name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromptConfig {
    /// What requests call it.
    pub name: String,
    /// WAV file.
    pub wav: PathBuf,
}

/// `[cdr]`: call detail records, one JSON object per line.
#[derive(Clone, Debug)]
pub struct CdrConfig {
    /// Appended to; opened again for each record, so that it can be rotated by renaming.
    pub file: PathBuf,
    /// Keys the hash that stands in place of phone numbers and user ids; none: they stand there plainly.
    pub salt: Option<Secret>,
}

pub(super) fn read_api(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<ApiConfig> {
    let mut s = root.table(r, "api");
    if !s.is_present() {
        return None;
    }
    let default = ApiConfig::new(Vec::new());
    let listen = s.socket(r, "listen", default.listen);
    let behind_proxy = s.bool(r, "behind_proxy", false);
    let span = s.span.clone();
    if !behind_proxy && !listen.ip().is_loopback() {
        r.fault(
            "api.listen",
            Some(&span),
            format!("{listen} would serve plain HTTP to the network"),
            "listen on 127.0.0.1; or behind_proxy = true when a proxy ends TLS",
        );
    }
    let listeners_max = s.integer(r, "listeners_max", 1..=10_000, default.listeners_max as u64) as usize;
    let token_directory = s.path(r, "token_directory");
    let tables = s.tables(r, "key");
    let has_keys = !tables.is_empty();
    let keys: Vec<ApiKey> = tables.into_iter().filter_map(|table| read_key(r, table)).collect();
    if !has_keys {
        s.missing(r, "key", "add a [[api.key]] with name, token and scopes: nothing is served without a key");
    }
    for (i, key) in keys.iter().enumerate() {
        if keys[..i].iter().any(|k| k.token.matches(key.token.expose().as_bytes())) {
            r.fault(format!("api.key[{i}].token"), Some(&span), "is the token of another key", "give each key a token of its own");
        }
    }
    let hooks = s.tables(r, "hook").into_iter().filter_map(|table| read_hook(r, table)).collect();
    s.finish(r);
    Some(ApiConfig { listen, behind_proxy, keys, hooks, listeners_max, token_directory })
}

fn read_key(r: &mut Reader<'_>, mut s: Section<'_, '_>) -> Option<ApiKey> {
    let name = s.str(r, "name").map(|(name, _)| name.to_owned());
    if name.is_none() && s.value("name").is_none() {
        s.missing(r, "name", "name whoever holds the key");
    }
    let token = s.secret(r, "token", "name a long random key as \"env:NAME\" or \"file:PATH\"");
    let mut scopes = Vec::new();
    let path = s.path_of("scopes");
    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.name()).collect();
    for (text, span) in s.strings(r, "scopes").unwrap_or_default() {
        match Scope::ALL.into_iter().find(|scope| scope.name() == text) {
            Some(scope) => scopes.push(scope),
            None => {
                let fix = nearest(text, &known).map_or_else(|| format!("use {}", known.join(", ")), |n| format!("did you mean \"{n}\"?"));
                r.fault(&path, Some(&span), "is not a scope", fix);
            }
        }
    }
    if scopes.is_empty() {
        let span = s.span.clone();
        r.fault(path, Some(&span), "opens nothing", format!("list scopes: {}", known.join(", ")));
    }
    s.finish(r);
    Some(ApiKey { name: name?, token: token?, scopes })
}

fn read_hook(r: &mut Reader<'_>, mut s: Section<'_, '_>) -> Option<HookConfig> {
    let mut url = None;
    match s.str(r, "url") {
        Some((text, span)) => match super::check_base_url(text) {
            Ok(good) => url = Some(good),
            Err(what) => r.fault(s.path_of("url"), Some(&span), what, "write an https:// URL; http:// is for loopback only"),
        },
        None if s.value("url").is_none() => s.missing(r, "url", "name the URL that takes the events"),
        None => {}
    }
    let secret = s.secret(r, "secret", "name the secret that signs the events as \"env:NAME\" or \"file:PATH\"");
    let types = s.strings(r, "types").unwrap_or_default().into_iter().map(|(text, _)| text.to_owned()).collect();
    s.finish(r);
    Some(HookConfig { url: url?, secret: secret?, types })
}

pub(super) fn read_prompts(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Vec<PromptConfig> {
    let mut prompts: Vec<PromptConfig> = Vec::new();
    for mut s in root.tables(r, "prompt") {
        let name = s.str(r, "name").map(|(name, span)| (name.to_owned(), span));
        let wav = s.path(r, "wav");
        if name.is_none() && s.value("name").is_none() {
            s.missing(r, "name", "name the prompt as requests will");
        }
        if wav.is_none() && s.value("wav").is_none() {
            s.missing(r, "wav", "name the WAV file");
        }
        if let (Some((name, span)), Some(wav)) = (name, wav) {
            if prompts.iter().any(|p| p.name == name) {
                r.fault(s.path_of("name"), Some(&span), "stands twice", "give each prompt a name of its own");
            }
            prompts.push(PromptConfig { name, wav });
        }
        s.finish(r);
    }
    prompts
}

pub(super) fn read_cdr(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<CdrConfig> {
    let mut s = root.table(r, "cdr");
    if !s.is_present() {
        return None;
    }
    let file = s.path(r, "file");
    if file.is_none() && s.value("file").is_none() {
        s.missing(r, "file", "name the file that records are appended to");
    }
    let salt = match s.str(r, "salt") {
        Some((text, span)) => match secret::resolve(text, r.source) {
            Ok(salt) => Some(salt),
            Err((what, fix)) => {
                r.fault("cdr.salt", Some(&span), what, fix);
                None
            }
        },
        None => None,
    };
    s.finish(r);
    Some(CdrConfig { file: file?, salt })
}
