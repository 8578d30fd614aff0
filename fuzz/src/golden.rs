//! First inputs of a target, made of the golden data in `tests/golden`, and of a folder of others' packets when one is named.
//!
//! Decides: which folders feed which target, and how packets are framed for bodies that take several. Refuses: to copy what came from outside.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// How a body reads its input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// One packet, one text, or an operation list.
    Whole,
    /// A byte of choices, then packets, each behind its length in one byte.
    Short,
    /// A byte of choices, then packets, each behind its length in two bytes.
    Long,
}

/// What `target` eats: the framing of its input, and the golden folders that feed it.
fn diet(target: &str) -> (Framing, &'static [&'static str]) {
    match target {
        "dtls_client" | "dtls_gate" => (Framing::Long, &["dtls"]),
        "srtp_receive" => (Framing::Short, &["srtp", "rtp"]),
        "srtcp_receive" => (Framing::Short, &["srtp", "rtcp"]),
        "stun" => (Framing::Whole, &["stun"]),
        "ice_agent" => (Framing::Whole, &["stun", "ice"]),
        "rtp" => (Framing::Whole, &["rtp", "opus"]),
        "jitter" => (Framing::Whole, &["rtp", "opus", "jitter"]),
        "rtcp" | "reporter" => (Framing::Whole, &["rtcp", "rtp"]),
        "dtmf" => (Framing::Whole, &["dtmf"]),
        "opus_toc" | "opus_reframe" | "listen" => (Framing::Whole, &["opus"]),
        "sim_wire" => (Framing::Whole, &["stun", "rtp", "rtcp", "dtls", "demux"]),
        "sdp" | "sim_sdp" => (Framing::Whole, &["sdp"]),
        "webhook" => (Framing::Whole, &["webhook"]),
        _ => (Framing::Whole, &[]),
    }
}

/// Files anywhere below `folder` whose own folder has the name of something that `target` eats: `stun_browsers` feeds `stun`. Read, never written.
pub fn outside(target: &str, folder: &Path) -> Vec<Vec<u8>> {
    let (framing, kinds) = diet(target);
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // mediasoup's and the like name the project, not the protocol: noise for everybody who takes packets.
        let feeds = name == target || kinds.iter().any(|kind| name.contains(kind)) || (name.contains("mediasoup") && !kinds.is_empty());
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if feeds && let Ok(bytes) = std::fs::read(&path) {
                found.push(bytes);
            }
        }
    }
    match framing {
        Framing::Whole => found,
        _ => found.iter().enumerate().map(|(at, packet)| frame(framing, at as u8, std::slice::from_ref(packet))).collect(),
    }
}

/// Everything golden that `target` can be fed with.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let (framing, folders) = diet(target);
    let mut found = own(target);
    if matches!(target, "sdp" | "config") {
        found.extend(
            found
                .clone()
                .iter()
                .chain(&folders.iter().flat_map(|folder| read(folder)).flatten().collect::<Vec<_>>())
                .flat_map(|text| spoiled(text)),
        );
    }
    found.extend(folders.iter().flat_map(|folder| read(folder)).flat_map(|packets| match framing {
        Framing::Whole => packets,
        // Each alone, and the file in rows of eight.
        _ => {
            let each = packets.iter().enumerate().map(|(at, p)| frame(framing, at as u8, std::slice::from_ref(p)));
            each.chain(packets.chunks(8).enumerate().map(|(at, row)| frame(framing, at as u8, row))).collect()
        }
    }));
    found
}

