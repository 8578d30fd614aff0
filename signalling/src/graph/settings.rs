//! Calling settings of a number: `GET` and `POST /{number}/settings` (7.1).
//!
//! Decides: what may be asked for, what is posted, and whether what Meta has afterwards is what was wanted. Refuses: HTTP (`shell`), and to believe a 200: whether a
//! `POST` merges or replaces is not documented, so the whole object is written and read back.

use serde_json::{Map, Value, json};
use std::fmt;

/// One thing that is wrong in settings that somebody wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadSetting {
    /// Dotted path, as `audio.additional_codecs`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// A member that is not as wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Dotted path.
    pub path: String,
    /// As asked for.
    pub wanted: Value,
    /// As Meta has it; null if it has none.
    pub got: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wanted {}, Meta has {}", self.path, self.wanted, self.got)
    }
}

impl Difference {
    /// As the command line and the API print it.
    pub fn to_json(&self) -> Value {
        json!({ "path": self.path, "wanted": self.wanted, "got": self.got })
    }
}

/// What came of a change.
#[derive(Clone, PartialEq, Debug)]
pub struct Changed {
    /// What was not as wanted before.
    pub changes: Vec<Difference>,
    /// Whether it was looked at only.
    pub dry_run: bool,
    /// What Meta has otherwise after the change; empty: all is as wanted.
    pub left: Vec<Difference>,
    /// The whole `calling` object as it was read last.
    pub calling: Value,
}

impl Changed {
    /// As the command line and the API print it.
    pub fn to_json(&self) -> Value {
        let list = |differences: &[Difference]| differences.iter().map(Difference::to_json).collect::<Vec<_>>();
        json!({ "changes": list(&self.changes), "dry_run": self.dry_run, "differences": list(&self.left), "calling": self.calling })
    }
}

/// Takes out what nobody may read here: passwords of SIP servers, should Meta send them unasked.
pub fn without_secrets(mut calling: Value) -> Value {
    if let Some(servers) = calling.pointer_mut("/sip/servers").and_then(Value::as_array_mut) {
        for server in servers.iter_mut().filter_map(Value::as_object_mut) {
            server.remove("sip_user_password");
        }
    }
    calling
}

/// Looks at a `calling` object that somebody wants. Everything wrong at once.
pub fn check(calling: &Value) -> Vec<BadSetting> {
    let mut bad = Vec::new();
    let Some(members) = calling.as_object() else {
        return vec![BadSetting { path: "calling".into(), what: "is not an object".into() }];
    };
    for (name, value) in members {
        let mut word = |allowed: &[&str]| {
            if !value.as_str().is_some_and(|text| allowed.iter().any(|a| a.eq_ignore_ascii_case(text))) {
                bad.push(BadSetting { path: name.clone(), what: format!("write one of {}", allowed.join(", ")) });
            }
        };
        match name.as_str() {
            "status" | "callback_permission_status" => word(&ON_OFF),
            "call_icon_visibility" => word(&["DEFAULT", "DISABLE_ALL", "HIDE_IN_CHAT"]),
            "srtp_key_exchange_protocol" => word(&["DTLS", "SDES"]),
            "call_icons" => check_list(value, "call_icons.restrict_to_user_countries", &mut bad, |text| {
                text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase())
            }),
            "audio" => check_list(value, "audio.additional_codecs", &mut bad, |text| ["PCMA", "PCMU"].contains(&text)),
            "call_hours" => check_hours(value, &mut bad),
            "sip" if value.is_object() => check_sip(value, &mut bad),
            "voicemail" if value.is_object() => {}
            "voicemail" | "sip" => bad.push(BadSetting { path: name.clone(), what: "is not an object".into() }),
            _ => bad.push(BadSetting { path: name.clone(), what: format!("is not a calling setting; there are {}", MEMBERS.join(", ")) }),
        }
    }
    bad
}

fn check_list(value: &Value, path: &str, bad: &mut Vec<BadSetting>, fits: impl Fn(&str) -> bool) {
    let list = path.split_once('.').and_then(|(_, member)| value.get(member)).and_then(Value::as_array);
    if !list.is_some_and(|list| list.iter().all(|item| item.as_str().is_some_and(&fits))) {
        let example = if path.starts_with("audio") { "[\"PCMA\", \"PCMU\"]" } else { "[\"GB\", \"BR\"]" };
        bad.push(BadSetting { path: path.into(), what: format!("write a list such as {example}; [] clears it") });
    }
}

