//! Fuzz bodies of the DTLS gate and of live connections behind it.
//!
//! Input: one byte of choices, then datagrams, each behind its length in two bytes.

use std::sync::OnceLock;

use crate::dtls::{Certificate, Dtls, DtlsConfig, DtlsContext, DtlsEvent, DtlsRole, Gate};
use crate::time::{Span, Time};

/// Whatever comes: only whole records leave the gate, in epoch 0 only handshake and ChangeCipherSpec with rising numbers, and what it
/// keeps stays bounded.
pub fn fuzz_dtls_gate(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let mut gate = Gate::new(if choice & 1 == 0 { DtlsRole::Client } else { DtlsRole::Server });
    let (mut out, mut next) = (Vec::new(), 0);
    for datagram in datagrams(data) {
        let admitted = gate.admit(datagram, &mut out);
        assert!(admitted.is_ok() || out.is_empty());
        if choice & 2 != 0
            && let Some(record) = gate.take_retry()
        {
            out.extend_from_slice(&record);
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            let (record, behind) = rest.split_at(13 + usize::from(u16::from_be_bytes([rest[11], rest[12]])));
            rest = behind;
            assert!(record.len() > 13 && record[1] == 0xfe);
            if record[3..5] == [0, 0] {
                assert!(matches!(record[0], 20 | 22));
                let seq = record[5..11].iter().fold(0u64, |n, &b| n << 8 | u64::from(b));
                // A HelloVerifyRequest is numbered when it is held, and goes in later.
                assert!(seq >= next || record[13] == 3);
                next = next.max(seq + 1);
            }
        }
        assert!(gate.held_bytes() <= 64_000);
        let _ = gate.is_continued_by(datagram);
        if Gate::admit_protected(datagram, &mut out).is_ok() {
            assert!(out.len() <= datagram.len());
        }
    }
    // A hello that was kept is answered by a gate of its own, which takes what goes on with it and knows it again.
    if let Some(hello) = gate.take_peer_hello() {
        let (mut answering, record) = Gate::answering(&hello);
        answering.take_notes_of(&gate);
        assert!(answering.answers(&hello) && !gate.answers(&hello));
        assert!(Gate::new(DtlsRole::Server).admit(&record, &mut out).is_ok() && out == record);
        assert!(!answering.is_continued_by(&record), "a hello begins");
        assert_eq!(answering.noted_alert(), gate.noted_alert());
        answering.finish();
        assert_eq!(answering.held_bytes(), 0);
    }
}

/// Datagrams in the middle of a live handshake of two connections of ours: no panic, no key but the right one, and an end in time.
pub fn fuzz_dtls_client(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let context = context();
    let start = |role| Dtls::new(context, role, &[context.fingerprint()], Span::ZERO, Time::ZERO).expect("valid arguments");
    let mut ends = [start(DtlsRole::Client), start(DtlsRole::Server)];
    let (victim, turn_of_attack) = (usize::from(choice & 1), u32::from(choice >> 1 & 7));
    let (mut keys, mut is_failed, mut now, mut out) = ([None, None], [false; 2], Time::ZERO, [0; 1_500]);
    // Two round trips, and then every timer of ten seconds: 12 repetitions of each flight, changes of roles, and the end.
    for turn in 0..256 {
        if turn == turn_of_attack {
            for datagram in datagrams(data) {
                let _ = ends[victim].handle_datagram(datagram, now);
            }
        }
        for from in 0..2 {
            while let Some(len) = ends[from].poll_transmit(&mut out) {
                assert!(len <= 1_200);
                let _ = ends[1 - from].handle_datagram(&out[..len], now);
            }
            while let Some(event) = ends[from].poll_event() {
                assert!(!is_failed[from], "an event after the last");
                match event {
                    DtlsEvent::Connected(keying) => assert!(keys[from].replace(keying).is_none()),
                    DtlsEvent::Failed(_) => is_failed[from] = true,
                }
            }
        }
        if turn > 8 {
            let Some(next) = ends.iter().filter_map(Dtls::poll_timeout).min() else { break };
            now = now.max(next);
            ends.iter_mut().for_each(|end| end.handle_timeout(now));
        }
    }
    assert!((0..2).all(|end| keys[end].is_some() || is_failed[end]), "neither connected nor failed");
    if let [Some(client), Some(server)] = &keys {
        assert_eq!((client.local_key, client.remote_key), (server.remote_key, server.local_key));
    }
}

