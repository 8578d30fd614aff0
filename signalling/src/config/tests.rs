//! The configuration judged by what operators write: every fault with its fix, every block of docs/CONFIG.md.

use super::*;
use crate::sdp::KeyExchange;
use std::path::Path;

/// Secrets of the tests: `env:SET`, `env:OTHER`, `file:secret.txt`.
struct Table;

impl SecretSource for Table {
    fn env(&self, name: &str) -> Option<String> {
        match name {
            "SET"
            | "WHATSAPP_TOKEN"
            | "WHATSAPP_VERIFY_TOKEN"
            | "WHATSAPP_APP_SECRET"
            | "TIPRING_DIRECT_TOKEN"
            | "BOT_KEY"
            | "HOOK_SECRET"
            | "CDR_SALT" => Some(format!("value-of-{name}")),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("secret.txt" | "/run/secrets/whatsapp-token-2") => Ok("from-file\n".into()),
            _ => Err("no such file".into()),
        }
    }
}

const MINIMAL: &str = r#"
[webhook]
verify_token = "env:SET"
app_secrets = ["env:SET"]

[[number]]
phone_number_id = "1047000000000"
access_token = "file:secret.txt"
"#;

fn faults(text: &str) -> Vec<Fault> {
    Config::from_toml(text, &Table).expect_err("this configuration has a fault")
}

#[test]
fn a_minimal_file_has_sensible_defaults() {
    let config = Config::from_toml(MINIMAL, &Table).unwrap();
    assert_eq!(config.http.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.graph.base_url, "https://graph.facebook.com");
    assert_eq!(config.graph.version, "v25.0");
    let webhook = config.webhook.unwrap();
    assert_eq!(webhook.path, "/webhook");
    assert_eq!(webhook.verify_token.expose(), "value-of-SET");
    assert_eq!(config.numbers[0].access_token.expose(), "from-file", "the newline belongs to the editor");
    assert_eq!(config.numbers[0].bridge, BridgeConfig::ECHO);
    assert!(config.direct.is_none() && config.record.is_none());
}

#[test]
fn a_number_says_how_its_calls_are_keyed() {
    let keying = |extra: &str| Config::from_toml(&format!("{MINIMAL}{extra}"), &Table).unwrap().numbers[0].keying;
    assert_eq!(keying(""), KeyExchange::Dtls);
    assert_eq!(keying("keying = \"dtls\"\n"), KeyExchange::Dtls);
    assert_eq!(keying("keying = \"sdes\"\n"), KeyExchange::Sdes);
}

#[test]
fn direct_mode_alone_is_enough() {
    let config = Config::from_toml("[direct]\ntoken = \"env:SET\"\n", &Table).unwrap();
    let direct = config.direct.unwrap();
    assert!(direct.listen.ip().is_loopback());
    assert!(config.webhook.is_none());
}

//= meta#R-39 type=test
#[test]
fn watchdogs_and_patience_are_the_operators_to_set() {
    use tipring_engine::call::{Watchdog, WatchdogAction, Watchdogs};
    use tipring_engine::time::Span;
    let of = |extra: &str| Config::from_toml(&format!("{MINIMAL}{extra}"), &Table).unwrap().engine;
    assert_eq!(of("").watchdogs, Watchdogs::default());
    let set = of(
        "\n[engine]\nice_patience_ms = 20000\ndtls_patience_ms = 6000\n[engine.watchdogs]\negress_s = 12\negress = \"tell\"\ningress = \"end\"\n",
    );
    assert_eq!((set.ice_patience, set.dtls_patience), (Span::from_secs(20), Span::from_secs(6)));
    let expected = Watchdogs {
        egress: Watchdog { after: Span::from_secs(12), action: WatchdogAction::Tell },
        ingress: Watchdog { after: Span::from_secs(30), action: WatchdogAction::End },
    };
    assert_eq!(set.watchdogs, expected);
}