fn check_hours(value: &Value, bad: &mut Vec<BadSetting>) {
    let mut fault = |path: String, what: &str| bad.push(BadSetting { path: format!("call_hours.{path}"), what: what.into() });
    if !value["status"].as_str().is_some_and(|s| ON_OFF.iter().any(|o| o.eq_ignore_ascii_case(s))) {
        fault("status".into(), "write ENABLED or DISABLED");
    }
    let is_on = value["status"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("ENABLED"));
    if is_on && value["timezone_id"].as_str().is_none_or(str::is_empty) {
        fault("timezone_id".into(), "write a zone such as Europe/London");
    }
    let mut by_day: Vec<(&str, u32, u32)> = Vec::new();
    for (n, entry) in value["weekly_operating_hours"].as_array().into_iter().flatten().enumerate() {
        let path = format!("weekly_operating_hours[{n}]");
        let day = entry["day_of_week"].as_str().and_then(|d| DAYS.iter().find(|day| day.eq_ignore_ascii_case(d)));
        let (Some(day), Some(open), Some(close)) = (day, minute(&entry["open_time"]), minute(&entry["close_time"])) else {
            fault(path, "write day_of_week (MONDAY ...), open_time and close_time (HHMM)");
            continue;
        };
        if open >= close {
            fault(path.clone(), "opens after it closes");
        }
        if by_day.iter().filter(|(d, ..)| d == day).count() >= 2 {
            fault(path.clone(), "is the third entry of its day; Meta takes two");
        }
        if by_day.iter().any(|(d, from, to)| d == day && open < *to && *from < close) {
            fault(path, "overlaps another entry of its day");
        }
        by_day.push((day, open, close));
    }
    let holidays = value["holiday_schedule"].as_array().map_or(&[][..], Vec::as_slice);
    if holidays.len() > HOLIDAYS_MAX {
        fault("holiday_schedule".into(), "has more than 20 holidays");
    }
    for (n, holiday) in holidays.iter().enumerate() {
        let date = holiday["date"].as_str().is_some_and(is_date);
        let times = (minute(&holiday["start_time"]), minute(&holiday["end_time"]));
        if !date || !matches!(times, (Some(from), Some(to)) if from < to) {
            fault(format!("holiday_schedule[{n}]"), "write date (YYYY-MM-DD), start_time and end_time (HHMM), the start first");
        }
    }
}

fn check_sip(value: &Value, bad: &mut Vec<BadSetting>) {
    let mut fault = |path: &str, what: &str| bad.push(BadSetting { path: format!("sip.{path}"), what: what.into() });
    for name in ["status", "webhook_delivery"] {
        let is_good = |v: &Value| v.as_str().is_some_and(|s| ON_OFF.iter().any(|o| o.eq_ignore_ascii_case(s)));
        if value.get(name).is_some_and(|v| !is_good(v)) {
            fault(name, "write ENABLED or DISABLED");
        }
    }
    for server in value["servers"].as_array().into_iter().flatten() {
        let host = server["hostname"].as_str().unwrap_or_default();
        // A certificate that Meta trusts names a host (6.2).
        if host.is_empty() || host.parse::<std::net::IpAddr>().is_ok() || host.contains(['/', ':', ' ']) {
            fault("servers", "write hostname as a host name, without scheme or port; Meta checks its certificate");
        }
        if server.get("port").is_some_and(|p| !p.as_u64().is_some_and(|p| (1..=65_535).contains(&p))) {
            fault("servers", "write port as a number from 1 to 65535");
        }
    }
}

