//! The report as a table and as a page with plots.
//!
//! Given: the report as JSON, and the rows of `compare.py` that lie beside the page. Decides: how it is shown. Refuses: to round a figure up.

use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;

const OURS: &str = "#0b6e4f";
const FLOOR: &str = "#9aa5b1";
const RIVAL: &str = "#d1495b";

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance"))
}

/// Writes `README.md` and the plots.
pub fn write(report: &Value) -> std::io::Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let rivals = rivals();
    std::fs::write(folder.join("cpu.svg"), cpu_plot(report))?;
    std::fs::write(folder.join("lateness.svg"), lateness_plot(report))?;
    std::fs::write(folder.join("memory.svg"), memory_plot(report))?;
    let mut page = format!(
        "# What a call costs\n\nWritten by `cargo perf` (a {} run of {} s); `cargo perf -- --quick --json` does it in under five minutes. Machine: {}. Opus complexity {}. Scheduling: {}.\n\
         Every row is the median of its rounds with the range in brackets; the floor and the engine take turns. Only the shard's own thread is counted, by the scheduler's account.\n\
         What was measured how, and what it cannot say: [Benches](../BENCHES.md).\n\n",
        text(&report["run"]),
        report["seconds"],
        text(&report["machine"]),
        report["complexity"],
        text(&report["scheduling"])
    );
    page += &table(report);
    page += "\n![CPU of a core against calls](cpu.svg)\n\n![Time through the loop](lateness.svg)\n\n![Bytes of a call](memory.svg)\n";
    page += &streams();
    if !rivals.is_empty() {
        std::fs::write(folder.join("rivals.svg"), rivals_plot(&rivals))?;
        page += "\n## Beside rivals\n\nWritten by `benches/rig/compare.py`: one pinned core, interleaved, the whole process tree counted. Bars are the median, whiskers the range.\n\n";
        page += &rivals_table(&rivals);
        page += "\n![Calls per core beside rivals](rivals.svg)\n";
    }
    std::fs::write(folder.join("README.md"), page)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A figure with its range, or a plain number.
fn shown(value: &Value, digits: usize) -> String {
    let number = |v: &Value| v.as_f64().map_or("-".to_owned(), |v| format!("{v:.digits$}"));
    match value.get("median") {
        Some(median) => format!("{} ({} to {})", number(median), number(&value["min"]), number(&value["max"])),
        None => number(value),
    }
}

fn median(value: &Value) -> f64 {
    value["median"].as_f64().unwrap_or(0.0)
}

