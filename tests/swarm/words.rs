//! The words behind `cargo swarm --`.

use tipring_tests::world::{Class, Sketch};

pub const HELP: &str = "\
cargo swarm -- [WORDS]
  --calls N         how many seeds (200)
  --first N         the first of them (0)
  --seed N          this one only
  --threads N       (all cores)
  --only A,B|none   these fault classes instead of those that the seed draws
  --faults-ms N     faults begin for so long after the ring, instead of what the seed draws
  --talk-ms N       the user talks so long beyond that
  --codec           Opus on both sides; without it numbered packets are echoed
  --json            one JSON object instead of text
  --no-shrink       print failures as they are
  --show            print every datagram but media as it is sent, with what became of it; best with --seed
  --plant CLASS     report a failure in every call with this class: tries the shrinker
  --list            the fault classes";

/// What was asked for.
pub struct Words {
    pub calls: u64,
    pub first: u64,
    pub threads: usize,
    only: Option<Vec<Class>>,
    faults_ms: Option<u64>,
    talk_ms: Option<u64>,
    pub with_codec: bool,
    pub is_json: bool,
    pub shrinks: bool,
    pub shows: bool,
    pub planted: Option<Class>,
}

impl Words {
    /// None: there is nothing to do.
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut out = Self {
            calls: 200,
            first: 0,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            only: None,
            faults_ms: None,
            talk_ms: None,
            with_codec: false,
            is_json: false,
            shrinks: true,
            shows: false,
            planted: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
            let number = |text: String| text.parse::<u64>().map_err(|_| format!("{word} wants a whole number, not `{text}`"));
            match word.as_str() {
                "--calls" => out.calls = number(value()?)?,
                "--first" => out.first = number(value()?)?,
                "--seed" => (out.first, out.calls) = (number(value()?)?, 1),
                "--threads" => out.threads = number(value()?)?.clamp(1, 1_024) as usize,
                "--only" => {
                    let names = value()?;
                    let known = names.split(',').filter(|name| *name != "none").map(str::parse);
                    let mut classes = known.collect::<Result<Vec<Class>, _>>()?;
                    classes.sort_unstable();
                    out.only = Some(classes);
                }
                "--faults-ms" => out.faults_ms = Some(number(value()?)?),
                "--talk-ms" => out.talk_ms = Some(number(value()?)?),
                "--codec" => out.with_codec = true,
                "--json" => out.is_json = true,
                "--no-shrink" => out.shrinks = false,
                "--show" => (out.shows, out.shrinks, out.threads) = (true, false, 1),
                "--plant" => out.planted = Some(value()?.parse()?),
                "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                // `cargo test -- --list` asks every target.
                "--list" => {
                    Class::ALL.iter().for_each(|class| println!("{class:<12}{}", class.text()));
                    return Ok(None);
                }
                // Words of `cargo test` for its own harness; a filter means other tests.
                "--nocapture" | "--show-output" | "--quiet" | "-q" | "--exact" | "--ignored" | "--include-ignored" => {}
                "--test-threads" | "--skip" | "--format" | "--color" => drop(value()?),
                filter if !filter.starts_with('-') && !"swarm".contains(filter) => return Ok(None),
                filter if !filter.starts_with('-') => {}
                other if other.starts_with("--test-threads=") || other.starts_with("--format=") => {}
                other => return Err(format!("unknown word `{other}`")),
            }
        }
        Ok(Some(out))
    }

    /// What `seed` draws, as far as it was not said otherwise.
    pub fn sketch(&self, seed: u64) -> Sketch {
        let drawn = Sketch::draw(seed);
        Sketch {
            classes: self.only.clone().unwrap_or(drawn.classes),
            faults_ms: self.faults_ms.unwrap_or(drawn.faults_ms),
            talk_ms: self.talk_ms.unwrap_or(drawn.talk_ms),
            with_codec: self.with_codec,
            seed,
        }
    }
}
