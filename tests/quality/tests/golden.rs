//! Our jitter buffer is as good as it was: a part of the grid against the golden table. All of it: `cargo quality`.

use tipring_quality::path::ROWS;
use tipring_quality::speech::Speech;
use tipring_quality::{FRAMES, measure_ours, report};

/// One of each kind: these are where changes of the buffer have shown so far.
const QUICK: [&str; 8] = [
    "loss 0, jitter 0",
    "loss 0, jitter 80",
    "loss 5, jitter 40",
    "loss 20, jitter 20",
    "loss 10 in bursts of 3, jitter 40",
    "stops of 100",
    "clock slower by 500 ppm, loss 1, jitter 40",
    "DTX, loss 5, jitter 40",
];

fn golden() -> serde_json::Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden.json")).expect("the golden table is in the tree");
    serde_json::from_str(&text).expect("the golden table is JSON")
}

#[test]
fn the_quick_rows_are_no_worse_than_golden() {
    let speech = Speech::new(FRAMES).expect("the spoken samples are in the tree");
    let golden = golden();
    for name in QUICK {
        let row = ROWS.iter().find(|r| r.name == name).expect("a row of the grid");
        let golden = report::golden(&golden, name, "tipring").expect("a row of the golden table");
        let faults = measure_ours(row, &speech).worse_than(&golden);
        assert!(faults.is_empty(), "{name}: {faults:?}; if that is the price of something better, `cargo quality -- --write` and say why");
    }
}

/// The committed table says what the page claims: all rows, all players, and on the mean less delay than NetEq at no more gaps in speech.
#[test]
fn the_golden_table_is_whole_and_ours_is_ahead_on_the_mean() {
    let golden = golden();
    let mut sums = [[0.0; 3]; 2];
    for row in ROWS {
        for (player, sums) in ["tipring", "neteq"].iter().zip(&mut sums) {
            let m = report::golden(&golden, row.name, player).unwrap_or_else(|| panic!("{} of {player}", row.name));
            sums[0] += m.delay_ms;
            sums[1] += m.gaps_percent;
            sums[2] += m.mos;
        }
        assert!(report::golden(&golden, row.name, "fixed").is_some(), "{}", row.name);
    }
    let [ours, neteq] = sums;
    assert!(ours[0] < neteq[0] && ours[1] <= neteq[1] && ours[2] >= neteq[2], "{ours:?} {neteq:?}");
}

/// A buffer that did nothing would be told: the margins are not wide enough to hide it.
#[test]
fn a_worse_buffer_fails_the_comparison() {
    let golden = golden();
    let of = |player| report::golden(&golden, "loss 0, jitter 80", player).expect("a row of the golden table");
    let faults = of("fixed").worse_than(&of("tipring"));
    assert!(faults.iter().any(|f| f.contains("delay")), "{faults:?}");
}
