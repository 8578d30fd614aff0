//! `cargo quality`: the grid, played by ours, by libwebrtc's NetEq and by a fixed buffer, as a table beside the golden one.
//!
//! Decides: what to run and what to install for it. Refuses: measuring, which is the library's.
//!
//! Exit code: 0 when ours is no worse than the golden table, 1 when it is, 2 when it could not be told.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use tipring_quality::path::{ROWS, Row};
use tipring_quality::player::{self, Heard};
use tipring_quality::report::{self, Line, PLAYERS};
use tipring_quality::speech::Speech;
use tipring_quality::{FIXED_US, FRAMES, Measure, PHASES_US, SEED};

const USAGE: &str = "cargo quality -- [--ours] [--pesq] [--row TEXT] [--counts] [--json] [--write]
  --ours      only our buffer, the others from the golden table; nothing is installed
  --pesq      also PESQ (a PyPI package, installed into target/quality)
  --row TEXT  only rows with TEXT in their name
  --counts    no distance: a tenth of the time, for work on the buffer
  --json      print JSON instead of the table
  --write     make the results the golden table: tests/quality/golden.json, docs/QUALITY.md, docs/quality.svg";

#[derive(Default)]
struct Options {
    ours: bool,
    pesq: bool,
    counts: bool,
    json: bool,
    write: bool,
    row: String,
}

fn main() -> ExitCode {
    match options().and_then(|o| run(&o)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" => return Err(USAGE.into()),
            "--ours" => options.ours = true,
            "--pesq" => options.pesq = true,
            "--counts" => options.counts = true,
            "--json" => options.json = true,
            "--write" => options.write = true,
            "--row" => options.row = words.next().ok_or(USAGE)?,
            _ => return Err(format!("`{word}` is not known here\n{USAGE}")),
        }
    }
    if options.write && (options.ours || options.counts || !options.row.is_empty()) {
        return Err("--write needs all rows and all players".into());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = root.join("target/quality");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let foreign = if options.ours { None } else { Some(build_neteq(&folder)?) };
    let pesq = if options.pesq { Some(install_pesq(&folder)?) } else { None };
    let speech = Speech::new(FRAMES)?;
    let golden_path = root.join("tests/quality/golden.json");
    let golden: serde_json::Value = std::fs::read(&golden_path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();

    let (mut lines, mut is_as_good): (Vec<Line>, bool) = (Vec::new(), true);
    for row in ROWS.iter().filter(|r| r.name.contains(&options.row)) {
        let packets = player::packets(row, &speech, SEED);
        let judge = |play: &dyn Fn(i64) -> Result<Heard, String>| -> Result<Measure, String> {
            let mut measures = Vec::new();
            for phase_us in PHASES_US {
                let heard = play(phase_us)?;
                let mut measure = Measure::counts(row, &speech, &heard, phase_us);
                if !options.counts {
                    measure.judge(row, &speech, &heard);
                }
                if let Some(python) = pesq.as_ref().filter(|_| measures.is_empty()) {
                    measure.pesq = Some(judge_pesq(python, &folder, row, &speech, &heard, measure.delay_ms)?);
                }
                measures.push(measure);
            }
            Ok(Measure::mean([measures[0], measures[1]]))
        };
        let ours = judge(&|phase_us| Ok(player::ours(row, &packets, phase_us)))?;
        let mut measures = [Some(ours), None, None];
        if let Some(program) = &foreign {
            measures[1] = Some(judge(&|phase_us| player::neteq(&packets, phase_us, program, &folder))?);
            measures[2] = Some(judge(&|phase_us| Ok(player::fixed(row, &packets, phase_us, FIXED_US)))?);
        }
        if let Some(golden) = report::golden(&golden, row.name, PLAYERS[0]).filter(|_| !options.write) {
            for fault in ours.worse_than(&golden) {
                eprintln!("{}: {fault}", row.name);
                is_as_good = false;
            }
        }
        for (player, measure) in PLAYERS.iter().zip(&mut measures).skip(1).filter(|_| options.ours) {
            *measure = report::golden(&golden, row.name, player);
        }
        eprint!(".");
        lines.push((row.name.to_string(), measures));
    }
    eprintln!();
    if options.json {
        println!("{:#}", report::to_json(&lines));
    } else {
        println!("tipring / NetEq / fixed 100 ms\n\n{}", report::table(&lines));
    }
    if options.write {
        let write = |path: PathBuf, text: String| std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
        write(golden_path, format!("{:#}\n", report::to_json(&lines)))?;
        write(root.join("docs/quality.svg"), report::picture(&lines))?;
        let page = root.join("docs/QUALITY.md");
        let text = std::fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        let (Some(start), Some(end)) = (text.find(TABLE_START), text.find(TABLE_END)) else {
            return Err(format!("{}: the marks around the table are gone", page.display()));
        };
        write(page, format!("{}{}{}", &text[..start + TABLE_START.len()], report::table(&lines), &text[end..]))?;
    }
    Ok(is_as_good)
}

const TABLE_START: &str = "<!-- table: cargo quality -- --write -->\n";
const TABLE_END: &str = "<!-- end of table -->";

/// Debian has libwebrtc as a static library (the fork that Telegram's desktop client is built with); our program is linked with it.
fn build_neteq(folder: &Path) -> Result<PathBuf, String> {
    let program = folder.join("neteq");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/neteq.cpp");
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    if modified(&program) > modified(&source) {
        return Ok(program);
    }
    if !Path::new("/usr/include/tg_owt").exists() {
        eprintln!("installing libtgowt-dev and g++ (Debian)");
        call(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "libtgowt-dev", "g++"]))?;
    }
    eprintln!("building NetEq");
    let libraries = "/usr/lib/x86_64-linux-gnu";
    let mut abseil: Vec<String> = std::fs::read_dir(libraries)
        .map_err(|e| format!("{libraries}: {e}"))?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix("lib")?.strip_suffix(".a").map(|n| format!("-l{n}")))
        .filter(|name| name.starts_with("-labsl_"))
        .collect();
    abseil.sort();
    call(
        Command::new("g++")
            .args(["-std=c++17", "-O1", "-DWEBRTC_POSIX", "-DWEBRTC_LINUX", "-DNDEBUG", "-I/usr/include/tg_owt", "-ffunction-sections"])
            .arg(&source)
            .args(["-Wl,--gc-sections", "-Wl,--start-group", "-ltg_owt", "-lopus"])
            .args(&abseil)
            .args(["-Wl,--end-group", "-lssl", "-lcrypto", "-lpthread", "-ldl", "-o"])
            .arg(&program),
    )?;
    Ok(program)
}

