//! `tipring call`: one call to a user, from the command line.
//!
//! Decides: options, what is said while it goes, and exit codes: 0 answered and hung up, 10 not answered, 11 declined, 12 given up by us, 13 Meta gave no reply,
//! 20 to 27 refused by Meta (by cause), 1 any other failure, 2 usage or configuration. Given: the daemon's configuration; Meta's webhooks must reach its listener.
//! Refuses: protocol; the daemon makes the call as it would for the API.

mod report;

use super::{EXIT_CONFIG, EXIT_FAILED, check, settings};
use crate::config::{BridgeConfig, BridgeKind, Config, NumberConfig, RecordConfig};
use crate::graph::permission::Permission;
use crate::session::{CallKey, CallStatusKind, Command, Dial, Ending, Notice, Personal};
use crate::shell::{CallRef, Daemon, DaemonEvent, DaemonHandle, GraphClient, Observed, Tenants};
use crate::verdict::Verdict;
use report::{Outcome, Style};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tipring_engine::call::CallEvent;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Options of `tipring call`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  tipring call --config tipring.toml --to 447700900123 --play hello.wav --record reply.ogg
  tipring call --config tipring.toml --to 447700900123 --ask \"May we call you about order 7?\" --json

Meta's webhooks must reach the listener of the configuration: while `tipring serve` runs there, use its API (POST /v1/calls) instead.
Calls of users that arrive meanwhile are rejected.")]
pub(super) struct Args {
    /// Configuration file (TOML; docs/CONFIG.md explains every key).
    #[arg(long, short, value_name = "FILE", env = "TIPRING_CONFIG")]
    config: PathBuf,
    /// Phone number id to call from; may be left out if the configuration has one number.
    #[arg(long, value_name = "ID")]
    number: Option<String>,
    /// Whom to call: digits with the country code.
    #[arg(long, value_name = "DIGITS", required_unless_present = "recipient")]
    to: Option<String>,
    /// Whom to call: business-scoped user id; --to wins.
    #[arg(long, value_name = "ID")]
    recipient: Option<String>,
    /// WAV file that the user hears after the pick-up; without it, what the number's bridge says.
    #[arg(long, value_name = "FILE")]
    play: Option<PathBuf>,
    /// Writes what the user says to an Ogg/Opus file (.ogg, .opus), or both directions to a stereo WAV file (.wav).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Asks the user for permission, with this text, if there is none, and waits for the answer.
    #[arg(long, value_name = "TEXT", num_args = 0..=1, default_missing_value = "")]
    ask: Option<String>,
    /// How long to wait for that answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    ask_wait: u64,
    /// Calls without asking Meta first whether the user allows it.
    #[arg(long, conflicts_with = "ask")]
    no_check: bool,
    /// How long it may ring, in seconds; default: the configuration's.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    ring: Option<u64>,
    /// When we hang up: `never`, `played` (when the file is over), or seconds after the pick-up. Default: `played` with --play, else `never`.
    #[arg(long, value_name = "WHEN", value_parser = HangUp::parse)]
    hang_up: Option<HangUp>,
    /// Data that comes back in events and at Meta, at most 512 characters.
    #[arg(long, value_name = "TEXT")]
    opaque: Option<String>,
    /// Prints the result as one JSON document.
    #[arg(long)]
    json: bool,
}

/// When we hang up a call that was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HangUp {
    Never,
    Played,
    After(u64),
}

