//! Codec states lent to calls, and taken back.
//!
//! Decides: how many encoders and decoders may exist at once, and that a used one comes back without its past. Is given: two maxima.
//! Refuses: to allocate beyond them, to be global (each shard owns one), to decode.

use std::sync::Arc;

use super::{Decoder, Encoder, EncoderSettings, SampleRate};
use crate::error::SetupError;

/// Encoders and decoders kept for the next call; about 32 KiB and 18 KiB each at mono.
///
/// Bounded: lent and idle states together never exceed the maxima. A state that is dropped instead of given back (its call faulted)
/// frees its place by itself. Lending may allocate, so it belongs to call set-up, not to the packet path.
#[derive(Debug)]
pub struct CodecPool {
    encoders: Shelf<Encoder>,
    decoders: Shelf<Decoder>,
}

/// A boxed codec state on loan. Dereferences to it; give it back by [`CodecPool::take_back_encoder`] or
/// [`CodecPool::take_back_decoder`].
#[derive(Debug)]
pub struct Lent<T> {
    state: Box<T>,
    // Alive exactly as long as the state: its count is the number of places taken.
    place: Arc<()>,
}

impl<T> core::ops::Deref for Lent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> core::ops::DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl CodecPool {
    /// An empty pool of at most `encoders_max` encoders and `decoders_max` decoders, lent ones included.
    pub fn new(encoders_max: usize, decoders_max: usize) -> Self {
        Self { encoders: Shelf::new(encoders_max), decoders: Shelf::new(decoders_max) }
    }

    /// Lends an encoder, reset and set up. `Ok(None)`: all are lent. Errors as [`Encoder::new`].
    pub fn lend_encoder(&mut self, settings: &EncoderSettings) -> Result<Option<Lent<Encoder>>, SetupError> {
        settings.check()?;
        if let Some(mut lent) = self.encoders.idle.pop()
            && lent.renew(settings)
        {
            return Ok(Some(lent));
        }
        self.encoders.make(|| Encoder::new(settings))
    }

    /// Lends a decoder, reset. `Ok(None)`: all are lent.
    pub fn lend_decoder(&mut self, rate: SampleRate) -> Result<Option<Lent<Decoder>>, SetupError> {
        if let Some(mut lent) = self.decoders.idle.pop()
            && lent.renew(rate)
        {
            return Ok(Some(lent));
        }
        self.decoders.make(|| Decoder::new(rate))
    }

    /// Takes an encoder back.
    pub fn take_back_encoder(&mut self, lent: Lent<Encoder>) {
        self.encoders.put(lent);
    }

    /// Takes a decoder back.
    pub fn take_back_decoder(&mut self, lent: Lent<Decoder>) {
        self.decoders.put(lent);
    }

    /// Encoders and decoders that exist, lent or idle.
    pub fn counts(&self) -> (usize, usize) {
        (self.encoders.count(), self.decoders.count())
    }
}

#[derive(Debug)]
struct Shelf<T> {
    idle: Vec<Lent<T>>,
    places: Arc<()>,
    max: usize,
}

impl<T> Shelf<T> {
    fn new(max: usize) -> Self {
        Self { idle: Vec::new(), places: Arc::new(()), max }
    }

    fn count(&self) -> usize {
        Arc::strong_count(&self.places) - 1
    }

    fn make(&mut self, new: impl FnOnce() -> Result<T, SetupError>) -> Result<Option<Lent<T>>, SetupError> {
        if self.count() >= self.max {
            return Ok(None);
        }
        Ok(Some(Lent { state: Box::new(new()?), place: Arc::clone(&self.places) }))
    }

    fn put(&mut self, lent: Lent<T>) {
        // One of another pool is freed, not kept: it has no place here.
        if Arc::ptr_eq(&lent.place, &self.places) {
            self.idle.push(lent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximum_holds_and_states_come_back_without_their_past() {
        let mut pool = CodecPool::new(1, 2);
        let settings = EncoderSettings::meta(SampleRate::Hz16000);
        let tone: Vec<i16> = (0..320).map(|i| ((f64::from(i) * 0.3).sin() * 9_000.0) as i16).collect();
        let mut packet = [0; 256];

        let mut first = pool.lend_encoder(&settings).unwrap().unwrap();
        assert!(pool.lend_encoder(&settings).unwrap().is_none());
        let fresh_len = first.encode(&tone, &mut packet);
        let fresh = packet[..fresh_len].to_vec();
        first.encode(&tone, &mut packet);
        pool.take_back_encoder(first);

        let mut again = pool.lend_encoder(&settings).unwrap().unwrap();
        let len = again.encode(&tone, &mut packet);
        assert_eq!(packet[..len], fresh, "a renewed encoder encodes as a new one");
        pool.take_back_encoder(again);

        let other = EncoderSettings::meta(SampleRate::Hz48000);
        let moved = pool.lend_encoder(&other).unwrap().expect("an idle encoder serves any rate");
        assert_eq!((moved.settings().rate, pool.counts().0), (SampleRate::Hz48000, 1));
        let bad = EncoderSettings { complexity: 11, ..settings };
        assert!(pool.lend_encoder(&bad).is_err());

        let one = pool.lend_decoder(SampleRate::Hz8000).unwrap().unwrap();
        let two = pool.lend_decoder(SampleRate::Hz8000).unwrap().unwrap();
        assert!(pool.lend_decoder(SampleRate::Hz8000).unwrap().is_none());
        drop(one);
        assert!(pool.lend_decoder(SampleRate::Hz24000).unwrap().is_some(), "a dropped state frees its place");
        pool.take_back_decoder(two);
        CodecPool::new(1, 1).take_back_encoder(moved);
        assert_eq!(pool.counts(), (0, 1));
    }
}