/// Minutes since midnight of `HHMM`.
fn minute(value: &Value) -> Option<u32> {
    let text = value.as_str().filter(|t| t.len() == 4 && t.bytes().all(|b| b.is_ascii_digit()))?;
    let (hour, minute) = (text[..2].parse::<u32>().ok()?, text[2..].parse::<u32>().ok()?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |n: usize, len: usize| parts.get(n).filter(|p| p.len() == len).and_then(|p| p.parse::<u32>().ok());
    parts.len() == 3
        && number(0, 4).is_some()
        && number(1, 2).is_some_and(|m| (1..=12).contains(&m))
        && number(2, 2).is_some_and(|d| (1..=31).contains(&d))
}

/// What to post: what Meta has, without what can only be read, with what is wanted. Objects are merged, but for `call_hours`, which Meta replaces as a whole.
pub fn merge(current: &Value, wanted: &Value) -> Value {
    let mut out = current.as_object().cloned().unwrap_or_default();
    out.retain(|name, _| MEMBERS.contains(&name.as_str()));
    if let Some(servers) = out.get_mut("sip").and_then(|sip| sip.get_mut("servers")).and_then(Value::as_array_mut) {
        for server in servers.iter_mut().filter_map(Value::as_object_mut) {
            server.retain(|name, _| ["hostname", "port", "request_uri_user_params"].contains(&name.as_str()));
        }
    }
    for (name, value) in wanted.as_object().into_iter().flatten() {
        match (out.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if name != "call_hours" => old.extend(new.clone()),
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(out)
}

/// What of `wanted` is not so in `got`. Words are compared without regard to case, lists of words without regard to order.
pub fn differences(wanted: &Value, got: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", wanted, got, &mut found);
    found
}

fn compare(path: &str, wanted: &Value, got: &Value, found: &mut Vec<Difference>) {
    if let Value::Object(members) = wanted {
        let empty = Map::new();
        let other = got.as_object().unwrap_or(&empty);
        for (name, value) in members {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            compare(&path, value, other.get(name).unwrap_or(&Value::Null), found);
        }
    } else if !is_same(wanted, got) {
        found.push(Difference { path: path.into(), wanted: wanted.clone(), got: got.clone() });
    }
}

fn is_same(wanted: &Value, got: &Value) -> bool {
    let words = |list: &[Value]| {
        let mut words: Vec<String> = list.iter().filter_map(|v| v.as_str().map(str::to_ascii_uppercase)).collect();
        words.sort_unstable();
        (words.len() == list.len()).then_some(words)
    };
    match (wanted, got) {
        (Value::String(a), Value::String(b)) => a.eq_ignore_ascii_case(b),
        // What was cleared may not be shown at all.
        (Value::Array(a), Value::Null) => a.is_empty(),
        (Value::Array(a), Value::Array(b)) => match (words(a), words(b)) {
            (Some(a), Some(b)) => a == b,
            _ => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|(a, b)| {
                        let mut inner = Vec::new();
                        compare("", a, b, &mut inner);
                        inner.is_empty()
                    })
            }
        },
        _ => wanted == got,
    }
}

/// `KEY=VALUE` pairs of a command line as a `calling` object. Values are words, numbers, lists with commas, or JSON.
pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Value, String> {
    let mut out = Map::new();
    for pair in pairs {
        let (path, text) = pair.split_once('=').ok_or_else(|| format!("{pair}: write KEY=VALUE, for example status=ENABLED"))?;
        let value = match serde_json::from_str::<Value>(text) {
            Ok(value) => value,
            Err(_) if LISTS.contains(&path) => {
                Value::Array(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| t.to_ascii_uppercase().into()).collect())
            }
            Err(_) => text.into(),
        };
        let mut parts: Vec<&str> = path.split('.').collect();
        let last = parts.pop().unwrap_or_default();
        let mut place = &mut out;
        for part in parts {
            let entry = place.entry(part.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            place = entry.as_object_mut().ok_or_else(|| format!("{path}: {part} is set to a value already"))?;
        }
        place.insert(last.to_owned(), value);
    }
    Ok(Value::Object(out))
}

/// What may be written.
const MEMBERS: [&str; 9] = [
    "status",
    "call_icon_visibility",
    "call_icons",
    "call_hours",
    "callback_permission_status",
    "srtp_key_exchange_protocol",
    "audio",
    "voicemail",
    "sip",
];
const LISTS: [&str; 3] = ["audio.additional_codecs", "call_icons.restrict_to_user_countries", "voicemail.triggers"];
const ON_OFF: [&str; 2] = ["ENABLED", "DISABLED"];
const DAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
const HOLIDAYS_MAX: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Value {
        json!({
            "status": "ENABLED", "call_icon_visibility": "DEFAULT", "call_icons": {"restrict_to_user_countries": ["GB", "BR"]},
            "call_hours": {"status": "ENABLED", "timezone_id": "Europe/London",
                "weekly_operating_hours": [{"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1730"}],
                "holiday_schedule": [{"date": "2026-12-25", "start_time": "0000", "end_time": "2359"}]},
            "callback_permission_status": "ENABLED", "srtp_key_exchange_protocol": "DTLS", "audio": {"additional_codecs": ["PCMA", "PCMU"]},
            "sip": {"status": "ENABLED", "servers": [{"hostname": "sip.acme.example", "port": 5061}]}
        })
    }

    #[test]
    fn the_documented_object_is_good_and_each_fault_is_named() {
        assert_eq!(check(&full()), []);
        let faults: [(&str, Value, &str); 14] = [
            ("/status", json!("ON"), "status"),
            ("/call_icon_visibility", json!("HIDDEN"), "call_icon_visibility"),
            ("/srtp_key_exchange_protocol", json!("ZRTP"), "srtp_key_exchange_protocol"),
            ("/call_icons/restrict_to_user_countries", json!(["England"]), "call_icons.restrict_to_user_countries"),
            ("/audio/additional_codecs", json!(["G722"]), "audio.additional_codecs"),
            ("/call_hours/status", json!(1), "call_hours.status"),
            ("/call_hours/timezone_id", json!(""), "call_hours.timezone_id"),
            ("/call_hours/weekly_operating_hours/0/open_time", json!("1800"), "call_hours.weekly_operating_hours[0]"),
            ("/call_hours/weekly_operating_hours/0/close_time", json!("2460"), "call_hours.weekly_operating_hours[0]"),
            ("/call_hours/holiday_schedule/0/date", json!("25.12."), "call_hours.holiday_schedule[0]"),
            ("/sip/status", json!("YES"), "sip.status"),
            ("/sip/servers/0/hostname", json!("203.0.113.7"), "sip.servers"),
            ("/sip/servers/0/port", json!(0), "sip.servers"),
            ("/callback_permission_status", json!(true), "callback_permission_status"),
        ];
        for (place, value, path) in faults {
            let mut settings = full();
            *settings.pointer_mut(place).expect("a place") = value;
            let bad = check(&settings);
            assert!(bad.iter().all(|b| b.path == path) && !bad.is_empty(), "{place}: {bad:?}");
        }
        assert_eq!(check(&json!({"video": {}}))[0].path, "video");
        let twice = json!({"call_hours": {"status": "DISABLED", "weekly_operating_hours": [
            {"day_of_week": "MONDAY", "open_time": "0900", "close_time": "1200"}, {"day_of_week": "monday", "open_time": "1100", "close_time": "1300"}]}});
        assert_eq!(check(&twice)[0].what, "overlaps another entry of its day");
    }

    #[test]
    fn what_is_posted_keeps_what_was_and_leaves_out_what_cannot_be_written() {
        let current = json!({"status": "DISABLED", "sip": {"status": "ENABLED", "servers": [{"hostname": "a.example", "app_id": 7, "sip_user_password": "x"}]},
            "ip_addresses": {"default": []}, "restrictions": {}, "call_hours": {"status": "ENABLED", "holiday_schedule": [1]}});
        let posted = merge(&current, &json!({"status": "ENABLED", "sip": {"status": "DISABLED"}, "call_hours": {"status": "DISABLED"}}));
        assert_eq!(
            posted,
            json!({"status": "ENABLED", "sip": {"status": "DISABLED", "servers": [{"hostname": "a.example"}]}, "call_hours": {"status": "DISABLED"}})
        );
    }

    #[test]
    fn no_password_of_a_sip_server_is_shown() {
        let shown =
            without_secrets(json!({"sip": {"servers": [{"hostname": "a.example", "sip_user_password": "x"}]}, "status": "ENABLED"}));
        assert_eq!(shown, json!({"sip": {"servers": [{"hostname": "a.example"}]}, "status": "ENABLED"}));
    }

    #[test]
    fn the_read_back_finds_what_was_not_taken_and_nothing_else() {
        let mut got = full();
        got["status"] = json!("enabled");
        got["audio"]["additional_codecs"] = json!(["PCMU", "PCMA"]);
        got["ip_addresses"] = json!({"default": ["57.144.0.1"]});
        assert_eq!(differences(&full(), &got), []);
        got["srtp_key_exchange_protocol"] = json!("SDES");
        got["call_hours"]["holiday_schedule"] = json!([]);
        let found: Vec<String> = differences(&full(), &got).into_iter().map(|d| d.path).collect();
        assert_eq!(found, ["call_hours.holiday_schedule", "srtp_key_exchange_protocol"]);
        assert_eq!(differences(&json!({"audio": {"additional_codecs": []}}), &json!({})), [], "cleared, and therefore not shown");
    }

    #[test]
    fn pairs_of_a_command_line_become_an_object() {
        let pairs = [
            "status=ENABLED",
            "audio.additional_codecs=pcma, pcmu",
            "sip.servers=[{\"hostname\":\"a.example\"}]",
            "call_icons.restrict_to_user_countries=[]",
        ];
        let expected = json!({"status": "ENABLED", "audio": {"additional_codecs": ["PCMA", "PCMU"]}, "sip": {"servers": [{"hostname": "a.example"}]},
            "call_icons": {"restrict_to_user_countries": []}});
        assert_eq!(from_pairs(pairs), Ok(expected));
        assert!(from_pairs(["status"]).is_err());
        assert!(from_pairs(["sip=1", "sip.status=ENABLED"]).is_err());
    }
}
