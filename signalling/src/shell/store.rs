//! What must outlive this process: webhooks answered 200 and not dealt with yet, calls that are open at Meta, calls that have ended.
//!
//! Decides: when something counts as kept (after one `fsync` for everybody who waits), what is read back after a crash, and that the file stays bounded. Given: bodies
//! and names of calls. Refuses: to understand a body, and to hold the daemon up: one thread writes, everybody else waits for it without blocking. Why redb: ADR 26.
//!
//! A delivery is kept until the last holder of its [`Receipt`] lets go: the control task, an event on its way to the application, a record on its way to the disk, the copy
//! that is forwarded. A process that is killed lets go of nothing, so the next one reads all of that again.

use crate::config::StoreConfig;
use crate::session::{CallKey, Dial, Personal, Wacid};
use redb::backends::FileBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

#[cfg(test)]
mod tests;

/// The store of one daemon. Without a file it keeps nothing, and every promise is only as good as the process.
pub(crate) struct Store {
    kept: Option<Kept>,
}

struct Kept {
    ops: mpsc::Sender<Op>,
    shared: Arc<Shared>,
    next_delivery: AtomicU64,
    next_row: AtomicU64,
    /// Rows of calls that are open at Meta.
    rows: Mutex<HashMap<CallKey, u64>>,
    bytes_max: u64,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Bytes of deliveries that are kept.
    bytes: AtomicU64,
    /// The daemon stops: what is let go of from now on was not dealt with.
    is_frozen: AtomicBool,
}

/// A webhook as it came, with what is needed to deal with it later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeptDelivery {
    /// Name of the app that signed it.
    pub(crate) app: String,
    /// `X-Hub-Signature-256` as it came.
    pub(crate) signature: String,
    /// `Content-Type` as it came.
    pub(crate) content_type: String,
    /// When it came, in milliseconds since 1970.
    pub(crate) at_unix_ms: i64,
    /// The raw body.
    pub(crate) body: bytes::Bytes,
}

/// A call that was open when the process before this one died.
#[derive(Clone, Debug)]
pub(crate) enum OpenCall {
    /// Meta knows it by this id.
    Known { wacid: Wacid, phone_number_id: Arc<str> },
    /// Its `connect` was about to be posted; the id was never seen.
    Dialled(Box<Dial>),
}

/// What was found at the start.
#[derive(Default)]
pub(crate) struct Found {
    /// Deliveries that were answered 200 and not dealt with, oldest first.
    pub(crate) deliveries: Vec<(KeptDelivery, Receipt)>,
    /// Calls that nobody has ended, with their rows.
    pub(crate) open: Vec<(u64, OpenCall)>,
    /// Calls that have ended, oldest first.
    pub(crate) ended: Vec<Wacid>,
    /// Numbers that the API has added: id and section.
    pub(crate) numbers: Vec<(String, String)>,
}

/// Holds a delivery in the store. When the last clone is dropped the delivery has been dealt with.
#[derive(Clone, Default)]
pub(crate) struct Receipt(#[expect(dead_code, reason = "held for its Drop")] Option<Arc<Held>>);

struct Held {
    delivery: u64,
    bytes: u64,
    ops: mpsc::Sender<Op>,
    shared: Arc<Shared>,
}

impl Receipt {
    /// The delivery was not dealt with, and this process will not: the next one finds it again.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.shared.is_frozen.load(Ordering::Acquire) {
            self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            // The writer is gone only when the daemon is.
            let _ = self.ops.send(Op::Handled(self.delivery));
        }
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receipt")
    }
}

/// Why a delivery was not kept. It must not be answered 200.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotKept {
    /// As much is kept as may be.
    Full,
    /// The disk did not take it.
    Failed,
}

/// One thing for the writer. The channel has no bound of its own: deliveries are bounded by connections and bytes, calls by the session machine.
enum Op {
    Keep { delivery: u64, row: Vec<u8>, done: oneshot::Sender<bool> },
    Handled(u64),
    Open { row: u64, value: Vec<u8>, done: Option<oneshot::Sender<bool>> },
    Ended { row: Option<u64>, wacid: Option<Wacid>, at_unix_s: i64 },
    Number { id: String, text: Option<String>, done: oneshot::Sender<bool> },
    Close,
}

impl Op {
    /// Whether somebody waits for it.
    fn is_urgent(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Number { .. } | Self::Open { done: Some(_), .. } | Self::Close)
    }
}

impl Store {
    /// A store that keeps nothing.
    pub(crate) fn none() -> Self {
        Self { kept: None }
    }

