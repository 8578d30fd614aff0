//! What travels between the host's threads and a shard: commands in, events out. Both rings are bounded.
//!
//! Decides: the vocabulary. Refuses: waiting; a full mailbox is an admission error, and events that find no room stay with their call until there is.

use super::far::FarSockets;
use crate::call::DigitRefused;
use crate::call::{Call, CallEvent, CallStats, FarCommand, MediaPort, RemoteParams};
use crate::engine::CallId;
use crate::error::EndReason;
use crate::net::{MediaSocket, Waker};
use std::io;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

/// Commands a mailbox holds.
const COMMANDS_MAX: usize = 4_096;
/// Events on their way to the host.
const EVENTS_MAX: usize = 8_192;

/// A call ready to move onto its shard.
pub(crate) struct NewCall {
    pub(crate) id: CallId,
    pub(crate) call: Call,
    pub(crate) sockets: Vec<MediaSocket>,
    pub(crate) port: Option<u16>,
}

/// What a host may ask of a call.
pub(crate) enum Command {
    Open(Box<NewCall>),
    SetRemote(CallId, Box<RemoteParams>),
    OpenGate(CallId),
    Attach(CallId, Box<dyn MediaPort>),
    AttachFar(CallId, Box<dyn MediaPort>, Box<FarSockets>),
    Far(CallId, FarCommand),
    SendDigits(CallId, Box<str>, Option<u32>, SyncSender<Result<(), DigitRefused>>),
    Close(CallId, EndReason),
    Stats(CallId, SyncSender<CallStats>),
    Stop,
}

/// An event of a call.
pub(crate) type Report = (CallId, CallEvent);

/// The host's end of one shard's rings.
pub(crate) struct Mailbox {
    commands: Mutex<rtrb::Producer<Command>>,
    reports: Mutex<rtrb::Consumer<Report>>,
    waker: Arc<Waker>,
}

/// The shard's end.
pub(crate) struct Mail {
    pub(crate) commands: rtrb::Consumer<Command>,
    pub(crate) reports: rtrb::Producer<Report>,
    pub(crate) waker: Arc<Waker>,
    /// Wakes the host's thread in `next_event`.
    pub(crate) host: Arc<Waker>,
}

impl Mailbox {
    pub(crate) fn new(host: Arc<Waker>) -> io::Result<(Self, Mail)> {
        let (commands, command_reader) = rtrb::RingBuffer::new(COMMANDS_MAX);
        let (report_writer, reports) = rtrb::RingBuffer::new(EVENTS_MAX);
        let waker = Arc::new(Waker::new()?);
        let mail = Mail { commands: command_reader, reports: report_writer, waker: Arc::clone(&waker), host };
        Ok((Self { commands: Mutex::new(commands), reports: Mutex::new(reports), waker }, mail))
    }

    /// Posts a command. Gives it back when the mailbox is full. The lock is among the host's threads; the shard never takes it.
    pub(crate) fn post(&self, command: Command) -> Result<(), Command> {
        let posted = self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.waker.wake();
        posted.map_err(|rtrb::PushError::Full(command)| command)
    }

    /// The next event, if any.
    pub(crate) fn next_report(&self) -> Option<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).pop().ok()
    }
}
