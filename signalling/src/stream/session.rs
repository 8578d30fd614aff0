//! One connection of one call: counts, marks, and what each message does to the audio.
//!
//! Decides: when a mark has been heard, when a begun frame is filled up, and what is written. Given: messages, the call's audio, the time. Refuses: to reconnect; a new
//! connection is a new session, with its own stream id and its own sequence.

use super::asterisk::{self, Format};
use super::audiosocket::{self, Frame, FrameReader};
use super::{Dialect, StreamFault, Track, l16, twilio};
use std::collections::VecDeque;
use tipring_engine::bridge::PcmLink;
use tipring_engine::codec::FRAME_SAMPLES_MAX;
use tipring_engine::codec::g711::Law;
use tipring_engine::limits::FRAME_MS;
use tipring_engine::time::{Span, Time};

/// What the other side is told about the call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamInfo {
    /// Names the account: `AC` and 32 hex digits.
    pub account_sid: String,
    /// Names the call: `CA` and 32 hex digits; the same on every connection of the call.
    pub call_sid: String,
    /// Names this connection: `MZ` and 32 hex digits.
    pub stream_sid: String,
    /// The application's own parameters, and ours.
    pub parameters: Vec<(String, String)>,
    /// Whose words are sent.
    pub track: Track,
}

impl StreamInfo {
    /// Names made of random bytes of the caller: twice 16 for account and call, 16 for the stream.
    pub fn new(account: [u8; 16], call: [u8; 16], stream: [u8; 16], parameters: Vec<(String, String)>) -> Self {
        let sid = |prefix: &str, bytes: [u8; 16]| {
            bytes.iter().fold(prefix.to_owned(), |mut sid, byte| {
                sid.push_str(&format!("{byte:02x}"));
                sid
            })
        };
        Self {
            account_sid: sid("AC", account),
            call_sid: sid("CA", call),
            stream_sid: sid("MZ", stream),
            parameters,
            track: Track::Inbound,
        }
    }

    /// The 16 bytes that name the call, for AudioSocket.
    fn uuid(&self) -> [u8; 16] {
        let hex = self.call_sid.get(2..).unwrap_or_default();
        core::array::from_fn(|i| hex.get(2 * i..2 * i + 2).and_then(|byte| u8::from_str_radix(byte, 16).ok()).unwrap_or(0))
    }
}

/// A message to the other side; on TCP both kinds are bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wire {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

/// The machine. After every `handle_*` drain [`Self::poll_message`], then read [`Self::poll_timeout`].
#[derive(Debug)]
pub struct StreamSession {
    dialect: Dialect,
    info: StreamInfo,
    /// Messages of ours so far that carry a number.
    seq: u64,
    /// Audio messages of ours so far.
    chunk: u64,
    /// Frames of the user so far, sent or not.
    frames: u64,
    /// Marks that wait until the audio before them has left, oldest first.
    marks: VecDeque<(u64, String)>,
    out: VecDeque<Wire>,
    /// When the last sample of a frame came that is not filled yet.
    part_since: Option<Time>,
    /// Half a sample.
    odd: Option<u8>,
    reader: FrameReader,
    /// Asterisk speaks JSON.
    json: bool,
    /// Asterisk takes no more for now.
    is_off: bool,
    started: bool,
    over: bool,
    faults: u64,
    stats_at: u64,
}

impl StreamSession {
    /// A session that has not begun.
    pub fn new(dialect: Dialect, info: StreamInfo) -> Self {
        Self {
            dialect,
            info,
            seq: 0,
            chunk: 0,
            frames: 0,
            marks: VecDeque::new(),
            out: VecDeque::new(),
            part_since: None,
            odd: None,
            reader: FrameReader::default(),
            json: false,
            is_off: false,
            started: false,
            over: false,
            faults: 0,
            stats_at: STATS_EVERY_FRAMES,
        }
    }

