//! One turn of a shard: mailbox, sockets, timers, sends.
//!
//! Decides: the order of work and how much of it a turn may do. Given: calls that were made elsewhere. Refuses: locks, waiting for anybody, and letting one call's
//! fault reach another: a panic ends the calls of this shard, never the host.

use super::clock::Clock;
use super::far::FarSockets;
use super::mailbox::{Command, Mail, NewCall, Report};
use super::pressure::{Pressure, Share};
use super::slab::{Key, Slab};
use super::wheel::Wheel;
use crate::call::{Call, CallEvent, CallStats, Ended, MediaPort, Scratch};
use crate::engine::CallId;
use crate::error::{EndReason, SetupError};
use crate::ice::Path;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::net::{Epoll, MediaSocket, Ports, READY_PER_WAIT, prefetch};
use crate::time::{Span, Time};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Token of the mailbox's waker.
const WAKER_TOKEN: u64 = u64::MAX;
/// Commands taken per turn; the rest waits for the next one.
const COMMANDS_PER_TURN: usize = 64;
/// Turns begin at least this far apart. A lone packet is served at once; where many calls are, their packets gather meanwhile and share one wake-up and one wait
/// (docs/adr/0021): a packet waits 0.5 ms at the median, the jitter of any network is more.
const TURN_SPACING: Span = Span::from_millis(1);
/// How long the datagrams of calls that are being set up may be worked on in one turn: a handshake costs as much as a hundred packets, and running calls wait for it. What is
/// over stays in its socket for the next turn, which then begins at once.
const SETUP_PER_TURN: Span = Span::from_micros(500);
/// Longest sleep, so that a lost wake-up costs little.
const WAIT_MAX: Span = Span::from_millis(100);
/// A socket that lost against the nominated pair is closed this long after (I28).
const LOSER_LINGER: Span = Span::from_secs(3);
/// A receive buffer one byte longer than the largest datagram we take, so that longer ones are seen as such.
const RECEIVE_BYTES: usize = DATAGRAM_BYTES_MAX + 1;

/// How busy a shard is, for admission. Written by the shard, read by anybody.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Calls it owns or that are on their way to it.
    pub(crate) calls: AtomicUsize,
    /// Of those, calls still in ICE or DTLS.
    pub(crate) setting_up: AtomicUsize,
    /// Percent of a core that its thread took in the last second.
    pub(crate) percent: AtomicUsize,
    /// Set after a panic: the shard takes no more calls.
    pub(crate) faulted: AtomicBool,
}

struct Tenant {
    id: CallId,
    call: Call,
    /// By the number in their epoll token; a socket that lost is none.
    sockets: Vec<Option<MediaSocket>>,
    port: Option<u16>,
    /// The far side of a relay.
    far: Option<Box<FarSockets>>,
    /// The earliest moment the wheel will ask for this call.
    armed: Time,
    setting_up: bool,
    close_losers_at: Option<Time>,
    /// An event that found the host's ring full.
    held: Option<CallEvent>,
}

/// A thread's worth of calls.
pub(crate) struct Shard {
    clock: Clock,
    mail: Mail,
    load: Arc<Load>,
    ports: Arc<Mutex<Ports>>,
    epoll: Epoll,
    tenants: Slab<Tenant>,
    by_id: HashMap<CallId, Key>,
    wheel: Wheel,
    scratch: Scratch,
    pressure: Pressure,
    share: Share,
    receive: Box<[u8; RECEIVE_BYTES]>,
    send: Box<[u8; DATAGRAM_BYTES_MAX]>,
    due: Vec<(Key, Time)>,
    ready: Vec<u64>,
    /// When the last turn began; none when it left work behind.
    turned_at: Option<Time>,
    /// What this turn has spent on calls that are being set up.
    setup_spent: Span,
    /// Datagrams of such calls were left in their sockets.
    setup_put_off: bool,
    /// Tenants whose events wait for room in the host's ring.
    held: Vec<Key>,
    /// Ended calls that the host's ring had no room for. While there are any, no command is taken, so there are never more than calls.
    farewells: VecDeque<Report>,
    stopping: bool,
}

