//! The tree as a test: layers, unsafe, sizes, file headers, links. What a reviewer would have to remember stands here instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines a source file may have before it wants to be two rooms; its tests live in a file of their own past 200 lines.
const LINES_MAX: usize = 800;

/// What each room of the engine may import of the others (docs/ARCHITECTURE.md, the layer table).
const ENGINE_LAYERS: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("rng", &[]),
    ("limits", &[]),
    ("error", &[]),
    ("keying", &[]),
    ("wire", &["error", "limits"]),
    ("ice", &["error", "limits", "rng", "time", "wire"]),
    ("dtls", &["error", "keying", "limits", "time", "wire"]),
    ("srtp", &["error", "keying", "limits", "wire"]),
    ("rtp", &["error", "limits", "rng", "time", "wire"]),
    ("jitter", &["error", "limits", "time", "wire"]),
    ("codec", &["error", "limits", "wire"]),
    ("dtmf", &["error", "limits", "rng", "time", "wire"]),
    ("call", &["codec", "dtls", "dtmf", "error", "ice", "jitter", "keying", "limits", "rng", "rtp", "srtp", "time", "wire"]),
    ("net", &["error", "limits", "time"]),
    ("bridge", &["call", "codec", "dtmf", "error", "jitter", "limits", "rng", "rtp", "time", "wire"]),
    ("shard", &["call", "engine", "error", "ice", "limits", "net", "time"]),
    ("engine", &["bridge", "call", "dtls", "error", "ice", "jitter", "keying", "limits", "net", "rng", "shard", "time"]),
];

/// The files that may hold `unsafe`, each with its reason in its first lines.
const UNSAFE_FILES: &[&str] = &[
    "engine/src/net/sys.rs",
    "engine/src/codec/opus.rs",
    "engine/src/dtls/openssl.rs",
    "engine/src/srtp/simd.rs",
    "engine/capi/src/lib.rs",
    "engine/capi/src/raw.rs",
    "engine/capi/src/types.rs",
    "tests/meta-sim/src/tls.rs",
    "fuzz/src/coverage.rs",
    "benches/counting.rs",
    "benches/icount/step.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `dir` with one of these endings, as (path from the root, text).
fn files(endings: &[&str]) -> Vec<(String, String)> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        let entries = fs::read_dir(dir).expect("a readable folder");
        for entry in entries {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && name != ".git" && name != "out" {
                    walk(&path, found);
                }
            } else {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let named = found.into_iter().filter(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)));
    named
        .map(|p| {
            let text = fs::read_to_string(&p).expect("source is UTF-8");
            (p.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned(), text)
        })
        .collect()
}

/// Source without its test module and without comments: what the layer rules speak about.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    text[..end].lines().enumerate().map(|(i, l)| (i + 1, l)).filter(|(_, l)| !l.trim_start().starts_with("//"))
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn rooms_of_the_engine_import_only_what_their_layer_may() {
    let layers: BTreeMap<&str, &[&str]> = ENGINE_LAYERS.iter().copied().collect();
    let mut faults = Vec::new();
    for (path, text) in files(&["rs"]) {
        let Some(inside) = path.strip_prefix("engine/src/") else { continue };
        let room = inside.split(['/', '.']).next().unwrap_or_default();
        if ["lib", "fuzzing"].contains(&room) || inside.contains("tests") {
            continue;
        }
        let Some(allowed) = layers.get(room) else {
            faults.push(format!("{path}: room `{room}` is not in the layer table of tests/tests/tidy.rs"));
            continue;
        };
        for (line, code) in product_lines(&text) {
            for piece in code.split("crate::").skip(1) {
                let other: String = piece.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                if !other.is_empty() && other != room && layers.contains_key(other.as_str()) && !allowed.contains(&other.as_str()) {
                    faults.push(format!("{path}:{line}: `{room}` must not know `{other}`; siblings meet in `call` only"));
                }
            }
        }
    }
    report(&faults);
}

#[test]
fn the_pure_rooms_read_no_clock_and_open_nothing() {
    let banned = ["std::net::UdpSocket", "std::net::Tcp", "std::thread", "std::fs", "std::process", "Instant::now", "SystemTime", "tokio"];
    let pure_engine = ["net", "shard", "bridge", "engine.rs", "lib.rs", "fuzzing"];
    let pure_signalling = ["sdp", "session"];
    let mut faults = Vec::new();
    for (path, text) in files(&["rs"]) {
        let pure = path.strip_prefix("engine/src/").is_some_and(|p| !pure_engine.iter().any(|io| p.starts_with(io)))
            || path.strip_prefix("signalling/src/").is_some_and(|p| pure_signalling.iter().any(|room| p.starts_with(room)));
        // What only test builds compile may read the golden data.
        if !pure || path.contains("tests") || path.ends_with("golden.rs") {
            continue;
        }
        for (line, code) in product_lines(&text) {
            for word in banned.iter().filter(|word| code.contains(**word)) {
                faults.push(format!("{path}:{line}: `{word}` in a pure room; it belongs to layer 3 or a shell"));
            }
        }
    }
    report(&faults);
}

