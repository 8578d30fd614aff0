//! First inputs of a target, made of the golden data in `tests/golden`.
//!
//! Decides: which folders feed which target, and how packets are framed for bodies that take several. Refuses: captures of anybody's calls.

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

/// Everything golden that `target` can be fed with.
pub fn inputs(target: &str) -> Vec<Vec<u8>> {
    let (framing, folders): (Framing, &[&str]) = match target {
        "dtls_client" | "dtls_gate" => (Framing::Long, &["dtls"]),
        "srtp_receive" => (Framing::Short, &["srtp", "rtp"]),
        "srtcp_receive" => (Framing::Short, &["srtp", "rtcp"]),
        "stun" => (Framing::Whole, &["stun"]),
        "ice_agent" => (Framing::Whole, &["stun", "ice"]),
        "rtp" => (Framing::Whole, &["rtp", "opus"]),
        "jitter" => (Framing::Whole, &["rtp", "opus", "jitter"]),
        "rtcp" | "reporter" => (Framing::Whole, &["rtcp", "rtp"]),
        "dtmf" => (Framing::Whole, &["dtmf"]),
        "opus_toc" => (Framing::Whole, &["opus"]),
        "sim_wire" => (Framing::Whole, &["stun", "rtp", "rtcp", "dtls", "demux"]),
        "sdp" | "sim_sdp" => (Framing::Whole, &["sdp"]),
        "webhook" => (Framing::Whole, &["webhook"]),
        _ => (Framing::Whole, &[]),
    };
    let mut found = own(target);
    for folder in folders {
        let mut files: Vec<_> = std::fs::read_dir(root().join("tests/golden").join(folder))
            .expect("a golden folder")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect();
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).expect("a golden file");
            let mut packets = Vec::new();
            collect(&serde_json::from_str(&text).expect("JSON"), &mut packets);
            match framing {
                Framing::Whole => found.extend(packets),
                _ => {
                    // Each alone, and the file in rows of eight.
                    found.extend(packets.iter().enumerate().map(|(at, p)| frame(framing, at as u8, std::slice::from_ref(p))));
                    found.extend(packets.chunks(8).enumerate().map(|(at, row)| frame(framing, at as u8, row)));
                }
            }
        }
    }
    found
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
            let offer = inputs("sdp").into_iter().find(|text| text.starts_with(b"v=0")).expect("a golden offer");
            let offer = String::from_utf8(offer).expect("text");
            let session = serde_json::json!({"sdp": offer, "sdp_type": "offer"});
            vec![
                serde_json::json!({"entry": [{"changes": [{"field": "calls", "value": {"metadata": {"phone_number_id": "1"},
                    "calls": [{"id": "wacid.A", "event": "connect", "session": session},
                        {"id": "wacid.B", "event": "connect", "session": session},
                        {"id": "wacid.A", "event": "terminate", "status": "FAILED", "errors": [{"code": 138021}]}],
                    "statuses": [{"id": "wacid.B", "type": "call", "status": "RINGING"}]}}]}]})
                .to_string()
                .into_bytes(),
            ]
        }
        _ => vec![Vec::new()],
    }
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