impl Shard {
    pub(crate) fn new(clock: Clock, mail: Mail, load: Arc<Load>, ports: Arc<Mutex<Ports>>, calls_max: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(&*mail.waker, WAKER_TOKEN)?;
        Ok(Self {
            wheel: Wheel::new(clock.now()),
            clock,
            mail,
            load,
            ports,
            epoll,
            tenants: Slab::new(calls_max),
            by_id: HashMap::with_capacity(calls_max),
            scratch: Scratch::default(),
            pressure: Pressure::new(clock.now()),
            share: Share::new(clock.now()),
            receive: Box::new([0; RECEIVE_BYTES]),
            send: Box::new([0; DATAGRAM_BYTES_MAX]),
            due: Vec::with_capacity(calls_max),
            ready: Vec::with_capacity(READY_PER_WAIT),
            turned_at: None,
            setup_spent: Span::ZERO,
            setup_put_off: false,
            held: Vec::new(),
            farewells: VecDeque::new(),
            stopping: false,
        })
    }

    /// Turns until told to stop.
    pub(crate) fn run(mut self) {
        while !self.stopping {
            if let Some(at) = self.turned_at {
                self.clock.sleep((at + TURN_SPACING).since(self.clock.now()));
            }
            self.turn(self.wait());
        }
    }

    /// How long there is nothing to do unless a socket or the mailbox says otherwise.
    pub(crate) fn wait(&self) -> Span {
        let wait_max = if self.held.is_empty() && self.farewells.is_empty() { WAIT_MAX } else { Span::from_millis(1) };
        self.wheel.wait(self.clock.now(), wait_max)
    }

    /// Readable when a socket or the mailbox has something.
    pub(crate) fn epoll(&self) -> &Epoll {
        &self.epoll
    }

    /// One turn; waits at most `wait` for something to do. False: it was told to stop, its calls are closed, and it must not turn again.
    ///
    /// A panic in a turn ends this shard's calls and its service, not the process.
    pub(crate) fn turn(&mut self, wait: Span) -> bool {
        if catch_unwind(AssertUnwindSafe(|| self.work(wait))).is_err() {
            self.load.faulted.store(true, Ordering::Relaxed);
            self.fault();
        }
        if self.stopping {
            for key in self.tenants.keys() {
                self.close(key, EndReason::HangUp);
            }
        }
        !self.stopping
    }

    /// Wait, mailbox, sockets, timers.
    fn work(&mut self, wait: Span) {
        // Rounded up: waking a fraction early would only turn once more for nothing.
        let wait_ms = i32::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        self.ready.clear();
        match self.epoll.wait(wait_ms) {
            Ok(ready) => self.ready.extend(ready.tokens()),
            // Only a broken descriptor can fail here; without epoll there is no shard.
            Err(e) => panic!("epoll_wait: {e}"),
        }
        let now = self.clock.now();
        (self.setup_spent, self.setup_put_off) = (Span::ZERO, false);
        self.take_commands(now);
        for i in 0..self.ready.len() {
            self.fetch_ahead(i);
            let token = self.ready[i];
            if token == WAKER_TOKEN {
                self.mail.waker.clear();
            } else {
                self.receive_one(token, now);
            }
        }
        self.turned_at = (self.ready.len() < READY_PER_WAIT && !self.setup_put_off).then_some(now);
        let mut due = core::mem::take(&mut self.due);
        self.wheel.advance(now, &mut due);
        for (key, at) in due.drain(..) {
            self.tick(key, at, now);
        }
        self.due = due;
        for key in core::mem::take(&mut self.held) {
            self.settle(key, now);
        }
        if !self.farewells.is_empty() {
            self.tell_farewells();
        }
        let done = self.clock.now();
        self.scratch.set_complexity_max(self.pressure.worked(now, done));
        let told = self.share.percent();
        let percent = self.share.look(done, Clock::thread_cpu);
        if percent != told {
            self.load.percent.store(usize::from(percent), Ordering::Relaxed);
        }
    }

