//! The TLS server side: one provider (aws-lc-rs), TLS 1.2 and 1.3, HTTP/1.1 only.
//!
//! Given: PEM files. Refuses: a chain and key that do not belong together.

use crate::config::TlsPaths;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, RwLock};
use tipring_engine::rng::Entropy;

/// The one cryptography provider of the process.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate that can be exchanged while the listener runs: each new handshake takes the newest.
pub(crate) struct Certificate {
    paths: TlsPaths,
    now: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Loads certificate and key. The error is for an operator and never quotes the key file.
    pub(crate) fn load(paths: &TlsPaths) -> Result<Arc<Self>, String> {
        Ok(Arc::new(Self { paths: paths.clone(), now: RwLock::new(certified(paths)?) }))
    }

    /// Reads the files anew. If they are not good, what was loaded before goes on.
    pub(crate) fn reload(&self) -> Result<(), String> {
        let fresh = certified(&self.paths)?;
        // A panic while the lock was held is a bug elsewhere; the pointer is whole.
        *self.now.write().unwrap_or_else(|e| e.into_inner()) = fresh;
        Ok(())
    }

    /// When it ends, in seconds since 1970.
    pub(crate) fn end_unix_s(&self) -> Option<i64> {
        let key = Arc::clone(&self.now.read().unwrap_or_else(|e| e.into_inner()));
        not_after(key.cert.first()?.as_ref())
    }

    /// The configuration of a listener that shows it.
    pub(crate) fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, String> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS provider: {e}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("cert", &self.paths.cert).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(|e| e.into_inner())))
    }
}

/// When the leaf certificate ends, in seconds since 1970.
pub(crate) fn certificate_end(paths: &TlsPaths) -> Result<i64, String> {
    let key = certified(paths)?;
    let leaf = key.cert.first().ok_or("the chain is empty")?;
    not_after(leaf.as_ref()).ok_or_else(|| format!("http.tls_cert: {} is not a certificate that can be read", paths.cert.display()))
}

/// `tbsCertificate.validity.notAfter` of a DER certificate (RFC 5280 section 4.1).
fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = element(certificate)?.0;
    let (_, mut rest) = element(certificate)?.0;
    // version (in a context tag, or absent), serial, signature, issuer, validity
    let mut fields = 0;
    loop {
        let ((tag, body), next) = element(rest)?;
        rest = next;
        if tag == 0xa0 {
            continue;
        }
        fields += 1;
        if fields == 4 {
            let (_, end) = element(body)?;
            let ((tag, time), _) = element(end)?;
            return unix_of(tag, time);
        }
    }
}

/// Tag and body of an element, and what follows it.
type Element<'d> = ((u8, &'d [u8]), &'d [u8]);

/// The first element.
fn element(der: &[u8]) -> Option<Element<'_>> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(len)?;
    Some(((tag, body), rest))
}

/// `UTCTime` (YYMMDDHHMMSSZ) or `GeneralizedTime` (YYYYMMDDHHMMSSZ).
fn unix_of(tag: u8, time: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(time).ok()?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, text.get(2..)?)
        }
        0x18 => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|p| p.parse::<i64>().ok());
    let (month, day) = (part(0)? - 1, part(2)?);
    let (year, month) = (year - i64::from(month < 2), (month + 10) % 12);
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (month * 306 + 5) / 10 + day - 1 - 719_468;
    Some(days * 86_400 + part(4)? * 3_600 + part(6)? * 60 + part(8)?)
}

fn certified(paths: &TlsPaths) -> Result<Arc<CertifiedKey>, String> {
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
    CertifiedKey::from_der(chain, key_der, &provider())
        .map(Arc::new)
        .map_err(|e| format!("http.tls_cert and http.tls_key: {cert} and {key} do not belong together: {e}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_and_its_exchange_is_seen() {
        let directory = std::env::temp_dir().join(format!("tipring-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let paths = TlsPaths { cert: directory.join("cert.pem"), key: directory.join("key.pem") };
        let write = |year: i32| {
            let mut params = rcgen::CertificateParams::new(vec!["calls.acme.example".to_owned()]).expect("names");
            params.not_after = rcgen::date_time_ymd(year, 2, 3);
            let key = rcgen::KeyPair::generate().expect("a key");
            let cert = params.self_signed(&key).expect("a certificate");
            std::fs::write(&paths.cert, cert.pem()).expect("a file");
            std::fs::write(&paths.key, key.serialize_pem()).expect("a file");
            cert.der().to_vec()
        };
        let first = write(2040);
        assert_eq!(certificate_end(&paths), Ok(2_211_840_000));
        let certificate = Certificate::load(&paths).expect("it loads");
        let shown = |c: &Certificate| c.now.read().expect("whole").cert[0].as_ref().to_vec();
        assert_eq!(shown(&certificate), first);
        let second = write(2055);
        assert_eq!(certificate_end(&paths), Ok(2_685_225_600), "GeneralizedTime from 2050 on");
        assert_eq!(certificate.reload(), Ok(()));
        assert_eq!(shown(&certificate), second);
        std::fs::write(&paths.key, "not a key").expect("a file");
        assert!(certificate.reload().is_err_and(|e| e.contains("tls_key") && !e.contains("not a key")));
        assert_eq!(shown(&certificate), second, "what cannot be used changes nothing");
        std::fs::remove_dir_all(&directory).expect("the directory can go");
        for rubbish in [&b""[..], &[0x30], &[0x30, 0x84, 1, 1, 1, 1], &[0x30, 0x02, 0x30, 0x00], &first[..100]] {
            assert_eq!(not_after(rubbish), None);
        }
    }
}
