"""Two gateways on one store, behind the proxy, under the load of every kind of client: what the tests of faults, outages
and kills have in common. LOAD_S: how long a fault lasts; SEED: of the proxy's draws."""
import os
import time
import unittest

from world import World, Writer

LOAD_S = float(os.environ.get("LOAD_S", "5"))
PARTITIONS = 4
FUNCTIONS = int(os.environ.get("FUNCTIONS", "2"))
HEAL_S = 10 if os.getloadavg()[0] < 2 * os.cpu_count() else 60  # a machine that does other things as well


class Loaded(unittest.TestCase):
    def setUp(self):
        self.passed = False
        self.world = World(seed=int(os.environ.get("SEED", "1")))
        self.a, self.b = self.world.gateway(), self.world.gateway()
        self.functions = [self.world.function() for _ in range(FUNCTIONS)]
        self.world.topic(self.a, "t", PARTITIONS)

    def tearDown(self):
        if not self.passed:
            for gateway in (self.a, self.b):
                print(f"--- the log of gateway {gateway.number}, {gateway.http}:\n" + gateway.log()[-6000:], flush=True)
        self.assertEqual(self.world.close(), [0, 0])

    def start_load(self):
        world = self.world
        for name, gateway in (("k1", self.a), ("k2", self.b)):
            world.kafka("write", gateway, "t", PARTITIONS, name, 150)
        for name, gateway in (("tail-a", self.a), ("tail-b", self.b)):
            world.kafka("tail", gateway, "t", PARTITIONS, name)
        world.kafka("watch", self.b, "t", PARTITIONS, "watch")
        for i in range(4):
            world.writer([self.a.http, self.b.http], "t", f"h{i}", pause_s=0.03)
        for i, function in enumerate(self.functions):
            world.writer(function, "t", f"l{i}", pause_s=0.03)

    def await_service(self, since):
        """Until every writer was answered for what it sent since then. The Kafka writers' events come at their end."""
        limit = since + HEAL_S * 10 ** 9
        writers = [client for client in self.world.clients if isinstance(client, Writer)]
        while True:
            waiting = [f"{writer.name}: {writer.events[-1:]}" for writer in writers if not writer.served_since(since)]
            if not waiting:
                return
            self.assertLess(time.monotonic_ns(), limit, f"not served {HEAL_S} s after the last fault: {waiting}")
            time.sleep(0.05)

    def check_kafka_service(self, since):
        for name in ("k1", "k2"):
            healed = [time for (writer, n), (time, _, _) in self.world.history.acked.items()
                      if writer == name and self.world.history.sent[writer, n][0] >= since]
            self.assertTrue(healed, f"{name} was not served after the last fault")
            self.assertLess(min(healed) - since, HEAL_S * 10 ** 9, f"{name} waited too long after the last fault")

    def check_history(self, said):
        """Everything is read again at every door, and must be what the writers were told."""
        findings = self.world.verdict([self.a, self.b], "t", PARTITIONS)
        print(f"{self.id().split('.')[-1]}: {self.world.history.summary()}; {said}", flush=True)
        self.assertEqual(findings[:10], [], f"{len(findings)} findings")
        self.assertGreater(len(self.world.history.acked), 100)
        self.passed = True
