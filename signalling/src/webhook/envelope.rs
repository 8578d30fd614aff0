//! The JSON envelope of a webhook, read tolerantly (3.3 to 3.14).
//!
//! Given: a body whose signature was verified. Decides: which typed events it holds. Unknown fields, events and statuses are counted, not refused.
//! Refuses: what is no envelope at all; deciding anything about calls (`session`).

use core::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::sdp::KeyExchange;
use crate::session::{
    CallConnect, CallStatus, CallStatusKind, CallTerminate, Carried, Direction, Event, MetaError, OtherEvent, Party, PermissionReply,
    Personal, SdpText, SdpType, TerminateStatus, Wacid,
};

/// Largest body taken, in bytes: Meta's documented limit.
pub const BODY_BYTES_MAX: usize = 3 * 1_024 * 1_024;

/// The body is not an envelope. Answer 200 all the same: Meta would only repeat it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EnvelopeError {
    /// Longer than [`BODY_BYTES_MAX`].
    TooLong,
    /// Not JSON.
    NotJson {
        /// Line of the body, from 1.
        line: usize,
        /// Column of that line, from 1.
        column: usize,
    },
    /// No `entry` array.
    NoEntry,
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => {
                write!(f, "the webhook body is longer than 3 MiB; Meta sends none of that size, check what stands in front of us")
            }
            Self::NotJson { line, column } => {
                write!(f, "the webhook body is not JSON at line {line}, column {column}; its signature holds, so report it to Meta")
            }
            Self::NoEntry => {
                write!(f, "the webhook body has no `entry` array; check that the app is subscribed as whatsapp_business_account")
            }
        }
    }
}

impl core::error::Error for EnvelopeError {}

/// Reads the events of a body whose signature was verified, in their order.
//= meta#R-13  unknown fields and events, several entries and changes, 3 MB: no error, no panic
//= meta#R-12  messages and calls come to one URL
pub fn parse(raw: &[u8]) -> Result<Vec<Event>, EnvelopeError> {
    if raw.len() > BODY_BYTES_MAX {
        return Err(EnvelopeError::TooLong);
    }
    let body: Value = serde_json::from_slice(raw).map_err(|e| EnvelopeError::NotJson { line: e.line(), column: e.column() })?;
    let entries = body.get("entry").and_then(Value::as_array).ok_or(EnvelopeError::NoEntry)?;
    let mut events = Vec::new();
    for change in entries.iter().flat_map(|entry| array(entry, "changes")) {
        // The field decides, never the shape: message receipts use `statuses` as well.
        match change.get("field").and_then(Value::as_str) {
            Some(field) if field.eq_ignore_ascii_case("calls") => read_value(change.get("value").unwrap_or(&Value::Null), &mut events),
            field => {
                events.push(Event::NotCalls);
                read_other_field(field.unwrap_or_default(), change.get("value").unwrap_or(&Value::Null), &mut events);
            }
        }
    }
    Ok(events)
}

/// What all elements of one `value` share.
struct Common {
    phone_number_id: Option<Arc<str>>,
    display_phone_number: Option<String>,
    contact: Party,
    errors: Vec<MetaError>,
    is_only_call: bool,
}

fn read_value(value: &Value, events: &mut Vec<Event>) {
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let contact = array(value, "contacts").next().unwrap_or(&Value::Null);
    let common = Common {
        phone_number_id: text(metadata, "phone_number_id").map(Into::into),
        display_phone_number: text(metadata, "display_phone_number"),
        contact: Party {
            phone: personal(contact, "wa_id"),
            user_id: personal(contact, "user_id"),
            parent_user_id: personal(contact, "parent_user_id"),
            name: contact.get("profile").and_then(|profile| personal(profile, "name")),
        },
        errors: read_errors(value),
        is_only_call: array(value, "calls").count() == 1,
    };
    let before = events.len();
    events.extend(array(value, "calls").map(|call| read_call(call, &common)));
    events.extend(array(value, "statuses").map(|status| read_status(status, &common)));
    if events.len() == before {
        events.push(if common.errors.is_empty() {
            Event::Other { what: OtherEvent::Empty }
        } else {
            Event::Errors { phone_number_id: common.phone_number_id, errors: common.errors }
        });
    }
}