fn install_pesq(folder: &Path) -> Result<PathBuf, String> {
    let venv = folder.join("venv");
    let python = venv.join("bin/python");
    if Command::new(&python).args(["-c", "import pesq"]).output().is_ok_and(|o| o.status.success()) {
        return Ok(python);
    }
    eprintln!("installing pesq (PyPI)");
    call(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    call(Command::new(&python).args(["-m", "pip", "install", "--quiet", "numpy", "pesq"]))?;
    Ok(python)
}

/// The mean over three pieces of ten seconds.
fn judge_pesq(python: &Path, folder: &Path, row: &Row, speech: &Speech, heard: &Heard, delay_ms: f64) -> Result<f64, String> {
    let write = |name: &str, sound: &[i16]| -> Result<PathBuf, String> {
        let path = folder.join(name);
        // The decoder's sound has nothing above 8 kHz, so each third sample is the sound at 16 kHz.
        let bytes: Vec<u8> = sound.iter().step_by(3).flat_map(|s| s.to_le_bytes()).collect();
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    };
    let lag = (Measure::lag_ms(row, delay_ms) * 48.0) as usize;
    let reference = write("reference.raw", &speech.reference)?;
    let degraded = write("degraded.raw", heard.sound.get(lag..).unwrap_or_default())?;
    let script = "import sys, numpy, pesq\n\
        r, d = (numpy.fromfile(p, dtype='<i2') for p in sys.argv[1:3])\n\
        n = 160000\n\
        print(sum(pesq.pesq(16000, r[k:k+n], d[k:k+n], 'wb') for k in (n, 3*n, 5*n)) / 3)";
    let run = Command::new(python).args(["-c", script]).arg(reference).arg(degraded).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&run.stdout);
    said.trim().parse().map_err(|_| format!("PESQ of {}: {}", row.name, String::from_utf8_lossy(&run.stderr)))
}

fn call(command: &mut Command) -> Result<(), String> {
    let run = command.output().map_err(|e| format!("{}: {e}", command.get_program().display()))?;
    if run.status.success() {
        return Ok(());
    }
    Err(format!("{} failed:\n{}", command.get_program().display(), String::from_utf8_lossy(&run.stderr)))
}
