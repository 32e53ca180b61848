#!/usr/bin/env python3
"""Gateways and Lambdas are killed 30 times under load, any of them, at any instant, while the network is bad as well; a
gateway is started again on its ports, an instance of the Lambda by its front end. KILLS says how many times."""
import os
import random
import time
import unittest

from load import Loaded

KILLS = int(os.environ.get("KILLS", "30"))


class Kills(Loaded):
    def test_kills(self):
        dice = random.Random(self.world.seed)
        self.start_load()
        for kind, name, rate, ms in (("*", "lost_answer", 0.01, 0), ("*", "reset_before", 0.01, 0),
                                     ("*", "late", 0.01, 300)):
            self.world.proxy.fault(kind, name, rate, ms)
        self.world.proxy.latency("*", 3, 30)
        for _ in range(KILLS):
            time.sleep(dice.random() * 0.8)
            victim = dice.choice((self.a, self.b, self.a, self.b, *self.functions))
            victim.kill()
            if victim not in self.functions:
                time.sleep(dice.random() * 0.1)
                victim.start()
        self.world.proxy.calm()
        since = time.monotonic_ns()
        self.await_service(since)
        self.world.finish()
        self.check_kafka_service(since)
        self.check_history(f"{KILLS} kills")


if __name__ == "__main__":
    unittest.main(verbosity=2)
