#!/usr/bin/env python3
"""The function on S3 and DynamoDB, behind the fault proxy: what a freeze, a deadline, a lost answer and a crowd of
instances do to records. ../aws has faults under load, and gateways beside the functions."""
import concurrent.futures
import json
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../aws")]
import events  # noqa: E402
from runtime_double import Dead  # noqa: E402
from world import World  # noqa: E402

INSTANCES = int(os.environ.get("INSTANCES", "30"))
ENTRIES = 1024  # after so many a checkpoint is due
FREEZE_S = float(os.environ.get("FREEZE_S", "10"))


def produce(payload, topic="t"):
    return events.http_api("POST", f"/topics/{topic}/produce", body=json.dumps({"payload": payload}))


def stored(sandbox, topic="t"):
    """All payloads of a topic, whose offsets must be dense."""
    payloads, offset = [], 1
    while True:
        status, _, body = sandbox.http(events.rest_api("GET", f"/topics/{topic}/consume", f"offset={offset}"), 30)
        answer = json.loads(body)
        if status != 200:
            raise AssertionError(f"{status} {answer}")
        if not answer["messages"]:
            return payloads
        if [m["offset"] for m in answer["messages"]] != list(range(offset, answer["next_offset"])):
            raise AssertionError(f"offsets that are not dense: {answer}")
        payloads += [m["payload"] for m in answer["messages"]]
        offset = answer["next_offset"]