fn read_call(call: &Value, common: &Common) -> Event {
    let (Some(wacid), Some(event)) = (wacid(call), text(call, "event")) else {
        return Event::Other { what: OtherEvent::Malformed };
    };
    match &*event.to_ascii_lowercase() {
        "connect" => Event::Connect(Box::new(read_connect(wacid, call, common))),
        "terminate" => Event::Terminate(Box::new(read_terminate(wacid, call, common))),
        "call_created" => carried("call.created", Some(wacid), common.phone_number_id.clone(), call),
        "call_recording_available" => carried("call.recording_available", Some(wacid), common.phone_number_id.clone(), call),
        "call_transcription_available" => carried("call.transcript_available", Some(wacid), common.phone_number_id.clone(), call),
        _ => Event::Other { what: OtherEvent::Unknown },
    }
}

fn carried(kind: &'static str, wacid: Option<Wacid>, phone_number_id: Option<Arc<str>>, value: &Value) -> Event {
    let json = Personal::new(&value.to_string()).expect("JSON is never the empty string");
    Event::Carried(Box::new(Carried { kind, phone_number_id, wacid, json }))
}

/// What concerns calls under other fields: permission replies among the messages, settings, restrictions (3.10 to 3.12).
fn read_other_field(field: &str, value: &Value, events: &mut Vec<Event>) {
    match &*field.to_ascii_lowercase() {
        "messages" => {
            let metadata = value.get("metadata").unwrap_or(&Value::Null);
            let number: Option<Arc<str>> = text(metadata, "phone_number_id").map(Into::into);
            for message in array(value, "messages") {
                events.extend(read_permission(message, value, number.clone()));
                //= whatsapp-calling#section-3.10  a voicemail is an audio message whose id is that of the call
                let id = text(message, "id").filter(|id| id.starts_with("wacid.")).and_then(|id| Wacid::new(&id));
                if let (Some(wacid), Some("audio")) = (id, text(message, "type").as_deref()) {
                    events.push(carried("call.voicemail_available", Some(wacid), number.clone(), message));
                }
            }
        }
        "account_settings_update" => {
            let settings = value.get("phone_number_settings").unwrap_or(&Value::Null);
            events.push(carried("account.settings_update", None, text(settings, "phone_number_id").map(Into::into), value));
        }
        "account_update" => events.push(carried("account.update", None, None, value)),
        "partner_solutions" => events.push(carried("account.partner_solutions", None, None, value)),
        _ => {}
    }
}

/// What a change of settings says of how the number is keyed from now on (3.11).
pub fn keying_of_settings(carried: &Carried) -> Option<KeyExchange> {
    if carried.kind != "account.settings_update" {
        return None;
    }
    let value: Value = serde_json::from_str(carried.json.reveal()).ok()?;
    let calling = value.pointer("/phone_number_settings/calling")?;
    // The setting itself, or where Meta's page keeps it for numbers with SIP.
    let word = text(calling, "srtp_key_exchange_protocol").or_else(|| text(calling.get("sip")?, "srtp_key_exchange_protocol"))?;
    match &*word.to_ascii_lowercase() {
        "dtls" => Some(KeyExchange::Dtls),
        "sdes" => Some(KeyExchange::Sdes),
        _ => None,
    }
}

