#!/usr/bin/env python3
"""Fetch, ListOffsets, Metadata and the rest: numbers at their extremes, and requests that ask for very much."""
import struct
import time

import gateway
import wire
from gateway import PATIENCE, SANITIZED

MIB = 1 << 20


class Reads(gateway.Attack):
    options = ("--receive.timeout.ms", "5000", "--num.partitions", "1")
    memory_mib = 300

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with gateway.Peer(cls.gateway.kafka) as peer:
            peer.ask(wire.create_topics([(b"log", 3, 1, {}), (b"empty", 1, 1, {})]))
            for n in range(20):
                peer.ask(wire.produce(b"log", [wire.batch([b"%d" % n * 5000], now=1700000000000 + n)]))

    def fetch(self, parts, topic=b"log", **how):
        with self.kafka() as peer:
            began = time.monotonic()
            (name, answers), = wire.fetch_answer(peer.ask(wire.fetch([(topic, parts)], **how)))
            self.assertLess(time.monotonic() - began, 5 * PATIENCE)
        self.assertEqual(name, topic)
        return [(error, len(records)) for _, error, _, records in answers]

    def test_offsets_outside_the_log(self):
        for offset in (wire.INT64_MIN, -2, -1, 21, wire.INT64_MAX):
            self.assertEqual(self.fetch([(0, offset, MIB)], wait=100, least=1), [(wire.OFFSET_OUT_OF_RANGE, 0)], offset)

    def test_partitions_that_do_not_exist(self):
        for partition in (-1, wire.INT32_MIN, 3, wire.INT32_MAX):
            self.assertEqual(self.fetch([(partition, 0, MIB)]), [(wire.UNKNOWN_TOPIC, 0)])
        for name in (b"absent", b"", b"..", b"\xff" * 300):
            self.assertEqual(self.fetch([(0, 0, MIB)], topic=name), [(wire.UNKNOWN_TOPIC, 0)])

    def test_limits_of_zero_and_less_give_one_batch(self):
        for most in (0, 1, -1, wire.INT32_MIN):
            for part in (0, 1, -1, wire.INT32_MIN, wire.INT32_MAX):
                (error, size), = self.fetch([(0, 0, part)], most=most)
                self.assertEqual(error, wire.NO_ERROR)
                self.assertTrue(5000 < size < 10000, f"one whole batch, not {size} bytes")

    def test_limits_as_large_as_they_get(self):
        (error, size), = self.fetch([(0, 0, wire.INT32_MAX)], most=wire.INT32_MAX)
        self.assertEqual(error, wire.NO_ERROR)
        self.assertGreater(size, 100000)

    def test_a_fetch_for_more_than_there_will_be_ends_in_time(self):
        self.assertEqual(self.fetch([(0, 20, MIB)], wait=0, least=wire.INT32_MAX), [(wire.NO_ERROR, 0)])
        self.assertEqual(self.fetch([(0, 20, MIB)], wait=-1, least=wire.INT32_MAX), [(wire.NO_ERROR, 0)])
        self.assertEqual(self.fetch([(0, 20, MIB)], wait=wire.INT32_MIN, least=wire.INT32_MIN), [(wire.NO_ERROR, 0)])
        self.assertEqual(self.fetch([(0, 20, MIB)], wait=300, least=wire.INT32_MAX), [(wire.NO_ERROR, 0)])

    def test_a_fetch_that_waits_for_ever_ends_with_its_client(self):
        for _ in range(50):
            peer = self.kafka()
            peer.send(wire.fetch([(b"empty", [(0, 0, MIB)])], wait=wire.INT32_MAX, least=1))
            peer.reset()
        with self.kafka() as peer:
            peer.send(wire.fetch([(b"empty", [(0, 0, MIB)])], wait=wire.INT32_MAX, least=1))
            time.sleep(0.1)
            peer.half_close()
            peer.rest()

    def test_sessions_are_not_kept(self):
        with self.kafka() as peer:
            for session, epoch in ((1, 1), (0, 5), (wire.INT32_MAX, wire.INT32_MAX), (-1, wire.INT32_MIN), (9, 2)):
                _, error, found, count = struct.unpack(">ihii", peer.ask(wire.fetch_session(session, epoch)))
                self.assertEqual((error, found, count), (wire.NO_SESSION, 0, 0))
            for session, epoch in ((0, 0), (0, -1), (77, 0), (77, -1)):
                _, error, found, count = struct.unpack(">ihii", peer.ask(wire.fetch_session(session, epoch)))
                self.assertEqual((error, found, count), (wire.NO_ERROR, 0, 0))

    def test_a_client_that_plays_a_broker_is_closed(self):
        self.expect_refusals()
        for replica in (0, 1, wire.INT32_MAX):
            with self.kafka() as peer:
                peer.send(wire.fetch([(b"log", [(0, 0, MIB)])], replica=replica))
                self.assertTrue(peer.ended())
        self.assert_refused(3)

    def test_times_at_their_extremes(self):
        with self.kafka() as peer:
            for when, expected in ((wire.INT64_MAX, (0, -1, -1)), (0, (0, 1700000000000, 0)),
                                   (1700000000007, (0, 1700000000007, 7)), (-1, (0, -1, 20)), (-2, (0, -1, 0))):
                (_, [(_, *found)]), = wire.list_answer(peer.ask(wire.list_offsets(b"log", [(0, when)])))
                self.assertEqual(tuple(found), expected, when)
            for when in (wire.INT64_MIN, -7, -100):
                (_, [(_, error, _, _)]), = wire.list_answer(peer.ask(wire.list_offsets(b"log", [(0, when)])))
                self.assertNotEqual(error, wire.NO_ERROR)
            for partition in (-1, 3, wire.INT32_MIN, wire.INT32_MAX):
                (_, [(_, error, _, _)]), = wire.list_answer(peer.ask(wire.list_offsets(b"log", [(partition, -1)])))
                self.assertEqual(error, wire.UNKNOWN_TOPIC)

    def bounded(self, octets, mib, seconds=20.0):
        """What one request, and then ten connections with it, cost."""
        with gateway.Watch(self.gateway) as watch:
            peers = [self.kafka(60 * PATIENCE) for _ in range(10)]
            for peer in peers:
                peer.send(octets)
                peer.half_close()
            began = time.monotonic()
            for peer in peers:
                peer.rest()
                peer.socket.close()
            self.assertLess(time.monotonic() - began, seconds * PATIENCE)
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1500 * PATIENCE)
        if not SANITIZED:
            self.assertLess(self.gateway.peak_mib(), mib)

    def test_one_hundred_thousand_times_the_same_partition(self):
        self.bounded(wire.fetch([(b"log", [(0, 0, 1000)] * 100000)], most=100000), 400)

    def test_one_hundred_thousand_partitions_that_wait(self):
        self.bounded(wire.fetch([(b"empty", [(0, 0, 1000)] * 100000)], wait=1000, least=1), 400)

    def test_one_hundred_thousand_searches_by_time(self):
        self.bounded(wire.list_offsets(b"log", [(0, 1700000000007)] * 100000), 400)

    def test_long_polls_that_hold_much_do_not_keep_producers_away(self):
        peers = [self.kafka() for _ in range(10)]
        for peer in peers:
            peer.send(wire.fetch([(b"empty", [(0, 0, 1000)] * 100000)], wait=wire.INT32_MAX, least=1))
        time.sleep(1)
        began = time.monotonic()
        with self.kafka(60 * PATIENCE) as peer:
            answer = peer.ask(wire.produce(b"healthy", [wire.batch([b"x" * 900000])]))
            self.assertEqual(wire.produce_answer(answer)[0][1][0][1], wire.NO_ERROR)
        self.assertLess(time.monotonic() - began, 6 * PATIENCE)
        for peer in peers:
            peer.reset()

    def test_requests_that_make_large_answers_of_little(self):
        """100,000 topics to be described, checked, deleted: each is answered or closed, and costs no more."""
        count = 100000
        names = struct.pack(">i", count) + b"".join(wire.string(b"t%d" % n) for n in range(count))
        created = struct.pack(">i", count) + b"".join(
            wire.string(b"t%d" % n) + struct.pack(">ihii", 1, 1, 0, 0) for n in range(count))
        configs = struct.pack(">i", count) + (b"\x02" + wire.string(b"log") + struct.pack(">i", -1)) * count
        epochs = struct.pack(">ii", -1, 1) + wire.string(b"log") + struct.pack(">i", count) + \
            struct.pack(">iii", 0, -1, 0) * count
        for key, version, body in ((wire.CREATE_TOPICS, 2, created + struct.pack(">ib", 1000, 1)),
                                   (wire.DELETE_TOPICS, 1, names + struct.pack(">i", 1000)),
                                   (wire.DESCRIBE_CONFIGS, 1, configs + b"\1"), (wire.LEADER_EPOCH, 3, epochs)):
            with self.subTest(key=key):
                self.gateway.forget_peak()
                self.bounded(wire.request(key, version, body), 600)

    def test_ten_thousand_unknown_topics_in_a_metadata(self):
        names = [b"unknown-%d" % n for n in range(10000)]
        with self.kafka() as peer:
            found = wire.metadata_answer(peer.ask(wire.metadata(names)))
        self.assertEqual([(name, error) for name, error, _ in found], [(name, wire.UNKNOWN_TOPIC) for name in names])
        self.bounded(wire.metadata(names), 400)

    def test_names_that_are_none_in_a_metadata(self):
        names = [b"", b".", b"..", b"a" * 250, b"sp ace", b"sl/ash", b"\0", b"\xc3\xa4", b"a" * 32767]
        with self.kafka() as peer:
            found = wire.metadata_answer(peer.ask(wire.metadata(names, create=True)))
            self.assertEqual([error for _, error, _ in found], [wire.INVALID_TOPIC] * len(names))
            known = [name for name, _, _ in wire.metadata_answer(peer.ask(wire.metadata(None)))]
        self.assertEqual([name for name in known if name in names], [])

    def test_one_name_ten_thousand_times_is_made_once(self):
        with self.kafka() as peer:
            found = wire.metadata_answer(peer.ask(wire.metadata([b"again"] * 10000, create=True)))
            self.assertLessEqual({error for _, error, _ in found}, {wire.NO_ERROR, 5})
            self.assertEqual(wire.metadata_answer(peer.ask(wire.metadata([b"again"])))[0][1:], (wire.NO_ERROR, 1))

    def test_topics_that_cannot_be_made(self):
        cases = [(b"p0", 0, 1, {}, wire.INVALID_PARTITIONS), (b"p-2", -2, 1, {}, wire.INVALID_PARTITIONS),
                 (b"pmin", wire.INT32_MIN, 1, {}, wire.INVALID_PARTITIONS),
                 (b"pmax", wire.INT32_MAX, 1, {}, wire.INVALID_PARTITIONS),
                 (b"r0", 1, 0, {}, wire.INVALID_REPLICATION), (b"r-2", 1, -2, {}, wire.INVALID_REPLICATION),
                 (b"", 1, 1, {}, wire.INVALID_TOPIC), (b"..", 1, 1, {}, wire.INVALID_TOPIC),
                 (b"a" * 250, 1, 1, {}, wire.INVALID_TOPIC), (b"\0", 1, 1, {}, wire.INVALID_TOPIC),
                 (b"c1", 1, 1, {b"no.such": b"1"}, wire.INVALID_CONFIG),
                 (b"c2", 1, 1, {b"retention.ms": b"x" * 30000}, wire.INVALID_CONFIG),
                 (b"c3", 1, 1, {b"retention.ms": b"99999999999999999999"}, wire.INVALID_CONFIG),
                 (b"log", 1, 1, {}, wire.TOPIC_EXISTS)]
        with self.kafka() as peer:
            answer = wire.create_answer(peer.ask(wire.create_topics([case[:4] for case in cases])))
            self.assertEqual(dict(answer), {case[0]: case[4] for case in cases})
            known = [name for name, _, _ in wire.metadata_answer(peer.ask(wire.metadata(None)))]
        self.assertEqual([case[0] for case in cases if case[0] in known], [b"log"])


