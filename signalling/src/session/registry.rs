//! All calls of this process.

use tipring_engine::time::Time;

use super::contract::{CallKey, CallView, Effect, Input, SessionConfig};
use super::types::Wacid;

/// What happened so far, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Events seen before.
    pub duplicates: u64,
    /// `connect` events too old to be answered.
    pub stale: u64,
    /// Events for calls that had ended already.
    pub tombstoned: u64,
    /// Events we do not know.
    pub unknown_events: u64,
    /// Calls refused because there were too many.
    pub refused_full: u64,
}

/// Every call of this process, keyed by id. Feed with [`Self::handle`], then drain [`Self::poll_effect`], then ask [`Self::poll_timeout`].
pub struct Sessions {
    _private: (),
}

impl Sessions {
    /// No calls yet.
    pub fn new(_config: SessionConfig) -> Self {
        todo!()
    }
    /// Takes one input. `unix_s` is the wall clock in seconds, compared with Meta's timestamps only.
    pub fn handle(&mut self, _input: Input, _unix_s: i64, _now: Time) {
        todo!()
    }
    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        todo!()
    }
    /// When to feed [`Input::Timeout`].
    pub fn poll_timeout(&self) -> Option<Time> {
        todo!()
    }
    /// The calls there are.
    pub fn calls(&self) -> impl Iterator<Item = CallView> + '_ {
        core::iter::empty()
    }
    /// One call.
    pub fn call(&self, _call: CallKey) -> Option<CallView> {
        todo!()
    }
    /// The call with this id at Meta.
    pub fn by_wacid(&self, _wacid: &Wacid) -> Option<CallKey> {
        todo!()
    }
    /// What happened so far.
    pub fn counts(&self) -> Counts {
        todo!()
    }
}
