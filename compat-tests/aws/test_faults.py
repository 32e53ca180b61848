#!/usr/bin/env python3
"""What the proxy does to S3 and DynamoDB, one fault after the other and all together: the history must hold under each,
the fault must have been met, and after it everybody is served again within ten seconds."""
import time
import unittest

from load import LOAD_S, Loaded


class Faults(Loaded):
    def run_under(self, faults, least=20):
        """faults: (kind, name, rate[, ms]). Each that is not rare must be met, all together `least` times."""
        self.start_load()
        time.sleep(0.5)
        for fault in faults:
            self.world.proxy.fault(*fault)
        time.sleep(LOAD_S)
        counts = self.world.proxy.counts()
        self.world.proxy.calm()
        since = time.monotonic_ns()
        self.await_service(since)
        time.sleep(0.5)
        self.world.finish()
        self.check_kafka_service(since)
        self.check_history(", ".join(f"{row['fault']} {row['kind']} {row['met']}" for row in counts.faults))
        for _, name, rate, *_ in faults:
            self.assertTrue(counts.met(name) > 0 or rate < 0.03, f"{name} was never met: the run shows nothing")
        self.assertGreaterEqual(sum(counts.met(name) for _, name, *_ in faults), least)

    def test_no_fault(self):
        self.run_under([], least=0)
        self.assertEqual(self.world.history.unknown, {})
        self.assertEqual(self.world.history.refused, {})

    def test_answers_lost_after_the_effect(self):
        self.run_under([("*", "lost_answer", 0.1)])

    def test_writes_that_come_into_effect_after_they_were_given_up(self):
        self.run_under([("dynamodb.put_item", "late", 0.1, 700), ("s3.put", "late", 0.1, 700)])

    def test_resets_before_within_and_after(self):
        self.run_under([("*", "reset_before", 0.05), ("*", "cut_request", 0.05), ("*", "cut_answer", 0.05)])

    def test_s3_says_409_and_200_with_an_error(self):
        self.run_under([("s3.put", "conflict", 0.2), ("s3.put", "error_200", 0.2)], least=5)

    def test_s3_slows_down_and_fails(self):
        self.run_under([("s3.*", "slow_down", 0.2), ("s3.*", "internal", 0.1), ("s3.*", "internal_after", 0.1)], least=6)

    def test_the_table_throttles(self):
        self.run_under([("dynamodb.*", "throttled", 0.15), ("dynamodb.*", "throttling", 0.05)])

    def test_the_table_fails_with_and_without_effect(self):
        self.run_under([("dynamodb.*", "server_error", 0.1), ("dynamodb.*", "server_error_after", 0.1)])

    def test_stalls_of_30_s(self):
        self.run_under([("*", "stall_before", 0.01, 30000), ("*", "stall_after", 0.01, 30000)], least=2)

    def test_10_kib_a_second(self):
        self.run_under([("*", "trickle", 0.03)], least=5)

    def test_tokens_that_are_called_expired(self):
        self.run_under([("s3.*", "expired", 0.05), ("dynamodb.*", "expired_token", 0.05)])

    def test_all_together_with_the_latencies_of_aws(self):
        self.world.proxy.aws_latencies()
        self.run_under([("*", name, rate, ms) for name, rate, ms in (
            ("lost_answer", 0.03, 0), ("late", 0.03, 500), ("reset_before", 0.02, 0), ("cut_request", 0.02, 0),
            ("cut_answer", 0.02, 0), ("slow_down", 0.02, 0), ("throttled", 0.02, 0), ("server_error_after", 0.02, 0),
            ("internal_after", 0.02, 0), ("stall_after", 0.005, 10000))])


if __name__ == "__main__":
    unittest.main(verbosity=2)