/// Everything, as Markdown.
pub fn table(report: &Value) -> String {
    let mut out = String::from(
        "| Load | Calls | CPU per call and second, us | Calls per core | Core used | p50 / p99 through the loop, ms | Lost, % |\n|---|---|---|---|---|---|---|\n",
    );
    let mut row = |name: &str, r: &Value| {
        let loops = match median(&r["loop_us_p99"]) {
            0.0 => "-".to_owned(),
            p99 => format!("{:.2} / {:.2}", median(&r["loop_us_p50"]) / 1e3, p99 / 1e3),
        };
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} | {:.2} | {loops} | {} |",
            r["calls"],
            shown(&r["cpu_us_per_call_second"], 0),
            shown(&r["calls_per_core"], 0),
            median(&r["core_used"]),
            shown(&r["loss_percent"]["max"], 3)
        );
    };
    for (key, name) in [("one_leg", "one leg"), ("relay", "relay")] {
        row(&format!("bare UDP, the floor of {name} (per socket)"), &report[key]["floor"]);
        row(name, &report[key]["full"]);
        row(&format!("{name}, half the load"), &report[key]["half"]);
    }
    row("decoded only, 16 kHz", &report["listen"]);
    row("relay to PCMU, 8 kHz", &report["transcode"]);
    row("relay to PCMU, 8 kHz, complexity 1", &report["transcode_cheap"]);
    row("relay to PCMU, 8 kHz, each side silent half of the time", &report["half_duplex"]);
    row("decoded and encoded, 16 kHz", &report["talk"]);
    row("one leg, calm", &report["storm"]["calm"]);
    row(&format!("one leg, beside {:.0} set-ups a second", median(&report["storm"]["set_ups_per_s"])), &report["storm"]["storm"]);
    row("relay, one shard", &report["two_shards"]["one"]);
    row("relay, two shards", &report["two_shards"]["two"]);

    let parts = &report["parts"];
    let floor_ms = parts["handshake_floor_us"].as_f64().unwrap_or(0.0) / 1e3;
    let setup_ms = median(&report["one_leg"]["full"]["cpu_ms_per_setup"]);
    let ratio = if setup_ms > 0.0 { floor_ms / setup_ms } else { 0.0 };
    out += "\n| What | Figure |\n|---|---|\n";
    let mut line = |what: &str, figure: String| {
        let _ = writeln!(out, "| {what} | {figure} |");
    };
    line("One leg beside its floor (1: as cheap as bare UDP)", shown(&report["one_leg"]["floor_share"], 2));
    line("Relay beside its floor of two legs", shown(&report["relay"]["floor_share"], 2));
    line("One leg: cost per call at full load over that at half", shown(&report["one_leg"]["full_over_half"], 2));
    line("Relay: cost per call at full load over that at half", shown(&report["relay"]["full_over_half"], 2));
    line(
        "Two shards beside one, by CPU per call (above 2: the generator kept one of their cores, and packets gathered meanwhile)",
        shown(&report["two_shards"]["gain"], 2),
    );
    line("Set-up (ICE, DTLS, all of the shard's work), ms of CPU", shown(&report["one_leg"]["full"]["cpu_ms_per_setup"], 3));
    line("Its public-key operations alone, ms; their share of it", format!("{floor_ms:.3}; {:.0} %", 100.0 * ratio));
    for (key, name) in [("transcode", "relay to PCMU"), ("transcode_cheap", "relay to PCMU, complexity 1")] {
        let r = &report[key];
        line(
            &format!("libopus alone for a {name}, and bare UDP over its two legs, us per 20 ms"),
            format!("{}; {}", shown(&r["libopus_us"], 0), shown(&r["bare_us"], 0)),
        );
        line(
            &format!("Share of libopus in a {name}; of libopus and bare UDP together"),
            format!("{}; {}", shown(&r["share_of_libopus"], 2), shown(&r["share_of_both"], 2)),
        );
    }
    let cost = |key: &str| median(&report[key]["cpu_us_per_call_second"]);
    line("The silence gate's gain: calls per core when each side is silent half of the time, over those who always speak", {
        format!("{:.2}", cost("transcode") / cost("half_duplex").max(1.0))
    });
    if let Some(srtp) = parts["srtp_160_bytes_both_ways_ns"].as_object() {
        for (name, ns) in srtp {
            line(&format!("SRTP, 160 bytes protected and opened, {name}, ns"), ns.to_string());
        }
    }
    let io = &parts["call_without_io_us_per_packet_pair"];
    line("A packet pair without sockets (all of a call but I/O): echo, relay, us", format!("{}, {}", io["echo"], io["relay"]));
    for (name, phases) in report["memory"].as_object().into_iter().flatten() {
        let phase = |key: &str| phases[key].as_f64().unwrap_or(0.0) / 1_024.0;
        line(
            &format!("Memory of a call, {}, KiB: opened, with keys, steady", name.replace('_', " ")),
            format!("{:.1}, {:.1}, {:.1}", phase("opened"), phase("with_keys"), phase("steady")),
        );
        line(&format!("Allocations in 1,000 frames, {}", name.replace('_', " ")), phases["allocations_in_1000_frames"].to_string());
    }
    let short = &report["short_calls"];
    line(
        &format!("Resident memory over {} short calls: after a tenth, at the end, MiB; growth", short["calls"]),
        format!(
            "{:.1}, {:.1}; {} %",
            short["rss_kib_after_a_tenth"].as_f64().unwrap_or(0.0) / 1_024.0,
            short["rss_kib_at_the_end"].as_f64().unwrap_or(0.0) / 1_024.0,
            short["grown_percent"]
        ),
    );
    out
}

/// Bars with labels: (name, value, smallest, largest, colour).
type Bar = (String, f64, f64, f64, &'static str);

fn bars(title: &str, bars: &[Bar], digits: usize) -> String {
    let (left, step, width) = (330.0, 26.0, 460.0);
    let most = bars.iter().map(|b| b.3).fold(f64::MIN_POSITIVE, f64::max);
    let height = 60.0 + step * bars.len() as f64;
    let mut out = head(left + width + 90.0, height, title);
    for (i, (name, value, low, high, colour)) in bars.iter().enumerate() {
        let y = 46.0 + step * i as f64;
        let at = |v: f64| left + v / most * width;
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", left - 8.0, y + 12.0);
        let _ = writeln!(out, "<rect x=\"{left}\" y=\"{y}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"/>", at(*value) - left);
        if high > low {
            let _ = writeln!(
                out,
                "<line x1=\"{:.1}\" y1=\"{}\" x2=\"{:.1}\" y2=\"{}\" stroke=\"#1f2933\"/>",
                at(*low),
                y + 8.0,
                at(*high),
                y + 8.0
            );
        }
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{}\">{value:.digits$}</text>", at(*high) + 6.0, y + 12.0);
    }
    out + "</svg>\n"
}

fn head(width: f64, height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"12\" y=\"24\" font-weight=\"bold\">{title}</text>\n"
    )
}

