//! aiortc, a WebRTC stack in Python with a full ICE agent, as the far end: it offers, then it answers. We echo; it correlates what it hears with what it says.
//!
//! Decides: which figures are good enough. Refuses: measuring; `peers/aiortc_peer.py` does that, with aiortc's own codec and clock.
//! aiortc knows no telephone-event, so digits are left to other judges.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::gateway::{Case, Gateway, TOKEN};
use crate::{Failure, install};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/aiortc_peer.py");
const CASES: [(&str, &str); 3] = [("they offer", "offer"), ("they answer", "answer"), ("as lite", "offer-lite")];

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    let seconds = match arguments {
        [] => "8",
        [seconds] if seconds.parse::<u16>().is_ok_and(|s| s >= 5) => seconds,
        _ => return Err("aiortc takes no argument, or how many seconds (5 or more) each case lasts".to_owned()),
    };
    let python = install::python("aiortc", &["aiortc", "numpy"])?;
    let gateway = Gateway::start()?;
    let mut clean = true;
    for (name, role) in CASES {
        let mut command = Command::new(&python);
        command.args([SCRIPT, &gateway.base, role, seconds]).env("TIPRING_DIRECT_TOKEN", TOKEN).stderr(Stdio::inherit());
        let output = command.output().map_err(|e| format!("cannot start {}: {e}", python.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let heard: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        let mut case = Case::new(name);
        if !output.status.success() || !heard.is_object() {
            case.check(false, format!("the peer ended with {}; its reason is above. {text}", output.status));
            clean &= case.print();
            continue;
        }
        let figure = |name: &str| heard[name].as_f64().unwrap_or(0.0);
        case.fact(format!("aiortc {}", heard["version"].as_str().unwrap_or("?")));
        // It begins as controlling when it offers. We never give that role up, so it must.
        case.check(heard["ice_role"] == "controlled", format!("ends ICE {}", heard["ice_role"].as_str().unwrap_or("without a role")));
        case.session(&heard["session"]);
        case.check(figure("correlation") > 0.8, format!("correlation {:.3} over {} windows", figure("correlation"), heard["windows"]));
        case.check(figure("windows") >= 3.0, format!("{:.1} s heard", figure("heard_s")));
        case.fact(format!("round trip {:.0} ms", figure("delay_ms")));
        case.check(figure("lost") == 0.0, format!("{} lost, jitter {:.1} ms", heard["lost"], figure("jitter_ms")));
        clean &= case.print();
    }
    gateway.stop();
    Ok(clean)
}
