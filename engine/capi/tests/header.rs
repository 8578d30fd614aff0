//! `tipring.h` as compilers see it: C99 and C++17 without a warning, every struct laid out as Rust has it, every number the same, every function there.

use core::mem::{align_of, offset_of, size_of};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tipring::types::*;

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// Compiles a text without making anything of it; what the compiler says is the failure.
fn compiles(compiler: &str, arguments: &[&str], source: &str) {
    let mut child = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
        .arg(include())
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("`{compiler}` does not start: {e}; install a C and C++ compiler (Debian: gcc, g++)"));
    child.stdin.take().expect("piped").write_all(source.as_bytes()).expect("the compiler reads");
    let output = child.wait_with_output().expect("the compiler ends");
    assert!(output.status.success(), "{compiler} {arguments:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

macro_rules! layout {
    ($out:ident, $($c:ident = $rust:ty { $($member:ident),* })*) => {
        $(
            let _ = writeln!($out, "IS(sizeof({0}) == {1}, size_{0});", stringify!($c), size_of::<$rust>());
            let _ = writeln!($out, "IS(ALIGN({0}) == {1}, align_{0});", stringify!($c), align_of::<$rust>());
            $(let _ = writeln!($out, "IS(offsetof({0}, {1}) == {2}, offset_{0}_{1});", stringify!($c), stringify!($member), offset_of!($rust, $member));)*
        )*
    };
}

fn assertions() -> String {
    let mut out = String::from(
        "#include \"tipring.h\"\n#define IS(what, name) typedef char name[(what) ? 1 : -1]\n\
         #define ALIGN(type) offsetof(struct { char c; type t; }, t)\n",
    );
    layout!(out,
        tr_why = TrWhy { size, line, text }
        tr_addr = TrAddr { family, zero, port, ip }
        tr_datagram = TrDatagram { data, cap, len, local, remote }
        tr_engine = TrEngine { id }
        tr_call = TrCall { id }
        tr_engine_config = TrEngineConfig { size, complexity, allow_loopback, delay_ms_max, unix_ns_at_zero }
        tr_call_config = TrCallConfig { size, format, queue_ms, address_count, addresses, advertised }
        tr_event = TrEvent { size, kind, value, zero }
        tr_stats = TrStats { size, zero, datagrams_in, datagrams_out, rtp_in, rtp_out, silence_out, dropped, digits_in, digits_out, setup_ns }
    );
    out
}

/// Every `NAME = number` of the header's enums.
fn numbers() -> Vec<(String, i64)> {
    let header = std::fs::read_to_string(include().join("tipring.h")).expect("the header");
    let lines = header.lines().filter_map(|line| line.trim().strip_prefix("TR_")?.split_once(" = "));
    let read = |(name, rest): (&str, &str)| {
        let digits: String = rest.chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
        (format!("TR_{name}"), digits.parse().expect("a number"))
    };
    lines.map(read).collect()
}

#[test]
fn the_header_is_c99_with_the_layout_of_rust() {
    compiles("cc", &["-std=c99", "-x", "c"], &assertions());
}

#[test]
fn the_header_is_cpp17() {
    let uses = "#include \"tipring.h\"\n#include \"tipring.h\"\nint f() { tr_event e{}; e.size = sizeof e; return tr_call_event(tr_call{0}, &e); }\n";
    compiles("c++", &["-std=c++17", "-x", "c++"], uses);
}

#[test]
fn numbers_are_the_same_on_both_sides() {
    let theirs = numbers();
    let of = |name: &str| theirs.iter().find(|(n, _)| n == name).map(|(_, n)| *n).unwrap_or_else(|| panic!("{name} is not in the header"));
    let errors = [
        ("TR_OK", TR_OK),
        ("TR_ERR_NULL", TR_ERR_NULL),
        ("TR_ERR_HANDLE", TR_ERR_HANDLE),
        ("TR_ERR_BUSY", TR_ERR_BUSY),
        ("TR_ERR_ARGUMENT", TR_ERR_ARGUMENT),
        ("TR_ERR_STATE", TR_ERR_STATE),
        ("TR_ERR_SDP", TR_ERR_SDP),
        ("TR_ERR_PEER", TR_ERR_PEER),
        ("TR_ERR_ROOM", TR_ERR_ROOM),
        ("TR_ERR_FULL", TR_ERR_FULL),
        ("TR_ERR_LIBRARY", TR_ERR_LIBRARY),
        ("TR_ERR_FAULT", TR_ERR_FAULT),
    ];
    assert_eq!(errors.len(), SENTENCES.len());
    errors.iter().for_each(|(name, ours)| assert_eq!(of(name), i64::from(*ours), "{name}"));
    let events = [
        ("TR_EVENT_ICE_CONNECTED", TR_EVENT_ICE_CONNECTED),
        ("TR_EVENT_DTLS_CONNECTED", TR_EVENT_DTLS_CONNECTED),
        ("TR_EVENT_MEDIA_READY", TR_EVENT_MEDIA_READY),
        ("TR_EVENT_GATE_OPENED", TR_EVENT_GATE_OPENED),
        ("TR_EVENT_FIRST_RTP_IN", TR_EVENT_FIRST_RTP_IN),
        ("TR_EVENT_FIRST_RTP_OUT", TR_EVENT_FIRST_RTP_OUT),
        ("TR_EVENT_DIGIT", TR_EVENT_DIGIT),
        ("TR_EVENT_DIGITS_SENT", TR_EVENT_DIGITS_SENT),
        ("TR_EVENT_NO_EGRESS", TR_EVENT_NO_EGRESS),
        ("TR_EVENT_NO_INGRESS", TR_EVENT_NO_INGRESS),
        ("TR_EVENT_MEDIA_BACK", TR_EVENT_MEDIA_BACK),
        ("TR_EVENT_ENDED", TR_EVENT_ENDED),
        ("TR_EVENT_OTHER", TR_EVENT_OTHER),
    ];
    events.iter().for_each(|(name, ours)| assert_eq!(of(name), i64::from(*ours), "{name}"));
    let formats = theirs.iter().filter(|(name, _)| name.starts_with("TR_FORMAT_")).count();
    assert_eq!(theirs.len(), errors.len() + events.len() + formats, "a number of the header that this test does not know");
}

#[test]
fn every_function_of_the_header_is_in_the_library_and_none_besides() {
    let header = std::fs::read_to_string(include().join("tipring.h")).expect("the header");
    let code: String = header.split("*/").filter_map(|piece| piece.split("/*").next()).collect();
    let mut declared: Vec<&str> =
        code.split('(').filter_map(|piece| piece.rsplit([' ', '*', '\n']).next()).filter(|word| word.starts_with("tr_")).collect();
    declared.sort_unstable();
    declared.dedup();
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("the source");
    let mut defined: Vec<&str> = source.split("extern \"C\" fn ").skip(1).filter_map(|piece| piece.split('(').next()).collect();
    defined.sort_unstable();
    assert_eq!(declared, defined);
}
