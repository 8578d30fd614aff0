//! How long the machine stood still under a call that is judged in real time.
//!
//! Decides: what is a stand-still and how much of it there was. Given: nothing but the clock. Refuses: to excuse anything; `demo.rs` decides whether a call is made again.

// It is the clock and the sleep that are observed here.
#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tipring_engine::time::Span;

/// A thread that does nothing but sleep, and notes when it is not woken.
///
/// It shares its fate with the threads of the call: when the host takes the processor away, or the process is stopped, it oversleeps as they do.
pub(super) struct Machine {
    is_over: Arc<AtomicBool>,
    sleeper: JoinHandle<Duration>,
}

impl Machine {
    /// Begins to watch.
    pub(super) fn watch() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let sleeper = std::thread::spawn(move || {
            let mut stood = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let asleep = Instant::now();
                std::thread::sleep(NAP);
                stood += Some(asleep.elapsed().saturating_sub(NAP)).filter(|late| *late >= STILL_MIN).unwrap_or_default();
            }
            stood
        });
        Self { is_over, sleeper }
    }

    /// Ends it: for how long in all it stood still.
    pub(super) fn stood_still(self) -> Span {
        self.is_over.store(true, Ordering::Relaxed);
        // A sleeper that panicked saw nothing.
        Span::from_micros(self.sleeper.join().map_or(0, |stood| stood.as_micros() as u64))
    }
}

const NAP: Duration = Duration::from_millis(5);
/// Two frames of media time: what a busy but running machine does not reach.
const STILL_MIN: Duration = Duration::from_millis(40);
