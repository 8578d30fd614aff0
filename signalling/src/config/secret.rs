//! Secrets and where they come from.
//!
//! Decides: that a secret never stands in the configuration file and never in a log. Given: `env:NAME` or `file:PATH`. Refuses: literals.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A secret. `Debug` shows nothing of it; the text comes out by [`Secret::expose`] only.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a secret that is already in memory (the demo, tests, embedding hosts).
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `other` is the same, in time that depends on the lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        use subtle::ConstantTimeEq;
        self.0.as_bytes().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where secrets are looked up. The process's own environment and disk, or a test's table.
pub trait SecretSource {
    /// The value of an environment variable, if it is set.
    fn env(&self, name: &str) -> Option<String>;
    /// The text of a file. The error is for an operator.
    fn file(&self, path: &Path) -> Result<String, String>;
}

/// The environment and the disk of this process.
pub struct ProcessSecrets;

impl SecretSource for ProcessSecrets {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        std::fs::read_to_string(path).map_err(|e| e.to_string())
    }
}

/// Longest secret taken, in bytes. Access tokens of Meta are about 200 to 400.
const SECRET_BYTES_MAX: usize = 4_096;

/// Resolves a reference. The error is (what is wrong, how to fix it); neither holds any part of a possible secret.
pub(crate) fn resolve(reference: &str, source: &dyn SecretSource) -> Result<Secret, (String, String)> {
    let text = if let Some(name) = reference.strip_prefix("env:") {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err((
                "`env:` is not followed by the name of an environment variable".into(),
                "write for example \"env:WHATSAPP_TOKEN\"".into(),
            ));
        }
        source.env(name).ok_or_else(|| {
            (
                format!("the environment variable {name} is not set"),
                format!("set {name} in the environment of the daemon, or use \"file:PATH\""),
            )
        })?
    } else if let Some(path) = reference.strip_prefix("file:") {
        if path.is_empty() {
            return Err(("`file:` is not followed by a path".into(), "write for example \"file:/run/secrets/token\"".into()));
        }
        source
            .file(Path::new(path))
            .map_err(|e| (format!("the secret file {path} cannot be read: {e}"), "create it, readable by the daemon's user only".into()))?
    } else {
        return Err((
            "a literal secret stands in the configuration file".into(),
            "move it to an environment variable (\"env:NAME\") or a file (\"file:PATH\"); treat the one in this file as leaked".into(),
        ));
    };
    // Files end in a newline that belongs to the editor, not to the secret.
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err((format!("{reference} is empty"), "put the secret there".into()));
    }
    if text.len() > SECRET_BYTES_MAX || text.bytes().any(|b| b.is_ascii_control()) {
        return Err((
            format!("{reference} is longer than {SECRET_BYTES_MAX} bytes or contains control characters"),
            "store the bare secret on one line".into(),
        ));
    }
    Ok(Secret::new(text))
}