    /// Opens or makes the file, reads what the process before left, and starts the writer. The error is for an operator.
    pub(crate) fn open(config: &StoreConfig, now_unix_s: i64) -> Result<(Self, Found), String> {
        let path = config.file.display();
        let fail = |what: &str, e: &dyn std::fmt::Display| format!("store.file: {path} {what}: {e}");
        let mut options = std::fs::OpenOptions::new();
        // Bodies name people: nobody else may read them.
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&config.file);
        let file = file.map_err(|e| fail("cannot be opened; its directory must exist and belong to the daemon", &e))?;
        let db = FileBackend::new(file)
            .and_then(|file| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(file))
            .map_err(|e| fail("is not a usable store, or another process has it", &e))?;
        let (ops, queue) = mpsc::channel();
        let shared = Arc::new(Shared { bytes: AtomicU64::new(0), is_frozen: AtomicBool::new(false) });
        prune(&db, now_unix_s).map_err(|e| fail("cannot be written", &e))?;
        let (found, next_delivery, next_row) = read(&db, &ops, &shared).map_err(|e| fail("cannot be read", &e))?;
        let thread = std::thread::Builder::new()
            .name("tipring-store".into())
            .spawn(move || write(&db, &queue))
            .map_err(|e| format!("the thread tipring-store does not start: {e}"))?;
        let kept = Kept {
            ops,
            shared,
            next_delivery: AtomicU64::new(next_delivery),
            next_row: AtomicU64::new(next_row),
            rows: Mutex::default(),
            bytes_max: config.bytes_max,
            thread: Some(thread),
        };
        Ok((Self { kept: Some(kept) }, found))
    }

    /// Keeps a delivery. Returns once it would survive the end of this process, or says why it would not.
    pub(crate) async fn keep(&self, delivery: &KeptDelivery) -> Result<Receipt, NotKept> {
        let Some(kept) = &self.kept else { return Ok(Receipt::default()) };
        let bytes = delivery.body.len() as u64 + ROW_BYTES;
        if kept.shared.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > kept.bytes_max {
            kept.shared.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(NotKept::Full);
        }
        let number = kept.next_delivery.fetch_add(1, Ordering::Relaxed);
        // Made before it is on the disk: whatever fails from here on, the row goes again.
        let held = Held { delivery: number, bytes, ops: kept.ops.clone(), shared: Arc::clone(&kept.shared) };
        let (done, written) = oneshot::channel();
        let sent = kept.ops.send(Op::Keep { delivery: number, row: delivery.to_row(), done });
        if sent.is_err() || !written.await.unwrap_or(false) {
            return Err(NotKept::Failed);
        }
        Ok(Receipt(Some(Arc::new(held))))
    }

    /// Writes down that a call is about to be open at Meta. Wait for the answer before Meta hears of it; nothing to wait for when it is written already.
    pub(crate) fn opening(&self, key: CallKey, call: &OpenCall) -> Option<oneshot::Receiver<bool>> {
        let kept = self.kept.as_ref()?;
        let mut rows = kept.rows.lock().unwrap_or_else(|e| e.into_inner());
        if rows.contains_key(&key) {
            return None;
        }
        let row = kept.next_row.fetch_add(1, Ordering::Relaxed);
        rows.insert(key, row);
        let (done, written) = oneshot::channel();
        // The writer is gone only when the daemon is; then the receiver fails, and the call goes on without.
        let _ = kept.ops.send(Op::Open { row, value: call.to_row(), done: Some(done) });
        Some(written)
    }

    /// A call that we made has learned its id.
    pub(crate) fn named(&self, key: CallKey, call: &OpenCall) {
        let Some(kept) = &self.kept else { return };
        if let Some(&row) = kept.rows.lock().unwrap_or_else(|e| e.into_inner()).get(&key) {
            // As above.
            let _ = kept.ops.send(Op::Open { row, value: call.to_row(), done: None });
        }
    }

    /// A call of the process before this one goes on under a key of this one.
    pub(crate) fn adopted(&self, key: CallKey, row: u64) {
        if let Some(kept) = &self.kept {
            kept.rows.lock().unwrap_or_else(|e| e.into_inner()).insert(key, row);
        }
    }

    /// A call has ended: it is not open at Meta, and what comes late for it is to be known as late.
    pub(crate) fn ended(&self, key: CallKey, wacid: Option<&Wacid>, at_unix_s: i64) {
        let Some(kept) = &self.kept else { return };
        let row = kept.rows.lock().unwrap_or_else(|e| e.into_inner()).remove(&key);
        // As above.
        let _ = kept.ops.send(Op::Ended { row, wacid: wacid.cloned(), at_unix_s });
    }

    /// Keeps the section of a number, or forgets it. Without a file it lasts as long as the process.
    pub(crate) async fn put_number(&self, id: &str, text: Option<&str>) -> Result<(), String> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let (done, written) = oneshot::channel();
        let sent = kept.ops.send(Op::Number { id: id.to_owned(), text: text.map(str::to_owned), done });
        if sent.is_err() || !written.await.unwrap_or(false) {
            return Err("the store cannot be written: the change lasts until the daemon ends".into());
        }
        Ok(())
    }

    /// From now on, whatever is let go of was not dealt with: the next process will.
    pub(crate) fn freeze(&self) {
        if let Some(kept) = &self.kept {
            kept.shared.is_frozen.store(true, Ordering::Release);
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.freeze();
        if let Some(kept) = &mut self.kept {
            // The thread may have ended by a panic that it has reported.
            let _ = kept.ops.send(Op::Close);
            if let Some(thread) = kept.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl KeptDelivery {
    fn to_row(&self) -> Vec<u8> {
        let head = json!({ "app": self.app, "signature": self.signature, "content_type": self.content_type, "at_ms": self.at_unix_ms });
        let mut row = head.to_string().into_bytes();
        // JSON of this kind holds no line end of its own.
        row.push(b'\n');
        row.extend_from_slice(&self.body);
        row
    }

    fn of_row(row: &[u8]) -> Option<Self> {
        let end = row.iter().position(|&b| b == b'\n')?;
        let head: Value = serde_json::from_slice(&row[..end]).ok()?;
        let text = |name: &str| head.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            app: text("app")?,
            signature: text("signature")?,
            content_type: text("content_type")?,
            at_unix_ms: head.get("at_ms").and_then(Value::as_i64)?,
            body: bytes::Bytes::copy_from_slice(&row[end + 1..]),
        })
    }
}

impl OpenCall {
    fn to_row(&self) -> Vec<u8> {
        let text = |p: &Option<Personal>| p.as_ref().map(|p| p.reveal().to_owned());
        let value = match self {
            Self::Known { wacid, phone_number_id } => json!({ "wacid": wacid.as_str(), "number": &**phone_number_id }),
            Self::Dialled(dial) => json!({
                "number": &*dial.phone_number_id, "to": text(&dial.to), "recipient": text(&dial.recipient), "opaque": dial.biz_opaque,
            }),
        };
        value.to_string().into_bytes()
    }

    fn of_row(row: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(row).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let phone_number_id: Arc<str> = text("number")?.into();
        Some(match text("wacid") {
            Some(wacid) => Self::Known { wacid: Wacid::new(wacid)?, phone_number_id },
            None => Self::Dialled(Box::new(Dial {
                phone_number_id,
                to: text("to").and_then(Personal::new),
                recipient: text("recipient").and_then(Personal::new),
                biz_opaque: text("opaque").map(str::to_owned),
            })),
        })
    }
}

/// Forgets calls that ended too long ago, and the oldest of too many.
fn prune(db: &Database, now_unix_s: i64) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        txn.open_table(DELIVERIES)?;
        txn.open_table(OPEN)?;
        txn.open_table(NUMBERS)?;
        let mut ended = txn.open_table(ENDED)?;
        ended.retain(|_, at| at > now_unix_s - ENDED_KEPT_S)?;
        let mut ages: Vec<(i64, String)> =
            ended.iter()?.filter_map(Result::ok).map(|(id, at)| (at.value(), id.value().to_owned())).collect();
        ages.sort_unstable();
        for (_, id) in ages.iter().take(ages.len().saturating_sub(ENDED_MAX)) {
            ended.remove(id.as_str())?;
        }
    }
    txn.commit()?;
    Ok(())
}