/// Each row: what is appended to or said instead of the minimal file, where the fault is told, what it says, what it advises.
#[test]
fn every_fault_names_its_place_and_its_fix() {
    let with = |extra: &str| format!("{MINIMAL}{extra}");
    let table: &[(String, &str, &str, &str)] = &[
        (with("\n[htp]\nlisten = \"127.0.0.1:1\"\n"), "htp", "unknown key", "did you mean `http`?"),
        (with("\n[engine]\nadress = []\n"), "engine.adress", "unknown key", "did you mean `addresses`?"),
        (with("\n[engine]\ncompexity = 3\n"), "engine.compexity", "unknown key", "did you mean `complexity`?"),
        (with("\n[graph]\nzzz = 3\n"), "graph.zzz", "unknown key", "valid here: base_url, version"),
        (with("\nkeying = \"sdse\"\n"), "number[0].keying", "neither \"dtls\" nor \"sdes\"", "srtp_key_exchange_protocol"),
        (with("\nbrige = {}\n"), "number[0].brige", "unknown key", "did you mean `bridge`?"),
        (with("\nbridge = { kind = \"ehco\" }\n"), "number[0].bridge.kind", "not a kind", "did you mean \"echo\"?"),
        (with("\nbridge = { kind = \"play\" }\n"), "number[0].bridge.wav", "missing", "name the WAV file"),
        (with("\nbridge = { wav = \"a.wav\" }\n"), "number[0].bridge.wav", "plays nothing", "kind ="),
        (with("\nbridge = { record = true }\n"), "number[0].bridge.record", "no [record]", "add [record]"),
        (MINIMAL.replace("file:secret.txt", "EAAGverysecret"), "number[0].access_token", "literal secret", "env:NAME"),
        (MINIMAL.replace("[\"env:SET\"]", "[\"abcdef0123\"]"), "webhook.app_secrets[0]", "literal secret", "file:PATH"),
        (MINIMAL.replace("[\"env:SET\"]", "[]"), "webhook.app_secrets", "is empty", "app secret"),
        (MINIMAL.replace("file:secret.txt", "env:UNSET"), "number[0].access_token", "UNSET is not set", "set UNSET"),
        (MINIMAL.replace("file:secret.txt", "env:EMPTY"), "number[0].access_token", "is empty", "put the secret"),
        (MINIMAL.replace("file:secret.txt", "file:gone"), "number[0].access_token", "cannot be read", "create it"),
        (MINIMAL.replace("1047000000000", "+1 555 000 1111"), "number[0].phone_number_id", "not an id", "WhatsApp Manager"),
        (
            with("\n[[number]]\nphone_number_id = \"1047000000000\"\naccess_token = \"env:SET\"\n"),
            "number[1].phone_number_id",
            "twice",
            "keep one",
        ),
        (with("\n[http]\nlisten = \"0.0.0.0:80\"\n"), "http.listen", "plain HTTP", "behind_proxy"),
        (with("\n[http]\ntls_cert = \"a.pem\"\n"), "http.tls_key", "missing", "both"),
        (with("\n[http]\nlisten = 80\n"), "http.listen", "not a string", "quotes"),
        (with("\n[http]\nlisten = \"host:80\"\n"), "http.listen", "not an address", "127.0.0.1:8080"),
        (with("\n[http]\nconnections_max = 0\n"), "http.connections_max", "from 1 to", "default is 512"),
        (with("\n[engine.watchdogs]\negress = \"stop\"\n"), "engine.watchdogs.egress", "none of", "one of the three"),
        (with("\n[engine.watchdogs]\ningress_s = 1\n"), "engine.watchdogs.ingress_s", "from 2 to", "default is 30"),
        (with("\n[engine.watchdogs]\ningres = \"off\"\n"), "engine.watchdogs.ingres", "unknown key", "did you mean `ingress`?"),
        (with("\n[engine]\nports = \"80-90\"\n"), "engine.ports", "range of UDP ports", "40000-49999"),
        (with("\n[engine]\naddresses = [\"127.0.0.1\"]\n"), "engine.addresses", "cannot be reached", "allow_loopback"),
        (with("\n[engine]\naddresses = [\"0.0.0.0\"]\n"), "engine.addresses[0]", "cannot be advertised", "one interface"),
        (with("\n[engine]\naddresses = [\"10.0.0.1\", \"10.0.0.2\"]\n"), "engine.addresses[1]", "second address", "at most one"),
        (
            with("\n[engine]\naddresses = [\"10.0.0.1\"]\npublic_addresses = [\"2001:db8::1\"]\n"),
            "engine.public_addresses",
            "no local address",
            "add that family",
        ),
        (with("\n[engine]\ncandidate_deny = [\"10.0.0.0/33\"]\n"), "engine.candidate_deny[0]", "longer than the address", "docker*"),
        (with("\n[engine]\ncandidate_allow = [\"eth 0\"]\n"), "engine.candidate_allow[0]", "neither an address", "eth0"),
        (with("\n[engine]\nstun_servers = [\"stun.example.com:3478\"]\n"), "engine.stun_servers[0]", "not an address and port", "3478"),
        (
            with("\n[engine]\nstun_servers = [\"198.51.100.1:3478\", \"198.51.100.2:3478\"]\n"),
            "engine.stun_servers[1]",
            "second server of its family",
            "at most one",
        ),
        (with("\n[engine]\ngather_ms = 5000\n"), "engine.gather_ms", "from 50 to 2000", "default is 350"),
        (with("\n[engine]\ncheck_spacing_us = 50000\n"), "engine.check_spacing_us", "from 0 to 40000", "in that range"),
        (with("\n[engine]\nprofiles = [\"AES_CM_128\"]\n"), "engine.profiles", "not an SRTP profile", "did you mean \"AE"),
        (with("\n[engine]\nprofiles = []\n"), "engine.profiles", "no profile", "remove the key"),
        (with("\n[engine]\ncomplexity = 11\n"), "engine.complexity", "from 0 to 10", "default is 5"),
        (with("\n[graph]\nbase_url = \"http://graph.facebook.com\"\n"), "graph.base_url", "plain HTTP to another machine", "simulator"),
        (with("\n[graph]\nbase_url = \"ftp://127.0.0.1\"\n"), "graph.base_url", "scheme ftp", "leave it out"),
        (with("\n[graph]\nbase_url = \"https://user:pw@host\"\n"), "graph.base_url", "has a user", "leave it out"),
        (with("\n[graph]\nversion = \"25\"\n"), "graph.version", "not a Graph version", "v25.0"),
        (with("\n[log]\nformat = \"xml\"\n"), "log.format", "neither", "one of the two"),
        (with("\n[direct]\nlisten = \"0.0.0.0:8480\"\ntoken = \"env:SET\"\n"), "direct.listen", "plain HTTP", "behind_proxy"),
        (with("\n[direct]\n"), "direct.token", "missing", "env:NAME"),
        (with("\n[record]\n"), "record.directory", "missing", "name the directory"),
        (with("\n[record]\ndirectory = \"r\"\nogg = false\nwav = false\n"), "record", "neither", "switch one"),
        (MINIMAL.replace("[webhook]", "[webhook]\npath = \"/livez\""), "webhook.path", "not a usable path", "/webhook"),
        ("".into(), "", "nothing to do", "[direct]"),
        ("[[number]]\nphone_number_id = \"1\"\naccess_token = \"env:SET\"\n".into(), "webhook", "missing", "verify_token"),
        ("[webhook]\nverify_token = \"env:SET\"\napp_secrets = [\"env:SET\"]\n".into(), "number", "missing", "phone_number_id"),
        ("[http\n".into(), "", "is not TOML", "syntax"),
    ];
    for (text, path, what, fix) in table {
        let faults = faults(text);
        assert!(
            faults.iter().any(|f| f.path == *path && f.what.contains(what) && f.fix.contains(fix)),
            "{path}: want {what:?} / {fix:?} in {faults:#?}"
        );
    }
}

