//! The C interface of tipring. `include/tipring.h` is its documentation; this file has one function for each of the header's.
//!
//! Decides: nothing. Given: pointers, which `raw` follows. Refuses: to unwind into C: a panic is caught and becomes `TR_ERR_FAULT`.
//!
//! JUSTIFICATION: functions of a C interface take pointers; each has one block that hands them to `raw`.

mod call;
mod opus_port;
mod raw;
mod table;
pub mod types;

use call::{CallBox, EngineBox, Refusal};
use core::ffi::c_char;
use raw::{bytes, many, put, read_sized, write_sized};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use table::{Missed, Table};
use tipring_engine::ice::Path;
use tipring_engine::time::Time;
use types::*;

static ENGINES: Table<EngineBox> = Table::new();
static CALLS: Table<CallBox> = Table::new();

/// Major version << 16 | minor.
const ABI: u32 = 1 << 16;

impl From<Missed> for Refusal {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Gone => TR_ERR_HANDLE.into(),
            Missed::Busy => TR_ERR_BUSY.into(),
        }
    }
}

/// Runs a body; nothing unwinds out of it.
fn guarded(body: impl FnOnce() -> Result<i32, Refusal>) -> Result<i32, Refusal> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(Err(TR_ERR_FAULT.into()))
}

fn code(outcome: Result<i32, Refusal>) -> i32 {
    outcome.unwrap_or_else(|refusal| refusal.code)
}

/// As [`code`], and tells why if somebody wants to know.
///
/// # Safety
/// `why` is null or a `tr_why` as the header wants it.
unsafe fn explained(outcome: Result<i32, Refusal>, why: *mut TrWhy) -> i32 {
    if let Err(refusal) = &outcome
        && !why.is_null()
    {
        let mut text = [0; 248];
        let sentence = if refusal.text.is_empty() { sentence_of(refusal.code).to_str().unwrap_or_default() } else { &refusal.text };
        // Cut at a character's boundary, with room for the NUL.
        let cut = (0..=sentence.len().min(text.len() - 1)).rev().find(|at| sentence.is_char_boundary(*at)).unwrap_or(0);
        text[..cut].copy_from_slice(&sentence.as_bytes()[..cut]);
        // SAFETY: the caller vouches for `why`. A size that is too small leaves it as it is.
        let _ = unsafe { write_sized(why, TrWhy { size: 0, line: refusal.line, text }) };
    }
    code(outcome)
}

fn sentence_of(error: ErrorCode) -> &'static core::ffi::CStr {
    SENTENCES.iter().find(|(code, _)| *code == error).map_or(c"no error of this library", |(_, sentence)| sentence)
}