fn bar(name: &str, figure: &Value, scale: f64, colour: &'static str) -> Bar {
    let of = |key: &str| figure[key].as_f64().unwrap_or(0.0) * scale;
    (name.to_owned(), of("median"), of("min"), of("max"), colour)
}

/// CPU of the core against calls: half, full, and the floor.
fn cpu_plot(report: &Value) -> String {
    let (left, top, width, height) = (60.0, 50.0, 520.0, 260.0);
    let series = [("one_leg", 1.0, "one leg", OURS), ("relay", 2.0, "relay", "#3a6ea5")];
    let calls = |key: &str| report[key]["full"]["calls"].as_f64().unwrap_or(1.0);
    let most_calls = series.iter().map(|s| calls(s.0)).fold(1.0, f64::max);
    let used = |key: &str, part: &str, legs: f64| calls(key) * legs * median(&report[key][part]["cpu_us_per_call_second"]) / 1e6;
    let most = series.iter().flat_map(|s| [used(s.0, "full", 1.0), used(s.0, "floor", s.1)]).fold(0.01, f64::max);
    let mut out = head(left + width + 150.0, top + height + 50.0, "Part of a core against calls; dashed: bare UDP with as many sockets");
    let point = |c: f64, u: f64| (left + c / most_calls * width, top + height - u / most * height);
    for quarter in 0..=4 {
        let part = f64::from(quarter) / 4.0;
        let (x, y) = point(most_calls * part, most * part);
        let _ = writeln!(out, "<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#e4e7eb\"/>", left + width);
        let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.2}</text>", left - 6.0, y + 4.0, most * part);
        let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{:.0}</text>", top + height + 18.0, most_calls * part);
    }
    for (key, legs, name, colour) in series {
        let half = report[key]["half"]["calls"].as_f64().unwrap_or(1.0);
        let half_used = half * median(&report[key]["half"]["cpu_us_per_call_second"]) / 1e6;
        let points = [(0.0, 0.0), (half, half_used), (calls(key), used(key, "full", 1.0))];
        let path: Vec<String> = points.iter().map(|&(c, u)| point(c, u)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" "));
        let (x, y) = point(calls(key), used(key, "full", 1.0));
        let _ = writeln!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            x + 8.0,
            y + 4.0
        );
        let (x, y) = point(calls(key), used(key, "floor", legs));
        let (x0, y0) = point(0.0, 0.0);
        let _ = writeln!(out, "<line x1=\"{x0}\" y1=\"{y0}\" x2=\"{x:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-dasharray=\"5 4\"/>");
    }
    out + "</svg>\n"
}

fn lateness_plot(report: &Value) -> String {
    let rows = [
        ("bare UDP, p99", &report["one_leg"]["floor"]["loop_us_p99"], FLOOR),
        ("one leg, half load, p99", &report["one_leg"]["half"]["loop_us_p99"], OURS),
        ("one leg, full load, p99", &report["one_leg"]["full"]["loop_us_p99"], OURS),
        ("relay, half load, p99", &report["relay"]["half"]["loop_us_p99"], OURS),
        ("relay, full load, p99", &report["relay"]["full"]["loop_us_p99"], OURS),
        ("one leg, calm, p99", &report["storm"]["calm"]["loop_us_p99"], OURS),
        ("one leg, beside a storm of set-ups, p99", &report["storm"]["storm"]["loop_us_p99"], RIVAL),
    ];
    let rows: Vec<Bar> = rows.into_iter().map(|(name, figure, colour)| bar(name, figure, 1e-3, colour)).collect();
    bars("Milliseconds from a caller and back, generator included", &rows, 2)
}

fn memory_plot(report: &Value) -> String {
    let mut rows = Vec::new();
    for (name, phases) in report["memory"].as_object().into_iter().flatten() {
        for (phase, colour) in [("opened", FLOOR), ("with_keys", RIVAL), ("steady", OURS)] {
            let kib = phases[phase].as_f64().unwrap_or(0.0) / 1_024.0;
            rows.push((format!("{}, {}", name.replace('_', " "), phase.replace('_', " ")), kib, kib, kib, colour));
        }
    }
    bars("KiB of a call by phase", &rows, 1)
}