impl HangUp {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "played" => Ok(Self::Played),
            seconds => seconds.parse().map(Self::After).map_err(|_| "write `never`, `played`, or a number of seconds".into()),
        }
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    let (config, number) = match configure(args) {
        Ok(ready) => ready,
        Err(code) => return code,
    };
    let style = Style { json: args.json };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("tipring call: no runtime: {e}");
            return ExitCode::from(EXIT_FAILED);
        }
    };
    match runtime.block_on(make(args, config, &number, style)) {
        Ok(outcome) => {
            print!("{}", outcome.told(style));
            ExitCode::from(outcome.exit_code())
        }
        Err(why) => {
            eprintln!("tipring call: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// The configuration of a process that makes one call, and the number it calls from.
fn configure(args: &Args) -> Result<(Config, String), ExitCode> {
    let usage = |what: &str| {
        eprintln!("tipring call: {what}");
        ExitCode::from(EXIT_CONFIG)
    };
    let mut config = check::load(&args.config).map_err(|faults| {
        check::report(&args.config, &faults);
        ExitCode::from(EXIT_CONFIG)
    })?;
    let number = settings::pick(&config, args.number.as_deref()).map_err(usage)?;
    if let Some(to) = &args.to
        && !is_phone(to)
    {
        //= meta#R-10  `tel:` and everything that is no WhatsApp user is refused
        return Err(usage("--to is not a phone number: 6 to 15 digits with the country code; calls go to WhatsApp users only (VOIP_ONLY)"));
    }
    if args.opaque.as_ref().is_some_and(|text| text.chars().count() > 512) {
        return Err(usage("--opaque has more than 512 characters"));
    }
    if args.hang_up == Some(HangUp::Played) && args.play.is_none() {
        return Err(usage("--hang-up played needs --play FILE"));
    }
    if let Some(file) = &args.record {
        config.record = Some(recording(file).map_err(|why| usage(&why))?);
    }
    for entry in &mut config.numbers {
        // Nobody is here to answer: what rings meanwhile is rejected.
        entry.waits = true;
        if entry.phone_number_id == number {
            bridge(args, entry);
        }
    }
    if let Err(why) = crate::shell::check_wavs(&config) {
        return Err(usage(&why));
    }
    (config.api, config.direct) = (None, None);
    if let Some(seconds) = args.ring {
        config.outbound.ring_max = Duration::from_secs(seconds);
    }
    config.drain_max = Duration::ZERO;
    Ok((config, number))
}

fn bridge(args: &Args, number: &mut NumberConfig) {
    let kind = args.play.as_ref().map_or_else(|| number.bridge.kind.clone(), |wav| BridgeKind::Play(wav.clone()));
    number.bridge = BridgeConfig { kind, record: args.record.is_some() };
}

/// Where the recorder writes before the file gets its name: the same directory, so that naming it is a rename.
fn recording(file: &Path) -> Result<RecordConfig, String> {
    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_wav = match extension.as_str() {
        "ogg" | "opus" => false,
        "wav" => true,
        _ => return Err("--record takes a file name that ends in .ogg, .opus or .wav".into()),
    };
    let directory = file.parent().filter(|p| !p.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), Path::to_owned);
    Ok(RecordConfig { directory: directory.join(format!(".tipring-call-{}", std::process::id())), ogg: !is_wav, wav: is_wav })
}

fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (6..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
}

/// One call, from the first question to the last file.
async fn make(args: &Args, config: Config, number: &str, style: Style) -> Result<Outcome, String> {
    let tenants = Arc::new(Tenants::of(&config));
    let graph = GraphClient::new(&config.graph, tenants)?;
    let scratch = config.record.as_ref().map(|r| r.directory.clone());
    let (sender, mut events) = mpsc::unbounded_channel();
    let daemon = Daemon::start(
        config,
        Arc::new(move |seen: &Observed| {
            // The receiver is gone only when all is said.
            let _ = sender.send(seen.event.clone());
        }),
    )
    .map_err(|e| format!("{e}; while `tipring serve` runs on this configuration, call by its API: POST /v1/calls"))?;
    style.say(&format!("webhooks are taken at {}", daemon.webhook_addr()));
    let user = User {
        to: args.to.as_ref().and_then(|to| Personal::new(to.strip_prefix('+').unwrap_or(to))),
        recipient: args.recipient.as_deref().and_then(Personal::new),
    };
    let mut outcome = match permit(args, &graph, number, &user, &daemon, &mut events, style).await {
        Ok(()) => talk(args, number, user, &daemon, &mut events, style).await?,
        Err(verdict) => Outcome::refused(*verdict),
    };
    // Stopping completes the recording.
    tokio::task::spawn_blocking(move || daemon.shutdown()).await.map_err(|e| format!("the daemon did not stop: {e}"))?;
    while let Ok(event) = events.try_recv() {
        outcome.note(&event);
    }
    if let (Some(file), Some(scratch)) = (&args.record, scratch) {
        outcome.keep(file, &scratch);
    }
    Ok(outcome)
}

struct User {
    to: Option<Personal>,
    recipient: Option<Personal>,
}

/// Makes sure that the user may be called, as far as Meta says so; asks the user if that was wanted.
async fn permit(
    args: &Args,
    graph: &GraphClient,
    number: &str,
    user: &User,
    daemon: &DaemonHandle,
    events: &mut mpsc::UnboundedReceiver<DaemonEvent>,
    style: Style,
) -> Result<(), Box<Verdict>> {
    if args.no_check {
        return Ok(());
    }
    let look = || graph.permission(number, user.to.as_ref(), user.recipient.as_ref());
    let refusal = |permission: &Permission| Box::new(permission.refusal());
    let mut permission = match look().await {
        Ok(permission) => permission,
        Err(verdict) => {
            // Meta has the last word anyway.
            style.say(&format!("the permission could not be looked up ({}): calling all the same", verdict.code));
            return Ok(());
        }
    };
    style.say(&format!("permission: {}", permission.status.name()));
    if permission.may_call() {
        return Ok(());
    }
    let Some(text) = &args.ask else { return Err(refusal(&permission)) };
    if permission.may_call_by_status() {
        // The limit of calls is the reason: asking changes nothing.
        return Err(refusal(&permission));
    }
    let text = Some(text.as_str()).filter(|text| !text.is_empty());
    graph.ask_permission(number, user.to.as_ref(), user.recipient.as_ref(), text).await.map_err(Box::new)?;
    style.say(&format!("the user is asked; waiting up to {} s for the answer", args.ask_wait));
    let deadline = Instant::now() + Duration::from_secs(args.ask_wait);
    loop {
        match timeout_at(deadline, events.recv()).await {
            Ok(Some(DaemonEvent::WebhookEvent { what: "permission", .. })) => {
                permission = look().await.map_err(Box::new)?;
                style.say(&format!("permission: {}", permission.status.name()));
                return if permission.may_call() { Ok(()) } else { Err(refusal(&permission)) };
            }
            Ok(Some(event)) => reject(&event, daemon),
            Ok(None) | Err(_) => return Err(refusal(&permission)),
        }
    }
}

/// Dials and stays until the call is over.
async fn talk(
    args: &Args,
    number: &str,
    user: User,
    daemon: &DaemonHandle,
    events: &mut mpsc::UnboundedReceiver<DaemonEvent>,
    style: Style,
) -> Result<Outcome, String> {
    let dial = Dial { phone_number_id: number.into(), to: user.to, recipient: user.recipient, biz_opaque: args.opaque.clone() };
    daemon.dial(dial).map_err(|e| e.to_string())?;
    let hang_up = args.hang_up.unwrap_or(if args.play.is_some() { HangUp::Played } else { HangUp::Never });
    let signals = || Ok::<_, std::io::Error>((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let (mut interrupt, mut terminate) = signals().map_err(|e| format!("signals cannot be watched: {e}"))?;
    let mut outcome = Outcome::default();
    let mut ours: Option<CallKey> = None;
    let mut end_at: Option<Instant> = None;
    loop {
        let event = tokio::select! {
            event = events.recv() => event.ok_or("the daemon stopped in the middle of the call")?,
            _ = interrupt.recv() => { end_at = Some(Instant::now()); continue }
            _ = terminate.recv() => { end_at = Some(Instant::now()); continue }
            () = sleep_until(end_at.unwrap_or_else(Instant::now)), if end_at.is_some() => {
                end_at = None;
                if let Some(call) = ours {
                    style.say("hanging up");
                    daemon.command(call, Command::Terminate).map_err(|e| e.to_string())?;
                }
                continue;
            }
        };
        outcome.note(&event);
        match &event {
            DaemonEvent::Notice { call, notice, .. } if ours.is_none_or(|ours| ours == *call) => match notice {
                Notice::Offered { .. } => reject(&event, daemon),
                Notice::Dialling { .. } => {
                    ours = Some(*call);
                    style.say("calling");
                }
                Notice::Status(CallStatusKind::Ringing) => style.say("ringing"),
                Notice::Status(CallStatusKind::Rejected) => style.say("declined"),
                Notice::MediaReady => style.say("media stands"),
                Notice::Answered => {
                    style.say("answered");
                    if let HangUp::After(seconds) = hang_up {
                        end_at = Some(Instant::now() + Duration::from_secs(seconds));
                    }
                }
                Notice::Ended(ending) if ours == Some(*call) => {
                    outcome.end(Ending::clone(ending));
                    return Ok(outcome);
                }
                _ => {}
            },
            DaemonEvent::Notice { notice: Notice::Offered { .. }, .. } => reject(&event, daemon),
            DaemonEvent::Media { call: CallRef::Meta(call), event: CallEvent::PortFinished { .. } } if Some(*call) == ours => {
                style.say("played");
                if hang_up == HangUp::Played {
                    // What left last is still on its way.
                    end_at = Some(Instant::now() + LAST_WORD);
                }
            }
            _ => {}
        }
    }
}

fn reject(event: &DaemonEvent, daemon: &DaemonHandle) {
    if let DaemonEvent::Notice { call, notice: Notice::Offered { .. }, .. } = event
        && let Err(e) = daemon.command(*call, Command::Reject)
    {
        eprintln!("tipring call: a user's call could not be rejected: {e}");
    }
}

/// From the last packet of a prompt to the hang-up.
const LAST_WORD: Duration = Duration::from_millis(400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_a_word_or_seconds() {
        assert_eq!(HangUp::parse("never"), Ok(HangUp::Never));
        assert_eq!(HangUp::parse("played"), Ok(HangUp::Played));
        assert_eq!(HangUp::parse("30"), Ok(HangUp::After(30)));
        assert!(HangUp::parse("later").is_err());
    }

    //= meta#R-10 type=test
    #[test]
    fn only_whatsapp_users_are_called() {
        assert!(is_phone("+447700900123") && is_phone("447700900123"));
        for no in ["tel:+447700900123", "sip:a@b", "", "12345", "1234567890123456", "44 7700", "44x700900123"] {
            assert!(!is_phone(no), "{no}");
        }
    }

    #[test]
    fn a_recording_is_made_beside_its_file() {
        let config = recording(Path::new("/a/b/x.ogg")).expect("a recording");
        assert!(config.directory.starts_with("/a/b") && config.ogg && !config.wav);
        let wav = recording(Path::new("x.WAV")).expect("a recording");
        assert!(wav.directory.starts_with(".") && wav.wav && !wav.ogg);
        assert!(recording(Path::new("x.mp3")).is_err());
    }
}
