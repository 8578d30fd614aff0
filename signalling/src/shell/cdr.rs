//! Writes call detail records: one JSON object per line, appended.
//!
//! Decides: when the file is opened (for each record, so that renaming rotates it) and what stands for a phone number. Refuses: to hold a call up: a thread of its own
//! takes records from a bounded queue.

use super::observe::unix_s;
use super::store::{Receipt, Store};
use crate::config::CdrConfig;
use crate::session::{CallKey, Wacid};
use crate::webhook::signature;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A record on its way to the disk, and what is over once it is there.
pub(super) struct Record {
    pub(super) value: Value,
    /// The call.
    pub(super) call: (CallKey, Option<Wacid>),
    /// The webhook that ended it.
    pub(super) receipt: Receipt,
}

/// Starts the writer. It ends when the sender is dropped and everything is written.
pub(super) fn start(config: CdrConfig, store: Arc<Store>) -> Result<(mpsc::Sender<Record>, std::thread::JoinHandle<()>), String> {
    // Opened once at the start, so that a wrong path is told then.
    append(&config, b"").map_err(|e| format!("cdr.file: cannot be written: {e}"))?;
    let (tx, mut records) = mpsc::channel::<Record>(RECORDS_WAITING_MAX);
    let thread = std::thread::Builder::new()
        .name("tipring-cdr".into())
        .spawn(move || {
            while let Some(Record { value: mut record, call: (key, wacid), receipt }) = records.blocking_recv() {
                if let Some(salt) = &config.salt {
                    hide(&mut record, salt.expose().as_bytes());
                }
                let line = format!("{record}\n");
                if let Err(e) = append(&config, line.as_bytes()) {
                    tracing::error!(error = %e, "a call detail record is lost");
                }
                // In this order: a crash in between writes the record twice rather than never.
                store.ended(key, wacid.as_ref(), unix_s());
                drop(receipt);
            }
        })
        .map_err(|e| format!("the thread tipring-cdr does not start: {e}"))?;
    Ok((tx, thread))
}

fn append(config: &CdrConfig, line: &[u8]) -> std::io::Result<()> {
    OpenOptions::new().create(true).append(true).open(&config.file)?.write_all(line)
}

/// Replaces what names a person by a keyed hash: 16 hex digits, the same for the same person.
fn hide(record: &mut Value, salt: &[u8]) {
    // Texts of Meta may quote the number.
    if let Some(evidence) = record.pointer_mut("/verdict/evidence").and_then(Value::as_object_mut) {
        evidence.remove("details");
    }
    let Some(user) = record.get_mut("user").and_then(Value::as_object_mut) else { return };
    user.remove("name");
    for member in user.values_mut() {
        if let Some(text) = member.as_str() {
            // `sha256=` and 64 digits: the first sixteen are enough to tell people apart.
            *member = signature::sign(text.as_bytes(), salt)[7..23].into();
        }
    }
    // The call's id at Meta embeds the number in base64.
    if let Some(wacid) = record.get("wacid").and_then(Value::as_str) {
        record["wacid"] = signature::sign(wacid.as_bytes(), salt)[7..23].into();
    }
}

/// Records that may wait for the disk.
const RECORDS_WAITING_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn record() -> Value {
        serde_json::json!({ "id": "1", "wacid": "wacid.HBg447700900123", "user": { "phone": "447700900123", "user_id": null, "name": "Ann" },
            "verdict": { "code": "META_138006", "evidence": { "details": "ask Ann at 447700900123", "code": "138006" } } })
    }

    #[test]
    fn records_are_lines_and_a_salted_one_names_nobody() {
        let dir = std::env::temp_dir().join(format!("tipring-cdr-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("cdr.jsonl");
        for (salt, plain) in [(None, true), (Some(Secret::new("salt")), false)] {
            let _ = std::fs::remove_file(&file);
            let (tx, thread) = start(CdrConfig { file: file.clone(), salt }, Arc::new(Store::none())).unwrap();
            for _ in 0..2 {
                let record = Record { value: record(), call: (CallKey(1), None), receipt: Receipt::default() };
                assert!(tx.try_send(record).is_ok());
            }
            drop(tx);
            thread.join().unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
            assert_eq!(lines.len(), 2);
            assert_eq!(lines[0], lines[1], "the same person, the same hash");
            assert_eq!(text.contains("447700900123"), plain);
            assert_eq!(text.contains("Ann"), plain);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_at_the_start() {
        let config = CdrConfig { file: "/nonexistent/cdr.jsonl".into(), salt: None };
        assert!(start(config, Arc::new(Store::none())).err().is_some_and(|e| e.contains("cdr.file")));
    }
}