#[test]
fn a_fault_stands_on_its_line() {
    let text = format!("{MINIMAL}\n[engine]\ncompexity = 3\n");
    let line = 1 + text.lines().position(|l| l.starts_with("compexity")).unwrap();
    assert_eq!(faults(&text)[0].line, Some(line));
}

#[test]
fn every_fault_is_told_at_once() {
    let faults = faults(
        "[http]\nlisten = \"x\"\n[engine]\ncomplexity = 99\nports = \"1\"\n[graph]\nversion = \"x\"\n[log]\nfomat = \"json\"\n[direct]\n",
    );
    let paths: Vec<_> = faults.iter().map(|f| f.path.as_str()).collect();
    for path in ["http.listen", "engine.complexity", "engine.ports", "graph.version", "log.fomat", "direct.token"] {
        assert!(paths.contains(&path), "{path} is not among {paths:?}");
    }
}

#[test]
fn neither_debug_nor_faults_show_a_secret() {
    let config = Config::from_toml(MINIMAL, &Table).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("value-of-SET") && !shown.contains("from-file"), "{shown}");
    for text in [
        MINIMAL.replace("file:secret.txt", "EAAGverysecret"),
        "[direct]\ntoken = EAAGverysecret\n".into(),
        "[direct]\ntoken = \"EAAGverysecret\n".into(),
    ] {
        let told = faults(&text).iter().map(|f| format!("{f} {f:?}")).collect::<String>();
        assert!(!told.contains("EAAGverysecret"), "{told}");
    }
}

