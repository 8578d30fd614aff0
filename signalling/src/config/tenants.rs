//! `[webhook]`, `[[app]]` and `[[number]]`: who may post to us, what becomes of what is not ours, and what each number may do.
//!
//! Decides: defaults, and what fits together. Given: sections. Refuses: a number of an app that is not there.

use super::reader::{Reader, Section, nearest};
use super::{AudioTarget, BridgeConfig, Secret, check_base_url, read_bridge, secret};
use crate::sdp::KeyExchange;

/// `[webhook]`: the callback URL, and the app that it stands for when there is only one.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Path of the callback URL.
    pub path: String,
    /// What Meta sends back in `hub.verify_token`.
    pub verify_token: Secret,
    /// App secrets; any of them may have signed. Keep the old one beside the new one while it is rotated.
    pub app_secrets: Vec<Secret>,
    /// Verified deliveries that may wait for the call task; more are answered 503, and Meta sends them again.
    pub queue_max: usize,
    /// Where deliveries go that hold something that is not ours, whole and as they came.
    pub forward_other_to: Option<String>,
}

impl WebhookConfig {
    /// Path `/webhook`, with these secrets, nothing forwarded.
    pub fn new(verify_token: Secret, app_secrets: Vec<Secret>) -> Self {
        Self { path: "/webhook".into(), verify_token, app_secrets, queue_max: 1_024, forward_other_to: None }
    }
}

/// `[[app]]`: one app at Meta, where there are several.
#[derive(Clone, Debug)]
pub struct AppConfig {
    /// Ours, for numbers, logs and records.
    pub name: String,
    /// Path of its callback URL; several apps may share one.
    pub path: String,
    /// What Meta sends back in `hub.verify_token`.
    pub verify_token: Secret,
    /// Its secret, and the old one while it is rotated.
    pub app_secrets: Vec<Secret>,
    /// Where deliveries go that hold something that is not ours.
    pub forward_other_to: Option<String>,
}

/// What we do with the calls of a number.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum NumberRole {
    /// We answer its calls and make calls with it.
    #[default]
    Full,
    /// Another partner does; we may receive its webhooks and not send: nothing is ever asked of Graph.
    ReceiveOnly,
    /// The customer speaks with Graph and brings the SDP to Direct mode: its webhooks are not ours.
    Direct,
}

impl NumberRole {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Full, Self::ReceiveOnly, Self::Direct];

    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReceiveOnly => "receive_only",
            Self::Direct => "direct",
        }
    }
}

/// `[[number]]`
#[derive(Clone, Debug)]
pub struct NumberConfig {
    /// The number's id at Meta, digits. Not the phone number.
    pub phone_number_id: String,
    /// Bearer token for its Graph requests. Empty where nothing is asked of Graph.
    pub access_token: Secret,
    /// How its calls are keyed; must be what `srtp_key_exchange_protocol` says at Meta.
    pub keying: KeyExchange,
    /// What answers.
    pub bridge: BridgeConfig,
    /// Calls wait for the application to accept them over the API; else they are answered at once.
    pub waits: bool,
    /// The app whose webhooks count for it; none: any app's.
    pub app: Option<String>,
    /// WhatsApp Business Account, for records.
    pub waba_id: Option<String>,
    /// What we do with its calls.
    pub role: NumberRole,
}

impl NumberConfig {
    /// Keyed by DTLS, answered at once by an echo, everything allowed.
    pub fn new(phone_number_id: impl Into<String>, access_token: Secret) -> Self {
        Self {
            phone_number_id: phone_number_id.into(),
            access_token,
            keying: KeyExchange::Dtls,
            bridge: BridgeConfig::ECHO,
            waits: false,
            app: None,
            waba_id: None,
            role: NumberRole::Full,
        }
    }
}

