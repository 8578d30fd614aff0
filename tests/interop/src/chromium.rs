//! Chromium as the far end, headless: it offers, then it answers; it says a tone, types digits with `insertDTMF`, and measures the echo with its own decoder.
//!
//! Decides: which figures are good enough, and talks to the browser by WebDriver. Refuses: measuring; `peers/chromium_peer.html` does that.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Failure;
use crate::gateway::{Case, Gateway, Http};

const PAGE: &str = concat!("file://", env!("CARGO_MANIFEST_DIR"), "/peers/chromium_peer.html");
/// 1 to # with a repeated key: each must count once.
const DIGITS: &str = "1590055*#";
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    // Our side stands on loopback only, and needs an address where a page usually gets a name.
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
];

pub fn run(arguments: &[String]) -> Result<bool, Failure> {
    if !arguments.is_empty() {
        return Err("chromium takes no argument".to_owned());
    }
    let gateway = Gateway::start()?;
    let browser = Browser::start()?;
    let mut clean = true;
    for they_offer in [true, false] {
        let mut case = Case::new(if they_offer { "they offer" } else { "they answer" });
        case.fact(format!("Chromium {}", browser.version));
        if let Err(failure) = call(&gateway, &browser, they_offer, &mut case) {
            case.check(false, failure);
        }
        clean &= case.print();
    }
    drop(browser);
    gateway.stop();
    Ok(clean)
}

fn call(gateway: &Gateway, browser: &Browser, they_offer: bool, case: &mut Case) -> Result<(), Failure> {
    browser.open(PAGE)?;
    let session = if they_offer {
        let (session, answer) = gateway.give_offer(text(&browser.page("offer", json!([]))?)?)?;
        browser.page("takeAnswer", json!([answer]))?;
        session
    } else {
        let (session, offer) = gateway.ask_offer()?;
        gateway.give_answer(&session, text(&browser.page("answer", json!([offer]))?)?)?;
        session
    };
    gateway.wait_open(&session)?;
    // One second for the jitter buffers of both ends to find their depth.
    browser.page("listen", json!([1]))?;
    let heard = browser.page("listen", json!([5]))?;
    let share = heard["share"].as_f64().unwrap_or(0.0);
    case.check(share > 0.9, format!("tone share {share:.3} over {:.1} s", heard["seconds"].as_f64().unwrap_or(0.0)));
    let (lost, jitter_ms) = (heard["lost"].as_i64().unwrap_or(-1), heard["jitter"].as_f64().unwrap_or(0.0) * 1_000.0);
    case.check(lost == 0, format!("{lost} lost, jitter {jitter_ms:.1} ms"));
    if let Some(ms) = heard["roundTripTime"].as_f64().map(|s| s * 1_000.0) {
        case.fact(format!("RTCP round trip {ms:.1} ms"));
    }
    // It begins as controlling when it offers. We never give that role up, so it must.
    case.check(heard["iceRole"] == "controlled", format!("ends ICE {}", heard["iceRole"].as_str().unwrap_or("without a role")));
    case.fact(format!("DTLS {}", heard["dtlsRole"].as_str().unwrap_or("?")));
    let typed = browser.page("type", json!([DIGITS]))?;
    case.check(typed["left"] == "", format!("{} keys typed", DIGITS.len()));
    let shown = gateway.session(&session)?;
    let digits_in = shown["stats"]["digits_in"].as_u64().unwrap_or(0);
    case.check(digits_in == DIGITS.len() as u64, format!("{digits_in} digits arrived"));
    let after = browser.page("listen", json!([2]))?;
    let share = after["share"].as_f64().unwrap_or(0.0);
    case.check(share > 0.9, format!("tone share {share:.3} after the digits"));
    case.session(&gateway.session(&session)?);
    gateway.hang_up(&session)?;
    Ok(())
}

fn text(value: &Value) -> Result<String, Failure> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("the page gave {value} where SDP was asked for"))
}

/// A browser under the control of chromedriver. Dropping it ends both.
struct Browser {
    driver: Child,
    http: Http,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
    version: String,
}

impl Browser {
    fn start() -> Result<Self, Failure> {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=WARNING"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start chromedriver: {e}"))?;
        let mut lines = BufReader::new(driver.stdout.take().ok_or("chromedriver has no output")?).lines().map_while(Result::ok);
        let port = lines.find_map(|line| line.split("successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok());
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let mut browser = Self { driver, http: Http::new()?, session: String::new(), version: String::new() };
        let base = format!("http://127.0.0.1:{}/session", port.ok_or("chromedriver named no port")?);
        let options = json!({ "binary": "/usr/bin/chromium", "args": FLAGS });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let made = browser.http.ask("POST", &base, Some(("application/json", wanted.to_string())))?.ok("a new browser")?.json();
        browser.session = format!("{base}/{}", made["value"]["sessionId"].as_str().ok_or("the browser has no session")?);
        browser.version = made["value"]["capabilities"]["browserVersion"].as_str().unwrap_or("?").to_owned();
        browser.command("timeouts", &json!({ "script": SCRIPT_TIME_MAX.as_millis() as u64 }))?;
        Ok(browser)
    }

    fn open(&self, url: &str) -> Result<(), Failure> {
        self.command("url", &json!({ "url": url })).map(drop)
    }

    /// Calls an asynchronous function of the page.
    fn page(&self, function: &str, arguments: Value) -> Result<Value, Failure> {
        let script = "const [name, args, done] = arguments; \
             window[name](...args).then(value => done({ value }), fault => done({ fault: String(fault) }));";
        let result = self.command("execute/async", &json!({ "script": script, "args": [function, arguments] }))?;
        match result["fault"].as_str() {
            Some(fault) => Err(format!("the page's {function}() failed: {fault}")),
            None => Ok(result["value"].clone()),
        }
    }

    fn command(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}/{what}", self.session);
        let reply = self.http.ask("POST", &url, Some(("application/json", body.to_string())))?.ok(what)?;
        Ok(reply.json()["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // The driver closes the browser with the session; killed first, it would leave it behind.
            let _ = self.http.ask("DELETE", &self.session, None);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// How long the page may take for one call of a function.
const SCRIPT_TIME_MAX: Duration = Duration::from_secs(40);
