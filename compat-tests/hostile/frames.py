#!/usr/bin/env python3
"""The Kafka port: bytes that are no request, and requests that are not what they say."""
import struct

import gateway
import wire
from gateway import PATIENCE

TLS_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(range(200)) * 2
HTTP = b"GET /topics HTTP/1.1\r\nHost: broker:9092\r\n\r\n"
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 40
SSH = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"


class Frames(gateway.Attack):
    options = ("--receive.timeout.ms", "2000")

    def closed(self, octets, half_close=False):
        with self.kafka() as peer:
            peer.send(octets)
            if half_close:
                peer.half_close()
            self.assertTrue(peer.ended(), octets[:60])

    def test_a_size_that_cannot_be_closes(self):
        sizes = (-1, 0, 1, 7, wire.INT32_MIN, wire.INT32_MAX, (100 << 20) + 1)
        self.expect_refusals()
        for size in sizes:
            self.closed(struct.pack(">i", size) + b"x" * 64)
        with self.kafka() as peer:  # after a request that made sense, too
            self.assertIsNotNone(peer.ask(wire.api_versions()))
            peer.send(struct.pack(">i", (100 << 20) + 1))
            self.assertTrue(peer.ended())
        self.assert_refused(len(sizes) + 1)

    def test_a_stranger_may_not_begin_with_100_mib(self):
        self.expect_refusals()
        self.closed(struct.pack(">i", 100 << 20) + b"\0\3")
        self.assert_refused(1)

    def test_other_protocols_are_closed_at_once(self):
        strangers = (TLS_HELLO, HTTP, HTTP_2, SSH)
        self.expect_refusals()
        for hello in strangers:
            self.closed(hello)
        self.assert_refused(len(strangers))

    def test_a_request_cut_anywhere_is_closed_without_an_answer(self):
        whole = wire.produce(b"healthy", [wire.batch([b"must not be stored"])])
        before = self.end_offset(b"healthy")
        for size in range(len(whole)):
            self.closed(whole[:size], half_close=True)
        self.assertEqual(self.end_offset(b"healthy"), before)

    def test_frames_that_end_inside_the_header(self):
        self.expect_refusals()
        headers = [wire.head(wire.METADATA, 4)[:size] for size in (8, 9)]
        headers.append(struct.pack(">hhih", wire.METADATA, 4, 1, 100) + b"short")
        headers.append(struct.pack(">hhih", wire.METADATA, 4, 1, -2) + b"\xff" * 9)
        headers.append(struct.pack(">hhih", wire.METADATA, 9, 1, -1) + b"\xff\xff\xff\xff\x0f")  # 2^32-1 tags
        headers.append(struct.pack(">hhih", wire.METADATA, 9, 1, -1) + b"\x01\x00\xff\xff\xff\xff\x0f")
        headers.append(struct.pack(">hhih", wire.METADATA, 9, 1, -1) + b"\xff" * 20)
        for header in headers:
            self.closed(wire.frame(header))
        self.assert_refused(len(headers))

    def test_apis_and_versions_that_are_not_served_are_closed(self):
        asked = [(key, 0) for key in (-1, -32768, 4, 8, 10, 17, 36, 68, 71, 80, 93, 127, 32767)]
        for key, (least, most, _) in wire.SERVED.items():
            if key != wire.API_VERSIONS:
                asked += [(key, version) for version in (-1, least - 1, most + 1, 32767)]
        self.expect_refusals()
        for key, version in asked:
            self.closed(wire.request(key, version, b"\0" * 64))
        self.assert_refused(len(asked))

    def test_produce_of_the_old_formats_is_closed(self):
        before = self.end_offset(b"healthy")
        for version in (0, 1, 2):
            body = wire.produce(b"healthy", [wire.batch()])[4 + 10 + 2:]
            self.closed(wire.request(wire.PRODUCE, version, body))
        self.assertEqual(self.end_offset(b"healthy"), before)

    def test_api_versions_of_the_future_is_told_what_there_is(self):
        for version in (5, 99, 32767, -1):
            for body in (b"", b"\xff" * 100):
                with self.kafka() as peer:
                    answer = peer.ask(wire.frame(struct.pack(">hhi", wire.API_VERSIONS, version, 7) + body))
                    error, count, key, _, most = struct.unpack(">hihhh", answer)
                    self.assertEqual((error, count, key, most), (wire.UNSUPPORTED_VERSION, 1, 18, 4))
                    self.assertIsNotNone(peer.ask(wire.api_versions()))  # and may go on

    def test_every_request_with_a_senseless_body_ends(self):
        """Answered or closed, whatever the counts and lengths claim; never left open."""
        bodies = [b"", b"\0" * 4, b"\xff" * 64, b"\x7f" * 64, b"\0" * 65536, struct.pack(">i", wire.INT32_MAX) * 16,
                  struct.pack(">h", -1) + struct.pack(">i", wire.INT32_MAX) * 8, struct.pack(">i", wire.INT32_MIN) * 8,
                  b"\xff\xff\xff\xff\x0f" * 8, b"\x80" * 64, b"\1" * 300, b"\2" * 300,
                  struct.pack(">i", 1 << 20) + b"\0" * 4096]
        for key, (least, most, _) in wire.SERVED.items():
            for version in range(least, most + 1):
                for body in bodies:
                    with self.kafka(20 * PATIENCE) as peer:
                        peer.send(wire.request(key, version, body))
                        peer.half_close()
                        peer.rest()

    def test_arrays_that_lie_about_their_count_are_closed(self):
        counts = (wire.INT32_MAX, wire.INT32_MAX // 16, 1 << 28, 1 << 24, -2, wire.INT32_MIN)
        self.expect_refusals()
        for count in counts:
            self.closed(wire.request(wire.METADATA, 1, struct.pack(">i", count) + wire.string(b"t") * 4))
        names = (32767, 100, -2, -32768)
        for size in names:
            self.closed(wire.request(wire.METADATA, 1, struct.pack(">ih", 1, size) + b"short"))
        self.assert_refused(len(counts) + len(names))

    def test_tagged_fields_without_number_or_end(self):
        def tags(pairs):
            return wire.uvarint(len(pairs)) + b"".join(wire.uvarint(tag) + wire.uvarint(len(octets)) + octets
                                                       for tag, octets in pairs)
        body = b"\0\0\0"  # Metadata 12: null topics, no creation, no operations
        with self.kafka() as peer:
            for pairs in ([(tag + 1000, b"") for tag in range(100000)], [(1000, b"x" * 1000000)], [(2 ** 32 - 1, b"")]):
                answer = peer.ask(wire.request(wire.METADATA, 12, body + tags(pairs)))
                self.assertIsNotNone(answer, f"{len(pairs)} tags that nobody knows are skipped")
        for bad in (b"\xff\xff\xff\xff\x0f", b"\x01\x07\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff",
                    b"\x05\x07\x00"):
            self.closed(wire.request(wire.METADATA, 12, body + bad))

    def test_one_thousand_requests_in_one_piece_are_answered_in_order(self):
        with self.kafka() as peer:
            stored = [wire.produce(b"healthy", [wire.batch()], correlation=n) for n in range(1000)]
            peer.send(b"".join(wire.api_versions(n) if n % 3 else stored[n] for n in range(1000)))
            self.assertEqual([peer.answer()[0] for _ in range(1000)], list(range(1000)))

    def test_long_polls_in_a_row_beyond_the_cap_are_answered_in_order(self):
        end = self.end_offset(b"healthy")
        with self.kafka() as peer:
            peer.send(b"".join(wire.fetch([(b"healthy", [(0, end, 1000)])], wait=5, least=1, correlation=n)
                               for n in range(300)))
            self.assertEqual([peer.answer()[0] for _ in range(300)], list(range(300)))

    def test_a_good_request_before_a_bad_one_does_not_save_it(self):
        self.expect_refusals()
        with self.kafka() as peer:
            peer.send(wire.api_versions(1) + wire.request(999, 0) + wire.api_versions(2))
            answers = [peer.answer()]
            while answers[-1] is not None:
                answers.append(peer.answer())
            self.assertNotIn(2, [answer[0] for answer in answers[:-1]])
        self.assert_refused(1)


if __name__ == "__main__":
    gateway.main()