/// Does something with a call.
fn with_call(call: TrCall, body: impl FnOnce(&mut CallBox) -> Result<i32, Refusal>) -> i32 {
    code(guarded(|| CALLS.with(call.id, body)?))
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_abi_version() -> u32 {
    ABI
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_strerror(error: i32) -> *const c_char {
    sentence_of(error).as_ptr()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_end_reason(value: u32) -> *const c_char {
    let word = REASONS.iter().find(|(number, _)| *number == value & 0xff).map_or(c"UNKNOWN", |(_, word)| word);
    word.as_ptr()
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_engine_new(config: *const TrEngineConfig, out: *mut TrEngine) -> i32 {
    code(guarded(|| {
        let default = TrEngineConfig { size: 0, complexity: 0, allow_loopback: 0, delay_ms_max: 0, unix_ns_at_zero: 0 };
        // SAFETY: the caller vouches for both.
        let config = if config.is_null() { default } else { unsafe { read_sized(config) }? };
        if out.is_null() {
            return Err(TR_ERR_NULL.into());
        }
        let id = ENGINES.insert(EngineBox::new(&config)?);
        // SAFETY: the caller vouches for it.
        unsafe { put(out, TrEngine { id }) }?;
        Ok(TR_OK)
    }))
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_engine_free(engine: TrEngine) -> i32 {
    code(guarded(|| Ok(ENGINES.remove(engine.id).map(|()| TR_OK)?)))
}

/// Opens a call with an offer of the peer, or to make one.
///
/// # Safety
/// Pointers are null or as the header wants them.
unsafe fn open(
    engine: TrEngine,
    config: *const TrCallConfig,
    offer: Option<(*const c_char, usize)>,
    now_ns: u64,
    out: *mut TrCall,
) -> Result<i32, Refusal> {
    // SAFETY: the caller vouches for all of them.
    let config = unsafe { read_sized(config) }?;
    if out.is_null() {
        return Err(TR_ERR_NULL.into());
    }
    if !(1..=4).contains(&config.address_count) {
        return Err(TR_ERR_ARGUMENT.into());
    }
    let count = config.address_count as usize;
    // SAFETY: as above; they are only read.
    let bases = unsafe { many(config.addresses.cast_mut(), count) }?;
    // SAFETY: as above.
    let advertised = if config.advertised.is_null() { None } else { Some(unsafe { many(config.advertised.cast_mut(), count) }?) };
    let mut addresses = Vec::with_capacity(count);
    for (i, base) in bases.iter().enumerate() {
        let base = base.address().filter(|base| base.port() != 0 && !base.ip().is_unspecified()).ok_or(TR_ERR_ARGUMENT)?;
        let seen = advertised.as_ref().map_or(Some(base), |list| list[i].address()).filter(|a| a.is_ipv4() == base.is_ipv4());
        addresses.push((base, seen.ok_or(TR_ERR_ARGUMENT)?));
    }
    let offer = match offer {
        None => None,
        // SAFETY: as above.
        Some((text, len)) => Some(core::str::from_utf8(unsafe { bytes(text.cast(), len) }?).map_err(|_| TR_ERR_ARGUMENT)?),
    };
    // Only what calls share is held while one is made: engines are for any number of threads at once.
    let shared = loop {
        match ENGINES.with(engine.id, |engine| Arc::clone(&engine.0)) {
            Err(Missed::Busy) => std::thread::yield_now(),
            other => break EngineBox(other?),
        }
    };
    let id = CALLS.insert(CallBox::new(&shared, &config, &addresses, offer, Time::from_nanos(now_ns))?);
    // SAFETY: as above.
    unsafe { put(out, TrCall { id }) }?;
    Ok(TR_OK)
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_answer(
    engine: TrEngine,
    config: *const TrCallConfig,
    offer: *const c_char,
    len: usize,
    now_ns: u64,
    out: *mut TrCall,
    why: *mut TrWhy,
) -> i32 {
    // SAFETY: the caller vouches for all of them.
    unsafe { explained(guarded(|| open(engine, config, Some((offer, len)), now_ns, out)), why) }
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_offer(engine: TrEngine, config: *const TrCallConfig, now_ns: u64, out: *mut TrCall) -> i32 {
    // SAFETY: the caller vouches for all of them.
    code(guarded(|| unsafe { open(engine, config, None, now_ns, out) }))
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_local_sdp(call: TrCall, out: *mut c_char, cap: usize, len: *mut usize) -> i32 {
    with_call(call, |call| {
        let text = call.sdp().as_bytes();
        // SAFETY: the caller vouches for both.
        unsafe { put(len, text.len()) }?;
        if cap < text.len() {
            return Err(TR_ERR_ROOM.into());
        }
        // SAFETY: as above.
        unsafe { many(out.cast::<u8>(), text.len()) }?.copy_from_slice(text);
        Ok(TR_OK)
    })
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_remote_answer(call: TrCall, answer: *const c_char, len: usize, now_ns: u64, why: *mut TrWhy) -> i32 {
    let outcome = guarded(|| {
        // SAFETY: the caller vouches for it.
        let text = core::str::from_utf8(unsafe { bytes(answer.cast(), len) }?).map_err(|_| TR_ERR_ARGUMENT)?;
        CALLS.with(call.id, |call| call.remote_answer(text, Time::from_nanos(now_ns)))??;
        Ok(TR_OK)
    });
    // SAFETY: as above.
    unsafe { explained(outcome, why) }
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_recv(call: TrCall, batch: *mut TrDatagram, n: usize, now_ns: u64) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for it.
        let batch = unsafe { many(batch, n.min(BATCH_MAX)) }?;
        for datagram in batch.iter_mut() {
            // SAFETY: as above.
            let data = unsafe { many(datagram.data, datagram.len) }?;
            // Addresses that are none are a stranger's: dropped and counted like any.
            if let (Some(local), Some(remote)) = (datagram.local.address(), datagram.remote.address()) {
                call.recv(Path { local, remote }, data, Time::from_nanos(now_ns));
            }
        }
        Ok(batch.len() as i32)
    })
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_send(call: TrCall, batch: *mut TrDatagram, n: usize, now_ns: u64) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for it.
        let batch = unsafe { many(batch, n.min(BATCH_MAX)) }?;
        for (filled, datagram) in batch.iter_mut().enumerate() {
            if datagram.cap < DATAGRAM_CAP_MIN {
                return if filled == 0 { Err(TR_ERR_ROOM.into()) } else { Ok(filled as i32) };
            }
            // SAFETY: as above.
            let data = unsafe { many(datagram.data, datagram.cap) }?;
            let Some((len, path)) = call.send(data, Time::from_nanos(now_ns)) else { return Ok(filled as i32) };
            (datagram.len, datagram.local, datagram.remote) = (len, TrAddr::of(path.local), TrAddr::of(path.remote));
        }
        Ok(batch.len() as i32)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_deadline(call: TrCall) -> u64 {
    catch_unwind(|| CALLS.with(call.id, |call| call.deadline()).unwrap_or(u64::MAX)).unwrap_or(u64::MAX)
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_timeout(call: TrCall, now_ns: u64) -> i32 {
    with_call(call, |call| {
        call.timeout(Time::from_nanos(now_ns));
        Ok(TR_OK)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_gate(call: TrCall, now_ns: u64) -> i32 {
    with_call(call, |call| Ok(call.gate(Time::from_nanos(now_ns))))
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_write(call: TrCall, audio: *const core::ffi::c_void, len: usize, taken: *mut usize) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for both.
        let audio = unsafe { bytes(audio.cast(), len) }?;
        let done = call.write(audio)?;
        if !taken.is_null() {
            // SAFETY: as above.
            unsafe { put(taken, done) }?;
        }
        Ok(if done < len { TR_ERR_FULL } else { TR_OK })
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_flush(call: TrCall) -> i32 {
    with_call(call, |call| {
        call.flush();
        Ok(TR_OK)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_clear(call: TrCall) -> i32 {
    with_call(call, |call| {
        call.clear();
        Ok(TR_OK)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_waiting_ms(call: TrCall) -> i32 {
    with_call(call, |call| Ok(call.waiting_ms()))
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_read(call: TrCall, out: *mut core::ffi::c_void, cap: usize, len: *mut usize) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for both.
        let out = unsafe { many(out.cast::<u8>(), cap) }?;
        let Some(bytes) = call.read(out) else {
            // SAFETY: as above.
            unsafe { put(len, 0) }?;
            return Ok(0);
        };
        // SAFETY: as above.
        unsafe { put(len, bytes) }?;
        Ok(if bytes > cap { TR_ERR_ROOM } else { 1 })
    })
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_dtmf(call: TrCall, digits: *const c_char, len: usize, tone_ms: u32, now_ns: u64) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for it.
        let digits = core::str::from_utf8(unsafe { bytes(digits.cast(), len) }?).map_err(|_| TR_ERR_ARGUMENT)?;
        Ok(call.dtmf(digits, tone_ms, Time::from_nanos(now_ns)))
    })
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_event(call: TrCall, out: *mut TrEvent) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for it. Read first, so that no event is lost to a pointer that is none.
        unsafe { read_sized(out.cast_const()) }?;
        let Some((kind, value)) = call.event() else { return Ok(0) };
        // SAFETY: as above.
        unsafe { write_sized(out, TrEvent { size: 0, kind, value, zero: 0 }) }?;
        Ok(1)
    })
}

/// See the header.
///
/// # Safety
/// Pointers are null or as the header wants them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tr_call_stats(call: TrCall, out: *mut TrStats) -> i32 {
    with_call(call, |call| {
        // SAFETY: the caller vouches for it.
        unsafe { write_sized(out, call.stats()) }?;
        Ok(TR_OK)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_close(call: TrCall, now_ns: u64) -> i32 {
    with_call(call, |call| {
        call.close(Time::from_nanos(now_ns));
        Ok(TR_OK)
    })
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn tr_call_free(call: TrCall) -> i32 {
    code(guarded(|| Ok(CALLS.remove(call.id).map(|()| TR_OK)?)))
}

/// Datagrams of one batch: more is left for the next.
const BATCH_MAX: usize = 4_096;
/// The least that may be offered for a datagram: what the hub wants to write into.
const DATAGRAM_CAP_MIN: usize = tipring_engine::limits::DATAGRAM_BYTES_MAX;
