#!/usr/bin/env python3
"""S3 or DynamoDB is away for 20 s under load: retriable answers, never "unknown topic", and everybody is served again
within ten seconds of its return. Then the history must hold."""
import json
import os
import time
import unittest

from load import Loaded

AWAY_S = float(os.environ.get("AWAY_S", "20"))
RETRIABLE = {"not_now", "outcome_unknown", "unreadable", "overloaded"}


class Away(Loaded):
    def watch_http(self, until):
        """What the HTTP door says meanwhile to those who consume: (status, code or number of messages)."""
        said = set()
        while time.monotonic() < until:
            for path in ("/topics/t/consume?offset=0&limit=3", "/topics/t/consume?offset=999999999"):
                status, body = self.a.get(path, 60)
                answer = json.loads(body)
                said.add((status, answer.get("code", len(answer.get("messages", [])))))
            time.sleep(0.2)
        return said

    def run_away(self, service):
        self.start_load()
        time.sleep(1)
        self.world.proxy.away(service, int(AWAY_S * 1000))
        said = self.watch_http(time.monotonic() + AWAY_S)
        since = time.monotonic_ns()
        self.await_service(since)
        time.sleep(0.5)
        self.world.finish()
        self.check_kafka_service(since)
        refusals = {" ".join(reason.split()[:2]) for _, _, reason in
                    [*self.world.history.refused.values(), *self.world.history.unknown.values()]}
        self.check_history(f"produce said {sorted(refusals)}, consume {sorted(said, key=str)}")
        for status, what in said:
            self.assertTrue(status == 200 and what in (0, 3) or status in (503, 504) and what in RETRIABLE, (status, what))
        for reason in refusals:
            self.assertIn(reason.split()[-1], RETRIABLE | {"_MSG_TIMED_OUT"}, reason)
        return refusals

    def test_s3(self):
        self.run_away("s3")

    def test_the_table(self):
        self.assertTrue(self.run_away("dynamodb"), "nobody noticed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
