//! What the service asks of the task that owns the calls, and what can be wrong with it.

use super::book::{ApiCallId, Lookup};
use crate::config::{AudioBridge, BridgeConfig};
use crate::control::problem::Problem;
use crate::session::{Dial, Personal};
use crate::stream::Track;
use hyper::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use tipring_engine::engine::CallId;
use tokio::sync::oneshot;

/// A call to make.
pub(crate) struct NewCall {
    /// Whom and from which number.
    pub(crate) dial: Box<Dial>,
    /// What the user will hear; none: the number's own bridge.
    pub(crate) bridge: Option<BridgeConfig>,
}

/// One thing to do or to tell.
pub(crate) enum ApiOp {
    /// The calls, newest first.
    List { state: Option<String>, limit: usize },
    /// One call.
    Show(ApiCallId),
    /// Its events so far.
    Timeline(ApiCallId),
    /// Its figures if it has ended, else its media call, whose figures the engine has.
    Stats(ApiCallId),
    /// Call a user.
    Dial(NewCall),
    /// Who made this call, to be called back.
    Caller(ApiCallId),
    /// Take a call that rings.
    Accept { call: ApiCallId, bridge: Option<BridgeConfig> },
    /// Decline it.
    Reject(ApiCallId),
    /// Hang up.
    Terminate(ApiCallId),
    /// Exchange what the user talks to.
    Bridge { call: ApiCallId, bridge: BridgeConfig },
    /// Play a prompt over what the user talks to.
    Play { call: ApiCallId, prompt: String },
    /// The media call of a call that runs: the engine is to be asked for something.
    Engine(ApiCallId),
    /// Begin or end its recording.
    Record { call: ApiCallId, on: bool },
    /// Let an audio server listen along, or none any more.
    Tap { call: ApiCallId, whom: Option<(Box<AudioBridge>, Track)> },
    /// This node's load.
    Node,
    /// Stop or go on taking calls.
    Drain(bool),
}

/// An answer of the task.
pub(crate) enum ApiReply {
    /// The body.
    Json(Value),
    /// Ask the engine for the figures of this call.
    Media(CallId),
    /// The engine's name of a call.
    Engine(CallId),
    /// Business number, phone and business-scoped id of a user.
    Caller(Arc<str>, Option<Personal>, Option<Personal>),
}

/// A request to the task.
pub(crate) struct ApiRequest {
    pub(crate) op: ApiOp,
    pub(crate) reply: oneshot::Sender<Result<ApiReply, ApiError>>,
}

/// Why it was not done. Nothing was changed.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// No call of this id.
    NoSuchCall,
    /// The call is over.
    Ended,
    /// It does not fit the call's state.
    WrongState { state: &'static str, hint: &'static str },
    /// Not one of our numbers.
    NoSuchNumber,
    /// A number that we may receive for and not send.
    ReceiveOnly,
    /// Not one of our prompts.
    NoSuchPrompt,
    /// The node takes no new calls.
    Draining,
    /// The daemon stops; that is not taken back.
    Stopping,
    /// Its recording cannot begin: none is configured.
    NoRecorder,
    /// Its plain RTP leg cannot be.
    Rtp(&'static str),
    /// The engine did not take it.
    Engine(String),
}

impl From<Lookup> for ApiError {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Unknown => Self::NoSuchCall,
            Lookup::Ended => Self::Ended,
        }
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::NoSuchCall => Self::new(
                StatusCode::NOT_FOUND,
                "NO_SUCH_CALL",
                "there is no call of this id on this node",
                "ended calls are kept until newer ones need the room; ask the node that had the call",
            ),
            ApiError::Ended => Self::new(StatusCode::CONFLICT, "CALL_ENDED", "the call is over", "GET the call to see how it ended"),
            ApiError::WrongState { state, hint } => Self::new(StatusCode::CONFLICT, "WRONG_STATE", format!("the call is {state}"), hint),
            ApiError::NoSuchNumber => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "NO_SUCH_NUMBER",
                "number_id is not configured here",
                "send the phone_number_id of a [[number]] of the configuration",
            ),
            ApiError::ReceiveOnly => Self::new(
                StatusCode::CONFLICT,
                "NUMBER_RECEIVE_ONLY",
                "this number only receives: another partner, or the customer, sends with it",
                "call with a number whose role is full; docs/patterns tells which partner may do what",
            ),
            ApiError::NoSuchPrompt => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "NO_SUCH_PROMPT",
                "no prompt of this name is configured",
                "add a [[prompt]] with this name and a wav file; requests cannot name files",
            ),
            ApiError::Draining => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "DRAINING",
                "the node takes no new calls",
                "try another node, or POST /v1/node/undrain",
            ),
            ApiError::Stopping => {
                Self::new(StatusCode::CONFLICT, "STOPPING", "the daemon was told to stop", "wait for its end and start it again")
            }
            ApiError::NoRecorder => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "NO_RECORDER",
                "recording is not configured",
                "add [record] with a directory to the configuration",
            ),
            //= meta#R-10  a leg to nowhere that is listed
            ApiError::Rtp(what) => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "BAD_RTP",
                what,
                "list the far side in engine.rtp_targets; see the table of rtp in docs/DIRECT_MODE.md",
            ),
            ApiError::Engine(what) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "ENGINE_BUSY", what, "try again; the call may have ended at this moment")
            }
        }
    }
}
