//! What the native API asks, done by the task that owns the calls.
//!
//! Decides: whether a request fits the call's state. Given: one request at a time, between two inputs of the session machine. Refuses: to wait.

use super::bridges::{RecordError, TapError, bridge_name};
use super::cdr::Record;
use super::control_task::ControlTask;
use super::observe::{CallRef, unix_ms, unix_s};
use crate::config::{BridgeConfig, BridgeKind, NumberRole};
use crate::control::{ApiCallId, ApiError, ApiOp, ApiReply, ApiRequest, At, NewCall};
use crate::session::{CallKey, Command, Input};
use serde_json::json;
use std::sync::atomic::Ordering;
use tipring_engine::call::MediaPort;
use tipring_engine::engine::CommandError;
use tipring_engine::error::{AdmitError, SetupError};

impl ControlTask {
    /// Does what was asked and answers.
    pub(super) fn api(&mut self, request: ApiRequest) {
        let answer = self.do_api(request.op);
        // The client may have gone away.
        let _ = request.reply.send(answer);
    }

    fn do_api(&mut self, op: ApiOp) -> Result<ApiReply, ApiError> {
        let json = |value: Option<serde_json::Value>| value.map(ApiReply::Json).ok_or(ApiError::NoSuchCall);
        match op {
            ApiOp::List { state, limit } => Ok(ApiReply::Json(self.book.list(state.as_deref(), limit))),
            ApiOp::Show(id) => json(self.show(&id)),
            ApiOp::Timeline(id) => json(self.book.timeline(&id)),
            ApiOp::Stats(id) => match self.book.key(&id).ok().and_then(|key| self.media.call(key)) {
                Some(call) => Ok(ApiReply::Media(call)),
                None if self.book.state(&id).is_none() => Err(ApiError::NoSuchCall),
                None => Ok(ApiReply::Json(self.book.stats(&id).unwrap_or_default())),
            },
            ApiOp::Dial(new) => self.dial(new),
            ApiOp::Caller(id) => match (self.book.caller(&id), self.book.state(&id)) {
                (Some((number, phone, user_id)), _) if phone.is_some() || user_id.is_some() => Ok(ApiReply::Caller(number, phone, user_id)),
                (_, state) => Err(wrong(state, "only a user's call that is over, and whose caller Meta named, can be called back")),
            },
            ApiOp::Accept { call, bridge } => {
                let key = self.book.key(&call)?;
                match self.book.state(&call) {
                    Some("offered") if !self.book.is_outbound(&call) => {}
                    state => return Err(wrong(state, "only a call that a user makes, and that still rings, can be accepted")),
                }
                if let Some(bridge) = bridge {
                    self.exchange(key, bridge)?;
                }
                self.command(key, Command::Accept);
                json(self.show(&call))
            }
            ApiOp::Reject(call) => {
                let key = self.book.key(&call)?;
                match self.book.state(&call) {
                    Some("offered") => {}
                    state => return Err(wrong(state, "only a call that still rings can be rejected; use terminate")),
                }
                self.command(key, Command::Reject);
                json(self.show(&call))
            }
            ApiOp::Terminate(call) => {
                let key = self.book.key(&call)?;
                self.command(key, Command::Terminate);
                json(self.show(&call))
            }
            ApiOp::Bridge { call, bridge } => {
                let key = self.book.key(&call)?;
                self.exchange(key, bridge)?;
                json(self.show(&call))
            }
            ApiOp::Play { call, prompt } => {
                let key = self.book.key(&call)?;
                let wav = self.prompts.get(&prompt).cloned().ok_or(ApiError::NoSuchPrompt)?;
                let bridge = self.media.bridge(key).cloned().ok_or_else(no_media)?;
                let port = self.bridges.port_after_prompt(&wav, &bridge, &CallRef::Meta(key)).ok_or(ApiError::WrongState {
                    state: "bridged to somebody who speaks",
                    hint: "let the far side play it, or bridge the call to something else first",
                })?;
                self.attach(key, port)?;
                json(self.show(&call))
            }
            ApiOp::Engine(id) => {
                let key = self.book.key(&id)?;
                let state = self.book.state(&id);
                self.media.call(key).map(ApiReply::Engine).ok_or_else(|| wrong(state, "the call has no media yet"))
            }
            ApiOp::Record { call, on } => {
                let key = self.book.key(&call)?;
                let was = self.media.bridge(key).is_some_and(|bridge| bridge.record);
                if was != on {
                    self.bridges.record(&CallRef::Meta(key), on).map_err(|e| match e {
                        RecordError::NotConfigured => ApiError::NoRecorder,
                        RecordError::NoMedia => wrong(self.book.state(&call), "the call has no media yet"),
                        RecordError::Busy => ApiError::Engine("the recorder is behind".into()),
                    })?;
                    self.media.set_record(key, on);
                    if on {
                        self.book.recording(key, self.at());
                        self.tell_events();
                    }
                }
                json(self.show(&call))
            }
            ApiOp::Tap { call, whom } => {
                let key = self.book.key(&call)?;
                let about = self.about(key);
                let whom = whom.as_ref().map(|(server, track)| (&**server, *track));
                self.bridges.tap(&CallRef::Meta(key), whom, &about).map_err(|e| match e {
                    TapError::NoMedia => wrong(self.book.state(&call), "the call has no media yet"),
                    TapError::Taken => ApiError::WrongState { state: "listened to by somebody", hint: "stop the tap that there is first" },
                    TapError::Busy(why) => ApiError::Engine(why),
                })?;
                json(self.show(&call))
            }
            ApiOp::Node => Ok(ApiReply::Json(self.node())),
            ApiOp::Drain(on) => {
                if !on && self.stopping {
                    return Err(ApiError::Stopping);
                }
                self.draining.store(on, Ordering::Relaxed);
                if on {
                    self.engine.drain()
                } else {
                    self.engine.undrain()
                }
                tracing::info!(on, "drain by the API");
                Ok(ApiReply::Json(self.node()))
            }
        }
    }

