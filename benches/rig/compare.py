#!/usr/bin/env python3
"""compare.py: tipring, its rivals and the bare-UDP floor through one rig, interleaved; prints calls per core and the ratios with their spread.

    sudo benches/rig/compare.py                     one leg at 500 and 1,000 calls against the floor and str0m
    sudo benches/rig/compare.py --set relay         relay at 400 calls against two floor legs and rtpengine
    sudo benches/rig/compare.py --set transcode     Opus to PCMU both ways at 30 calls against rtpengine
    ... --rounds 5 --secs 8 --json out.json

The rig (generator, metering, floor, rivals' adapters) is expected in ../shared/rig beside the repository, or where RIG says. It is copied to target/rig and built
there; str0m's echo is built from its package by its own Cargo.toml; rtpengine is installed from Debian when a set needs it. Needs root for the network namespace
and for SCHED_RR, which keeps other users of the machine off the two cores while a window runs. Loopback only.

Each round runs every system once, one after the other, so that a slow minute of the machine hits all of them. A ratio is taken per round; what is printed is the
median over the rounds and the smallest and largest."""
import argparse, json, os, shutil, statistics, subprocess, sys

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = os.environ.get("RIG", os.path.join(os.path.dirname(REPO), "shared", "rig"))
RIG = os.path.join(REPO, "target", "rig")

# name -> (adapter and its options, role)
ONE_LEG = {
    "floor": ["floor", "mode=many"],
    "str0m": ["httppeer", "preset=str0m-client"],
    "tipring": ["tipring", "bridge=echo"],
}
RELAY = {
    "floor2": ["floor_relay"],
    "rtpengine": ["rtpengine", "mode=dtls"],
    "tipring": ["tipring", "bridge=rtp"],
}
TRANSCODE = {
    "rtpengine": ["rtpengine", "mode=xcode"],
    "tipring": ["tipring", "bridge=rtp", "rtp=PCMU"],
    "tipring-1": ["tipring", "bridge=rtp", "rtp=PCMU", "conf=complexity = 1"],
}
SETS = {"one-leg": (ONE_LEG, [500, 1000]), "relay": (RELAY, [400]), "transcode": (TRANSCODE, [30])}


def sh(*cmd, **kw):
    print("+", " ".join(cmd), file=sys.stderr)
    subprocess.run(cmd, check=True, **kw)


def prepare(systems, binary):
    if not os.path.isdir(SOURCE) and not os.path.isdir(RIG):
        sys.exit(f"no rig at {SOURCE}: set RIG to the folder that holds bench.py")
    if not os.path.isdir(RIG):
        shutil.copytree(SOURCE, RIG)
        sh("chmod", "-R", "u+w", RIG)
        # The first byte of the generator's probe is read as an Opus TOC byte, and 0x50 means 40 ms: tipring echoes 20 ms packets only. 0x48 means 20 ms.
        main = RIG + "/rig/src/main.rs"
        text = open(main).read().replace("0x50524f42", "0x48524f42")
        open(main, "w").write(text)
        for crate in ("rig", "str0m"):
            # Below this repository, and no member of its workspace.
            manifest = f"{RIG}/{crate}/Cargo.toml"
            if "[workspace]" not in open(manifest).read():
                open(manifest, "a").write("\n[workspace]\n")
    for name in ("tipring.py", "floor_relay.py"):
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), os.path.join(RIG, "adapters"))
    if not os.path.exists(RIG + "/rig/target/release/rig"):
        sh("cargo", "build", "--release", cwd=RIG + "/rig")
    if not os.path.exists(RIG + "/floor/floor"):
        sh("cc", "-O2", "-o", "floor/floor", "floor/floor.c", cwd=RIG)
    sh("cc", "-O2", "-o", RIG + "/floor/floor_relay", os.path.join(os.path.dirname(os.path.abspath(__file__)), "floor_relay.c"))
    if "str0m" in systems and not os.path.exists(RIG + "/str0m/target/release/str0m-peer"):
        sh("cargo", "build", "--release", cwd=RIG + "/str0m")
    if "rtpengine" in systems and not shutil.which("rtpengine"):
        sh("apt-get", "install", "-y", "--no-install-recommends", "rtpengine-daemon")
    if not os.path.exists(binary):
        sys.exit(f"no {binary}: cargo build --release --bin tipring")


