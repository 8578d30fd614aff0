//! `[store]`: where webhooks and open calls are kept, so that a crash loses none.

use super::reader::{Reader, Section};
use std::path::PathBuf;

/// `[store]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// One file, made at the first start, readable by the daemon only. One daemon at a time may have it.
    pub file: PathBuf,
    /// Webhooks kept at a time, in bytes; more are answered 503 and Meta sends them again.
    pub bytes_max: u64,
}

impl StoreConfig {
    /// This file, 256 MiB.
    pub fn new(file: PathBuf) -> Self {
        Self { file, bytes_max: 256 << 20 }
    }
}

pub(super) fn read_store(r: &mut Reader<'_>, root: &mut Section<'_, '_>) -> Option<StoreConfig> {
    let mut s = root.table(r, "store");
    if !s.is_present() {
        return None;
    }
    let file = s.path(r, "file");
    if file.is_none() && s.value("file").is_none() {
        s.missing(r, "file", "name a file on a disk of this machine, for example \"/var/lib/tipring/store.redb\"");
    }
    let bytes_max = s.integer(r, "mib_max", 16..=1_048_576, 256) << 20;
    s.finish(r);
    Some(StoreConfig { file: file?, bytes_max })
}
