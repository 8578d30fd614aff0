//! From a configured bridge to the object that a call talks to.
//!
//! Decides: nothing; loads WAV files once, at start. Refuses: files that no configuration names.

use super::audio_peers::AudioPeers;
use super::metrics::Metrics;
use super::observe::{CallRef, Watch};
use super::recorder::{Done, Recorder};
use crate::audio::{load_wav, read_wav};
use crate::config::{AudioBridge, AudioTarget, BridgeConfig, BridgeKind, Config};
use crate::stream::Track;
use std::collections::HashMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use tipring_engine::bridge::rtp::RtpLegParams;
use tipring_engine::bridge::{Echo, Over, OverSwitch, Play, PromptEcho, Tap, TapReader, TapSwitch};
use tipring_engine::call::MediaPort;
use tipring_engine::codec::SampleRate;
use tipring_engine::engine::{CallId, CommandError, Engine, RtpLegLocal};
use tipring_engine::error::AdmitError;
use tokio::sync::mpsc;

/// Every file that a bridge may play, decoded; and the recorder.
pub(crate) struct Bridges {
    wavs: RwLock<HashMap<PathBuf, Arc<[i16]>>>,
    /// Files of `[[prompt]]` by name.
    prompts: HashMap<String, PathBuf>,
    recorder: Option<Recorder>,
    targets: Arc<[AudioTarget]>,
    /// Running if there is anywhere to go.
    audio: Option<AudioPeers>,
    /// Of calls with Meta and of a proxy: recording can begin and end while they run.
    switches: Mutex<HashMap<CallRef, TapSwitch>>,
    /// Of calls with Meta, where there are audio servers: somebody may listen along.
    listeners: Mutex<HashMap<CallRef, Listening>>,
}

/// The tap of one call for somebody who listens along.
struct Listening {
    switch: TapSwitch,
    /// Takes the next reader when the call's port is exchanged. None: nobody listens.
    readers: Option<mpsc::Sender<TapReader>>,
}

impl Listening {
    fn is_on(&self) -> bool {
        self.readers.as_ref().is_some_and(|readers| !readers.is_closed())
    }
}

/// Why nobody listens along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TapError {
    /// The call has no media.
    NoMedia,
    /// Somebody does already.
    Taken,
    /// The call has not yet done what was ordered before, or there is no decoder; for a log.
    Busy(String),
}

/// Why a recording did not begin or end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RecordError {
    /// The configuration has no `[record]`.
    NotConfigured,
    /// The call has no media.
    NoMedia,
    /// The recorder, or the call, is behind.
    Busy,
}