class ManyTopics(gateway.Attack):
    """What makes the store itself large; in a gateway of its own."""
    memory_mib = 300

    def test_1_ten_million_partitions_in_one_request(self):
        with gateway.Watch(self.gateway) as watch, self.kafka(60 * PATIENCE) as peer:
            answer = peer.ask(wire.create_topics([(b"wide-%d" % n, 10000, 1, {}) for n in range(1000)], timeout=30000))
            self.assertIsNotNone(answer)
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1500 * PATIENCE)

    def test_2_ten_thousand_new_topics_in_a_metadata(self):
        names = [b"new-%d" % n for n in range(10000)]
        with gateway.Watch(self.gateway) as watch, self.kafka(60 * PATIENCE) as peer:
            self.assertEqual(len(wire.metadata_answer(peer.ask(wire.metadata(names, create=True)))), 10000)
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1500 * PATIENCE)

    def test_3_all_of_them_again_and_again_without_reading_the_answers(self):
        asked = wire.metadata(None)
        with gateway.Watch(self.gateway) as watch:
            peers = [self.kafka() for _ in range(20)]
            for peer in peers:
                peer.send(asked * 128)
            time.sleep(3 * PATIENCE)
            for peer in peers:
                peer.reset()
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1500 * PATIENCE)
        if not SANITIZED:
            self.assertLess(self.gateway.peak_mib(), 500)


if __name__ == "__main__":
    gateway.main()
