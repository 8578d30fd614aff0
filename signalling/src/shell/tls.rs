//! The TLS server side: one provider (aws-lc-rs), TLS 1.2 and 1.3, HTTP/1.1 only.
//!
//! Given: PEM files. Refuses: a chain and key that do not belong together.

use crate::config::TlsPaths;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use tipring_engine::rng::Entropy;

/// The one cryptography provider of the process.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Loads certificate and key. The error is for an operator and never quotes the key file.
pub(crate) fn server_config(paths: &TlsPaths) -> Result<Arc<rustls::ServerConfig>, String> {
    let (cert, key) = (paths.cert.display(), paths.key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&paths.cert)
        .and_then(Iterator::collect)
        .map_err(|e| format!("http.tls_cert: {cert} cannot be read as PEM certificates: {e}"))?;
    if chain.is_empty() {
        return Err(format!("http.tls_cert: {cert} holds no certificate; it must hold the chain in PEM, leaf first"));
    }
    let key_der = PrivateKeyDer::from_pem_file(&paths.key).map_err(|_| {
        format!(
            "http.tls_key: {key} cannot be read as a PEM private key; check that it exists, is readable by the daemon and not encrypted"
        )
    })?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS provider: {e}"))?
        .with_no_client_auth()
        .with_single_cert(chain, key_der)
        .map_err(|e| format!("http.tls_cert and http.tls_key: {cert} and {key} do not belong together: {e}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The system's randomness as the engine's kind of source.
pub(crate) struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        random(out);
    }
}

/// Fills `out` from the provider's generator.
pub(crate) fn random(out: &mut [u8]) {
    // aws-lc's generator reseeds itself from the system and fails only when the system has no entropy source at all.
    provider().secure_random.fill(out).expect("the operating system provides entropy");
}