    fn take_commands(&mut self, now: Time) {
        for _ in 0..COMMANDS_PER_TURN {
            if !self.farewells.is_empty() {
                return;
            }
            let Ok(command) = self.mail.commands.pop() else { return };
            match command {
                Command::Open(new) => self.open(*new, now),
                Command::SetRemote(id, remote) => self.command(id, now, |call| {
                    match call.set_remote_params(*remote, now) {
                        Ok(()) => {}
                        // The engine checked what it could see; what does not fit our own side (a mirrored key) shows only here.
                        Err(SetupError::PeerIncompatible(_)) => call.close(EndReason::PeerIncompatible, now),
                        // A race with the end of the call.
                        Err(_) => call.close(EndReason::InternalFault, now),
                    }
                }),
                Command::OpenGate(id) => self.command(id, now, |call| call.open_gate(now)),
                Command::Attach(id, port) => self.attach(id, port, None, now),
                Command::AttachFar(id, port, far) => self.attach(id, port, Some(far), now),
                Command::Far(id, command) => self.command(id, now, |call| {
                    // A port without a far side has just taken the place of the one that the host meant.
                    let _ = call.handle_far_command(command, now);
                }),
                Command::SendDigits(id, symbols, tone_ms, reply) => self.command(id, now, |call| {
                    let _ = reply.try_send(call.send_digits(&symbols, tone_ms, now));
                }),
                Command::Close(id, reason) => self.command(id, now, |call| call.close(reason, now)),
                Command::Stats(id, reply) => {
                    if let Some(tenant) = self.by_id.get(&id).and_then(|&key| self.tenants.get_mut(key)) {
                        let _ = reply.try_send(tenant.call.stats());
                    }
                }
                Command::Stop => self.stopping = true,
            }
        }
        // More may wait: look again at once.
        self.mail.waker.wake();
    }

    fn open(&mut self, new: NewCall, now: Time) {
        let NewCall { id, call, sockets, port } = new;
        let sockets = sockets.into_iter().map(Some).collect();
        let tenant = Tenant { id, call, sockets, port, far: None, armed: Time::MAX, setting_up: true, close_losers_at: None, held: None };
        let Ok(key) = self.tenants.insert(tenant) else {
            // Admission counts calls before they are posted, so this is a broken invariant: say so instead of losing a call.
            unreachable!("admission let in more calls than there are slots");
        };
        self.by_id.insert(id, key);
        let tenant = self.tenants.get_mut(key).expect("inserted above");
        for (i, socket) in tenant.sockets.iter().flatten().enumerate() {
            if self.epoll.add(socket, token(key, i)).is_err() {
                tenant.call.close(EndReason::InternalFault, now);
            }
        }
        self.settle(key, now);
    }

    fn command(&mut self, id: CallId, now: Time, act: impl FnOnce(&mut Call)) {
        let Some(&key) = self.by_id.get(&id) else { return };
        if let Some(tenant) = self.tenants.get_mut(key) {
            act(&mut tenant.call);
            self.settle(key, now);
        }
    }

    /// Exchanges a call's port, and the sockets of its far side with it.
    fn attach(&mut self, id: CallId, port: Box<dyn MediaPort>, far: Option<Box<FarSockets>>, now: Time) {
        let Some((key, tenant)) = self.by_id.get(&id).and_then(|&key| Some((key, self.tenants.get_mut(key)?))) else {
            // The call has ended in the meantime.
            self.release_far(far, now);
            return;
        };
        let mut old_port = tenant.call.attach(port, now);
        let old = core::mem::replace(&mut tenant.far, far);
        if let (Some(sockets), Some(side)) = (&old, old_port.far_mut()) {
            sockets.farewell(side, &mut self.send[..], now);
        }
        for (i, socket) in tenant.far.iter().flat_map(|far| far.each()) {
            if self.epoll.add(socket, token(key, FAR_SOCKET + i)).is_err() {
                tenant.call.close(EndReason::InternalFault, now);
            }
        }
        self.release_far(old, now);
        self.settle(key, now);
    }

    fn release_far(&self, far: Option<Box<FarSockets>>, now: Time) {
        if let Some(far) = far {
            // Once per leg, not per packet; the other side of the lock is `attach_rtp`.
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(far.port, now);
        }
    }

    /// Has the processor fetch what the sockets behind the `i`th in the ready list will need, while the kernel works on this one.
    fn fetch_ahead(&self, i: usize) {
        let key = |ahead: usize| self.ready.get(i + ahead).filter(|&&token| token != WAKER_TOKEN).map(|&token| untoken(token).0);
        if let Some(key) = key(2) {
            let (start, bytes) = self.tenants.place(key.index);
            prefetch(start, bytes);
        }
        if let Some(tenant) = key(1).and_then(|key| self.tenants.get(key)) {
            for (start, bytes) in tenant.call.hot_parts() {
                prefetch(start, bytes);
            }
            prefetch(tenant.sockets.as_ptr().cast(), size_of::<MediaSocket>());
        }
    }

    /// One datagram of one ready socket: level-triggered, so a talkative call cannot starve the others.
    fn receive_one(&mut self, token: u64, now: Time) {
        let (key, socket_index) = untoken(token);
        let Some(tenant) = self.tenants.get_mut(key) else { return };
        if tenant.setting_up {
            if self.setup_spent >= SETUP_PER_TURN {
                self.setup_put_off = true;
                return;
            }
            let began = self.clock.now();
            self.take_datagram(key, socket_index, now);
            self.setup_spent = self.setup_spent + self.clock.now().since(began);
        } else {
            self.take_datagram(key, socket_index, now);
        }
    }

