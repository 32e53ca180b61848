#!/usr/bin/env python3
"""Produce: batches that are not what they say, and what becomes of the ones that are stored all the same."""
import struct
import time

import bombs
import gateway
import wire
from gateway import PATIENCE

MIB = 1 << 20
FAR_FUTURE = 1 << 50


class Batches(gateway.Attack):
    options = ("--receive.timeout.ms", "5000")
    memory_mib = 260  # two codecs may be at work on 64 MiB each

    def errors(self, octets, peer=None):
        """The error of each partition; None when the connection was closed."""
        if peer is None:
            with self.kafka() as peer:
                return self.errors(octets, peer)
        answer = peer.ask(octets)
        return None if answer is None else [part[1] for _, parts in wire.produce_answer(answer) for part in parts]

    def test_a_batch_that_is_wrong_is_refused_and_absent(self):
        good = wire.batch([b"one", b"two"])
        cases = [
            ("wrong crc", wire.CORRUPT_MESSAGE, wire.batch(crc=1)),
            ("one bit of a record", wire.CORRUPT_MESSAGE, good[:-3] + bytes([good[-3] ^ 4]) + good[-2:]),
            ("magic 0", wire.INVALID_RECORD, wire.batch(magic=0)),
            ("magic 1", wire.INVALID_RECORD, wire.batch(magic=1)),
            ("magic 3", wire.INVALID_RECORD, wire.batch(magic=3)),
            ("magic -1", wire.INVALID_RECORD, wire.batch(magic=-1)),
            ("length 0", wire.CORRUPT_MESSAGE, wire.batch(length=0)),
            ("length -1", wire.CORRUPT_MESSAGE, wire.batch(length=-1)),
            ("length least", wire.CORRUPT_MESSAGE, wire.batch(length=wire.INT32_MIN)),
            ("length greatest", wire.CORRUPT_MESSAGE, wire.batch(length=wire.INT32_MAX)),
            ("length one more", wire.CORRUPT_MESSAGE, wire.batch(length=len(wire.batch()) - 12 + 1)),
            ("length one less", wire.INVALID_RECORD, wire.batch(length=len(wire.batch()) - 12 - 1)),
            ("cut", wire.CORRUPT_MESSAGE, good[:-1]),
            ("only a header's begin", wire.CORRUPT_MESSAGE, good[:40]),
            ("one byte", wire.CORRUPT_MESSAGE, good[:1]),
            ("empty", wire.INVALID_RECORD, b""),
            ("null", wire.INVALID_RECORD, None),
            ("two batches", wire.INVALID_RECORD, good + good),
            ("a byte behind", wire.INVALID_RECORD, good + b"\0"),
            ("no records", wire.INVALID_RECORD, wire.batch([])),
            ("count 0", wire.INVALID_RECORD, wire.batch(count=0)),
            ("count -1", wire.INVALID_RECORD, wire.batch(count=-1, last_delta=-2)),
            ("count too large", wire.INVALID_RECORD, wire.batch(count=2)),
            ("count greatest", wire.INVALID_RECORD, wire.batch(count=wire.INT32_MAX, last_delta=wire.INT32_MAX - 1)),
            ("count least", wire.INVALID_RECORD, wire.batch(count=wire.INT32_MIN, last_delta=wire.INT32_MAX)),
            ("delta too large", wire.INVALID_RECORD, wire.batch(last_delta=7)),
            ("codec 5", wire.INVALID_RECORD, wire.batch(attributes=5)),
            ("codec 7", wire.INVALID_RECORD, wire.batch(attributes=7)),
            ("control", wire.INVALID_RECORD, wire.batch(attributes=0x20)),
            ("control and transactional", wire.INVALID_RECORD, wire.batch(attributes=0x30, producer=(1, 0, 0))),
            ("transactional", wire.INVALID_TXN_STATE, wire.batch(attributes=0x10, producer=(1, 0, 0))),
            ("log append time", wire.INVALID_TIMESTAMP, wire.batch(attributes=0x08)),
            ("a producer without epoch", wire.INVALID_RECORD, wire.batch(producer=(7, -1, 0))),
            ("a producer without sequence", wire.INVALID_RECORD, wire.batch(producer=(7, 0, -1))),
            ("zstd before version 7", wire.NO_CODEC, wire.batch(attributes=4, records=bombs.zstd_zeros(100))),
            ("the far future", wire.INVALID_TIMESTAMP, wire.batch(time=FAR_FUTURE)),
            ("the end of time", wire.INVALID_TIMESTAMP, wire.batch(time=wire.INT64_MAX)),
            ("a far future only claimed", wire.INVALID_TIMESTAMP, wire.batch(max_time=wire.INT64_MAX)),
            ("larger than is taken", wire.MESSAGE_TOO_LARGE, wire.batch([b"x" * 1100000])),
        ]
        self.topic(b"wrong")
        with self.kafka() as peer:
            for name, error, octets in cases:
                with self.subTest(name):
                    self.assertEqual(self.errors(wire.produce(b"wrong", [octets]), peer), [error])
        self.assertEqual(self.end_offset(b"wrong"), 0)

    def test_one_wrong_batch_among_good_ones(self):
        self.topic(b"mixed", 3)
        errors = self.errors(wire.produce(b"mixed", [(0, wire.batch()), (1, wire.batch(crc=1)), (2, wire.batch())]))
        self.assertEqual(errors, [wire.NO_ERROR, wire.CORRUPT_MESSAGE, wire.NO_ERROR])

    def test_places_that_do_not_exist(self):
        before = self.end_offset(b"healthy")
        for partition in (-1, wire.INT32_MIN, 1, wire.INT32_MAX):
            octets = wire.produce(b"healthy", [wire.batch()], partition=partition)
            self.assertEqual(self.errors(octets), [wire.UNKNOWN_TOPIC], partition)
        for name in (b"absent", b"", b".", b"..", b"a" * 250, b"a" * 32767, b"sl/ash", b"nul\0", b"\xff\xfe"):
            self.assertIn(self.errors(wire.produce(name, [wire.batch()])), ([wire.UNKNOWN_TOPIC], [wire.INVALID_TOPIC]))
        self.assertEqual(self.end_offset(b"healthy"), before)

    def test_acks_that_do_not_exist(self):
        before = self.end_offset(b"healthy")
        for acks in (2, -2, 32767, -32768):
            self.assertEqual(self.errors(wire.produce(b"healthy", [wire.batch()], acks=acks)), [wire.INVALID_ACKS])
        self.assertEqual(self.end_offset(b"healthy"), before)

    def test_without_acks_an_error_closes_and_success_is_silent(self):
        before = self.end_offset(b"healthy")
        for octets in (wire.produce(b"absent", [wire.batch()], acks=0), wire.produce(b"healthy", [None], acks=0),
                       wire.produce(b"healthy", [wire.batch(crc=1)], acks=0),
                       wire.produce(b"healthy", [wire.batch()], acks=0, partition=-1)):
            with self.kafka() as peer:
                peer.send(octets)
                self.assertTrue(peer.ended())
        with self.kafka() as peer:
            peer.send(wire.produce(b"healthy", [wire.batch()], acks=0))
            self.assertEqual(peer.ask(wire.api_versions(77))[:2], b"\0\0")  # the next answer is of the next request
        self.assertEqual(self.end_offset(b"healthy"), before + 1)

    def test_a_transactional_id_is_refused(self):
        for name in (b"", b"t", b"x" * 32767):
            self.assertEqual(self.errors(wire.produce(b"healthy", [wire.batch()], transactional=name)),
                             [wire.INVALID_TXN_STATE])

    def test_one_partition_twice_in_a_request_stays_dense(self):
        self.topic(b"twice")
        octets = wire.produce(b"twice", [wire.batch([b"a", b"b"]), wire.batch([b"c"]), wire.batch([b"d"])])
        with self.kafka() as peer:
            (_, parts), = wire.produce_answer(peer.ask(octets))
        taken = sorted((offset, 2 if i == 0 else 1) for i, (_, error, offset) in enumerate(parts)
                       if error == wire.NO_ERROR)
        end = 0
        for offset, count in taken:
            self.assertEqual(offset, end)
            end += count
        self.assertEqual(self.end_offset(b"twice"), end)

    def test_a_quarter_of_a_million_partitions_in_one_request(self):
        nulls = struct.pack(">ii", -1, -1) * 250000
        body = struct.pack(">hhi", -1, -1, 1000) + struct.pack(">i", 1) + wire.string(b"healthy") + \
            struct.pack(">i", 250000) + nulls
        with gateway.Watch(self.gateway) as watch, self.kafka() as peer:
            peer.send(wire.request(wire.PRODUCE, 3, body))
            peer.half_close()
            peer.rest()
        self.assertIsNone(watch.failure)
        if not gateway.SANITIZED:
            self.assertLess(self.gateway.peak_mib(), 300)

    def test_garbage_behind_a_good_crc_harms_no_reader(self):
        """The records of a batch are first looked at when somebody reads them."""
        bodies = [b"", b"\0" * 20, b"\xff" * 20, b"\x80" * 20, wire.uvarint(2 ** 63) + b"x" * 20,
                  wire.varint(1 << 30) + b"\0" * 20, wire.record(b"v")[:-1], wire.record(b"v") + b"tail",
                  wire.varint(10) + b"\0" * 3 + wire.varint(-5) + b"\0" * 9,
                  wire.varint(12) + b"\0\0\0" + wire.varint(-1) + wire.varint(-1) + wire.varint(1 << 30) + b"\0" * 9,
                  wire.record(b"v", delta=wire.INT64_MAX), wire.record(b"v", delta=-5)]
        for number, body in enumerate(bodies):
            for attributes in (0, 1, 2, 3):
                name = b"garbage-%d-%d" % (number, attributes)
                self.topic(name)
                error, = self.errors(wire.produce(name, [wire.batch(records=body, attributes=attributes)]))
                status, _, answer = self.gateway.http_get(f"/topics/{name.decode()}/consume?offset=0")
                self.assertLess(status, 500, (number, attributes, error, answer))
                with self.kafka() as peer:
                    for when in (0, 1699999999999, -3):
                        self.assertIsNotNone(peer.ask(wire.list_offsets(name, [(0, when)], version=1)))
                    self.assertIsNotNone(peer.ask(wire.fetch([(name, [(0, 0, 1000)])])))

    def zeros(self, codec, size, **fields):
        """A batch of one record of `size` zeros, whose header may say anything."""
        # The zeros are read as records of length 0, which is no record: they only have to be inflated.
        return wire.batch(attributes=codec, records=bombs.ZEROS[codec](size), **fields)

    def test_a_bomb_of_each_codec_costs_a_reader_little(self):
        """Each is as large as one message may be, or inflates to 2 GiB: consume and a search by time stay bounded."""
        sizes = {bombs.GZIP: 512 * MIB, bombs.SNAPPY: 20 * MIB, bombs.LZ4: 240 * MIB, bombs.ZSTD: 2048 * MIB}
        for codec, size in sizes.items():
            name = b"bomb-%d" % codec
            self.topic(name)
            octets = self.zeros(codec, size)
            self.assertLess(len(octets), 1048588)
            body = wire.produce(name, [octets])[4 + 10:]
            with self.kafka() as peer:
                error = wire.Reader(peer.ask(wire.request(wire.PRODUCE, 7, body))).octets
                r = wire.Reader(error)
                r.take("i")
                r.string()
                r.take("i")
                self.assertEqual(r.take("ih"), (0, wire.NO_ERROR))
            with gateway.Watch(self.gateway) as watch:
                began = time.monotonic()
                status, _, answer = self.gateway.http_get(f"/topics/{name.decode()}/consume?offset=0")
                self.assertLess(status, 500, answer)
                with self.kafka() as peer:
                    self.assertIsNotNone(peer.ask(wire.list_offsets(name, [(0, 1)])))
                self.assertLess(time.monotonic() - began, 3 * PATIENCE)
            self.assertIsNone(watch.failure)
            self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE, f"codec {codec}")
        if not gateway.SANITIZED:
            self.assertLess(self.gateway.peak_mib(), 300)

    def test_a_snappy_block_that_lies_about_its_size(self):
        self.topic(b"liar")
        for claim in (2 ** 32 - 1, 2 ** 31, 1 << 30, 0):
            records = bombs.snappy_zeros(1000, claim)
            self.assertEqual(self.errors(wire.produce(b"liar", [wire.batch(attributes=2, records=records)])), [0])
        for offset in range(4):
            status, _, answer = self.gateway.http_get(f"/topics/liar/consume?offset={offset}")
            self.assertLess(status, 500, answer)
        if not gateway.SANITIZED:
            self.assertLess(self.gateway.peak_mib(), 300)

    def many_bombs(self, count, **fields):
        return [self.zeros(bombs.ZSTD, 60 * MIB, **fields)] * count

    def test_a_search_by_time_through_many_bombs_delays_nobody(self):
        """The batches of one flush claim a time that none of their records has."""
        self.topic(b"field")
        octets = self.many_bombs(1)[0]
        with self.kafka() as peer:
            for n in range(200):
                peer.send(wire.request(wire.PRODUCE, 7, wire.produce(b"field", [octets])[14:], n))
            for n in range(200):
                self.assertEqual(peer.answer()[0], n)
        self.assertEqual(self.end_offset(b"field"), 200)
        with gateway.Watch(self.gateway) as watch, self.kafka(60 * PATIENCE) as peer:
            self.assertIsNotNone(peer.ask(wire.list_offsets(b"field", [(0, 1700000000000)] * 100)))
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE)

    def test_many_bombs_from_the_future_delay_nobody(self):
        """Their times have to be looked at, it seems; but whoever looks must not inflate all of them."""
        self.topic(b"future", 200)
        parts = list(enumerate(self.many_bombs(200, max_time=FAR_FUTURE)))
        with gateway.Watch(self.gateway) as watch, self.kafka(60 * PATIENCE) as peer:
            answer = peer.ask(wire.request(wire.PRODUCE, 7, wire.produce(b"future", parts)[14:]))
            self.assertIsNotNone(answer)
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE)

    def test_many_bombs_for_a_compacted_topic_delay_nobody(self):
        self.topic(b"compacted", 200, {b"cleanup.policy": b"compact"})
        parts = list(enumerate(self.many_bombs(200)))
        with gateway.Watch(self.gateway) as watch, self.kafka(60 * PATIENCE) as peer:
            answer = peer.ask(wire.request(wire.PRODUCE, 7, wire.produce(b"compacted", parts)[14:]))
            self.assertIsNotNone(answer)
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE)


if __name__ == "__main__":
    gateway.main()