/// The packets and texts of a golden folder, file by file.
fn read(folder: &str) -> Vec<Vec<Vec<u8>>> {
    let mut files: Vec<_> = std::fs::read_dir(root().join("tests/golden").join(folder))
        .expect("a golden folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    files.sort();
    let read = |path| {
        let mut packets = Vec::new();
        collect(&serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON"), &mut packets);
        packets
    };
    files.into_iter().map(read).collect()
}

/// Bytes of every text in `value` that is hex, and every other text of some length as it is.
fn collect(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) if text.len() >= 2 && text.len() % 2 == 0 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            found.push((0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect());
        }
        Value::String(text) if text.len() > 40 => found.push(text.as_bytes().to_vec()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(members) => members.values().for_each(|member| collect(member, found)),
        _ => {}
    }
}

fn frame(framing: Framing, choice: u8, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![choice];
    for packet in packets {
        if framing == Framing::Short {
            let packet = &packet[..packet.len().min(255)];
            out.push(packet.len() as u8);
            out.extend_from_slice(packet);
        } else {
            out.extend_from_slice(&(packet.len() as u16).to_be_bytes());
            out.extend_from_slice(packet);
        }
    }
    out
}

/// Inputs for which there is no golden file.
fn own(target: &str) -> Vec<Vec<u8>> {
    match target {
        "wav" => wavs(),
        "ogg_opus" => vec![ogg()],
        "sim_graph" => vec![
            br#"{"messaging_product":"whatsapp","call_id":"w","action":"accept","session":{"sdp_type":"answer","sdp":"v=0\r\n"}}"#.to_vec(),
            br#"{"messaging_product":"whatsapp","to":"15550100123","action":"connect","session":{"sdp_type":"offer","sdp":"v=0"}}"#
                .to_vec(),
        ],
        "webhook" => {
            let value: Value = serde_json::from_slice(&webhook()).expect("our own JSON");
            let mut found = vec![value.to_string().into_bytes(), b"[]".to_vec(), b"{".to_vec(), b"null".to_vec()];
            spoil(&value, &mut |other| found.push(other.to_string().into_bytes()));
            found
        }
        "sdp" => sdes(),
        "call" => call_lists(),
        "rtp_leg" => {
            let packets = ["rtp", "rtcp", "dtmf"].map(read).concat().concat();
            let thrown = |p: Vec<u8>| [&[0, 0, 0, p.len().min(255) as u8][..], &p[..p.len().min(255)], &[7, 0, 0]].concat();
            let mut lists: Vec<Vec<u8>> = packets.into_iter().map(thrown).collect();
            // A frame in, a frame out, a digit each way, a report after five seconds; the same to a leg that learns.
            for flags in [0, 1, 9, 2] {
                let talk = b"\x11\x00\x03\xf8\xff\xfe\x07\x00\x00\x12\x00\x03\xf8\xff\xfe\x11\x80\x04\x05\x0a\x00\xa0\x13\x00\x04\x05\x8a\x03\x20\x04\x64\x32";
                lists.push([&[flags][..], talk, talk].concat());
            }
            lists
        }
        "opus_decode" => {
            let packets: Vec<_> = read("opus").concat().into_iter().filter(|packet| packet.len() < 256).collect();
            let list = |row: &[Vec<u8>]| row.iter().fold(vec![1], |list, p| [&list[..], &[7, p.len() as u8], p, &[0, p.len() as u8], p].concat());
            packets.chunks(3).map(list).collect()
        }
        "dtmf_send" => vec![b"\x000\x009\x00*\x00#\x00A\x00D\x00!\x06\x3f\x12\xc8\x03\x04\x06\x3f\x04\x80".to_vec()],
        // An offer taken with its two requests, hung up; one of our own; two of a full house.
        "session" => vec![
            b"\x01\x00\x00\x30\x03\x00\x00\x09\x00\x07\x05\x00\x00\x09\x00\x07\x01\x00\x00\x09\x00\x07".to_vec(),
            b"\x00\x0d\x00\x00\x03\x00\x00\x09\x00\x07\x00\x00\x31\x05\x00\x00\x02\x00\x01\x08\x00\x02\x09\x00\x07".to_vec(),
            b"\x08\x00\x00\x30\x00\x01\x30\x00\x02\x30\x03\x00\x00\x08\x01\x01\x0f\x00\x00\x0f\x00\x00".to_vec(),
        ],
        "graph_reply" => [
            (200u16, r#"{"messaging_product":"whatsapp","success":true}"#),
            (200, r#"{"messaging_product":"whatsapp","calls":[{"id":"wacid.A"}]}"#),
            (200, r#"{"success":false}"#),
            (502, "bad gateway"),
            (401, r#"{"error":{"message":"(#138006) No","code":138006,"error_data":{"details":"ask"},"error_subcode":2494,"fbtrace_id":"AbC"}}"#),
        ]
        .iter()
        .map(|(status, body)| [&(status - 100).to_be_bytes(), body.as_bytes()].concat())
        .collect(),
        "signature" => {
            let body = webhook();
            let header = tipring_signalling::webhook::signature::sign(&body, b"a secret of an app");
            vec![[header.as_bytes(), b"\n", &body].concat(), b"sha256=00\nx".to_vec(), b"sha1=00\n{}".to_vec()]
        }
        "config" => {
            let page = std::fs::read_to_string(root().join("docs/CONFIG.md")).expect("the page of the configuration");
            page.split("```toml\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0.as_bytes().to_vec())).collect()
        }
        "direct" => {
            let json = |sdp: &str| serde_json::json!({"sdp": sdp, "role": "answer", "gate": "open", "bridge": {"kind": "echo", "record": true}});
            let texts = read("sdp").concat().into_iter().filter_map(|text| String::from_utf8(text).ok()).filter(|text| text.starts_with("v=0"));
            let mut found = vec![b"gate=hold\n{\"role\":\"offer\"}".to_vec()];
            for text in texts {
                found.push(format!("gate=open\n{text}").into_bytes());
                found.push(format!("\n{}", json(&text)).into_bytes());
            }
            found
        }
        _ => vec![Vec::new()],
    }
}

fn webhook() -> Vec<u8> {
    let offer = read("sdp").concat().into_iter().find(|text| text.starts_with(b"v=0")).expect("a golden offer");
    let session = serde_json::json!({"sdp": String::from_utf8(offer).expect("text"), "sdp_type": "offer"});
    serde_json::json!({"entry": [{"changes": [{"field": "calls", "value": {"metadata": {"phone_number_id": "1"},
        "calls": [{"id": "wacid.A", "event": "connect", "session": session}, {"id": "wacid.B", "event": "connect", "session": session},
            {"id": "wacid.A", "event": "terminate", "status": "FAILED", "errors": [{"code": 138021}]}],
        "statuses": [{"id": "wacid.B", "type": "call", "status": "RINGING"}]}}]}]})
    .to_string()
    .into_bytes()
}

/// A text without each of its lines, with each of them twice, and with each value replaced.
fn spoiled(text: &[u8]) -> Vec<Vec<u8>> {
    const VALUES: [&str; 12] = ["", "0", "x", "-1", "99999999999", "true", "[]", "[1]", "\"\"", "\"x\"", "[\"x\"]", "{ a = 1 }"];
    let Ok(text) = std::str::from_utf8(text) else { return Vec::new() };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    if lines.len() > 80 {
        return Vec::new();
    }
    let with = |at: usize, line: &str| [&lines[..at].concat(), line, &lines[at + 1..].concat()].concat().into_bytes();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        found.push(with(at, ""));
        found.push(with(at, &format!("{line}{line}")));
        found.push(with(at, &format!("nonsense{line}")));
        found.push(lines[..at].concat().into_bytes());
        if let Some((name, _)) = line.split_once(['=', ':']) {
            let sign = &line[name.len()..=name.len()];
            found.extend(VALUES.iter().map(|value| with(at, &format!("{name}{sign}{value}\n"))));
        }
        // Word by word, as SDP reads.
        for (word, _) in line.match_indices(' ') {
            found.push(with(at, &format!("{}\n", &line[..word])));
            found.push(with(at, &format!("{} 70000{}", &line[..word], &line[word + 1..])));
        }
    }
    found
}

/// Every JSON that differs from `value` in one member: gone, or of another kind.
fn spoil(value: &Value, found: &mut dyn FnMut(Value)) {
    for other in [Value::Null, Value::from(7), Value::from("x"), Value::from("4294967296"), Value::Array(Vec::new()), serde_json::json!({})]
    {
        found(other);
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let mut less = members.clone();
                less.remove(name);
                found(Value::Object(less));
                spoil(member, &mut |other| {
                    let mut changed = members.clone();
                    changed.insert(name.clone(), other);
                    found(Value::Object(changed));
                });
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                spoil(item, &mut |other| {
                    let mut changed = items.clone();
                    changed[at] = other;
                    found(Value::Array(changed));
                });
            }
        }
        _ => {}
    }
}

/// Descriptions keyed by `a=crypto` (RFC 4568), sound and not.
fn sdes() -> Vec<Vec<u8>> {
    let key = "A".repeat(39) + "B";
    let cryptos = [
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key}"),
        format!("2 AES_CM_128_HMAC_SHA1_32 inline:{key}|2^20|1:4"),
        format!("3 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^48"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key};inline:{key}"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key} UNENCRYPTED_SRTP"),
        format!("1 AES_CM_128_HMAC_SHA1_80 inline:{key} KDR=1 WSH=64"),
        format!("1 F8_128_HMAC_SHA1_80 inline:{key}"),
        "1 AEAD_AES_128_GCM inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA".to_owned(),
        "1 AES_CM_128_HMAC_SHA1_80 outline:x".to_owned(),
        "x AES_CM_128_HMAC_SHA1_80".to_owned(),
        "1".to_owned(),
    ];
    let mut found = Vec::new();
    for crypto in cryptos {
        for ice in [
            "",
            "a=ice-lite\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=candidate:1 1 udp 2113937151 10.77.0.1 3484 typ host\r\n",
        ] {
            found.push(
                format!(
                    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 3484 RTP/SAVP 111 126\r\nc=IN IP4 10.77.0.1\r\n{ice}a=crypto:{crypto}\r\na=mid:audio\r\n\
a=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:126 telephone-event/8000\r\na=ptime:20\r\n"
                )
                .into_bytes(),
            );
        }
    }
    found
}

/// Golden packets thrown at a call: before it knows its peer, in the middle of a conversation, and under the right key.
fn call_lists() -> Vec<Vec<u8>> {
    // Gate, a second of speech with losses, two digits, a port exchanged, silence until consent is asked for.
    let talk = [5, 10, 0xEF, 15, 5, 7, 15, 11, 7, 7, 2, 10, 40, 1, 60, 7, 3, 10, 20, 2, 20, 10, 9];
    let mut lists: Vec<Vec<u8>> =
        [0x00, 0x01, 0x02, 0x20, 0x24, 0x28, 0x2C].iter().map(|&flags| [&[flags, 2][..], &talk].concat()).collect();
    for (operation, folder) in [(9, "stun"), (9, "dtls"), (9, "rtp"), (9, "rtcp"), (12, "rtcp"), (11, "opus")] {
        for packet in read(folder).concat().iter().filter(|packet| packet.len() < 256) {
            let arguments: &[u8] = if operation == 11 { &[1, 0] } else { &[] };
            let attack = [&[operation], arguments, &[packet.len() as u8], packet].concat();
            lists.push([&[0x20, 2, 5, 10, 3], &attack[..], &[0, 60, 13, 0, 3, 10, 3]].concat());
            if operation == 9 {
                lists.push([&[0x30, 2], &attack[..], &[16, 2], &attack, &[5, 10, 3]].concat());
            }
        }
    }
    lists
}

/// One file per kind of sample, 24 frames each.
fn wavs() -> Vec<Vec<u8>> {
    let kinds =
        [(1u16, 8u16, 1u16, 8_000u32), (1, 16, 1, 16_000), (1, 16, 2, 44_100), (1, 24, 1, 48_000), (1, 32, 1, 16_000), (3, 32, 2, 22_050)];
    let make = |(format, bits, channels, hz): (u16, u16, u16, u32)| {
        let frame = bits / 8 * channels;
        let data: Vec<u8> = (0..u32::from(frame) * 24).map(|at| (at * 37) as u8).collect();
        let mut out = b"RIFF".to_vec();
        out.extend_from_slice(&(36 + data.len() as u32).to_le_bytes());
        out.extend_from_slice(b"WAVEfmt \x10\0\0\0");
        for half in [format, channels, hz as u16, (hz >> 16) as u16] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        out.extend_from_slice(&(hz * u32::from(frame)).to_le_bytes());
        out.extend_from_slice(&frame.to_le_bytes());
        out.extend_from_slice(&bits.to_le_bytes());
        out.extend_from_slice(b"data");
        out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        out.extend_from_slice(&data);
        out
    };
    kinds.into_iter().map(make).collect()
}

fn ogg() -> Vec<u8> {
    let mut writer =
        tipring_signalling::audio::OggOpusWriter::new(std::io::Cursor::new(Vec::new()), 7, 16_000).expect("memory takes everything");
    for at in 0..6u32 {
        writer.write(&vec![0x48; 3 + 100 * at as usize], at * 960, 960).expect("memory takes everything");
    }
    writer.finish().expect("memory takes everything").into_inner()
}