    fn take_datagram(&mut self, key: Key, socket_index: usize, now: Time) {
        let Some(tenant) = self.tenants.get_mut(key) else { return };
        if let (Some(number), Some(far)) = (socket_index.checked_sub(FAR_SOCKET), &tenant.far) {
            far.receive(number, &mut tenant.call, &mut self.receive[..], now);
            self.settle(key, now);
            return;
        }
        let Some(Some(socket)) = tenant.sockets.get(socket_index) else { return };
        let Some((len, remote)) = socket.receive(&mut self.receive[..]) else { return };
        let path = Path { local: socket.local(), remote };
        tenant.call.handle_datagram(path, &mut self.receive[..len], now);
        self.settle(key, now);
    }

    fn tick(&mut self, key: Key, at: Time, now: Time) {
        let Some(tenant) = self.tenants.get_mut(key) else { return };
        if tenant.armed != at {
            // The deadline has moved nearer since: this entry is not the one that counts, and arming another for it would make two of them for ever.
            return;
        }
        tenant.armed = Time::MAX;
        if tenant.close_losers_at.is_some_and(|at| at <= now) {
            tenant.close_losers_at = None;
            //= rfc8445#section-8.3.1  the losing sockets
            if let Some(path) = tenant.call.path() {
                for socket in &mut tenant.sockets {
                    socket.take_if(|s| s.local() != path.local);
                }
            }
        }
        if tenant.call.poll_timeout().is_some_and(|at| at <= now) {
            tenant.call.handle_timeout(&mut self.scratch, now);
        }
        self.settle(key, now);
    }