fn read_permission(message: &Value, value: &Value, phone_number_id: Option<Arc<str>>) -> Option<Event> {
    let reply = message.pointer("/interactive/call_permission_reply")?;
    let contact = array(value, "contacts").next().unwrap_or(&Value::Null);
    let user = Party {
        phone: personal(message, "from").or_else(|| personal(contact, "wa_id")),
        user_id: personal(message, "from_user_id").or_else(|| personal(contact, "user_id")),
        parent_user_id: personal(message, "from_parent_user_id"),
        name: contact.get("profile").and_then(|profile| personal(profile, "name")),
    };
    Some(Event::Permission(Box::new(PermissionReply {
        phone_number_id,
        user,
        message_id: personal(message, "id"),
        accepted: text(reply, "response").is_some_and(|word| word.eq_ignore_ascii_case("accept")),
        is_permanent: reply.get("is_permanent").and_then(Value::as_bool).unwrap_or(false),
        expires_unix_s: integer(reply, "expiration_timestamp"),
        by_user: text(reply, "response_source").is_none_or(|word| !word.eq_ignore_ascii_case("automatic")),
        context_id: message.get("context").and_then(|context| personal(context, "id")),
    })))
}

fn read_connect(wacid: Wacid, call: &Value, common: &Common) -> CallConnect {
    let party = |phone: &str, user_id: &str, parent: &str| Party {
        phone: personal(call, phone),
        user_id: personal(call, user_id),
        parent_user_id: personal(call, parent),
        name: None,
    };
    let from = party("from", "from_user_id", "from_parent_user_id");
    let to = party("to", "to_user_id", "to_parent_user_id");
    let session = call.get("session").unwrap_or(&Value::Null);
    // `connection.webrtc.sdp` is the legacy twin, JSON inside JSON: ignored (A10).
    let sdp = session.get("sdp").and_then(Value::as_str).filter(|sdp| !sdp.is_empty()).map(|sdp| {
        let sdp_type = match text(session, "sdp_type") {
            Some(word) if word.eq_ignore_ascii_case("offer") => SdpType::Offer,
            Some(word) if word.eq_ignore_ascii_case("answer") => SdpType::Answer,
            _ => SdpType::Other,
        };
        (sdp_type, SdpText::new(sdp))
    });
    let direction = direction(call);
    CallConnect {
        user: user_of(direction, &from, &to, common),
        wacid,
        phone_number_id: common.phone_number_id.clone(),
        direction,
        from,
        to,
        timestamp_unix_s: integer(call, "timestamp"),
        sdp,
        biz_opaque: biz_opaque(call),
        deeplink_payload: text(call, "deeplink_payload"),
        cta_payload: text(call, "cta_payload"),
    }
}

/// The person on the phone. Samples swap `from` and `to`, so the side that carries our own number is never taken.
fn user_of(direction: Option<Direction>, from: &Party, to: &Party, common: &Common) -> Party {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let business = common.display_phone_number.as_deref().map(digits).filter(|d| !d.is_empty());
    let is_business = |party: &Party| business.is_some() && party.phone.as_ref().map(|p| digits(p.reveal())) == business;
    let (likely, other) = if direction == Some(Direction::BusinessInitiated) { (to, from) } else { (from, to) };
    let side = if is_business(likely) { other } else { likely };
    let contact = &common.contact;
    Party {
        phone: contact.phone.clone().or_else(|| side.phone.clone()),
        user_id: contact.user_id.clone().or_else(|| side.user_id.clone()),
        parent_user_id: contact.parent_user_id.clone().or_else(|| side.parent_user_id.clone()),
        name: contact.name.clone(),
    }
}

fn read_terminate(wacid: Wacid, call: &Value, common: &Common) -> CallTerminate {
    let status = match word(call, "status") {
        Some(word) if word.eq_ignore_ascii_case("completed") => TerminateStatus::Completed,
        Some(word) if word.eq_ignore_ascii_case("failed") => TerminateStatus::Failed,
        _ => TerminateStatus::Other,
    };
    //= whatsapp-calling#rule-17  errors stand in the call, in the value, or in both
    let mut errors = read_errors(call);
    let is_meant = common.is_only_call || (errors.is_empty() && status == TerminateStatus::Failed);
    for error in common.errors.iter().filter(|_| is_meant) {
        if !errors.contains(error) {
            errors.push(error.clone());
        }
    }
    CallTerminate {
        wacid,
        phone_number_id: common.phone_number_id.clone(),
        direction: direction(call),
        timestamp_unix_s: integer(call, "timestamp"),
        status,
        start_unix_s: integer(call, "start_time"),
        end_unix_s: integer(call, "end_time"),
        duration_s: integer(call, "duration").and_then(|s| u32::try_from(s).ok()),
        errors,
        biz_opaque: biz_opaque(call),
    }
}