    /// The call listens from now on.
    pub fn start(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        match self.dialect {
            Dialect::Twilio => {
                self.text(twilio::connected());
                let seq = self.next_seq();
                self.text(twilio::start(seq, &self.info));
            }
            Dialect::L16(rate) => self.text(l16::start(rate, &self.info)),
            // Asterisk speaks first; the channel that was dialled waits for our answer.
            Dialect::Asterisk(_) => self.text(asterisk::command("ANSWER", self.json)),
            Dialect::AudioSocket(_) => self.frame(&Frame::Uuid(self.info.uuid())),
        }
    }

    /// Takes a text message. A fault is the other side's, for its log: nothing has changed, and the session goes on.
    pub fn handle_text(&mut self, text: &str, link: &mut PcmLink, now: Time) -> Result<(), StreamFault> {
        let done = match self.dialect {
            Dialect::Twilio => self.twilio_said(text, link, now),
            Dialect::L16(_) => self.l16_said(text, link),
            Dialect::Asterisk(format) => self.asterisk_said(text, format),
            Dialect::AudioSocket(_) => Err(StreamFault::new("AudioSocket has no text")),
        };
        self.faults += u64::from(done.is_err());
        self.handle_link(link, now);
        done
    }

    /// Takes a binary message, or bytes of a stream.
    pub fn handle_binary(&mut self, bytes: &[u8], link: &mut PcmLink, now: Time) -> Result<(), StreamFault> {
        let done = match self.dialect {
            Dialect::Twilio => Err(StreamFault::new("audio of this protocol comes as text; a binary message was ignored")),
            Dialect::L16(_) | Dialect::Asterisk(Format::Linear(_)) => {
                self.linear(bytes, link, now);
                Ok(())
            }
            Dialect::Asterisk(Format::G711(law)) => {
                self.g711(law, bytes, link, now);
                Ok(())
            }
            Dialect::AudioSocket(rate) => self.audiosocket_said(bytes, rate.hz(), link, now),
        };
        self.faults += u64::from(done.is_err());
        self.handle_link(link, now);
        done
    }

    /// Takes 20 ms of what the user says.
    pub fn handle_audio(&mut self, samples: &[i16]) {
        if !self.started || self.over {
            return;
        }
        let timestamp_ms = self.frames * FRAME_MS;
        self.frames += 1;
        if self.is_off {
            return;
        }
        self.chunk += 1;
        match self.dialect {
            Dialect::Twilio => {
                let mut mu_law = [0; FRAME_SAMPLES_MAX];
                let len = Law::Mu.encode(samples, &mut mu_law);
                let seq = self.next_seq();
                self.text(twilio::media(seq, self.chunk, timestamp_ms, &mu_law[..len], &self.info));
            }
            Dialect::L16(_) | Dialect::Asterisk(Format::Linear(_)) => self.out.push_back(Wire::Binary(l16::bytes_of(samples))),
            Dialect::Asterisk(Format::G711(law)) => {
                let mut bytes = vec![0; samples.len()];
                law.encode(samples, &mut bytes);
                self.out.push_back(Wire::Binary(bytes));
            }
            Dialect::AudioSocket(rate) => self.frame(&Frame::Audio { rate_hz: rate.hz(), samples: samples.to_vec() }),
        }
    }

    /// 20 ms of the user that cannot be sent: the other side does not read. The next frame's time stamp shows the hole.
    pub fn skip_audio(&mut self) {
        self.frames += u64::from(self.started);
    }

    /// Takes a digit that the user typed.
    pub fn handle_digit(&mut self, digit: char) {
        if !self.started || self.over {
            return;
        }
        match self.dialect {
            Dialect::Twilio => {
                let seq = self.next_seq();
                self.text(twilio::dtmf(seq, digit, &self.info));
            }
            Dialect::L16(_) => self.text(l16::dtmf(digit)),
            // It has no command for digits: the user's keys stay on this side.
            Dialect::Asterisk(_) => {}
            Dialect::AudioSocket(_) => self.frame(&Frame::Dtmf(digit as u8)),
        }
    }