/// Reads everything back. What cannot be understood is told and passed over: a newer version may have written it.
fn read(db: &Database, ops: &mpsc::Sender<Op>, shared: &Arc<Shared>) -> Result<(Found, u64, u64), redb::Error> {
    let txn = db.begin_read()?;
    let mut found = Found::default();
    let (mut next_delivery, mut next_row) = (1, 1);
    for entry in txn.open_table(DELIVERIES)?.iter()? {
        let (number, row) = entry?;
        next_delivery = number.value() + 1;
        let Some(delivery) = KeptDelivery::of_row(row.value()) else {
            tracing::error!(number = number.value(), "a kept webhook cannot be read");
            continue;
        };
        let bytes = delivery.body.len() as u64 + ROW_BYTES;
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        let held = Held { delivery: number.value(), bytes, ops: ops.clone(), shared: Arc::clone(shared) };
        found.deliveries.push((delivery, Receipt(Some(Arc::new(held)))));
    }
    for entry in txn.open_table(OPEN)?.iter()? {
        let (row, value) = entry?;
        next_row = row.value() + 1;
        match OpenCall::of_row(value.value()) {
            Some(call) => found.open.push((row.value(), call)),
            None => tracing::error!(row = row.value(), "an open call cannot be read"),
        }
    }
    for entry in txn.open_table(NUMBERS)?.iter()? {
        let (id, text) = entry?;
        found.numbers.push((id.value().to_owned(), text.value().to_owned()));
    }
    let mut ended: Vec<(i64, Wacid)> = Vec::new();
    for entry in txn.open_table(ENDED)?.iter()? {
        let (id, at) = entry?;
        ended.extend(Wacid::new(id.value()).map(|wacid| (at.value(), wacid)));
    }
    ended.sort_unstable();
    found.ended = ended.into_iter().map(|(_, wacid)| wacid).collect();
    Ok((found, next_delivery, next_row))
}

