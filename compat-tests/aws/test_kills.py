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
    def heal(self, said):
        self.world.proxy.calm()
        since = time.monotonic_ns()
        self.await_service(since)
        self.world.finish()
        self.check_kafka_service(since)
        self.check_history(said)

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
                victim.restart()
        self.heal(f"{KILLS} kills")

    def test_kills_and_pauses_of_those_who_commit_for_others(self):
        """Many Lambdas on one partition, with the table's latencies, so that requests wait in the pool; whoever is killed
        or stopped may just be the one that commits them."""
        dice = random.Random(self.world.seed + 1)
        self.functions += [self.world.function() for _ in range(8)]
        self.start_load()
        self.world.proxy.latency("dynamodb.*", 4, 12)
        self.world.proxy.latency("dynamodb.put_item", 8, 20)
        self.world.proxy.fault("dynamodb.put_item", "lost_answer", 0.02)
        self.world.proxy.fault("dynamodb.put_item", "late", 0.02, 500)
        frozen = []
        for _ in range(KILLS):
            time.sleep(dice.random() * 0.5)
            victim = dice.choice((self.a, self.b, *self.functions))
            if dice.random() < 0.5:
                victim.freeze()
                frozen.append((time.monotonic() + dice.random() * 3, victim))
            elif victim in self.functions:
                victim.kill()
            for until, stopped in [item for item in frozen if item[0] < time.monotonic()]:
                stopped.thaw()
                frozen.remove((until, stopped))
        for _, stopped in frozen:
            stopped.thaw()
        pooled = self.world.proxy.counts().requests("dynamodb.put_item", "pool")
        self.assertGreater(pooled, 0, "nobody waited in the pool: the run shows nothing")
        self.heal(f"{pooled} requests were pooled")


if __name__ == "__main__":
    unittest.main(verbosity=2)
