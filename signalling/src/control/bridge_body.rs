//! The `bridge` object of a request: what the call's audio is joined to.
//!
//! Decides: which members fit together. Given: JSON that serde has read, and what the configuration allows. Refuses: names of files (a key opens calls, not the disk) and
//! far sides that nobody listed.

use super::native::ApiError;
use super::problem::Problem;
use super::rtp_body::{BadLeg, RtpBody};
use super::voip;
use crate::config::{AudioBody, AudioBridge, BridgeConfig, BridgeKind};
use crate::shell::Commons;
use hyper::StatusCode;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BridgeBody {
    /// Implied by `rtp` and `ws`.
    kind: Option<String>,
    /// Name of a `[[prompt]]`.
    prompt: Option<String>,
    #[serde(default)]
    record: bool,
    /// Where a plain RTP leg goes, for kind `rtp`.
    rtp: Option<RtpBody>,
    /// Which audio server, for kind `ws`.
    ws: Option<AudioBody>,
}

/// What `play` and `play_then_echo` may play.
#[derive(Clone, Copy)]
pub(super) enum Plays<'a> {
    /// The one file of the interface's own bridge.
    Configured(Option<&'a PathBuf>),
    /// Prompts by name.
    Prompts(&'a HashMap<String, PathBuf>),
}

impl BridgeBody {
    /// The plain RTP leg that is asked for, if one is.
    #[cfg(any(test, fuzzing))]
    pub(super) fn rtp(&self) -> Option<&RtpBody> {
        self.rtp.as_ref()
    }

    //= meta#R-10  a request names no far side that nobody listed
    pub(super) fn read(&self, plays: Plays<'_>, commons: &Commons) -> Result<BridgeConfig, Problem> {
        let implied = if self.rtp.is_some() { "rtp" } else { self.ws.as_ref().map_or("", |_| "ws") };
        let name = self.kind.as_deref().unwrap_or(implied);
        if self.ws.is_some() != (name == "ws") {
            return Err(bad("ws and the kind of the bridge do not fit together", "send ws with kind ws, or with no kind"));
        }
        if self.rtp.is_some() != (name == "rtp") {
            return Err(bad("rtp and the kind of the bridge do not fit together", "send rtp with kind rtp, or with no kind"));
        }
        if self.prompt.is_some() && !name.starts_with("play") {
            return Err(voip::names_outside(name)
                .map_or_else(|| bad("this bridge plays nothing", "leave prompt out, or use play or play_then_echo"), voip::refusal));
        }
        let kind = match (name, &self.rtp, &self.ws) {
            ("rtp", Some(rtp), _) => BridgeKind::Rtp(Box::new(rtp.params().map_err(|e| match e {
                BadLeg::Body(detail) => bad(detail, "see the table of rtp in docs/DIRECT_MODE.md"),
                BadLeg::Outside(what) => voip::refusal(what),
            })?)),
            ("ws", _, Some(ws)) => BridgeKind::Audio(Box::new(audio(ws, commons)?)),
            ("echo", ..) => BridgeKind::Echo,
            ("play", ..) => BridgeKind::Play(self.file(plays)?),
            ("play_then_echo", ..) => BridgeKind::PlayThenEcho(self.file(plays)?),
            (other, ..) => {
                return Err(voip::names_outside(other)
                    .map_or_else(|| bad("there is no such kind of bridge", "use echo, play, play_then_echo, rtp or ws"), voip::refusal));
            }
        };
        if self.record && !commons.records {
            return Err(bad("recording is not configured", "add [record] with a directory to the configuration"));
        }
        Ok(BridgeConfig { kind, record: self.record })
    }

    fn file(&self, plays: Plays<'_>) -> Result<PathBuf, Problem> {
        match (plays, &self.prompt) {
            (Plays::Prompts(prompts), Some(name)) => prompts
                .get(name)
                .cloned()
                .ok_or_else(|| voip::names_outside(name).map_or_else(|| ApiError::NoSuchPrompt.into(), voip::refusal)),
            (Plays::Prompts(_), None) => Err(bad("prompt is missing", "name a prompt of the configuration")),
            (Plays::Configured(Some(path)), None) => Ok(path.clone()),
            (Plays::Configured(None), None) => {
                Err(bad("no file to play is configured", "set wav in the bridge of [direct]; requests cannot name files"))
            }
            (Plays::Configured(_), Some(_)) => {
                Err(bad("there are no prompts here", "leave prompt out: wav in the bridge of [direct] is played"))
            }
        }
    }
}

/// The audio server that a `ws` object names.
pub(super) fn audio(ws: &AudioBody, commons: &Commons) -> Result<AudioBridge, Problem> {
    ws.bridge(&commons.bridges.audio_targets()).map_err(|detail| {
        if detail.starts_with(voip::VOIP_ONLY) {
            return voip::refusal("a server that no [[audio_target]] lists");
        }
        bad(detail, "see docs/AUDIO_STREAMS.md")
    })
}

fn bad(detail: impl Into<String>, hint: &'static str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_BRIDGE", detail, hint)
}