    /// Looks at the link: marks whose audio has left are sent back, a begun frame that waits too long is filled up. To be called when the link's waker was woken.
    pub fn handle_link(&mut self, link: &mut PcmLink, now: Time) {
        link.pump();
        let left = link.left();
        while let Some((_, name)) = self.marks.pop_front_if(|(position, _)| *position <= left) {
            self.marked(&name);
        }
        match self.part_since {
            // While more waits the rest may still come in time: silence in the middle of a word is worse.
            Some(since) if now >= since + PART_WAITS && link.waiting() > PART_FRAMES_AHEAD => self.part_since = Some(now),
            Some(since) if now >= since + PART_WAITS => {
                link.flush();
                self.part_since = None;
            }
            _ => {}
        }
        if let Dialect::L16(_) = self.dialect
            && self.started
            && self.frames >= self.stats_at
        {
            self.stats_at = self.frames + STATS_EVERY_FRAMES;
            let ms = |samples: u64| samples * 1_000 / u64::from(link.rate().hz());
            let stats = serde_json::json!({
                "event": "stats",
                "queue_ms": link.waiting() * FRAME_MS,
                "refused_ms": ms(link.refused()),
                "skipped_ms": link.skipped() * FRAME_MS,
                "lost_ms": link.lost() * FRAME_MS,
            });
            self.text(stats.to_string());
        }
    }

    /// The call is over, or goes elsewhere.
    pub fn stop(&mut self) {
        if !self.started || std::mem::replace(&mut self.over, true) {
            return;
        }
        match self.dialect {
            Dialect::Twilio => {
                let seq = self.next_seq();
                self.text(twilio::stop(seq, &self.info));
            }
            Dialect::L16(_) => self.text(l16::stop()),
            Dialect::Asterisk(_) => self.text(asterisk::command("HANGUP", self.json)),
            Dialect::AudioSocket(_) => self.frame(&Frame::Hangup),
        }
    }

    /// The next message to send.
    pub fn poll_message(&mut self) -> Option<Wire> {
        self.out.pop_front()
    }

