#!/usr/bin/env python3
"""What S3 and DynamoDB would charge for, counted on the wire by the proxy, with AWS's latencies.

COST_S: seconds of the run at 1,000 records of 1 KiB a second; 1,000 is a million records. A shorter run is scaled to a
million: what is counted is the steady state between two instants under load, a rate, and nothing in it happens less often
than every few seconds but checkpoints, whose cost is added as counted, whole."""
import os
import subprocess
import time
import unittest

from world import World
import events  # of compat-tests/lambda, which world.py has found

COST_S = int(os.environ.get("COST_S", "40"))
RECORDS_S = 1000
TOPICS, PARTITIONS = 4, 4
MILLION = 1000000
MILLION_PUTS_MAX, MILLION_WRITE_UNITS_MAX = 10000, 10000


class Cost(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.world.proxy.aws_latencies()
        self.gateway = self.world.gateway()

    def tearDown(self):
        self.assertEqual(self.world.close(), [0])

    def count(self, act):
        """What `act` costs."""
        self.world.proxy.forget()
        act()
        return self.world.proxy.counts()

    def produce_one(self):
        world = self.world
        writer = world.writer([self.gateway.http], "one", f"h{len(world.clients)}", pause_s=60)
        limit = time.monotonic() + 30
        while not writer.events and time.monotonic() < limit:
            time.sleep(0.01)
        self.assertTrue(writer.events and writer.events[1].startswith("a "), writer.events)

    def run_million(self, linger_ms, seconds):
        """Counts what a million records take, when a producer gathers for so long."""
        topics = [f"t{i}" for i in range(TOPICS)]
        for topic in topics:
            self.world.topic(self.gateway, topic, PARTITIONS)
        command = [os.environ["PACE"], self.gateway.kafka, ",".join(topics), str(PARTITIONS), "1024", str(RECORDS_S),
                   str(seconds + 8), str(linger_ms), "1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as pace:
            time.sleep(5)
            counts = self.count(lambda: time.sleep(seconds))
            latency = pace.communicate(timeout=300)[0].strip()
        # On a slow machine fewer were written than were due; their bytes say how many, within a few hundredths.
        records = min(seconds * RECORDS_S, counts.sum("bytes_in", "s3.put") / 1032)
        self.assertGreater(records, seconds * RECORDS_S / 5, "this machine is too busy to show anything")
        scale = MILLION / records
        puts, units = counts.requests("s3.put") * scale, counts.write_units() * scale
        print(f"a million records, linger {linger_ms} ms: {puts:.0f} PUTs, {units:.0f} write units, "
              f"{counts.read_units() * scale:.0f} read units, {counts.requests('s3.get') * scale:.0f} GETs, "
              f"{counts.requests('s3.list')} LISTs; {latency}\n{counts}", flush=True)
        self.assertGreater(puts, 500)  # so much must have gone through the proxy
        self.assertLessEqual(puts, MILLION_PUTS_MAX)
        self.assertLessEqual(units, MILLION_WRITE_UNITS_MAX)
        self.assertEqual(counts.requests("s3.list"), 0)

    def test_a_million_records(self):
        """Of a producer as it comes, which sends nearly each record as a batch: a hundred of them must fit in one unit."""
        self.run_million(5, COST_S)

    def test_a_million_records_that_were_gathered(self):
        """Of a producer that gathers for 100 ms: a batch for each partition and flush."""
        self.run_million(100, COST_S // 2)

    def test_one_small_produce(self):
        self.produce_one()  # makes the topic
        time.sleep(1)
        counts = self.count(self.produce_one)
        self.assertEqual(counts.sum("write_units", r"dynamodb\..*", "journal"), 1, str(counts))
        self.assertEqual(counts.write_units("(?!gateways).*"), 1, str(counts))
        self.assertEqual(counts.requests(r"s3\..*"), 0, str(counts))

    def test_a_consume_at_the_tail(self):
        self.produce_one()
        self.gateway.get("/topics/one/consume?offset=1&limit=10")
        reads = 40

        def consume():
            for _ in range(reads):
                status, body = self.gateway.get("/topics/one/consume?offset=2&limit=10")
                self.assertEqual((status, b'"messages":[]' in body), (200, True), body)
        began = time.monotonic()
        counts = self.count(consume)
        beside = (time.monotonic() - began) + 1  # a gateway with connections syncs once a second by itself
        print(f"{reads} consumes at the tail: {counts.read_units()} read units, {counts.requests(r's3..*')} requests to S3")
        self.assertGreaterEqual(counts.read_units(), reads / 2)  # each must look whether there is more
        self.assertLessEqual(counts.read_units(), reads + beside, str(counts))
        self.assertEqual(counts.requests(r"s3\..*"), 0, str(counts))

    def test_an_idle_gateway(self):
        self.produce_one()
        self.world.finish()
        time.sleep(2)
        counts = self.count(lambda: time.sleep(15))
        print(f"an idle gateway for 15 s: {counts.write_units()} write units, {counts.read_units()} read units")
        self.assertEqual(counts.write_units("(?!gateways).*"), 0, str(counts))
        self.assertLessEqual(counts.write_units("gateways"), 6, str(counts))  # its registration, every 3 s
        self.assertEqual(counts.requests(r"s3\..*"), 0, str(counts))

    def test_an_idle_function(self):
        """An instance that was used and waits asks nothing of anybody; the scheduled event of upkeep looks at the tail."""
        self.produce_one()
        self.world.finish()
        function = self.world.function()
        self.assertEqual(function.get("/topics/one/consume?offset=1&limit=10", 60)[0], 200)
        time.sleep(2)
        counts = self.count(lambda: time.sleep(15))
        self.assertEqual(counts.requests(".*", "(?!gateways).*"), 0, str(counts))
        counts = self.count(lambda: self.assertEqual(function.sandbox.invoke(events.scheduled(), 60).json(), {"status": "ok"}))
        print(f"an idle function for 15 s: nothing; upkeep: {counts.read_units()} read units, {counts.write_units()} write units")
        self.assertEqual(counts.write_units("(?!gateways).*"), 0, str(counts))
        self.assertEqual(counts.requests(r"s3\..*"), 0, str(counts))
        self.assertLessEqual(counts.read_units(), 2, str(counts))


if __name__ == "__main__":
    unittest.main(verbosity=2)