    /// Drains a call after it was touched: datagrams, events, deadline (the contract of [`Call`]).
    fn settle(&mut self, key: Key, now: Time) {
        let calls = self.by_id.len();
        let Some(tenant) = self.tenants.get_mut(key) else { return };
        while let Some((len, path)) = tenant.call.poll_transmit(&mut self.scratch, &mut self.send[..], now) {
            let socket = tenant.sockets.iter().flatten().find(|s| s.local() == path.local);
            if socket.is_some_and(|socket| !socket.send(&self.send[..len], path.remote)) {
                tenant.call.note_send_refused();
            }
        }
        if let Some(far) = &mut tenant.far {
            far.drain(&mut tenant.call, &mut self.send[..], now);
        }
        if tenant.call.is_quiet() && tenant.held.is_none() && tenant.armed != Time::MAX {
            // Packets, nothing else: no event, and no deadline nearer than the one it is armed for.
            return;
        }
        tenant.call.drained();
        let mut over = None;
        let mut woke = false;
        while let Some(event) = tenant.held.take().or_else(|| tenant.call.poll_event()) {
            if let CallEvent::IceConnected { path, .. } = &event {
                if let Some(socket) = tenant.sockets.iter_mut().flatten().find(|s| s.local() == path.local) {
                    // A refused connect leaves the socket as it was; X3 in the call filters all the same.
                    let _ = socket.connect(path.remote);
                }
                tenant.close_losers_at = Some(now + LOSER_LINGER);
            }
            if matches!(event, CallEvent::Ended(_)) {
                over = Some((tenant.id, event));
                break;
            }
            if let Err(rtrb::PushError::Full((_, event))) = self.mail.reports.push((tenant.id, event)) {
                tenant.held = Some(event);
                self.held.push(key);
                break;
            }
            woke = true;
        }
        if woke {
            self.mail.host.wake();
        }
        if tenant.setting_up && !tenant.call.is_setting_up() {
            tenant.setting_up = false;
            self.load.setting_up.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(report) = over {
            // First gone, then told: a host that hears `Ended` finds the room and the port given back.
            self.evict(key, now);
            self.farewells.push_back(report);
            self.tell_farewells();
            return;
        }
        let deadline = [tenant.call.poll_timeout(), tenant.close_losers_at].into_iter().flatten().min();
        let deadline = if tenant.call.ticks() { deadline.map(|at| on_grid(at, calls)) } else { deadline };
        if let Some(deadline) = deadline.filter(|&at| at < tenant.armed) {
            tenant.armed = deadline;
            self.wheel.arm(key, deadline);
        }
    }

    /// Reports ended calls as far as the host's ring has room.
    fn tell_farewells(&mut self) {
        while let Some(report) = self.farewells.pop_front() {
            if let Err(rtrb::PushError::Full(report)) = self.mail.reports.push(report) {
                self.farewells.push_front(report);
                break;
            }
        }
        self.mail.host.wake();
    }

    fn close(&mut self, key: Key, reason: EndReason) {
        let now = self.clock.now();
        if let Some(tenant) = self.tenants.get_mut(key) {
            tenant.call.close(reason, now);
            self.settle(key, now);
        }
    }

    fn evict(&mut self, key: Key, now: Time) {
        let Some(tenant) = self.tenants.remove(key) else { return };
        self.by_id.remove(&tenant.id);
        self.load.calls.fetch_sub(1, Ordering::Relaxed);
        self.release_far(tenant.far, now);
        if let Some(port) = tenant.port {
            // Once per call, not per packet; the other side of the lock is `open_call`.
            self.ports.lock().unwrap_or_else(PoisonError::into_inner).release(port, now);
        }
    }

    /// After a panic nothing about the calls can be trusted: tell their hosts and drop them.
    fn fault(&mut self) {
        let now = self.clock.now();
        for key in self.tenants.keys() {
            let Some(tenant) = self.tenants.get_mut(key) else { continue };
            let ended = Ended { reason: EndReason::InternalFault, stats: CallStats::default(), flight_recorder: Vec::new() };
            self.farewells.push_back((tenant.id, CallEvent::Ended(Box::new(ended))));
            if tenant.setting_up {
                self.load.setting_up.fetch_sub(1, Ordering::Relaxed);
            }
            self.evict(key, now);
        }
        self.tell_farewells();
    }
}

/// Calls whose frames are wanted in one turn: a codec's code and tables are as large as a core's cache, and the first call of a turn fetches them for all.
const CALLS_PER_TURN: usize = 8;

/// The turn for a deadline of a call with a codec: such turns begin at multiples of a span that divides a frame, and the fewer calls there are, the fewer turns. For a call
/// that is a delay which never changes, of 5 ms at most.
fn on_grid(at: Time, calls: usize) -> Time {
    let span_ns = match calls.div_ceil(CALLS_PER_TURN) {
        0..=4 => 5_000_000,
        5 => 4_000_000,
        6..=10 => 2_000_000,
        _ => 1_000_000,
    };
    Time::from_nanos(at.as_nanos().div_ceil(span_ns).saturating_mul(span_ns))
}

/// Number in the token of the first socket of a far side: behind one socket per family of the call itself.
const FAR_SOCKET: usize = 2;

/// A socket's token: slot, a part of the generation, and which socket of the call.
fn token(key: Key, socket: usize) -> u64 {
    u64::from(key.index) << 32 | u64::from(key.generation) << 2 & 0xffff_fffc | socket as u64 & 3
}

fn untoken(token: u64) -> (Key, usize) {
    // Generations of 30 bits: a stale token would need a billion calls in one slot between two turns.
    (Key { index: (token >> 32) as u32, generation: ((token & 0xffff_ffff) >> 2) as u32 }, (token & 3) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_calls_share_few_turns_and_none_waits_longer_than_a_quarter_of_a_frame() {
        let ms = |ms: u64| Time::from_nanos(ms * 1_000_000);
        for calls in 0..500 {
            let turns: std::collections::BTreeSet<Time> = (0..20).map(|k| on_grid(ms(1_000 + k), calls)).collect();
            assert!(
                turns.len() >= 4 && (calls > 160 || calls <= CALLS_PER_TURN * turns.len() + 16),
                "{calls} calls in {} turns",
                turns.len()
            );
            for k in 0..20 {
                let (at, turn) = (ms(1_000 + k), on_grid(ms(1_000 + k), calls));
                assert!(turn >= at && turn.since(at) < Span::from_millis(5), "{calls} calls");
                assert_eq!(on_grid(at + Span::from_millis(20), calls).since(turn), Span::from_millis(20), "the delay never changes");
            }
        }
        assert_eq!(on_grid(Time::MAX, 1), Time::MAX);
    }

    #[test]
    fn tokens_name_slot_tenant_and_socket() {
        for (index, generation, socket) in [(0, 0, 0), (1_999, 12_345, 1), (u32::MAX - 1, 0x3fff_ffff, 3)] {
            let key = Key { index, generation };
            assert_eq!(untoken(token(key, socket)), (key, socket));
        }
    }
}