def run(name, options, calls, secs, env):
    """One window of one system. Returns the row of the rig, or none when it failed."""
    cmd = ["./run.sh", *options, "--tag", name, "--steps", str(calls), "--secs", str(secs), "--warm", "2", "--quiet", "0", "--tries", "1"]
    out = subprocess.run(cmd, cwd=RIG, env=env, capture_output=True, text=True, timeout=300)
    path = f"{RIG}/results/{options[0]}-{name}.jsonl"
    if out.returncode or not os.path.exists(path):
        print(out.stderr[-2000:], file=sys.stderr)
        return None
    row = json.loads(open(path).read().splitlines()[-1])
    os.unlink(path)
    return row


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--set", default="one-leg", choices=SETS)
    ap.add_argument("--calls", help="numbers of calls, comma-separated")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=float, default=8)
    ap.add_argument("--only", help="systems, comma-separated")
    ap.add_argument("--bin", default=os.path.join(REPO, "target", "release", "tipring"))
    ap.add_argument("--json", help="write every row to this file")
    a = ap.parse_args()
    systems, steps = SETS[a.set]
    if a.only:
        systems = {k: v for k, v in systems.items() if k in a.only.split(",")}
    steps = [int(x) for x in a.calls.split(",")] if a.calls else steps
    prepare(systems, a.bin)
    env = dict(os.environ, TIPRING_BIN=os.path.abspath(a.bin))
    rows = {}
    for calls in steps:
        for turn in range(a.rounds):
            for name, options in systems.items():
                row = run(name, options, calls, a.secs, env)
                if row is None:
                    continue
                rows.setdefault((calls, name), []).append(row)
                l = row["lat_us"] or {}
                print(f"{calls:5d} calls, round {turn + 1}: {name:10s} {row['calls_per_core']:6.0f} calls/core, {row['us_per_pkt']:6.2f} us/packet, loss {row['loss_pct']} %, "
                      f"latency p50 {l.get('p50')} p99 {l.get('p99')} us, set-up {row['setup']['sut_cpu_ms_per_setup']} ms, {row['kb_per_call']} KiB/call, others {row['foreign_cores']} cores", flush=True)
    uname = os.uname()
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    print(f"\n{cpu}, Linux {uname.release}, one pinned core, loopback, 50 packets/s each way per leg, {a.rounds} rounds of {a.secs:g} s, interleaved\n")
    print("| calls | system | calls per core: median (range) | tipring against it: median (range) | us per packet | p50/p99 us | loss % |")
    print("|---|---|---|---|---|---|---|")
    for (calls, name), all_rows in rows.items():
        ours = rows.get((calls, "tipring"), [])
        per = [r["calls_per_core"] for r in all_rows]
        ratios = [o["calls_per_core"] / r["calls_per_core"] for o, r in zip(ours, all_rows)]
        lat = [r["lat_us"] or {"p50": 0, "p99": 0} for r in all_rows]
        print(f"| {calls} | {name} | {statistics.median(per):.0f} ({min(per):.0f} to {max(per):.0f}) | {spread(ratios) if ratios and name != 'tipring' else '-'} | "
              f"{statistics.median(r['us_per_pkt'] for r in all_rows):.2f} | {statistics.median(x['p50'] for x in lat):.0f}/{statistics.median(x['p99'] for x in lat):.0f} | "
              f"{max(0, statistics.median(r['loss_pct'] for r in all_rows)):.3f} |")
    if a.json:
        with open(a.json, "w") as f:
            json.dump([dict(r, name=n) for (c, n), rs in rows.items() for r in rs], f, indent=1)


main()