/// What an audio server is told about a call, by name.
pub(crate) type About = [(&'static str, String)];

impl Bridges {
    /// Loads every file that `config` names and starts the recorder. The error is for an operator.
    pub(crate) fn start(config: &Config, watch: &Watch, metrics: &Arc<Metrics>, done: Done) -> Result<Self, String> {
        let wavs = RwLock::new(load_wavs(config)?);
        let recorder = config.record.clone().map(|r| Recorder::start(r, watch.clone(), Arc::clone(metrics), done)).transpose()?;
        let targets: Arc<[AudioTarget]> = config.audio_targets.clone().into();
        let audio = (!targets.is_empty()).then(|| AudioPeers::start(&targets, watch, metrics)).transpose()?;
        let prompts = config.prompts.iter().map(|prompt| (prompt.name.clone(), prompt.wav.clone())).collect();
        Ok(Self { wavs, prompts, recorder, switches: Mutex::default(), listeners: Mutex::default(), targets, audio })
    }

    /// Where audio connections may go.
    pub(crate) fn audio_targets(&self) -> Arc<[AudioTarget]> {
        Arc::clone(&self.targets)
    }

    /// Loads what a bridge of a new number plays, if it is not there yet.
    pub(crate) fn load(&self, bridge: &BridgeConfig) -> Result<(), String> {
        let Some(path) = bridge.kind.wav() else { return Ok(()) };
        if self.wavs.read().unwrap_or_else(|e| e.into_inner()).contains_key(path) {
            return Ok(());
        }
        let samples = load_wav(path, PLAY_RATE).map_err(|e| format!("bridge.wav: {e}"))?;
        self.wavs.write().unwrap_or_else(|e| e.into_inner()).insert(path.clone(), samples);
        Ok(())
    }

    /// A new end for one call.
    pub(crate) fn port(&self, bridge: &BridgeConfig, call: &CallRef, about: &About) -> Box<dyn MediaPort> {
        let echo = || Box::new(Echo::default());
        let port: Box<dyn MediaPort> = match &bridge.kind {
            BridgeKind::Echo => Box::new(PromptEcho::default()),
            // Nobody is there until `attach_rtp` has bound its port.
            BridgeKind::Rtp(_) => return Box::new(Play::new(Arc::from([]), PLAY_RATE)),
            BridgeKind::Play(path) => Box::new(Play::new(self.samples(path), PLAY_RATE)),
            BridgeKind::PlayThenEcho(path) => Box::new(Play::then(self.samples(path), PLAY_RATE, echo())),
            BridgeKind::Audio(audio) => match &self.audio {
                Some(peers) => peers.port(audio, call, about),
                // Bridges are read against the targets, and with a target there are peers.
                None => Box::new(Play::new(Arc::from([]), PLAY_RATE)),
            },
        };
        self.recorded(port, bridge, call)
    }

    /// Binds and attaches the plain RTP leg of a bridge that is one.
    pub(crate) fn attach_rtp(
        &self,
        engine: &Engine,
        id: CallId,
        bridge: &BridgeConfig,
        call: &CallRef,
    ) -> Result<Option<RtpLegLocal>, CommandError> {
        let BridgeKind::Rtp(params) = &bridge.kind else { return Ok(None) };
        engine.attach_rtp(id, (**params).clone(), |leg| self.recorded(leg, bridge, call)).map(Some)
    }

    /// Binds and attaches the plain RTP leg of a proxy's call: it can be played over and recorded while it runs. [`Self::forget`] is due when it is over.
    pub(crate) fn attach_proxied(
        &self,
        engine: &Engine,
        id: CallId,
        params: RtpLegParams,
        record: bool,
        call: &CallRef,
    ) -> Result<(RtpLegLocal, OverSwitch), CommandError> {
        let mut over = None;
        let local = engine.attach_rtp(id, params, |leg| {
            let (port, switch) = Over::new(leg);
            over = Some(switch);
            self.switched(Box::new(port), record, call)
        })?;
        over.map(|over| (local, over)).ok_or(CommandError::Admit(AdmitError::Ports))
    }

    fn recorded(&self, port: Box<dyn MediaPort>, bridge: &BridgeConfig, call: &CallRef) -> Box<dyn MediaPort> {
        match (&self.recorder, call) {
            (_, CallRef::Meta(_)) => self.overheard(self.switched(port, bridge.record, call), call),
            (Some(recorder), CallRef::Direct(_)) if bridge.record => recorder.tap(port, call),
            _ => port,
        }
    }

    /// A port that somebody may listen to while the call runs, where there are audio servers. Who listened to its predecessor goes on.
    fn overheard(&self, port: Box<dyn MediaPort>, call: &CallRef) -> Box<dyn MediaPort> {
        if self.audio.is_none() {
            return port;
        }
        let (tap, mut switch) = Tap::switched(port);
        let mut listeners = self.listeners();
        let readers = listeners.remove(call).filter(Listening::is_on).and_then(|was| was.readers);
        let readers = readers.filter(|readers| switch.open().is_some_and(|reader| readers.try_send(reader).is_ok()));
        listeners.insert(call.clone(), Listening { switch, readers });
        Box::new(tap)
    }

    /// Lets an audio server listen to a running call, or ends that.
    pub(crate) fn tap(&self, call: &CallRef, whom: Option<(&AudioBridge, Track)>, about: &About) -> Result<(), TapError> {
        let mut listeners = self.listeners();
        let listening = listeners.get_mut(call).filter(|listening| !listening.switch.is_abandoned()).ok_or(TapError::NoMedia)?;
        let Some((server, track)) = whom else {
            let was_on = listening.readers.take().is_some();
            return if !was_on || listening.switch.close() { Ok(()) } else { Err(TapError::Busy("the call is behind".into())) };
        };
        if listening.is_on() {
            return Err(TapError::Taken);
        }
        let peers = self.audio.as_ref().ok_or(TapError::NoMedia)?;
        let reader = listening.switch.open().ok_or_else(|| TapError::Busy("the call is behind".into()))?;
        listening.readers = Some(peers.listen(reader, track, server, call, about).map_err(TapError::Busy)?);
        Ok(())
    }

    /// Whether somebody listens along.
    pub(crate) fn is_tapped(&self, call: &CallRef) -> bool {
        self.listeners().get(call).is_some_and(Listening::is_on)
    }

    /// A port whose recording can begin and end while the call runs, where recordings are made.
    fn switched(&self, port: Box<dyn MediaPort>, record: bool, call: &CallRef) -> Box<dyn MediaPort> {
        let Some(recorder) = &self.recorder else { return port };
        let (tap, mut switch) = Tap::switched(port);
        if record && let Some(reader) = switch.open() {
            recorder.read(reader, call);
        }
        self.lock().insert(call.clone(), switch);
        Box::new(tap)
    }

    /// What a `[[prompt]]` says, asked for by its name or its file, and at which rate.
    pub(crate) fn prompt(&self, name: &str) -> Option<(Arc<[i16]>, SampleRate)> {
        let path = self.prompts.get(name).or_else(|| self.prompts.values().find(|path| path.as_path() == Path::new(name)))?;
        Some((self.samples(path), PLAY_RATE))
    }

    /// The WAV file in `bytes`, to be played once: its samples and their rate. The error is for whoever sent it.
    pub(crate) fn read_wav(bytes: &[u8]) -> Result<(Arc<[i16]>, SampleRate), String> {
        let samples = read_wav(Path::new("blob"), Cursor::new(bytes), PLAY_RATE).map_err(|e| e.to_string())?;
        Ok((samples, PLAY_RATE))
    }

    /// Begins or ends the recording of a call while it runs.
    pub(crate) fn record(&self, call: &CallRef, on: bool) -> Result<(), RecordError> {
        let recorder = self.recorder.as_ref().ok_or(RecordError::NotConfigured)?;
        let mut switches = self.lock();
        let switch = switches.get_mut(call).filter(|s| !s.is_abandoned()).ok_or(RecordError::NoMedia)?;
        let done = if on { switch.open().is_some_and(|reader| recorder.read(reader, call)) } else { switch.close() };
        if done { Ok(()) } else { Err(RecordError::Busy) }
    }

    /// The call is over.
    pub(crate) fn forget(&self, call: &CallRef) {
        self.lock().remove(call);
        self.listeners().remove(call);
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<CallRef, Listening>> {
        // As for the other table.
        self.listeners.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallRef, TapSwitch>> {
        // A panic while the lock was held is a bug elsewhere; the table has no half-made state.
        self.switches.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// `bridge` again after a prompt, which the caller hears first. What `bridge` itself would play is not said a second time. None for a plain RTP leg and an
    /// audio server: they are the ones who speak.
    pub(crate) fn port_after_prompt(&self, prompt: &Path, bridge: &BridgeConfig, call: &CallRef) -> Option<Box<dyn MediaPort>> {
        let samples = self.samples(prompt);
        let port: Box<dyn MediaPort> = match &bridge.kind {
            BridgeKind::Echo | BridgeKind::PlayThenEcho(_) => Box::new(Play::then(samples, PLAY_RATE, Box::new(Echo::default()))),
            BridgeKind::Play(_) => Box::new(Play::new(samples, PLAY_RATE)),
            BridgeKind::Rtp(_) | BridgeKind::Audio(_) => return None,
        };
        Some(self.recorded(port, bridge, call))
    }

    fn samples(&self, path: &Path) -> Arc<[i16]> {
        // Every path of a bridge comes from the configuration that `start` has loaded; nothing to play is the honest fallback.
        self.wavs.read().unwrap_or_else(|e| e.into_inner()).get(path).cloned().unwrap_or_default()
    }
}

/// What the native API calls a bridge.
pub(crate) const fn bridge_name(bridge: &BridgeConfig) -> &'static str {
    match bridge.kind {
        BridgeKind::Echo => "echo",
        BridgeKind::Play(_) => "play",
        BridgeKind::PlayThenEcho(_) => "play_then_echo",
        BridgeKind::Rtp(_) => "rtp",
        BridgeKind::Audio(_) => "ws",
    }
}

/// Loads each WAV file that a bridge of `config` names, once.
pub(super) fn load_wavs(config: &Config) -> Result<HashMap<PathBuf, Arc<[i16]>>, String> {
    let bridges = config.numbers.iter().map(|n| &n.bridge).chain(config.direct.as_ref().map(|d| &d.bridge));
    let mut wavs = HashMap::new();
    for path in bridges.filter_map(|b| b.kind.wav()).chain(config.prompts.iter().map(|p| &p.wav)) {
        if !wavs.contains_key(path) {
            wavs.insert(path.clone(), load_wav(path, PLAY_RATE).map_err(|e| format!("bridge.wav: {e}"))?);
        }
    }
    Ok(wavs)
}

/// Rate that files are loaded at: Meta's offers cap playback at 16 kHz, and Opus encodes it without a resampler.
const PLAY_RATE: SampleRate = SampleRate::Hz16000;
