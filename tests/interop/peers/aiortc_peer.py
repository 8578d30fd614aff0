"""aiortc as the far end of one session in Direct mode: says a sweep, hears its echo, correlates the two.

Given: the base address of Direct mode, a role (offer, answer, offer-lite), seconds to talk; the token in TIPRING_DIRECT_TOKEN.
Prints one line of JSON: what was heard, and what the gateway says of the session. Judges nothing; exits with 1 only if there is no call.
"""

import asyncio
import fractions
import json
import os
import sys
import time
import urllib.error
import urllib.request

import aioice.ice
import aiortc
import av
import numpy

RATE = 48_000
FRAME = 960
# Two seconds from 400 to 1600 Hz, again and again: a window of one second fits in one place only.
PERIOD = 2 * RATE
TIMES = numpy.arange(PERIOD) / RATE
SWEEP = 0.5 * numpy.sin(2 * numpy.pi * (400 * TIMES + (1_600 - 400) / 4 * TIMES**2))


def ask(method, url, kind=None, body=None):
    """One request; returns the Location header and the text of the answer."""
    request = urllib.request.Request(url, method=method, data=body.encode() if body is not None else None)
    request.add_header("Authorization", "Bearer " + os.environ["TIPRING_DIRECT_TOKEN"])
    if kind:
        request.add_header("Content-Type", kind)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers.get("Location"), answer.read().decode()
    except urllib.error.HTTPError as refusal:
        sys.exit(f"{method} {url}: {refusal.code} {refusal.read().decode()}")


class Sweep(aiortc.MediaStreamTrack):
    """Says the sweep, one frame per 20 ms."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.begun = None
        self.frames = 0

    async def recv(self):
        now = time.monotonic()
        if self.begun is None:
            self.begun = now
        await asyncio.sleep(max(0, self.begun + self.frames * FRAME / RATE - now))
        at = self.frames * FRAME
        samples = numpy.take(SWEEP, numpy.arange(at, at + FRAME), mode="wrap")
        frame = av.AudioFrame.from_ndarray((samples * 32_767).astype(numpy.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, fractions.Fraction(1, RATE)
        self.frames += 1
        return frame


async def hear(track, heard):
    """Collects (time of arrival, samples of the first channel)."""
    try:
        while True:
            frame = await track.recv()
            channels = len(frame.layout.channels)
            heard.append((time.monotonic(), frame.to_ndarray().reshape(-1)[::channels].astype(float)))
    except aiortc.mediastreams.MediaStreamError:
        pass


def correlate(heard, begun):
    """The median over windows of one second of the normalised correlation, and of the time from saying to hearing."""
    spectrum = numpy.fft.rfft(SWEEP)
    sounds, delays = [], []
    per_window = RATE // FRAME
    # The first second is set-up: the jitter buffers of both ends find their depth.
    for first in range(per_window, len(heard) - per_window + 1, per_window):
        window = numpy.concatenate([samples for _, samples in heard[first : first + per_window]])
        products = numpy.fft.irfft(spectrum * numpy.conj(numpy.fft.rfft(window, PERIOD)), PERIOD)
        lag = int(numpy.argmax(products))
        piece = numpy.take(SWEEP, numpy.arange(lag, lag + len(window)), mode="wrap")
        norm = numpy.linalg.norm(window) * numpy.linalg.norm(piece)
        sounds.append(float(products[lag] / norm) if norm else 0.0)
        delays.append((heard[first][0] - begun - lag / RATE) % (PERIOD / RATE) * 1_000)
    if not sounds:
        return 0, 0.0, 0.0
    return len(sounds), float(numpy.median(sounds)), float(numpy.median(delays))


async def main(base, role, seconds):
    # aioice never offers loopback, and the gateway is there only.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    peer = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
    said, heard, tasks = Sweep(), [], []

    @peer.on("track")
    def on_track(track):
        tasks.append(asyncio.ensure_future(hear(track, heard)))

    if role == "answer":
        _, text = ask("POST", base + "/v1/sessions", "application/json", json.dumps({"role": "offer", "gate": "open"}))
        made = json.loads(text)
        session = f"{base}/v1/sessions/{made['id']}"
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(made["sdp"], "offer"))
        peer.addTrack(said)
        await peer.setLocalDescription(await peer.createAnswer())
        ask("PUT", session + "/answer", "application/sdp", peer.localDescription.sdp)
    else:
        peer.addTrack(said)
        await peer.setLocalDescription(await peer.createOffer())
        offer = peer.localDescription.sdp
        if role == "offer-lite":
            offer = offer.replace("\r\nt=0 0\r\n", "\r\nt=0 0\r\na=ice-lite\r\n", 1)
        location, answer = ask("POST", base + "/v1/sessions?gate=open", "application/sdp", offer)
        session = base + location
        await peer.setRemoteDescription(aiortc.RTCSessionDescription(answer, "answer"))

    until = time.monotonic() + 15
    while not heard and time.monotonic() < until and peer.connectionState not in ("failed", "closed"):
        await asyncio.sleep(0.05)
    if heard:
        await asyncio.sleep(seconds)
    # Whoever offers begins as controlling.
    ice_role = peer.getSenders()[0].transport.transport.role
    stats = [s for s in (await peer.getStats()).values() if s.type == "inbound-rtp"]
    shown = json.loads(ask("GET", session)[1])
    state = peer.connectionState
    ask("DELETE", session)
    await peer.close()
    await asyncio.gather(*tasks)
    windows, correlation, delay_ms = correlate(heard, said.begun)
    print(json.dumps({
        "version": aiortc.__version__,
        "state": state,
        "ice_role": ice_role,
        "heard_s": sum(len(samples) for _, samples in heard) / RATE,
        "windows": windows,
        "correlation": correlation,
        "delay_ms": delay_ms,
        "lost": sum(s.packetsLost for s in stats),
        "jitter_ms": max((s.jitter for s in stats), default=0) / 48,
        "session": shown,
    }))
    return 0 if heard else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
