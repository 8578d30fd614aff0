//! `meta-sim`: the stand-in for Meta from a shell. One call, its timeline in short and its verdicts; exit status 1 when a rule was broken.

use std::process::ExitCode;
use std::sync::Arc;
use tipring_engine::time::Span;
use tipring_meta_sim::faults::Fault;
use tipring_meta_sim::graph::Account;
use tipring_meta_sim::shell::{Sim, SimConfig};
use tipring_meta_sim::user::{Speech, Typing, UserScript};

const USAGE: &str = "\
usage: meta-sim --webhook URL [options]
  --webhook URL        where the business takes webhooks, http://127.0.0.1:...
  --graph ADDRESS      where Graph listens (default 127.0.0.1:8190)
  --number-id ID       phone number id (default 106540352242922)
  --secret-file FILE   app secret, on its first line (default: the one of the tests)
  --token-file FILE    access token, on its first line
  --say FILE           raw PCM, 16 bit little endian, mono, 16 kHz, said 500 ms after the pick-up
  --type DIGITS        typed 2 s after the pick-up
  --seconds N          the user hangs up N s after the pick-up (default 5)
  --outgoing           wait to be called instead of calling
  --fault NAME         misbehave; may be repeated
  --list-faults        name every fault and stop";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("meta-sim: {why}");
            ExitCode::from(2)
        }
    }
}

async fn run() -> Result<bool, String> {
    let mut webhook = None;
    let mut graph = "127.0.0.1:8190".to_owned();
    let mut account = Account::default();
    let mut script = UserScript::default();
    let mut faults = Vec::new();
    let mut is_outgoing = false;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--webhook" => webhook = Some(value()?),
            "--graph" => graph = value()?,
            "--number-id" => account.phone_number_id = value()?,
            "--secret-file" => account.app_secret = first_line(&value()?)?,
            "--token-file" => account.access_token = first_line(&value()?)?,
            "--say" => script.speech.push(Speech { after: Span::from_millis(500), pcm: pcm(&value()?)? }),
            "--type" => script.typing.push(Typing { after: Span::from_secs(2), digits: value()? }),
            "--seconds" => {
                let text = value()?;
                let seconds = text.parse().map_err(|_| format!("--seconds {text}: give a whole number"))?;
                script.hang_up_after = Some(Span::from_secs(seconds));
            }
            "--outgoing" => is_outgoing = true,
            "--fault" => faults.push(value()?.parse::<Fault>()?),
            "--list-faults" => {
                for fault in Fault::ALL {
                    println!("{:<24} {:?}, {:?}: {}", fault.name(), fault.blame(), fault.outcome(), fault.text());
                }
                return Ok(true);
            }
            _ => return Err(format!("{arg} is not known\n{USAGE}")),
        }
    }
    let mut config = SimConfig::new(webhook.ok_or(format!("--webhook is missing\n{USAGE}"))?);
    config.account = account;
    config.graph_listen = graph.parse().map_err(|e| format!("--graph {graph}: {e}; give ADDRESS:PORT"))?;
    let sim = Sim::start(config).await?;
    println!("Graph at {}", sim.graph_url());
    let report = if is_outgoing { sim.expect_call(script, &faults).report().await? } else { sim.call(script, &faults).await? };
    for verdict in &report.verdicts {
        println!("{verdict}");
    }
    println!("{} entries, {} ms heard", report.timeline.len(), report.heard_pcm.len() / 16);
    Ok(report.failures().is_empty() && !report.is_cut_off)
}

fn first_line(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    text.lines().next().map(str::to_owned).ok_or(format!("{path} is empty"))
}

fn pcm(path: &str) -> Result<Arc<[i16]>, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    Ok(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect())
}
