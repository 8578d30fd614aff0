//! What a proxy does to a running call: an announcement, digits, a recording's beginning and end.
//!
//! Decides: which side is meant, and where the sound comes from. Given: requests. Refuses: files that are no `[[prompt]]` of the configuration, since the protocol knows
//! nobody by name, and announcements towards the plain side, which the proxy's own media server can make.

use super::{Ng, NgCall, Offered, Refusal, SHARD_WAIT, UNKNOWN_CALL};
use crate::ng::{Request, bencode};
use crate::shell::bridges::{Bridges, RecordError};
use crate::shell::observe::CallRef;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use tipring_engine::codec::SampleRate;

impl Ng {
    /// `play media`: a `[[prompt]]` by name or file, or a WAV file in the request, to the WhatsApp side.
    pub(super) fn play_media(&self, request: &Request) -> Result<Value, Refusal> {
        let (samples, rate) = self.sound(request)?;
        let times = request.number("repeat-times").map_or(1, |times| u32::try_from(times).unwrap_or(u32::MAX));
        let skipped = request.number("start-pos").unwrap_or(0).saturating_mul(u64::from(rate.hz())) / 1_000;
        let samples = match usize::try_from(skipped) {
            Ok(0) => samples,
            Ok(skipped) if skipped < samples.len() => samples[skipped..].into(),
            _ => return Err("start-pos lies behind the end".into()),
        };
        let ms = samples.len() as u64 * 1_000 / u64::from(rate.hz());
        self.with_call(request, |call| {
            if call.over.play(samples, rate, times) { Ok(json!({ "result": "ok", "duration": ms })) } else { Err(BEHIND.into()) }
        })
    }

    /// `stop media`.
    pub(super) fn stop_media(&self, request: &Request) -> Result<Value, Refusal> {
        self.with_call(request, |call| if call.over.stop() { Ok(json!({ "result": "ok" })) } else { Err(BEHIND.into()) })
    }

    /// `start recording` and `stop recording`: of both directions of the WhatsApp side.
    pub(super) fn record(&self, request: &Request, on: bool) -> Result<Value, Refusal> {
        let id = request.needed("call-id")?;
        let name = self.lock().by_id.get(id).filter(|call| call.ended.is_none()).map(|call| call.name.clone()).ok_or(UNKNOWN_CALL)?;
        match self.commons.bridges.record(&CallRef::Direct(name), on) {
            Ok(()) => Ok(json!({ "result": "ok" })),
            Err(RecordError::NotConfigured) => Err("nothing is recorded here: the configuration has no [record]".into()),
            Err(RecordError::NoMedia) => Err(UNKNOWN_CALL.into()),
            Err(RecordError::Busy) => Err(BEHIND.into()),
        }
    }

    /// `play DTMF`.
    pub(super) fn play_dtmf(&self, request: &Request) -> Result<Value, Refusal> {
        let id = request.needed("call-id")?;
        let digits = request.text("code").map(str::to_owned).or_else(|| request.number("code").map(|code| code.to_string()));
        let digits = digits.ok_or("code is missing: a digit, or several")?;
        let tone_ms = request.number("duration").and_then(|ms| u32::try_from(ms).ok());
        let call = self.lock().by_id.get(id).filter(|call| call.ended.is_none()).map(|call| call.call).ok_or(UNKNOWN_CALL)?;
        self.commons.engine.send_digits(call, &digits, tone_ms, SHARD_WAIT).map_err(|e| e.to_string())?;
        Ok(json!({ "result": "ok" }))
    }

    fn sound(&self, request: &Request) -> Result<(Arc<[i16]>, SampleRate), Refusal> {
        if let Some(name) = request.text("file") {
            let why = || Refusal::Error(format!("{name}: no such announcement; name a [[prompt]] of the configuration, or its file"));
            return self.commons.bridges.prompt(name).ok_or_else(why);
        }
        let blob = request.text("blob").ok_or("file or blob is missing: the name of a [[prompt]], or a WAV file")?;
        // In bencode a WAV file comes as it is: most are no text, one that says nothing may be. In JSON it is base64.
        let candidates = [bencode::bytes_of(blob), Some(blob.as_bytes().to_vec()), STANDARD.decode(blob).ok()];
        let wav = candidates.into_iter().flatten().find(|bytes| bytes.starts_with(b"RIFF"));
        Ok(Bridges::read_wav(&wav.ok_or("the blob is no WAV file: its bytes in bencode, base64 in JSON")?)?)
    }

    /// Does something with the call of `request`, if the side it names is the WhatsApp side.
    fn with_call(&self, request: &Request, then: impl FnOnce(&mut NgCall) -> Result<Value, Refusal>) -> Result<Value, Refusal> {
        let id = request.needed("call-id")?;
        let mut table = self.lock();
        let call = table.by_id.get_mut(id).filter(|call| call.ended.is_none()).ok_or(UNKNOWN_CALL)?;
        let (whatsapp, plain) = match call.offered {
            Offered::WhatsApp(_) => (&call.from_tag, &call.to_tag),
            Offered::Plain(_) => (&call.to_tag, &call.from_tag),
        };
        if !request.has("all")
            && request.text("all").is_none()
            && request.text("from-tag").is_some_and(|tag| tag == plain && tag != whatsapp)
        {
            let why =
                format!("{plain:?} is the plain side: announcements are for the WhatsApp side, from-tag {whatsapp:?} or the flag \"all\"");
            return Err(Refusal::Error(why));
        }
        then(call)
    }
}

const BEHIND: &str = "the call has not yet done what it was told before: ask again";
