"""Adapter of the rig (bench.py) for tipring: the daemon in direct mode, driven over its HTTP API.

   bin=PATH       the daemon (default: $TIPRING_BIN)
   bridge=echo    one leg: ICE, DTLS and SRTP with the rig, which plays Meta's relay (ICE-lite, DTLS passive); every packet comes back
   bridge=rtp     relay: the same leg to a plain RTP leg
   rtp=PCMU       with bridge=rtp: transcode Opus to this codec, both ways
   conf=LINES     more lines for [engine], separated by ';'

Docs: docs/DIRECT_MODE.md. The rig is copied from elsewhere; compare.py beside this file puts both together."""
import http.client, json, os, tempfile
from riglib import *

TOKEN = "a token for this machine only"


class Adapter:
    def __init__(self, bridge="echo", bin=None, rtp=None, port="8480", conf="", calls="4000"):
        self.bridge, self.rtp, self.port, self.conf, self.calls = bridge, rtp, int(port), conf, int(calls)
        self.bin = bin or os.environ["TIPRING_BIN"]
        way = {"echo": "SRTP in -> decrypt, re-encrypt -> SRTP out", "rtp": "SRTP->RTP and RTP->SRTP"}[bridge]
        if rtp:
            way += f", transcoding Opus to {rtp} and back"
        self.path = f"{way}, 50 pps each way (direct mode: ICE-controlling + DTLS client, rig = Meta's lite relay)"

    def start(self):
        engine = [f'addresses = ["{SUT_IP}"]', 'ports = "12000-40000"', f"calls_max = {self.calls}", f"handshakes_max = {self.calls}", "drain_s = 0"]
        conf = ["[direct]", f'listen = "127.0.0.1:{self.port}"', 'token = "env:TIPRING_DIRECT_TOKEN"', f"sessions_max = {self.calls}",
                "[engine]", *engine, *self.conf.split(";"),
                "[[trunk]]", 'name = "rig"', f'targets = ["{RIG_IP}/32"]', "attests_no_pstn = true",
                "[log]", 'filter = "warn"']
        f = tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False)
        f.write("\n".join(conf) + "\n")
        f.close()
        self.p = spawn([self.bin, "serve", "--config", f.name], "tipring-" + self.bridge, env={"TIPRING_DIRECT_TOKEN": TOKEN})
        wait_port(self.port)
        os.unlink(f.name)
        self.c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return [self.p.pid]

    def post(self, body):
        self.c.request("POST", "/v1/sessions", json.dumps(body).encode(),
                       {"Content-Type": "application/json", "Authorization": "Bearer " + TOKEN})
        r = self.c.getresponse()
        text = r.read().decode()
        if r.status != 201:
            raise RuntimeError(f"tipring said {r.status}: {text[:400]}")
        return json.loads(text)

    def prepare(self, rig):
        pass  # one socket a leg on both sides, as with the other peers

    def add(self, rig, i):
        opus = dict(pool=rig.pool("opus")) if self.rtp else {}
        a = rig.leg("webrtc", lite=True, **opus)
        off = sdp_webrtc(a, setup="actpass")
        body = {"sdp": off, "role": "answer", "gate": "open", "bridge": {"kind": "echo"}}
        legs = [a["leg"]]
        if self.bridge == "rtp":
            pcmu = dict(pool=rig.pool(self.rtp.lower()), pt=0, step=160) if self.rtp else {}
            b = rig.leg("rtp", **pcmu)
            body["bridge"] = {"rtp": {"remote": f"{b['ip']}:{b['port']}"}}
            if self.rtp:
                body["bridge"]["rtp"]["codec"] = self.rtp.lower()
            legs.append(b["leg"])
        answer = self.post(body)
        if self.bridge == "rtp":
            ip, port = answer["rtp"]["local"].rsplit(":", 1)
            start_from(rig, b, {"ip": ip, "port": int(port)})
        rem = parse_sdp(answer["sdp"])
        if i == 0:
            open(f"{HERE}/logs/tipring-{self.bridge}.sdp", "w").write("RIG OFFER\n" + off + "\nOUR ANSWER\n" + answer["sdp"])
        start_from(rig, a, rem, active=rem.get("setup") == "passive")
        return legs

    def stop(self):
        self.p.terminate()
        try:
            self.p.wait(8)
        except Exception:
            self.p.kill()