fn read_status(status: &Value, common: &Common) -> Event {
    let Some(wacid) = wacid(status) else {
        return Event::Other { what: OtherEvent::Malformed };
    };
    let is_call = text(status, "type").is_none_or(|word| word.eq_ignore_ascii_case("call"));
    let kind = match word(status, "status").map(|word| word.to_ascii_lowercase()).as_deref() {
        Some("ringing") => CallStatusKind::Ringing,
        Some("accepted") => CallStatusKind::Accepted,
        Some("rejected") => CallStatusKind::Rejected,
        _ => return Event::Other { what: OtherEvent::Unknown },
    };
    if !is_call {
        return Event::Other { what: OtherEvent::Unknown };
    }
    Event::Status(Box::new(CallStatus {
        wacid,
        phone_number_id: common.phone_number_id.clone(),
        status: kind,
        timestamp_unix_s: integer(status, "timestamp"),
        biz_opaque: biz_opaque(status),
    }))
}

fn read_errors(holder: &Value) -> Vec<MetaError> {
    let read = |error: &Value| {
        let details = error.get("error_data").and_then(|data| text(data, "details"));
        let details = details.or_else(|| text(error, "message")).or_else(|| text(error, "title")).unwrap_or_default();
        let code = integer(error, "code").and_then(|code| u32::try_from(code).ok()).unwrap_or(0);
        MetaError { code, details: cut(details, DETAILS_BYTES_MAX) }
    };
    let mut errors: Vec<MetaError> = Vec::new();
    for error in array(holder, "errors").take(ERRORS_MAX).map(read) {
        if !errors.contains(&error) {
            errors.push(error);
        }
    }
    errors
}

fn wacid(holder: &Value) -> Option<Wacid> {
    Wacid::new(&text(holder, "id")?)
}

fn direction(call: &Value) -> Option<Direction> {
    let word = text(call, "direction")?;
    if word.eq_ignore_ascii_case("USER_INITIATED") {
        Some(Direction::UserInitiated)
    } else if word.eq_ignore_ascii_case("BUSINESS_INITIATED") {
        Some(Direction::BusinessInitiated)
    } else {
        None
    }
}

/// The tables of Meta's page also spell it `…_date`.
fn biz_opaque(holder: &Value) -> Option<String> {
    text(holder, "biz_opaque_callback_data").or_else(|| text(holder, "biz_opaque_callback_date"))
}

/// The elements of an array member; none if it is absent or something else.
fn array<'a>(holder: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    holder.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// A string or number member as text. The empty string is how Meta says "none" (3.14).
pub(crate) fn text(holder: &Value, name: &str) -> Option<String> {
    match holder.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A word that may also come as an array of one (3.7).
fn word(holder: &Value, name: &str) -> Option<String> {
    match holder.get(name)? {
        Value::Array(items) => items.first().and_then(Value::as_str).map(str::to_owned),
        Value::String(word) => Some(word.clone()),
        _ => None,
    }
}

/// A number that may also come as a string (3.3).
pub(crate) fn integer(holder: &Value, name: &str) -> Option<i64> {
    match holder.get(name)? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn personal(holder: &Value, name: &str) -> Option<Personal> {
    Personal::new(&text(holder, name)?)
}

/// Cuts `text` to at most `bytes_max`, at a character.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Longest text of an error that is kept, in bytes.
pub(crate) const DETAILS_BYTES_MAX: usize = 512;
const ERRORS_MAX: usize = 16;

#[cfg(test)]
mod tests;