/// The writer: takes whatever has come, writes it in one transaction, tells everybody who waits.
fn write(db: &Database, queue: &mpsc::Receiver<Op>) {
    let mut lazy: Vec<Op> = Vec::new();
    let mut failures = 0_u64;
    loop {
        // Nobody waits for what is let go of: it joins the next transaction, or has one of its own after a while.
        let first = if lazy.is_empty() { queue.recv().map_err(|_| RecvTimeoutError::Disconnected) } else { queue.recv_timeout(LAZY_MAX) };
        let mut is_due = lazy.len() >= BATCH_MAX;
        match first {
            Ok(op) => lazy.push(op),
            Err(RecvTimeoutError::Timeout) => is_due = true,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while lazy.len() < BATCH_MAX
            && let Ok(op) = queue.try_recv()
        {
            lazy.push(op);
        }
        if !is_due && !lazy.iter().any(Op::is_urgent) {
            continue;
        }
        let written = commit(db, &lazy);
        if let Err(e) = &written {
            // One line for the first and then for each power of two: a full disk fails with every webhook.
            failures += 1;
            if failures.is_power_of_two() {
                tracing::error!(error = %e, failures, "the store cannot be written: webhooks are answered 503 until it can");
            }
        }
        let is_kept = written.is_ok();
        let mut is_over = false;
        let mut again = Vec::new();
        for op in lazy.drain(..) {
            match op {
                // Whoever waited may have gone away.
                Op::Keep { done, .. } | Op::Number { done, .. } | Op::Open { done: Some(done), .. } => drop(done.send(is_kept)),
                Op::Close => is_over = true,
                // What was not written stays to be written, in its order, as long as that is not too much.
                op if !is_kept && again.len() < BATCH_MAX / 2 => again.push(op),
                Op::Handled(_) | Op::Open { .. } | Op::Ended { .. } => {}
            }
        }
        lazy = again;
        if is_over {
            return;
        }
    }
}

fn commit(db: &Database, ops: &[Op]) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    apply(&txn, ops)?;
    txn.commit()?;
    Ok(())
}

fn apply(txn: &WriteTransaction, ops: &[Op]) -> Result<(), redb::Error> {
    let mut deliveries = txn.open_table(DELIVERIES)?;
    let mut open = txn.open_table(OPEN)?;
    let mut ended = txn.open_table(ENDED)?;
    let mut numbers = txn.open_table(NUMBERS)?;
    for op in ops {
        match op {
            Op::Keep { delivery, row, .. } => drop(deliveries.insert(delivery, row.as_slice())?),
            Op::Handled(delivery) => drop(deliveries.remove(delivery)?),
            Op::Open { row, value, .. } => drop(open.insert(row, value.as_slice())?),
            Op::Ended { row, wacid, at_unix_s } => {
                if let Some(row) = row {
                    open.remove(row)?;
                }
                if let Some(wacid) = wacid {
                    ended.insert(wacid.as_str(), at_unix_s)?;
                }
            }
            Op::Number { id, text: Some(text), .. } => drop(numbers.insert(id.as_str(), text.as_str())?),
            Op::Number { id, text: None, .. } => drop(numbers.remove(id.as_str())?),
            Op::Close => {}
        }
    }
    Ok(())
}

/// Number of a delivery to its row.
const DELIVERIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("deliveries");
/// Row to a call that is open at Meta.
const OPEN: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("open");
/// Call id to when it ended, in seconds since 1970.
const ENDED: TableDefinition<'_, &str, i64> = TableDefinition::new("ended");
/// Number id to its section, as the API was given it.
const NUMBERS: TableDefinition<'_, &str, &str> = TableDefinition::new("numbers");
/// How long ended calls are remembered: as long as the session machine does.
const ENDED_KEPT_S: i64 = 48 * 3_600;
/// Ended calls that are read back; as many as the session machine remembers.
const ENDED_MAX: usize = 200_000;
/// What a row takes beside its body, for the bound.
const ROW_BYTES: u64 = 512;
/// Pages kept in memory; everything that matters is in the session machine as well.
const CACHE_BYTES: usize = 8 * 1_024 * 1_024;
/// Things written in one transaction.
const BATCH_MAX: usize = 1_024;
/// How long something that nobody waits for may wait.
const LAZY_MAX: Duration = Duration::from_millis(50);
