//! telephone-event, RFC 4733: digits in and out, 8 kHz durations on the 48 kHz timeline (R-20, T1 to T10).

mod receiver;

pub use receiver::{Digit, DigitReceiver};