    fn dial(&mut self, new: NewCall) -> Result<ApiReply, ApiError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(ApiError::Draining);
        }
        match self.tenants.now().number(&new.dial.phone_number_id).map(|number| number.role) {
            Some(NumberRole::Full) => {}
            //= meta#R-06  a number that we may only receive for makes no calls
            Some(_) => return Err(ApiError::ReceiveOnly),
            None => return Err(ApiError::NoSuchNumber),
        }
        self.dial_bridge = new.bridge;
        self.dialled = None;
        self.feed(Input::Dial(new.dial));
        self.dial_bridge = None;
        // A call that cannot even begin is told as well, with its verdict.
        let id = self.dialled.take().ok_or_else(no_media)?;
        self.show(&id).map(ApiReply::Json).ok_or(ApiError::Ended)
    }

    fn node(&self) -> serde_json::Value {
        let engine = self.engine.config();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "calls": self.sessions.calls().count(),
            "media_calls": self.engine.calls(),
            "calls_max": engine.calls_max_per_shard * engine.cores.len().max(1),
            "draining": self.draining.load(Ordering::Relaxed),
            "addresses": engine.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "public_addresses": engine.public_addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "numbers": self.tenants.now().numbers().map(|(id, _)| id.to_string()).collect::<Vec<_>>(),
        })
    }

    fn command(&mut self, call: CallKey, command: Command) {
        self.feed(Input::Command { call, command });
    }

    /// Attaches a new bridge to a call and remembers it.
    fn exchange(&mut self, key: CallKey, bridge: BridgeConfig) -> Result<(), ApiError> {
        let call = self.media.call(key).ok_or_else(no_media)?;
        let attached = self.bridges.attach_rtp(&self.engine, call, &bridge, &CallRef::Meta(key));
        let rtp = attached.map_err(|e| match e {
            CommandError::Setup(SetupError::Misuse(why)) => ApiError::Rtp(why),
            CommandError::Admit(AdmitError::NoSuchCall) => ApiError::Ended,
            other => ApiError::Engine(other.to_string()),
        })?;
        match rtp {
            Some(_) => self.media.port_attached(key),
            None => {
                let port = self.bridges.port(&bridge, &CallRef::Meta(key), &self.about(key));
                self.attach(key, port)?;
            }
        }
        self.book.bridged(key, bridge_name(&bridge), self.at());
        if bridge.record {
            self.book.recording(key, self.at());
        }
        self.media.set_bridge(key, bridge, rtp);
        self.tell_events();
        Ok(())
    }

    /// What an audio server is told of a call.
    pub(super) fn about(&self, key: CallKey) -> Vec<(&'static str, String)> {
        let mut about = Vec::new();
        if let Some(call) = self.sessions.call(key) {
            about.extend(call.wacid.map(|wacid| ("wacid", wacid.as_str().to_owned())));
            about.push(("number_id", call.phone_number_id.to_string()));
            about.push(("direction", if call.outbound { "outbound" } else { "inbound" }.to_owned()));
        }
        about.extend(self.book.id(key).map(|id| ("call_id", id.as_str().to_owned())));
        about
    }

    /// A call with what only this task knows of it.
    fn show(&self, id: &ApiCallId) -> Option<serde_json::Value> {
        let mut shown = self.book.show(id)?;
        let key = self.book.key(id).ok();
        shown["tapped"] = key.is_some_and(|key| self.bridges.is_tapped(&CallRef::Meta(key))).into();
        shown["recording"] = key.and_then(|key| self.media.bridge(key)).is_some_and(|bridge| bridge.record).into();
        shown["rtp"] = key
            .and_then(|key| self.media.rtp(key))
            .map_or(serde_json::Value::Null, |local| json!({ "local": local.rtp.to_string(), "local_rtcp": local.rtcp.to_string() }));
        Some(shown)
    }

    fn attach(&mut self, key: CallKey, port: Box<dyn MediaPort>) -> Result<(), ApiError> {
        let call = self.media.call(key).ok_or_else(no_media)?;
        self.engine.attach(call, port).map_err(|e| match e {
            CommandError::Admit(AdmitError::NoSuchCall) => ApiError::Ended,
            other => ApiError::Engine(other.to_string()),
        })?;
        self.media.port_attached(key);
        Ok(())
    }

    /// Now, on both clocks.
    pub(super) fn at(&self) -> At {
        At { now: self.watch.now(), unix_ms: unix_ms() }
    }

    /// Hands on what the book has to tell.
    pub(super) fn tell_events(&mut self) {
        while let Some((direction, result)) = self.book.poll_result() {
            self.metrics.call_result(direction, result);
        }
        while let Some(mut event) = self.book.poll_event() {
            event.receipt = self.receipt.clone();
            self.hub.publish(event);
        }
        while let Some((key, wacid, mut value)) = self.book.poll_record() {
            //= meta#R-07  who pays follows from the app and the account of the number
            let table = self.tenants.now();
            let number = value["number_id"].as_str().and_then(|id| table.number(id));
            value["app"] = number.and_then(|n| n.app.as_deref()).into();
            //= meta#R-11  the trunk that the audio went to, which attests that it ends there
            let remote = number.and_then(|n| match &n.bridge.kind {
                BridgeKind::Rtp(leg) if value["bridge"] == "rtp" => leg.remote,
                _ => None,
            });
            let trunk = remote.and_then(|remote| self.trunks.iter().find(|t| t.targets.iter().any(|range| range.contains(remote.ip()))));
            value["trunk"] = trunk.map(|t| t.name.as_str()).into();
            value["waba_id"] = number.and_then(|n| n.waba_id.as_deref()).into();
            let Some(records) = &self.records else {
                self.store.ended(key, wacid.as_ref(), unix_s());
                continue;
            };
            if let Err(e) = records.try_send(Record { value, call: (key, wacid.clone()), receipt: self.receipt.clone() }) {
                tracing::error!(error = %e, "a call detail record is lost: the disk does not follow");
                self.store.ended(key, wacid.as_ref(), unix_s());
            }
        }
    }
}

fn wrong(state: Option<&'static str>, hint: &'static str) -> ApiError {
    state.map_or(ApiError::NoSuchCall, |state| ApiError::WrongState { state, hint })
}

fn no_media() -> ApiError {
    ApiError::Engine("the call has no media".into())
}