class Store(unittest.TestCase):
    def setUp(self):
        self.world = World()
        self.world.gateway().stop()  # founds the store

    def tearDown(self):
        running = [f.sandbox for f in self.world.functions if f.sandbox.process.poll() is None]
        statuses = {sandbox.terminate() for sandbox in running}
        self.world.close()
        self.assertLessEqual(statuses, {0})

    def test_a_frozen_instance_finds_its_connections_dead_and_goes_on(self):
        sandbox, other = self.world.function().sandbox, self.world.function().sandbox
        self.assertEqual(sandbox.http(produce("before"), 30)[0], 200)
        sandbox.wait_asking()
        sandbox.freeze()
        self.assertEqual(other.http(produce("meanwhile"), 30)[0], 200)
        sandbox.api.cut_connections()
        self.world.proxy.away("s3", 200)  # closes every connection
        self.world.proxy.away("dynamodb", 200)
        time.sleep(FREEZE_S)
        sandbox.thaw()
        invocation = sandbox.invoke(produce("after"), 10)
        self.assertEqual(invocation.http()[0], 200, invocation.body)
        self.assertEqual(stored(sandbox), ["before", "meanwhile", "after"])
        self.assertEqual(stored(other), ["before", "meanwhile", "after"])

    def test_an_instance_that_was_behind_denies_nothing_that_others_stored(self):
        first, second = self.world.function().sandbox, self.world.function().sandbox
        for n in range(1, 6):
            self.assertEqual(json.loads(first.http(produce(n), 30)[2])["offset"], n)
            self.assertEqual(stored(second), list(range(1, n + 1)))

    def test_a_deadline_during_a_commit_is_answered_as_unknown_and_the_commit_goes_on(self):
        sandbox = self.world.function().sandbox
        self.assertEqual(sandbox.http(produce("first"), 30)[0], 200)
        for fault, sure in (("stall_after", True), ("stall_before", False)):
            self.world.proxy.fault("dynamodb.put_item", fault, 1, 8000)
            invocation = sandbox.invoke(produce(fault), 3)
            self.assertLess(invocation.seconds, 2.9)
            status, _, body = invocation.http()
            self.assertEqual((status, json.loads(body)["code"]), (504, "outcome_unknown"))
            self.world.proxy.calm()
            self.assertEqual(sandbox.http(produce("next"), 30)[0], 200)
            payloads = stored(sandbox)
            self.assertLessEqual(payloads.count(fault), 1)
            if sure:
                self.assertEqual(payloads.count(fault), 1)
        time.sleep(9)  # what was held arrives now, and must not count
        self.assertEqual(stored(sandbox), stored(self.world.function().sandbox))
        self.assertEqual(stored(sandbox)[:3], ["first", "stall_after", "next"])

    def test_an_instance_that_is_let_go_while_the_store_hangs_ends_soon(self):
        for warm, kind in ((True, "dynamodb.put_item"), (True, "dynamodb.*"), (False, "dynamodb.*"), (False, "s3.*")):
            sandbox = self.world.function().sandbox
            if warm:
                self.assertEqual(sandbox.http(produce("first"), 30)[0], 200)
            self.world.proxy.fault(kind, "stall_before", 1, 4000)
            self.assertIn(sandbox.http(produce("second"), 2)[0], (503, 504))
            sandbox.wait_asking()
            self.assertEqual(sandbox.terminate(3), 0)
            self.world.proxy.calm()

    def test_an_answer_lost_after_its_commit_stores_nothing_twice(self):
        sandbox = self.world.function().sandbox
        for n in range(1, 4):
            sandbox.api.lose_answers = 1
            invocation = sandbox.invoke(produce(n), 30)
            self.assertEqual((invocation.posts, json.loads(invocation.http()[2])["offset"]), (2, n))
        self.assertEqual(stored(self.world.function().sandbox), [1, 2, 3])

    def test_a_killed_instance_leaves_each_record_whole_or_not_at_all(self):
        acknowledged, perhaps = [], []
        for life in range(5):
            sandbox = self.world.function().sandbox
            for n in range(3):
                self.assertEqual(sandbox.http(produce([life, n]), 30)[0], 200)
                acknowledged.append([life, n])
            invocation = sandbox.begin(produce([life, "killed"]), 30)
            time.sleep(0.002 * life)
            sandbox.process.kill()
            try:
                invocation = sandbox.finish(invocation, 10)
                acknowledged.append([life, "killed"])
            except Dead:
                perhaps.append([life, "killed"])
        payloads = stored(self.world.function().sandbox)
        for payload in acknowledged:
            self.assertEqual(payloads.count(payload), 1)
        for payload in perhaps:
            self.assertLessEqual(payloads.count(payload), 1)
        self.assertEqual(len(payloads), len(acknowledged) + sum(payloads.count(payload) for payload in perhaps))

    def test_a_checkpoint_is_finished_before_the_next_event_is_asked_for(self):
        sandbox, proxy = self.world.function().sandbox, self.world.proxy
        proxy.latency("s3.put", 100, 200)
        sandbox.wait_asking()
        for n in range(ENTRIES + 16):
            self.assertEqual(sandbox.http(produce(n), 30)[0], 200)
            sandbox.wait_asking()
            if n >= ENTRIES - 16:
                sandbox.freeze()
                counts = proxy.counts()
                sandbox.thaw()
                if counts.requests("s3.put", "checkpoints.*") > 0:
                    self.assertGreater(counts.requests("dynamodb.put_item", "checkpoint.*"), 0, "left half way")
                    return
        self.fail("no checkpoint was begun")

    def test_many_instances_write_one_topic_and_every_record_has_an_offset_of_its_own(self):
        functions = [self.world.function().sandbox for _ in range(INSTANCES)]
        began = time.monotonic()

        def write(number):
            offsets = []
            for n in range(5):
                status, _, body = functions[number].http(produce([number, n]), 60)
                if status != 200:
                    raise AssertionError(f"{status} {body}")
                offsets.append((json.loads(body)["offset"], [number, n]))
            return offsets

        with concurrent.futures.ThreadPoolExecutor(INSTANCES) as pool:
            answered = sorted(offset for offsets in pool.map(write, range(INSTANCES)) for offset in offsets)
        print(f"{len(answered)} records by {INSTANCES} instances in {time.monotonic() - began:.1f} s", file=sys.stderr)
        self.assertEqual([offset for offset, _ in answered], list(range(1, 5 * INSTANCES + 1)))
        self.assertEqual(stored(self.world.function().sandbox), [payload for _, payload in answered])


if __name__ == "__main__":
    unittest.main()