/// Reads the section of one number, alone: what the API was given, as TOML.
pub(crate) fn read_one_number(
    text: &str,
    source: &dyn super::SecretSource,
    records: bool,
    targets: &[AudioTarget],
) -> Result<NumberConfig, Vec<super::Fault>> {
    let mut r = Reader::new(text, source);
    let table = match toml::de::DeTable::parse(text) {
        Ok(table) => table,
        Err(e) => {
            r.fault("", None, e.message().to_owned(), "send the members that a [[number]] has in docs/CONFIG.md");
            return Err(r.faults);
        }
    };
    let mut root = Section::root(&table);
    let number = read_number(&mut r, &mut root, records, targets);
    root.finish(&mut r);
    match number {
        Some(number) if r.faults.is_empty() => Ok(number),
        _ => Err(r.faults),
    }
}

pub(super) fn read_webhook(r: &mut Reader<'_>, root: &mut Section<'_, '_>, has_apps: bool) -> Option<WebhookConfig> {
    let mut s = root.table(r, "webhook");
    if !s.is_present() {
        return has_apps.then(|| WebhookConfig::new(Secret::new(""), Vec::new()));
    }
    let path = read_path(r, &mut s, "/webhook");
    let queue_max = s.integer(r, "queue_max", 1..=1_000_000, 1_024) as usize;
    let forward_other_to = read_forward(r, &mut s);
    // With [[app]] the section may hold nothing but the path and the queue.
    let is_bare = has_apps && !s.is_set("verify_token") && !s.is_set("app_secrets");
    let (verify_token, app_secrets) = if is_bare {
        (Some(Secret::new("")), Vec::new())
    } else {
        let token = s.secret(r, "verify_token", "name the token you typed in Meta's App Dashboard, as \"env:NAME\" or \"file:PATH\"");
        (token, read_app_secrets(r, &mut s))
    };
    s.finish(r);
    Some(WebhookConfig { path, verify_token: verify_token?, app_secrets, queue_max, forward_other_to })
}

//= meta#R-02  one app is the rule, apps of their own are possible
pub(super) fn read_apps(r: &mut Reader<'_>, root: &mut Section<'_, '_>, default_path: &str) -> Vec<AppConfig> {
    let mut apps: Vec<AppConfig> = Vec::new();
    for mut s in root.tables(r, "app") {
        let name = s.str(r, "name").map(|(name, span)| (name.to_owned(), span));
        if name.is_none() && s.value("name").is_none() {
            s.missing(r, "name", "name the app as [[number]] will");
        }
        let path = read_path(r, &mut s, default_path);
        let verify_token =
            s.secret(r, "verify_token", "name the token you typed in Meta's App Dashboard, as \"env:NAME\" or \"file:PATH\"");
        let app_secrets = read_app_secrets(r, &mut s);
        let forward_other_to = read_forward(r, &mut s);
        if let (Some((name, span)), Some(verify_token)) = (name, verify_token) {
            if name == DEFAULT_APP || name.is_empty() || name.len() > 64 || apps.iter().any(|a| a.name == name) {
                r.fault(
                    s.path_of("name"),
                    Some(&span),
                    "is not a name of its own",
                    "give each app another name of 1 to 64 bytes; \"default\" is that of [webhook]",
                );
            }
            apps.push(AppConfig { name, path, verify_token, app_secrets, forward_other_to });
        }
        s.finish(r);
    }
    apps
}

fn read_path(r: &mut Reader<'_>, s: &mut Section<'_, '_>, default: &str) -> String {
    let Some((text, span)) = s.str(r, "path") else { return default.to_owned() };
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
    if !text.starts_with('/') || !plain || text.len() > 200 || RESERVED_PATHS.contains(&text) {
        let what = "write for example \"/webhook\"; /livez, /readyz and /metrics are taken";
        r.fault(s.path_of("path"), Some(&span), "is not a usable path", what);
        return default.to_owned();
    }
    text.to_owned()
}

fn read_app_secrets(r: &mut Reader<'_>, s: &mut Section<'_, '_>) -> Vec<Secret> {
    let fix = "list the app secret of each app that delivers here, as [\"env:NAME\"]; while one is rotated, the new and the old one";
    let (path, span) = (s.path_of("app_secrets"), s.span.clone());
    let mut app_secrets = Vec::new();
    match s.strings(r, "app_secrets") {
        Some(references) if references.is_empty() => r.fault(path, Some(&span), "is empty", fix),
        Some(references) => {
            for (i, (text, span)) in references.into_iter().enumerate() {
                match secret::resolve(text, r.source) {
                    Ok(secret) => app_secrets.push(secret),
                    Err((what, fix)) => r.fault(format!("{path}[{i}]"), Some(&span), what, fix),
                }
            }
        }
        None if s.value("app_secrets").is_none() => s.missing(r, "app_secrets", fix),
        None => {}
    }
    app_secrets
}

