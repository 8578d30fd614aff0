//! `GET /v1/events`: the event stream over WebSocket (RFC 6455).
//!
//! Given: an upgraded connection and a subscription. Decides: when a silent or slow client is let go. Refuses: commands: what the client says is read and forgotten.

use super::book::ApiEvent;
use super::events::Subscription;
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{broadcast, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Which events a client wants.
#[derive(Default)]
pub(super) struct Filter {
    /// Types, or prefixes that end in a dot: `call.`; empty: all.
    pub(super) types: Vec<String>,
    /// One call only.
    pub(super) call: Option<String>,
}

impl Filter {
    pub(super) fn wants(&self, event: &ApiEvent) -> bool {
        let type_fits =
            self.types.is_empty() || self.types.iter().any(|t| event.kind == t || (t.ends_with('.') && event.kind.starts_with(t.as_str())));
        let call_fits = self.call.as_deref().is_none_or(|id| event.call.as_ref().is_some_and(|call| call.as_str() == id));
        type_fits && call_fits
    }
}

/// Serves one client until it leaves, is too slow, or the daemon stops.
pub(super) async fn run(
    io: impl AsyncRead + AsyncWrite + Unpin,
    subscription: Subscription,
    filter: Filter,
    mut stop: watch::Receiver<bool>,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_frame_size(Some(CLIENT_MESSAGE_BYTES_MAX))
        .max_write_buffer_size(WRITE_BYTES_MAX);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let farewell = serve(&mut socket, subscription, filter, &mut stop).await;
    if let Some(reason) = farewell {
        let code = if reason == STOPPING { CloseCode::Away } else { CloseCode::Policy };
        let close = socket.close(Some(CloseFrame { code, reason: reason.into() }));
        // A client that does not take the farewell does not hold us up.
        let _ = tokio::time::timeout(SEND_MAX, close).await;
    }
}

/// Returns what to say in the close frame; none when there is nobody left to say it to.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    subscription: Subscription,
    filter: Filter,
    stop: &mut watch::Receiver<bool>,
) -> Option<&'static str> {
    let Subscription { past, has_gap, mut live } = subscription;
    if has_gap {
        send(socket, gap(None)).await.ok()?;
    }
    for event in past.iter().filter(|event| filter.wants(event)) {
        send(socket, Message::text(&*event.json)).await.ok()?;
    }
    let mut ping = tokio::time::interval(PING_EVERY);
    let mut unanswered = 0;
    loop {
        let message = tokio::select! {
            event = live.recv() => match event {
                Ok(event) => filter.wants(&event).then(|| Message::text(&*event.json)),
                Err(broadcast::error::RecvError::Lagged(lost)) => Some(gap(Some(lost))),
                Err(broadcast::error::RecvError::Closed) => return Some(STOPPING),
            },
            said = socket.next() => match said {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {
                    unanswered = 0;
                    None
                }
            },
            _ = ping.tick() => {
                unanswered += 1;
                if unanswered > PINGS_UNANSWERED_MAX {
                    return Some("no pong");
                }
                Some(Message::Ping(Vec::new().into()))
            }
            _ = stop.wait_for(|s| *s) => return Some(STOPPING),
        };
        let Some(message) = message else { continue };
        if send(socket, message).await.is_err() {
            return Some("too slow");
        }
    }
}

async fn send<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>, message: Message) -> Result<(), Error> {
    match tokio::time::timeout(SEND_MAX, socket.send(message)).await {
        Ok(sent) => sent,
        Err(_) => Err(Error::ConnectionClosed),
    }
}

/// Tells that events were missed: the client should GET the calls.
fn gap(lost: Option<u64>) -> Message {
    Message::text(serde_json::json!({ "type": "stream.gap", "data": { "lost": lost } }).to_string())
}

const STOPPING: &str = "the node stops";
const PING_EVERY: Duration = Duration::from_secs(20);
/// The first ping leaves at once.
const PINGS_UNANSWERED_MAX: u32 = 3;
/// How long a client may take to accept one message.
const SEND_MAX: Duration = Duration::from_secs(10);
/// What a client may say at a time, in bytes.
const CLIENT_MESSAGE_BYTES_MAX: usize = 4 * 1_024;
/// What may wait to be sent to one client, in bytes.
const WRITE_BYTES_MAX: usize = 1 << 20;
