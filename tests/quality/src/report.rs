//! The results as a table, a golden file and a picture.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::Measure;

/// Players, in the order of columns.
pub const PLAYERS: [&str; 3] = ["tipring", "neteq", "fixed"];

/// One line of the table: the row's name and what each player made of it.
pub type Line = (String, [Option<Measure>; 3]);

/// One figure of a measure; none where it was not taken.
type Figure = fn(&Measure) -> Option<f64>;
/// A panel of the picture: its title and its figure.
type Panel = (&'static str, fn(&Measure) -> f64);

/// Markdown.
pub fn table(lines: &[Line]) -> String {
    let mut out = String::new();
    let has_pesq = lines.iter().any(|(_, m)| m.iter().flatten().any(|m| m.pesq.is_some()));
    out.push_str("| path | concealed % | gaps in speech % | late % | delay ms | adapted % | distance dB | E-model MOS |");
    out.push_str(if has_pesq { " PESQ |\n|---|---|---|---|---|---|---|---|---|\n" } else { "\n|---|---|---|---|---|---|---|---|\n" });
    let mut write = |name: &str, of: &dyn Fn(Figure, usize) -> String| {
        let _ = write!(out, "| {name} | {} | {} ", of(|m| Some(m.concealed_percent), 2), of(|m| Some(m.gaps_percent), 2));
        let _ = write!(
            out,
            "| {} | {} | {} ",
            of(|m| Some(m.late_percent), 2),
            of(|m| Some(m.delay_ms), 0),
            of(|m| Some(m.adapted_percent), 2)
        );
        let _ = write!(out, "| {} | {} |", of(|m| Some(m.distance_db), 2), of(|m| Some(m.mos), 2));
        out.push_str(&if has_pesq { format!(" {} |\n", of(|m| m.pesq, 2)) } else { "\n".into() });
    };
    for (name, measures) in lines {
        write(name, &|field, digits| {
            let cell = |m: &Option<Measure>| m.as_ref().and_then(field).map_or("-".into(), |v| format!("{v:.digits$}"));
            measures.iter().map(cell).collect::<Vec<_>>().join(" / ")
        });
    }
    write("**mean**", &|field, digits| {
        let mean = |player: usize| {
            let values: Vec<f64> = lines.iter().filter_map(|(_, m)| m[player].as_ref().and_then(field)).collect();
            if values.is_empty() { "-".into() } else { format!("{:.digits$}", values.iter().sum::<f64>() / values.len() as f64) }
        };
        (0..PLAYERS.len()).map(mean).collect::<Vec<_>>().join(" / ")
    });
    out
}

/// For the golden file.
pub fn to_json(lines: &[Line]) -> Value {
    let line = |(name, measures): &Line| {
        let players = PLAYERS.iter().zip(measures).filter_map(|(p, m)| m.as_ref().map(|m| ((*p).to_string(), m.to_json())));
        (name.clone(), Value::Object(players.collect()))
    };
    Value::Object(lines.iter().map(line).collect::<Map<_, _>>())
}

/// What the golden file says of `player` on `row`.
pub fn golden(file: &Value, row: &str, player: &str) -> Option<Measure> {
    Measure::from_json(&file[row][player])
}

/// Two panels: concealed share and delay of each player, one group of bars per row.
pub fn picture(lines: &[Line]) -> String {
    const COLOURS: [&str; 3] = ["#0b6e4f", "#d1495b", "#9aa5b1"];
    let names = ["tipring", "libwebrtc NetEq", "fixed 100 ms"];
    let (left, top, step, panel, gap) = (300.0, 70.0, 22.0, 330.0, 40.0);
    let height = top + step * lines.len() as f64 + 40.0;
    let width = left + 2.0 * panel + gap + 60.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (i, name) in names.iter().enumerate() {
        let x = left + i as f64 * 150.0;
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"12\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"22\">{name}</text>",
            COLOURS[i],
            x + 18.0
        );
    }
    let panels: [Panel; 2] = [("concealed, % of the media", |m| m.concealed_percent), ("added delay, mean, ms", |m| m.delay_ms)];
    for (p, (title, field)) in panels.iter().enumerate() {
        let x0 = left + p as f64 * (panel + gap);
        let most = lines.iter().flat_map(|(_, m)| m.iter().flatten()).map(field).fold(1.0, f64::max);
        let _ = writeln!(out, "<text x=\"{x0}\" y=\"50\" font-weight=\"bold\">{title}</text>");
        for quarter in 0..=4 {
            let (x, value) = (x0 + panel * f64::from(quarter) / 4.0, most * f64::from(quarter) / 4.0);
            let _ = writeln!(out, "<line x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{}\" stroke=\"#e4e7eb\"/>", height - 34.0);
            let _ = writeln!(out, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#52606d\">{value:.0}</text>", height - 18.0);
        }
        for (i, (name, measures)) in lines.iter().enumerate() {
            let y = top + i as f64 * step;
            if p == 0 {
                let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", left - 8.0, y + 13.0);
            }
            for (k, measure) in measures.iter().enumerate() {
                let Some(measure) = measure else { continue };
                let (bar, y) = (field(measure) / most * panel, y + 1.0 + k as f64 * 6.0);
                let _ = writeln!(out, "<rect x=\"{x0}\" y=\"{y}\" width=\"{bar:.1}\" height=\"5\" fill=\"{}\"/>", COLOURS[k]);
            }
        }
    }
    out.push_str("</svg>\n");
    out
}