/// The URL is kept as it is written: a slash at its end may matter to its receiver.
fn read_forward(r: &mut Reader<'_>, s: &mut Section<'_, '_>) -> Option<String> {
    let (text, span) = s.str(r, "forward_other_to")?;
    match check_base_url(text) {
        Ok(_) => Some(text.to_owned()),
        Err(what) => {
            r.fault(
                s.path_of("forward_other_to"),
                Some(&span),
                what,
                "write the https:// URL that took the messages before; http:// is for loopback only",
            );
            None
        }
    }
}

pub(super) fn read_number(r: &mut Reader<'_>, s: &mut Section<'_, '_>, records: bool, targets: &[AudioTarget]) -> Option<NumberConfig> {
    let phone_number_id = read_id(r, s, "phone_number_id", true);
    let role = match s.str(r, "role") {
        None => NumberRole::Full,
        Some((text, span)) => NumberRole::ALL.into_iter().find(|role| role.name() == text).unwrap_or_else(|| {
            let known: Vec<_> = NumberRole::ALL.iter().map(|role| role.name()).collect();
            let fix =
                nearest(text, &known).map_or_else(|| format!("use one of {}", known.join(", ")), |k| format!("did you mean \"{k}\"?"));
            r.fault(s.path_of("role"), Some(&span), "is not a role", fix);
            NumberRole::Full
        }),
    };
    let access_token = if role == NumberRole::Full || s.is_set("access_token") {
        s.secret(r, "access_token", "name the number's token as \"env:NAME\" or \"file:PATH\"")
    } else {
        // Named, so that it is known.
        s.value("access_token");
        Some(Secret::new(""))
    };
    let waits = match s.str(r, "answer") {
        None | Some(("auto", _)) => false,
        Some(("wait", _)) => true,
        Some((_, span)) => {
            r.fault(s.path_of("answer"), Some(&span), "is neither \"auto\" nor \"wait\"", "write one of the two");
            false
        }
    };
    let bridge = read_bridge(r, s, records, targets);
    let keying = match s.str(r, "keying") {
        None | Some(("dtls", _)) => KeyExchange::Dtls,
        Some(("sdes", _)) => KeyExchange::Sdes,
        Some((_, span)) => {
            r.fault(
                s.path_of("keying"),
                Some(&span),
                "is neither \"dtls\" nor \"sdes\"",
                "write what srtp_key_exchange_protocol of the number says at Meta; \"dtls\" is the default and the safer one",
            );
            KeyExchange::Dtls
        }
    };
    let app = s.str(r, "app").map(|(name, _)| name.to_owned());
    let waba_id = read_id(r, s, "waba_id", false);
    Some(NumberConfig { phone_number_id: phone_number_id?, access_token: access_token?, keying, bridge, waits, app, waba_id, role })
}

fn read_id(r: &mut Reader<'_>, s: &mut Section<'_, '_>, key: &'static str, is_needed: bool) -> Option<String> {
    match s.str(r, key) {
        Some((id, _)) if !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_digit()) => Some(id.to_owned()),
        Some((_, span)) => {
            let fix = "copy the id (digits) from WhatsApp Manager; a phone number is not one";
            r.fault(s.path_of(key), Some(&span), "is not an id of Meta", fix);
            None
        }
        None => {
            if is_needed && s.value(key).is_none() {
                s.missing(r, key, "copy the Phone number ID (digits) from WhatsApp Manager");
            }
            None
        }
    }
}

/// The app that `[webhook]` itself stands for.
pub(crate) const DEFAULT_APP: &str = "default";
/// Paths that the daemon itself answers.
const RESERVED_PATHS: [&str; 4] = ["/", "/livez", "/readyz", "/metrics"];
