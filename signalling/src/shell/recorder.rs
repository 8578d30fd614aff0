//! Writes recordings: one Ogg/Opus file per direction as it was on the wire, and one stereo WAV, caller left, we right.
//!
//! Decides: how the two directions share one time axis. Given: readers of taps, on one thread for all calls. Refuses: to hold a call up: what it cannot take in time
//! is lost and counted, what it cannot write fails the recording only.

use super::metrics::Metrics;
use super::observe::{CallRef, DaemonEvent, Watch, unix_s};
use crate::audio::OggOpusWriter;
use crate::config::RecordConfig;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tipring_engine::bridge::{Tap, TapReader};
use tipring_engine::call::MediaPort;
use tipring_engine::codec::{Decoder, SampleRate, toc};

#[cfg(test)]
mod tests;

/// The recorder's thread. Dropping it completes every recording.
pub(crate) struct Recorder {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    watch: Watch,
    metrics: Arc<Metrics>,
    done: Done,
}

/// Told of each recording that is complete (its files and the packets it missed) or failed. Must not wait.
pub(crate) type Done = Arc<dyn Fn(&CallRef, Result<(&[PathBuf], u64), &str>) + Send + Sync>;

struct Job {
    call: CallRef,
    reader: TapReader,
}

impl Recorder {
    /// Makes the directory and starts the thread. The error is for an operator.
    pub(crate) fn start(config: RecordConfig, watch: Watch, metrics: Arc<Metrics>, done: Done) -> Result<Self, String> {
        let directory = config.directory.display().to_string();
        std::fs::create_dir_all(&config.directory)
            .map_err(|e| format!("record.directory: {directory} cannot be made: {e}; name one the daemon may write"))?;
        let (jobs, queue) = sync_channel(JOBS_MAX);
        let (its_watch, its_metrics, its_done) = (watch.clone(), Arc::clone(&metrics), Arc::clone(&done));
        let thread = std::thread::Builder::new()
            .name("tipring-recorder".into())
            .spawn(move || record(&config, &queue, &its_watch, &its_metrics, &its_done))
            .map_err(|e| format!("the recorder's thread does not start: {e}"))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), watch, metrics, done })
    }

    /// Wraps a port so that the call is recorded from its first packet.
    pub(crate) fn tap(&self, inner: Box<dyn MediaPort>, call: &CallRef) -> Box<dyn MediaPort> {
        let (tap, reader) = Tap::new(inner);
        self.read(reader, call);
        Box::new(tap)
    }

    /// Records what a tap hands on from now on. False if the recorder is overloaded; that has been told then.
    pub(crate) fn read(&self, reader: TapReader, call: &CallRef) -> bool {
        let taken = self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(Job { call: call.clone(), reader }).is_ok());
        if !taken {
            let why = "the recorder is overloaded";
            self.metrics.recording(false);
            (self.done)(call, Err(why));
            self.watch.tell(DaemonEvent::RecordingFailed { call: call.clone(), why: why.into() });
        }
        taken
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn record(config: &RecordConfig, queue: &Receiver<Job>, watch: &Watch, metrics: &Metrics, done: &Done) {
    let mut running: Vec<(Job, Recording)> = Vec::new();
    let mut count = 0_u64;
    loop {
        let last = match queue.recv_timeout(POLL) {
            Ok(job) => {
                count += 1;
                let name = file_name(&job.call, count);
                running.push((job, Recording::new(config.clone(), name)));
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        running.retain_mut(|(job, recording)| {
            // Asked before the ring is emptied: what is put in between is found, and closed then means complete.
            let over = job.reader.is_closed() || last;
            let result = recording.drain(&mut job.reader).and_then(|()| if over { recording.finish().map(Some) } else { Ok(None) });
            let call = job.call.clone();
            match result {
                Ok(None) => return true,
                Ok(Some(files)) => {
                    metrics.recording(true);
                    done(&call, Ok((&files, job.reader.lost())));
                    watch.tell(DaemonEvent::RecordingFinished { call, files, lost: job.reader.lost() });
                }
                Err(why) => {
                    metrics.recording(false);
                    done(&call, Err(&why));
                    watch.tell(DaemonEvent::RecordingFailed { call, why });
                }
            }
            false
        });
        if last {
            return;
        }
    }
}

/// `count` keeps two recordings of one call and one second apart.
fn file_name(call: &CallRef, count: u64) -> String {
    match call {
        CallRef::Meta(key) => format!("{}-call-{}-{count}", unix_s(), key.0),
        CallRef::Direct(id) => format!("{}-direct-{id}-{count}", unix_s()),
    }
}

/// The files of one call. They are made when the first packet comes.
struct Recording {
    config: RecordConfig,
    name: String,
    files: Vec<PathBuf>,
    /// Caller, then we.
    directions: [Direction; 2],
    wav: Option<hound::WavWriter<BufWriter<File>>>,
    /// Samples per channel since the header of the WAV last said how many there are.
    unsaid: usize,
}

/// One direction on the common time axis, in samples of the WAV.
#[derive(Default)]
struct Direction {
    ogg: Option<OggOpusWriter<BufWriter<File>>>,
    decoder: Option<Decoder>,
    /// An RTP timestamp and the position it stands for.
    anchor: Option<(u32, u64)>,
    /// Where what is in `pending` ends.
    end: u64,
    /// Decoded, not yet written: waits for the other direction.
    pending: VecDeque<i16>,
}

impl Recording {
    fn new(config: RecordConfig, name: String) -> Self {
        Self { config, name, files: Vec::new(), directions: Default::default(), wav: None, unsaid: 0 }
    }

    fn drain(&mut self, reader: &mut TapReader) -> Result<(), String> {
        // At most what the ring held when we came: a call that is talking must not keep the others waiting.
        for _ in 0..PACKETS_PER_PASS_MAX {
            let Some(packet) = reader.next_packet() else { break };
            self.packet(packet.incoming, packet.timestamp, packet.payload())?;
        }
        self.write_wav(LAG_SAMPLES_MAX)
    }

    fn packet(&mut self, incoming: bool, timestamp: u32, payload: &[u8]) -> Result<(), String> {
        // What Opus itself refuses is not recorded; the call has counted it.
        let Ok(ticks) = toc::duration_ticks(payload) else { return Ok(()) };
        let index = usize::from(!incoming);
        if self.config.ogg {
            if self.directions[index].ogg.is_none() {
                let file = self.create(if incoming { "-caller.opus" } else { "-ours.opus" })?;
                let writer = OggOpusWriter::new(BufWriter::new(file), index as u32 + 1, 48_000).map_err(|e| e.to_string())?;
                self.directions[index].ogg = Some(writer);
            }
            if let Some(ogg) = &mut self.directions[index].ogg {
                ogg.write(payload, timestamp, ticks).map_err(|e| format!("the Ogg file cannot be written: {e}"))?;
            }
        }
        if self.config.wav {
            if self.wav.is_none() {
                let file = self.create(".wav")?;
                let spec = hound::WavSpec {
                    channels: 2,
                    sample_rate: WAV_RATE.hz(),
                    bits_per_sample: 16,
                    sample_format: hound::SampleFormat::Int,
                };
                self.wav = Some(hound::WavWriter::new(BufWriter::new(file), spec).map_err(|e| e.to_string())?);
            }
            let other = self.directions[1 - index].anchor.map(|_| self.directions[1 - index].end);
            self.directions[index].decode(timestamp, payload, u64::from(ticks) / TICKS_PER_SAMPLE, other)?;
        }
        Ok(())
    }

    fn create(&mut self, suffix: &str) -> Result<File, String> {
        let path = self.config.directory.join(format!("{}{suffix}", self.name));
        let file = create_private(&path).map_err(|e| format!("{} cannot be made: {e}", path.display()))?;
        self.files.push(path);
        Ok(file)
    }

    /// Writes what both directions have; a direction that lags by more than `lag_max` samples was silent.
    fn write_wav(&mut self, lag_max: u64) -> Result<(), String> {
        let Some(wav) = &mut self.wav else { return Ok(()) };
        let lead = self.directions.iter().map(|d| d.end).max().unwrap_or(0);
        for direction in &mut self.directions {
            direction.pad_to(lead.saturating_sub(lag_max));
        }
        let [left, right] = &mut self.directions;
        let both = left.pending.len().min(right.pending.len());
        for (l, r) in left.pending.drain(..both).zip(right.pending.drain(..both)) {
            wav.write_sample(l).and_then(|()| wav.write_sample(r)).map_err(|e| format!("the WAV file cannot be written: {e}"))?;
        }
        self.unsaid += both;
        // A process that is killed leaves a file that plays to its last second, as the Ogg files do.
        if self.unsaid >= WAV_RATE.hz() as usize {
            self.unsaid = 0;
            wav.flush().map_err(|e| format!("the WAV file cannot be written: {e}"))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Vec<PathBuf>, String> {
        self.write_wav(0)?;
        if let Some(wav) = self.wav.take() {
            wav.finalize().map_err(|e| format!("the WAV file cannot be completed: {e}"))?;
        }
        for direction in &mut self.directions {
            if let Some(ogg) = direction.ogg.take() {
                ogg.finish().map_err(|e| format!("the Ogg file cannot be completed: {e}"))?;
            }
        }
        Ok(std::mem::take(&mut self.files))
    }
}

impl Direction {
    /// Decodes a packet to its place. `other_end` is where the other direction is, if it has begun.
    fn decode(&mut self, timestamp: u32, payload: &[u8], samples: u64, other_end: Option<u64>) -> Result<(), String> {
        let at = match self.anchor.map(|(base, position)| (position, timestamp.wrapping_sub(base) as i32)) {
            Some((position, ahead)) if ahead.unsigned_abs() < JUMP_TICKS_MAX => {
                position.saturating_add_signed(i64::from(ahead) / TICKS_PER_SAMPLE as i64)
            }
            // The first packet, or a sender that restarted: the ring is in order of time, so this is now, and now is where the other one is.
            _ => other_end.map_or(self.end, |end| end.saturating_sub(samples)).max(self.end),
        };
        self.anchor = Some((timestamp, at));
        if at < self.end {
            // A copy, or so late that silence stands in its place already.
            return Ok(());
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new(WAV_RATE).map_err(|e| e.to_string())?),
        };
        let mut pcm = [0; PACKET_SAMPLES_MAX];
        let frame = WAV_RATE.frame_samples() as u64;
        // A short gap is a loss: conceal it as a listener would hear it. A long one is silence.
        if at - self.end <= CONCEAL_FRAMES_MAX * frame {
            while at - self.end >= frame {
                let made = decoder.conceal(&mut pcm[..frame as usize]).unwrap_or(0).min(frame as usize);
                self.pending.extend(&pcm[..made]);
                self.end += made as u64;
                if made == 0 {
                    break;
                }
            }
        }
        let missing = at - self.end;
        self.pending.extend(std::iter::repeat_n(0, missing as usize));
        self.end = at;
        if let Some(made) = decoder.decode(payload, &mut pcm) {
            self.pending.extend(&pcm[..made.min(PACKET_SAMPLES_MAX)]);
            self.end += made.min(PACKET_SAMPLES_MAX) as u64;
        }
        Ok(())
    }

    fn pad_to(&mut self, position: u64) {
        let missing = position.saturating_sub(self.end);
        self.pending.extend(std::iter::repeat_n(0, missing as usize));
        self.end += missing;
    }
}

/// Makes a file that nobody but the daemon's user may read. Never takes one that is there.
fn create_private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).read(true).create_new(true).mode(0o600).open(path)
}

/// Rate of the WAV: Meta's offers cap playback at 16 kHz.
const WAV_RATE: SampleRate = SampleRate::Hz16000;
/// RTP ticks (48 kHz) per sample of the WAV.
const TICKS_PER_SAMPLE: u64 = 48_000 / 16_000;
/// Samples of the longest Opus packet: 120 ms.
const PACKET_SAMPLES_MAX: usize = 16_000 * 120 / 1_000;
/// How long one direction is waited for before it counts as silent: 1 s.
const LAG_SAMPLES_MAX: u64 = 16_000;
/// A timestamp farther off than this belongs to a sender that restarted: one minute. It also bounds what a gap may write.
const JUMP_TICKS_MAX: u32 = 48_000 * 60;
/// Frames concealed in a row: 100 ms, after which any decoder has faded out.
const CONCEAL_FRAMES_MAX: u64 = 5;
/// How often the rings are emptied. They hold 4 s.
const POLL: Duration = Duration::from_millis(100);
/// Packets taken from one ring per pass: all that it holds.
const PACKETS_PER_PASS_MAX: usize = 400;
/// Calls that may wait to be recorded.
const JOBS_MAX: usize = 1_024;