/// Rooms that a packet comes through. `engine.rs` is the host's side: its threads may wait for each other, a packet never does.
const PACKET_ROOMS: &[&str] = &["wire", "ice", "dtls", "srtp", "rtp", "jitter", "codec", "dtmf", "call", "net", "bridge", "shard"];

/// Functions of those rooms that take a lock, each once per call or command and never per packet.
const LOCKING: &[(&str, &[&str])] = &[
    // A port is given back when its call or leg ends.
    ("engine/src/shard/shard.rs", &["release_far", "evict"]),
    // The host's end of the rings: its threads share it.
    ("engine/src/shard/mailbox.rs", &["post", "next_report"]),
];

#[test]
fn no_packet_takes_a_lock() {
    let types = ["Mutex", "RwLock", "Condvar", "Barrier", "Semaphore"];
    let mut faults = Vec::new();
    let mut seen = 0;
    for (path, text) in files(&["rs"]) {
        let Some(inside) = path.strip_prefix("engine/src/") else { continue };
        if !PACKET_ROOMS.contains(&inside.split(['/', '.']).next().unwrap_or_default()) || inside.contains("tests") {
            continue;
        }
        let allowed = LOCKING.iter().find(|(file, _)| *file == path).map(|(_, functions)| *functions);
        let mut function = String::new();
        for (line, code) in product_lines(&text) {
            if let Some((_, rest)) = code.split_once("fn ") {
                function = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            }
            let locks = [".lock(", ".try_lock(", ".read().", ".write()."].iter().any(|call| code.contains(call));
            let named = types.iter().any(|name| code.contains(name));
            match allowed {
                Some(functions) if locks && functions.contains(&function.as_str()) => seen += 1,
                Some(_) if named && !locks => {}
                _ if locks || named => {
                    faults.push(format!("{path}:{line}: `{function}` would have a packet wait for somebody: {}", code.trim()))
                }
                _ => {}
            }
        }
    }
    report(&faults);
    assert_eq!(seen, LOCKING.iter().map(|(_, functions)| functions.len()).sum::<usize>(), "the list of locks is not what the code takes");
}

#[test]
fn unsafe_stays_in_its_named_files_with_its_reasons() {
    let mut faults = Vec::new();
    for (path, text) in files(&["rs"]) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        let blocks =
            product_lines(&text).filter(|(_, l)| l.contains("unsafe ") && !l.contains("unsafe_") && !l.contains("unsafe extern")).count();
        if blocks == 0 {
            continue;
        }
        if !UNSAFE_FILES.contains(&path.as_str()) {
            faults.push(format!("{path}: `unsafe` outside of the named files"));
        }
        let safety = text.matches("SAFETY:").count() + text.matches("# Safety").count();
        if safety == 0 || !text.contains("JUSTIFICATION:") {
            faults.push(format!("{path}: {blocks} unsafe places, {safety} SAFETY comments, and each kind needs a JUSTIFICATION"));
        }
    }
    report(&faults);
}

#[test]
fn every_source_file_says_what_it_is_and_is_one_room() {
    let mut faults = Vec::new();
    for (path, text) in files(&["rs"]) {
        if !text.starts_with("//!") && !text.starts_with("#![") {
            faults.push(format!("{path}: the first lines must say what it decides, is given and refuses"));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{path}: {lines} lines; past {LINES_MAX} it wants to be two rooms"));
        }
    }
    report(&faults);
}

#[test]
fn nothing_is_left_unfinished_or_tied_to_one_machine() {
    // Split so that this file does not find itself.
    let banned = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("#[ig", "nore"),
        concat!("/wo", "rk/"),
        concat!("crates", ".io"),
        concat!("py", "pi.org"),
    ];
    let mut faults = Vec::new();
    for (path, text) in files(&["rs", "toml", "md", "sh", "py", "json"]) {
        for (number, line) in text.lines().enumerate() {
            for word in banned.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{path}:{}: `{word}`", number + 1));
            }
        }
    }
    report(&faults);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut faults = Vec::new();
    for (path, text) in files(&["md"]) {
        let folder = root().join(&path);
        let folder = folder.parent().expect("a file has a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") && !folder.join(target).exists() {
                faults.push(format!("{path}: link to {target} leads nowhere"));
            }
        }
    }
    report(&faults);
}