fn datagrams(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<2>()?;
        let (datagram, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        data = rest;
        Some(datagram)
    })
}

fn context() -> &'static DtlsContext {
    static CONTEXT: OnceLock<DtlsContext> = OnceLock::new();
    CONTEXT.get_or_init(|| {
        let certificate = Certificate::generate(1_795_305_600).expect("a certificate");
        DtlsContext::new(DtlsConfig::default(), certificate).expect("a context")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Entropy, SeededRng};

    /// Golden datagrams: hostile ones, fragments, and both captured handshakes.
    fn seeds() -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for name in ["hostile_datagrams", "fragments", "handshake_cm80", "handshake_gcm128"] {
            let path = format!("{}/../tests/golden/dtls/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let file: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).expect("the golden file")).expect("JSON");
            let mut texts = Vec::new();
            collect_hex(&file, &mut texts);
            seeds.extend(
                texts.iter().map(|t| (0..t.len() / 2).map(|i| u8::from_str_radix(&t[2 * i..2 * i + 2], 16).expect("hex")).collect()),
            );
        }
        assert!(seeds.len() > 20);
        seeds
    }

    /// Every text in the file that begins as a DTLS record does.
    fn collect_hex(value: &serde_json::Value, texts: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) if matches!(text.get(..4), Some("14fe" | "15fe" | "16fe" | "17fe")) => texts.push(text.clone()),
            serde_json::Value::Array(items) => items.iter().for_each(|v| collect_hex(v, texts)),
            serde_json::Value::Object(fields) => fields.values().for_each(|v| collect_hex(v, texts)),
            _ => {}
        }
    }

    fn input(choice: u8, datagrams: &[Vec<u8>]) -> Vec<u8> {
        let framed = datagrams.iter().flat_map(|d| (d.len() as u16).to_be_bytes().into_iter().chain(d.iter().copied()));
        core::iter::once(choice).chain(framed).collect()
    }

    /// One to four seeds, some bytes of each changed, mostly in the headers.
    fn mutated(rng: &mut SeededRng, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut random = [0u8; 64];
        rng.fill(&mut random);
        let picks = random[1..][..1 + usize::from(random[0] % 4)].iter();
        let mut datagrams: Vec<Vec<u8>> = picks.map(|&p| seeds[usize::from(p) % seeds.len()].clone()).collect();
        for (number, datagram) in datagrams.iter_mut().enumerate() {
            for change in random[8 + 12 * number..][..12].chunks_exact(2).take(usize::from(random[5] % 7)) {
                let reach = if change[0] & 1 == 0 { 32 } else { 256 };
                let at = usize::from(change[0] >> 1) * reach / 128 % datagram.len();
                datagram[at] = change[1];
            }
        }
        input(random[7], &datagrams)
    }

    #[test]
    fn the_gate_stands_goldens_and_mutations() {
        let seeds = seeds();
        for choice in 0..4 {
            seeds.iter().for_each(|seed| fuzz_dtls_gate(&input(choice, core::slice::from_ref(seed))));
            fuzz_dtls_gate(&input(choice, &seeds));
        }
        let mut rng = SeededRng::new(29);
        (0..4_000).for_each(|_| fuzz_dtls_gate(&mutated(&mut rng, &seeds)));
    }

    #[test]
    fn live_handshakes_stand_goldens_and_mutations() {
        let seeds = seeds();
        for choice in 0..12 {
            seeds.iter().for_each(|seed| fuzz_dtls_client(&input(choice, core::slice::from_ref(seed))));
        }
        let mut rng = SeededRng::new(30);
        (0..1_000).for_each(|_| fuzz_dtls_client(&mutated(&mut rng, &seeds)));
    }
}
