#!/usr/bin/env python3
"""Both doors on one store as separate processes: gateways and Lambdas, with S3 and DynamoDB behind them."""
import json
import os
import time
import unittest

from world import World, events

LAMBDAS = int(os.environ.get("LAMBDAS", "20"))
DOORS_S = float(os.environ.get("DOORS_S", "8"))


class Doors(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        self.assertLessEqual(set(self.world.close()), {0})

    def check(self, gateways, partitions, functions, said):
        findings = self.world.verdict(gateways, "t", partitions, functions)
        print(f"{self.id().split('.')[-1]}: {self.world.history.summary()}; {said}", flush=True)
        self.assertEqual(findings[:10], [], f"{len(findings)} findings")

    def test_records_cross_in_both_directions_at_the_same_offsets(self):
        world, gateway, function = self.world, self.world.gateway(), self.world.function()
        world.topic(gateway, "t", 1)
        for name, door in (("l0", function), ("h0", [gateway.http])):
            world.writer(door, "t", name, pause_s=0.05)
        world.kafka("write", gateway, "t", 1, "k1", 50)
        time.sleep(2)
        world.finish()
        self.check([gateway], 1, [function], "each door reads what all wrote")
        for name in ("l0", "h0", "k1"):
            self.assertGreater(sum(writer == name for writer, _ in world.history.acked), 10, name)

    def test_a_topic_made_by_the_lambda_is_known_to_the_gateway_that_was_already_there(self):
        gateway, function = self.world.gateway(), self.world.function()
        self.assertEqual(gateway.get("/topics/made/consume?offset=1")[0], 200)
        body = json.dumps({"payload": {"n": 12345678901234567890}})
        status, _, answer = function.sandbox.http(events.function_url("POST", "/topics/made/produce", body=body), 30)
        self.assertEqual((status, json.loads(answer)), (200, {"topic": "made", "offset": 1}))
        status, answer = gateway.get("/topics/made/consume?offset=1")
        self.assertEqual(json.loads(answer)["messages"][0]["payload"], {"n": 12345678901234567890})
        status, answer = function.get("/topics/made/consume?offset=1")
        self.assertEqual(json.loads(answer)["next_offset"], 2)

    def test_two_gateways_and_many_lambdas_write_one_topic_at_once(self):
        world = self.world
        gateways = [world.gateway(), world.gateway()]
        world.topic(gateways[0], "t", 1)
        functions = [world.function() for _ in range(LAMBDAS)]
        for i, function in enumerate(functions):
            world.writer(function, "t", f"l{i}")
        for i, gateway in enumerate(gateways):
            world.writer([gateway.http], "t", f"h{i}")
            world.kafka("write", gateway, "t", 1, f"k{i}", 50)
            world.kafka("tail", gateway, "t", 1, f"tail-{i}")
        time.sleep(DOORS_S)
        counts = world.proxy.counts()
        world.finish()
        records = len(world.history.acked)
        self.check(gateways, 1, functions[:1], f"{counts.write_units() / max(1, records):.2f} write units a record")
        for i in range(LAMBDAS):
            self.assertGreater(sum(writer == f"l{i}" for writer, _ in world.history.acked), 0, f"l{i} starved")

    def test_an_idle_lambda_costs_nothing(self):
        gateway, function = self.world.gateway(), self.world.function()
        self.world.topic(gateway, "t", 1)
        self.assertEqual(function.get("/topics/t/consume?offset=0")[0], 200)
        gateway.stop()
        self.world.proxy.forget()
        time.sleep(3)
        self.assertEqual(self.world.proxy.counts().rows, [])

    def test_gateways_that_do_not_share_a_store_are_found_out(self):
        """What these tests are worth: the same run must fail when each gateway keeps its records to itself."""
        world = self.world
        world.store = "memory:"
        gateways = [world.gateway(), world.gateway()]
        for gateway in gateways:
            world.topic(gateway, "t", 1)
        world.writer([gateways[0].http], "t", "h0")
        world.writer([gateways[1].http], "t", "h1")
        time.sleep(1)
        world.finish()
        findings = {finding.split(":")[0] for finding in world.verdict(gateways, "t", 1)}
        self.assertLessEqual({"lost", "changed"}, findings)


if __name__ == "__main__":
    unittest.main(verbosity=2)
