//! What a call holds in each phase, and whether its packets allocate.
//!
//! Given: a port and a profile, in a program whose allocator is [`Counting`](crate::counting::Counting). Decides: both figures, over a thousand frames in virtual time.
//! Refuses: the simulator at the other end of the wire; only the call's own functions are watched.

use crate::counting::{allocations, forget, held_bytes, watched};
use crate::{Observer, Step, Wire};
use tipring_engine::call::{Call, MediaPort};
use tipring_engine::keying::Profile;
use tipring_engine::time::Span;

/// Steps and allocations by kind.
#[derive(Default, Debug)]
pub struct Meter {
    /// Being born.
    pub opened: (u64, u64),
    /// Datagrams in, from either side.
    pub received: (u64, u64),
    /// Datagrams out, to either side, and questions that found none.
    pub sent: (u64, u64),
    /// Timeouts.
    pub ticks: (u64, u64),
}

impl Observer for Meter {
    fn step<T>(&mut self, kind: Step, run: impl FnOnce() -> T) -> T {
        let before = allocations();
        let value = watched(run);
        let meter = match kind {
            Step::Open => &mut self.opened,
            Step::Receive | Step::ReceiveFar => &mut self.received,
            Step::Send | Step::SendFar => &mut self.sent,
            Step::Tick => &mut self.ticks,
        };
        meter.0 += 1;
        meter.1 += allocations() - before;
        value
    }
}

/// Bytes of a call, its port included, and what a thousand frames of it did.
#[derive(Debug)]
pub struct Phases {
    /// Just born.
    pub opened_bytes: i64,
    /// With keys; TLS is still there.
    pub keyed_bytes: i64,
    /// Twelve seconds later.
    pub steady_bytes: i64,
    /// After the thousand frames.
    pub later_bytes: i64,
    /// What set-up did.
    pub setup: Meter,
    /// What the thousand frames did.
    pub frames: Meter,
    /// RTP packets of the peer in them.
    pub rtp_in: u64,
    /// RTP packets to the peer in them.
    pub rtp_out: u64,
    /// Reports in them, in and out.
    pub rtcp: (u64, u64),
}

/// One call from birth to a thousand frames in steady state. `port` is made inside, so that it counts.
pub fn phases(port: impl FnOnce() -> Box<dyn MediaPort>, profile: Profile) -> Phases {
    forget();
    let mut setup = Meter::default();
    let port = watched(port);
    let mut wire = Wire::new(port, profile, &mut setup);
    let call = size_of::<Call>() as i64;
    let opened_bytes = call + held_bytes();
    wire.connect(&mut setup);
    let keyed_bytes = call + held_bytes();
    // Ten seconds on, TLS is gone and everything lazy was made.
    wire.run(Span::from_secs(12), &mut setup);
    let (steady_bytes, before) = (call + held_bytes(), wire.call.stats());
    let mut frames = Meter::default();
    wire.run(Span::from_millis(20 * 1_000), &mut frames);
    let after = wire.call.stats();
    Phases {
        opened_bytes,
        keyed_bytes,
        steady_bytes,
        later_bytes: call + held_bytes(),
        setup,
        frames,
        rtp_in: after.rtp_in - before.rtp_in,
        rtp_out: after.rtp_out - before.rtp_out,
        rtcp: (after.rtcp_in - before.rtcp_in, after.rtcp_out - before.rtcp_out),
    }
}