#[test]
fn the_complete_example_of_the_documentation_is_read() {
    let page = include_str!("../../../docs/CONFIG.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|b| b.split("```").next().unwrap_or_default()).collect();
    assert!(blocks.len() >= 2, "the page has a minimal and a complete example");
    for block in &blocks {
        if let Err(faults) = Config::from_toml(block, &Table) {
            panic!("{faults:#?}\n{block}");
        }
    }
    // The complete one names every key there is: a key of the reader that it lacks is not documented.
    let complete = blocks.iter().max_by_key(|b| b.len()).unwrap();
    for key in [
        "listen",
        "tls_cert",
        "tls_key",
        "behind_proxy",
        "connections_max",
        "read_timeout_ms",
        "addresses",
        "public_addresses",
        "ports",
        "cores",
        "calls_max",
        "handshakes_max",
        "load_max_percent",
        "allow_loopback",
        "profiles",
        "complexity",
        "drain_s",
        "base_url",
        "version",
        "timeout_ms",
        "connect_timeout_ms",
        "in_flight_max",
        "path",
        "verify_token",
        "app_secrets",
        "queue_max",
        "phone_number_id",
        "access_token",
        "kind",
        "wav",
        "record",
        "token",
        "sessions_max",
        "listeners_max",
        "token_directory",
        "name",
        "scopes",
        "url",
        "secret",
        "types",
        "answer",
        "file",
        "salt",
        "keying",
        "stun_servers",
        "candidate_allow",
        "candidate_deny",
        "directory",
        "ogg",
        "format",
        "filter",
    ] {
        assert!(complete.contains(&format!("{key} = ")), "{key} is not in the complete example");
    }
}

//= meta#R-10 type=test
#[test]
fn a_plain_rtp_bridge_is_read_and_its_faults_are_told() {
    let with = |extra: &str| format!("[direct]\ntoken = \"env:SET\"\n{extra}");
    let text = with(
        "bridge = { kind = \"rtp\", rtp = { remote = \"10.0.0.9:4000\", codec = \"PCMU\", rtcp = \"next\", dtmf_payload_type = 96 } }\n\n[[trunk]]\nname = \"pbx\"\ntargets = [\"10.0.0.0/8\", \"fd00::/8\"]\nattests_no_pstn = true\n\n[engine]\nrtp_addresses = [\"10.0.0.1\"]\n",
    );
    let config = Config::from_toml(&text, &Table).unwrap();
    let BridgeKind::Rtp(leg) = config.direct.unwrap().bridge.kind else { panic!("a bridge of another kind") };
    assert_eq!((leg.remote, leg.payload_type), (Some("10.0.0.9:4000".parse().unwrap()), 0));
    assert_eq!(leg.events.map(|e| (e.payload_type, e.clock_hz)), Some((96, 8_000)));
    assert_eq!((config.engine.rtp_targets.len(), config.engine.rtp_addresses.len()), (2, 1));
    for (extra, place) in [
        ("\n[engine]\nrtp_targets = [\"10.0.0.0/8\"]\n", "engine.rtp_targets"),
        ("\n[[trunk]]\nname = \"a\"\ntargets = [\"10.0.0.1/8\"]\nattests_no_pstn = true\n", "trunk[0].targets"),
        ("\n[[trunk]]\nname = \"a\"\ntargets = [\"10.0.0.0/8\"]\n", "trunk[0].attests_no_pstn"),
        ("bridge = { kind = \"rtp\" }\n", "direct.bridge.rtp"),
        ("bridge = { kind = \"echo\", rtp = { remote = \"10.0.0.9:4000\" } }\n", "direct.bridge.rtp"),
        ("bridge = { kind = \"rtp\", rtp = { remote = \"pbx:4000\" } }\n", "direct.bridge.rtp.remote"),
        ("bridge = { kind = \"rtp\", rtp = { remote = \"10.0.0.9:4000\", codec = \"g722\" } }\n", "direct.bridge.rtp.codec"),
        ("bridge = { kind = \"rtp\", rtp = { remote = \"10.0.0.9:4000\", payload_type = 70 } }\n", "direct.bridge.rtp.payload_type"),
    ] {
        let told = faults(&with(extra));
        assert!(told.iter().any(|f| f.path == place), "{extra}: {told:?}");
    }
}

#[test]
fn single_keys_come_from_the_environment_and_a_name_of_no_key_is_a_fault() {
    let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> { list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() };
    let text = "[direct]\ntoken = \"env:SET\"\n";
    let good = pairs(&[
        ("TIPRING__ENGINE__PORTS", "50000-50099"),
        ("TIPRING__ENGINE__DRAIN_S", "7"),
        ("TIPRING__ENGINE__ALLOW_LOOPBACK", "true"),
        ("TIPRING__ENGINE__ADDRESSES", "[\"127.0.0.1\"]"),
    ]);
    let config = Config::from_toml_with(text, &good, &Table).expect("a configuration");
    assert_eq!((config.engine.ports, config.drain_max, config.engine.addresses.len()), (50_000..=50_099, Duration::from_secs(7), 1));
    for (name, value, path) in [
        ("TIPRING__ENGINE__PROTS", "1", "engine.prots"),
        ("TIPRING__ENGINE", "1", "TIPRING__ENGINE"),
        ("TIPRING__NUMBER__0__ANSWER", "wait", "number"),
        ("TIPRING__DIRECT__TOKEN", "a-literal-secret", "direct.token"),
        ("TIPRING__ENGINE__PORTS", "5", "engine.ports"),
    ] {
        let faults = Config::from_toml_with("[direct]\ntoken = \"env:SET\"\n[engine]\ndrain_s = 1\n", &pairs(&[(name, value)]), &Table)
            .expect_err(name);
        assert!(
            faults.iter().any(|f| f.path.starts_with(path)) && !format!("{faults:?}").contains("a-literal-secret"),
            "{name}: {faults:?}"
        );
    }
}
