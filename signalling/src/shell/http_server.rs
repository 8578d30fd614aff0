//! One bounded HTTP/1.1 listener: connections, heads, bodies and time all have a limit.
//!
//! Given: a bound socket, limits, a service. Decides: when a connection is given up. Refuses: to know any path (`routes.rs`, `control`).

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// An answer with its body in memory.
pub(crate) type Reply = Response<Full<Bytes>>;

/// The other end of a request's connection, as an extension of the request.
#[derive(Clone, Copy)]
pub(crate) struct Source(pub(crate) IpAddr);

/// Who answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. Must read the body by [`read_body`] only.
    fn handle(&self, request: Request<Incoming>) -> impl Future<Output = Reply> + Send;
}

/// Bounds of one listener.
#[derive(Clone)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) connections_max: usize,
    /// For the TLS handshake, for each head, and by [`read_body`] for each body.
    pub(crate) read_timeout: Duration,
}

/// Serves until `stop` becomes true, then lets each connection finish its request.
pub(crate) async fn serve<S: Service>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        // The permit comes first: past the cap, new connections wait in the kernel's backlog instead of in our memory.
        let permit = tokio::select! {
            permit = Arc::clone(&connections).acquire_owned() => permit,
            _ = stop.wait_for(|s| *s) => return,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => return,
        };
        let (stream, source) = match accepted {
            Ok((stream, peer)) => (stream, Source(peer.ip())),
            Err(e) => {
                // Out of file descriptors, or a peer that left already. A pause keeps the first from spinning.
                tracing::warn!(error = %e, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Without it the answer would wait for the peer's delayed acknowledgement; nothing else depends on it.
        let _ = stream.set_nodelay(true);
        let (service, limits, stop, tls) = (Arc::clone(&service), limits.clone(), stop.clone(), tls.clone());
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => connection(stream, source, &limits, service, stop).await,
                Some(acceptor) => match tokio::time::timeout(limits.read_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, source, &limits, service, stop).await,
                    Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake timed out"),
                },
            }
        });
    }
}

async fn connection<S: Service>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    source: Source,
    limits: &Limits,
    service: Arc<S>,
    mut stop: watch::Receiver<bool>,
) {
    let handler = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source);
        let service = Arc::clone(&service);
        // A task of its own: what was begun is carried out and remembered even if the client hangs up in between.
        let answer = tokio::spawn(async move { service.handle(request).await });
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n"))) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades();
    let mut served = std::pin::pin!(served);
    tokio::select! {
        result = served.as_mut() => {
            if let Err(e) = result {
                tracing::debug!(error = %e, "connection ended");
            }
            return;
        }
        _ = stop.wait_for(|s| *s) => served.as_mut().graceful_shutdown(),
    }
    // A request that is being answered may finish; a connection that only lingers may not hold the stop up.
    let _ = tokio::time::timeout(limits.read_timeout, served).await;
}

/// A body in memory, and its share of the memory that all bodies together may take.
pub(crate) struct ReadBody {
    /// The raw bytes.
    pub(crate) bytes: Bytes,
    /// Given back when the body has been dealt with.
    pub(crate) budget: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyError {
    /// Longer than allowed.
    TooLarge,
    /// Not complete in time.
    TooSlow,
    /// All bodies together take too much memory.
    NoMemory,
    /// The connection broke.
    Broken,
}

/// Reads a whole body: at most `bytes_max`, within `timeout`, charged to `budget` byte by byte as it arrives, so that a mere promise of a
/// large body takes nothing from others.
pub(crate) async fn read_body(
    mut body: Incoming,
    bytes_max: usize,
    timeout: Duration,
    budget: &Arc<Semaphore>,
) -> Result<ReadBody, BodyError> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(BodyError::TooLarge);
    }
    let read = async {
        let mut out = Vec::new();
        let mut held: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            if out.len() + data.len() > bytes_max {
                return Err(BodyError::TooLarge);
            }
            let permit = Arc::clone(budget).try_acquire_many_owned(data.len() as u32).map_err(|_| BodyError::NoMemory)?;
            match &mut held {
                Some(held) => held.merge(permit),
                None => held = Some(permit),
            }
            out.extend_from_slice(&data);
        }
        Ok(ReadBody { bytes: out.into(), budget: held })
    };
    tokio::time::timeout(timeout, read).await.unwrap_or(Err(BodyError::TooSlow))
}

/// A plain-text answer.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", body)
}

/// An answer of some media type. Nothing here may be kept by a cache or guessed at by a browser.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    reply
}

/// 405 with what would be allowed.
pub(crate) fn method_not_allowed(allow: &'static str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    reply.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    reply
}

/// The pairs of a query string, percent-decoded.
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    let Ok(mut url) = reqwest::Url::parse("http://query.invalid/") else { return Vec::new() };
    url.set_query(Some(query));
    url.query_pairs().into_owned().collect()
}

/// Largest request head, in bytes. Meta's are under 1 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Headers of one request.
const HEADERS_MAX: usize = 64;