    /// When [`Self::handle_link`] wants to be called even if nothing woke.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.part_since.map(|since| since + PART_WAITS)
    }

    /// Whether either side has said that it is done.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Messages that could not be read.
    pub fn faults(&self) -> u64 {
        self.faults
    }

    fn twilio_said(&mut self, text: &str, link: &mut PcmLink, now: Time) -> Result<(), StreamFault> {
        let (said, stream) = twilio::read(text)?;
        if let Some(stream) = stream.filter(|stream| *stream != self.info.stream_sid) {
            return Err(StreamFault::new(format_args!("streamSid {stream:.40} is not this stream's; the message was ignored")));
        }
        match said {
            twilio::Said::Media(bytes) => self.g711(Law::Mu, &bytes, link, now),
            twilio::Said::Mark(name) => self.mark(name, link)?,
            twilio::Said::Clear => self.clear(link),
            twilio::Said::Other(_) => {}
        }
        Ok(())
    }

    fn l16_said(&mut self, text: &str, link: &mut PcmLink) -> Result<(), StreamFault> {
        match l16::read(text)? {
            l16::Said::Mark(name) => self.mark(name, link)?,
            l16::Said::Clear => self.clear(link),
            l16::Said::Stop => self.over = true,
            l16::Said::Other(_) => {}
        }
        Ok(())
    }

    fn asterisk_said(&mut self, text: &str, ours: Format) -> Result<(), StreamFault> {
        match asterisk::read(text)? {
            asterisk::Event::MediaStart { format, json } => {
                self.json = json;
                // Plain text may leave it out; then the configuration is believed.
                if let Some(name) = format.filter(|name| Format::named(name) != Some(ours)) {
                    self.over = true;
                    let ours = ours.name();
                    return Err(StreamFault::new(format_args!(
                        "the channel speaks {name:.20}, this bridge {ours}; write c({ours}) into its dial string"
                    )));
                }
            }
            asterisk::Event::MediaXoff => self.is_off = true,
            asterisk::Event::MediaXon => self.is_off = false,
            asterisk::Event::DtmfEnd(_) | asterisk::Event::Other(_) => {}
        }
        Ok(())
    }

    fn audiosocket_said(&mut self, bytes: &[u8], rate_hz: u32, link: &mut PcmLink, now: Time) -> Result<(), StreamFault> {
        self.reader.push(bytes);
        let mut done = Ok(());
        while let Some(frame) = self.reader.next_frame() {
            match frame {
                Frame::Audio { rate_hz: theirs, samples } if theirs == rate_hz => self.push(&samples, link, now),
                Frame::Audio { rate_hz: theirs, .. } => {
                    done = Err(StreamFault::new(format_args!("audio of {theirs} Hz on a bridge of {rate_hz} Hz was ignored")));
                }
                Frame::Hangup => self.over = true,
                Frame::Error(code) => done = Err(StreamFault::new(format_args!("the other side tells error {code}"))),
                Frame::Uuid(_) | Frame::Dtmf(_) | Frame::Other(_) => {}
            }
        }
        done
    }

    fn mark(&mut self, name: String, link: &mut PcmLink) -> Result<(), StreamFault> {
        if self.marks.len() >= MARKS_MAX {
            return Err(StreamFault::new(format_args!("{MARKS_MAX} marks wait already; this one was ignored")));
        }
        self.marks.push_back((link.end(), name));
        Ok(())
    }

    fn clear(&mut self, link: &mut PcmLink) {
        link.clear();
        (self.part_since, self.odd) = (None, None);
        // What they stood behind will not be heard: the other side learns it at once, as from Twilio.
        for (_, name) in std::mem::take(&mut self.marks) {
            self.marked(&name);
        }
    }

    fn marked(&mut self, name: &str) {
        match self.dialect {
            Dialect::Twilio => {
                let seq = self.next_seq();
                self.text(twilio::mark(seq, name, &self.info));
            }
            _ => self.text(l16::mark(name)),
        }
    }

    fn g711(&mut self, law: Law, bytes: &[u8], link: &mut PcmLink, now: Time) {
        let mut samples = vec![0; bytes.len()];
        law.decode(bytes, &mut samples);
        self.push(&samples, link, now);
    }

    fn linear(&mut self, bytes: &[u8], link: &mut PcmLink, now: Time) {
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        let mut rest = bytes;
        if let (Some(low), Some((high, after))) = (self.odd, rest.split_first()) {
            samples.push(i16::from_le_bytes([low, *high]));
            self.odd = None;
            rest = after;
        }
        let (pairs, odd) = rest.as_chunks::<2>();
        samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        self.odd = odd.first().copied().or(self.odd);
        self.push(&samples, link, now);
    }

    fn push(&mut self, samples: &[i16], link: &mut PcmLink, now: Time) {
        if self.over || samples.is_empty() {
            return;
        }
        // What the queue does not take is lost, counted there: the other side is minutes ahead of the ear.
        link.push(samples);
        self.part_since = link.is_part_waiting().then_some(now);
    }

    fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    fn text(&mut self, text: String) {
        self.out.push_back(Wire::Text(text));
    }

    fn frame(&mut self, frame: &Frame) {
        // Frames of ours are 20 ms or shorter: they fit.
        self.out.extend(audiosocket::write(frame).map(Wire::Binary));
    }
}

/// How long a begun frame waits for its rest: one frame. A source in real time has given it by then.
const PART_WAITS: Span = Span::from_millis(FRAME_MS);
/// Frames in front of a begun one that leave its rest time to come.
const PART_FRAMES_AHEAD: u64 = 3;
/// Marks that may wait.
const MARKS_MAX: usize = 1_024;
/// Ten seconds.
const STATS_EVERY_FRAMES: u64 = 500;

#[cfg(test)]
mod tests;
