//! The unit and the container file under `docs/deploy` say what is true: their commands parse, their configuration is good, their times and ports fit together.

use super::Cli;
use crate::config::{Config, SecretSource};
use clap::Parser;
use std::path::Path;

const UNIT: &str = include_str!("../../../docs/deploy/tipring.service");
const CONTAINER: &str = include_str!("../../../docs/deploy/Containerfile");
const CONFIG: &str = include_str!("../../../docs/deploy/tipring.toml");
const ENVIRONMENT: &str = include_str!("../../../docs/deploy/environment.example");

/// Variables that the example of the environment names.
struct Named;

impl SecretSource for Named {
    fn env(&self, name: &str) -> Option<String> {
        ENVIRONMENT.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))).then(|| "secret".to_owned())
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Err(format!("{} is none of the deployment's", path.display()))
    }
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("the unit has no {key}"))
}

fn config() -> Config {
    Config::from_toml(CONFIG, &Named).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn parses(command: &str) {
    let words = command.split_whitespace();
    Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{command}: {e}"));
}

/// Nobody builds the container here: what its build installs is held to what `make` installs. The image of Rust brings gcc and make; openssl is for tests only.
#[test]
fn the_container_installs_what_make_installs() {
    const SCRIPT: &str = include_str!("../../../docs/install-build-tools.sh");
    let needed = SCRIPT.lines().filter(|line| line.starts_with("need "));
    let packages: Vec<&str> = needed.filter_map(|line| line.rsplit_once(" '")?.0.rsplit(' ').next()).collect();
    assert_eq!(packages, ["gcc", "make", "cmake", "libclang-dev", "openssl"]);
    let build = CONTAINER.split("\nFROM ").nth(1).expect("a first stage");
    for package in packages.iter().filter(|package| !["gcc", "make", "openssl"].contains(package)) {
        assert!(build.contains(&format!(" {package} ")), "the container's build lacks {package}");
    }
    let version = include_str!("../../../Cargo.toml").lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    assert!(CONTAINER.contains(&format!("/rust:{}-", version.trim_matches('"'))), "the container builds with another compiler");
}

#[test]
fn the_unit_starts_what_the_command_line_takes() {
    for key in ["ExecStartPre", "ExecStart"] {
        let command = value(UNIT, key);
        assert!(command.starts_with("/usr/bin/tipring "), "{command}");
        assert!(command.ends_with(" --config /etc/tipring/tipring.toml"), "{command}");
        parses(command);
    }
    assert!(value(UNIT, "ExecReload").contains("-HUP $MAINPID") && value(UNIT, "KillSignal") == "SIGTERM");
    assert_eq!(value(UNIT, "EnvironmentFile"), "/etc/tipring/environment");
    // Files that the configuration writes lie where the unit lets it write.
    let config = config();
    let cdr = config.cdr.expect("records").file;
    assert!(value(UNIT, "ReadWritePaths").split(' ').any(|path| cdr.starts_with(path)), "{}", cdr.display());
    let stop_s: u64 = value(UNIT, "TimeoutStopSec").parse().expect("seconds");
    assert!(stop_s > config.drain_max.as_secs(), "systemd would cut calls that may still go on");
    let files: u64 = value(UNIT, "LimitNOFILE").parse().expect("a number");
    let ports = u64::from(*config.engine.ports.end() - *config.engine.ports.start() + 1);
    assert!(files > 2 * ports, "a socket per port and address family");
}

#[test]
fn the_container_starts_the_same_with_the_same_ports() {
    let list = |key: &str| -> Vec<String> {
        let line = CONTAINER.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
        serde_json::from_str(line.trim()).expect("a list of words")
    };
    let words = [list("ENTRYPOINT"), list("CMD")].concat();
    parses(&words.join(" "));
    assert_eq!(words.join(" "), value(UNIT, "ExecStart"));
    let config = config();
    assert!(CONTAINER.contains(&format!("EXPOSE {}/tcp", config.http.listen.port())));
    assert!(CONTAINER.contains(&format!("EXPOSE {}-{}/udp", config.engine.ports.start(), config.engine.ports.end())));
    assert!(CONTAINER.contains("STOPSIGNAL SIGTERM") && CONTAINER.contains("\nUSER tipring\n"));
    // What it copies is there, and the package and features that it builds are ours.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for line in CONTAINER.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from")) {
        let from = line.split(' ').next().expect("a path");
        assert!(root.join(from).exists(), "{from}");
    }
    assert!(CONTAINER.contains(&format!("--package {} ", env!("CARGO_PKG_NAME"))));
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("\ndaemon = [") && manifest.contains("name = \"tipring\""));
    let rust = manifest_value(include_str!("../../../Cargo.toml"), "rust-version");
    assert!(CONTAINER.contains(&format!("/rust:{rust}-")), "the compiler of the workspace, {rust}");
}

fn manifest_value<'a>(manifest: &'a str, key: &str) -> &'a str {
    let line = manifest.lines().find_map(|line| line.strip_prefix(key)).expect("the key");
    line.trim_start_matches([' ', '=']).trim_matches('"')
}