/// What `cargo bench --bench streams -- --json` left beside the page, as a section of it; empty if nothing.
fn streams() -> String {
    let text = std::fs::read_to_string(folder().join("streams.json")).unwrap_or_default();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
    let mut out = String::new();
    for protocol in ["twilio", "l16"] {
        let of_one: Vec<&Value> = rows.iter().filter(|row| row["protocol"] == protocol).collect();
        let Some(first) = of_one.first() else { continue };
        if out.is_empty() {
            out += "\n## Bridged to audio WebSockets\n\nWritten by `cargo bench --bench streams -- --json`: one pinned core, the daemon's whole CPU time (shard, streams, HTTP) counted; both directions \
                    decoded and encoded, speech both ways.\n\n| Protocol | Calls | CPU per call and second, us | Calls per core | Core used |\n|---|---|---|---|---|\n";
        }
        let [us, us_low, us_high] = spread(&of_one, |row| row["us_per_call"].as_f64());
        let [cores, low, high] = spread(&of_one, |row| row["calls_per_core"].as_f64());
        let [used, ..] = spread(&of_one, |row| row["core_used"].as_f64());
        let calls = &first["calls"];
        let _ = writeln!(
            out,
            "| {protocol} | {calls} | {us:.0} ({us_low:.0} to {us_high:.0}) | {cores:.0} ({low:.0} to {high:.0}) | {used:.2} |"
        );
    }
    out
}

/// What `compare.py --json` left beside the page: (set, rows).
fn rivals() -> Vec<(String, Vec<Value>)> {
    ["one-leg", "relay", "transcode"]
        .into_iter()
        .filter_map(|set| {
            let text = std::fs::read_to_string(folder().join(format!("rivals-{set}.json"))).ok()?;
            Some((set.to_owned(), serde_json::from_str(&text).ok()?))
        })
        .collect()
}

/// Rows of one system at one number of calls, in order of their first.
fn by_system(rows: &[Value]) -> Vec<(String, Vec<&Value>)> {
    let mut found: Vec<(String, Vec<&Value>)> = Vec::new();
    for row in rows {
        let name = format!("{}, {} calls", text(&row["name"]), row["calls"]);
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => found.push((name, vec![row])),
        }
    }
    found
}

fn spread(rows: &[&Value], of: impl Fn(&Value) -> Option<f64>) -> [f64; 3] {
    let mut values: Vec<f64> = rows.iter().filter_map(|r| of(r)).collect();
    values.sort_by(f64::total_cmp);
    [values.get(values.len() / 2), values.first(), values.last()].map(|v| v.copied().unwrap_or(0.0))
}

fn rivals_table(sets: &[(String, Vec<Value>)]) -> String {
    let mut out = String::from(
        "| Set | System | Calls per core | CPU per packet out, us | p50 / p99 of the loop, ms | Lost, % | Set-up, ms of CPU | KiB per call | Others used, cores |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (set, rows) in sets {
        for (name, rows) in by_system(rows) {
            let one = |of: fn(&Value) -> Option<f64>| spread(&rows, of)[0];
            let [median, low, high] = spread(&rows, |r| r["calls_per_core"].as_f64());
            let p99 = one(|r| r["lat_us"]["p99"].as_f64());
            let latency =
                if p99 > 0.0 { format!("{:.2} / {:.2}", one(|r| r["lat_us"]["p50"].as_f64()) / 1e3, p99 / 1e3) } else { "-".into() };
            let _ = writeln!(
                out,
                "| {set} | {name} | {median:.0} ({low:.0} to {high:.0}) | {:.1} | {latency} | {:.3} | {:.2} | {:.0} | {:.2} |",
                one(|r| r["us_per_pkt"].as_f64()),
                one(|r| r["loss_pct"].as_f64()).max(0.0),
                one(|r| r["setup"]["sut_cpu_ms_per_setup"].as_f64()),
                one(|r| r["kb_per_call"].as_f64()),
                one(|r| r["foreign_cores"].as_f64())
            );
        }
    }
    out
}

fn rivals_plot(sets: &[(String, Vec<Value>)]) -> String {
    let mut rows = Vec::new();
    for (set, of_set) in sets {
        for (name, of_system) in by_system(of_set) {
            let [median, low, high] = spread(&of_system, |r| r["calls_per_core"].as_f64());
            let colour = if name.starts_with("tipring") {
                OURS
            } else if name.starts_with("floor") {
                FLOOR
            } else {
                RIVAL
            };
            rows.push((format!("{set}: {name}"), median, low, high, colour));
        }
    }
    bars("Calls per core (grey: bare UDP with as many sockets)", &rows, 0)
}
