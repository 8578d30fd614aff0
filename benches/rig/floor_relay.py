"""Two bare UDP legs without crypto: the kernel's own price of a relay on this machine (floor_relay.c)."""
from riglib import *


class Adapter:
    def __init__(self, **_):
        self.path = "RTP -> RTP both ways, no crypto, no parsing, one socket a leg, recvfrom/sendto"

    def start(self):
        self.p = spawn([HERE + "/floor/floor_relay", SUT_IP, "15000", "2000"], "floor_relay")
        time.sleep(0.5)
        return [self.p.pid]

    def prepare(self, rig):
        pass

    def add(self, rig, i):
        legs = [rig.leg("rtp"), rig.leg("rtp")]
        for side, leg in enumerate(legs):
            start_from(rig, leg, {"ip": SUT_IP, "port": 15000 + 2 * i + side})
        return [leg["leg"] for leg in legs]

    def stop(self):
        self.p.kill()
