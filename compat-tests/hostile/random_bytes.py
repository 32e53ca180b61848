#!/usr/bin/env python3
"""Requests of real clients, mutated; random bodies for every API; shuffled pieces of HTTP. SEED repeats a run: the
first line says which it was."""
import os
import random
import re
import struct

import gateway
import wire

VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../protocol/tests/vectors/clients.txt")
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))


def client_requests():
    """Frames that real clients sent: (name, bytes)."""
    with open(VECTORS, encoding="utf-8") as file:
        blocks = re.findall(r"^frame request (\w+ v\d+)\nhex\n(.*?)^dump", file.read(), re.M | re.S)
    return [(name, bytes.fromhex(text)) for name, text in blocks]


class RandomBytes(gateway.Attack):
    options = ("--receive.timeout.ms", "3000")
    memory_mib = 240

    def setUp(self):
        super().setUp()
        self.random = random.Random(f"{SEED} {self.id()}")

    def exchange(self, address, octets, wait):
        """What comes back until the connection ends, or nothing comes for `wait` seconds."""
        with gateway.Peer(address, wait) as peer:
            peer.send(octets)
            peer.half_close()
            try:
                return peer.rest()
            except TimeoutError:
                return b""

    def test_random_bodies_of_every_api_and_version(self):
        for key in list(range(0, 93)) + [-1, 127, 32767]:
            for version in self.random.sample(range(0, 20), 4) + [-1, 32767]:
                body = self.random.randbytes(self.random.randrange(0, 200))
                self.exchange(self.gateway.kafka, wire.request(key, version, body), 0.2)

    def mutate(self, body):
        for _ in range(self.random.choice((1, 1, 2, 8))):
            at = self.random.randrange(len(body)) if body else 0
            match self.random.randrange(4):
                case 0 if body:
                    body[at] ^= 1 << self.random.randrange(8)
                case 1:
                    body[at:at + 4] = self.random.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0"))
                case 2:
                    del body[at:at + self.random.randrange(1, 9)]
                case _:
                    body[at:at] = self.random.randbytes(self.random.randrange(1, 9))

    def test_mutated_requests_of_real_clients(self):
        requests = [octets for name, octets in client_requests() if not name.startswith("delete_topics")]
        self.assertGreater(len(requests), 10)
        for _ in range(1500):
            body = bytearray(self.random.choice(requests)[4:])
            self.mutate(body)
            self.exchange(self.gateway.kafka, wire.frame(bytes(body)), 0.05)

    def test_shuffled_pieces_of_http(self):
        heads = [b"GET ", b"POST ", b"/topics/good/produce", b"/topics/good/consume?offset=", b" HTTP/1.1\r\n",
                 b"Host: x\r\n", b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Content-Length: 99999999999\r\n",
                 b"Transfer-Encoding: chunked\r\n", b"\r\n", b"ffffffffffffffff\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
                 b'{"payload":', b"[" * 5000, b'"\\ud800"}', b"%00%ff", b"\0", b"Expect: 100-continue\r\n",
                 b"X: " + b"y" * 20000 + b"\r\n", b"9" * 30]
        for _ in range(600):
            octets = b"".join(self.random.choices(heads, k=self.random.randrange(1, 12)))
            answer = self.exchange(self.gateway.http, octets, 0.05)
            self.assertFalse(re.search(rb"^HTTP/1.1 5(?!0[15])", answer, re.M), octets)

    def test_the_log_does_not_flood(self):
        before = len(self.gateway.log_lines())
        for _ in range(2000):
            self.exchange(self.gateway.kafka, struct.pack(">i", -1), 0.5)
        self.assertLess(len(self.gateway.log_lines()) - before, 200)


if __name__ == "__main__":
    print(f"SEED={SEED}", flush=True)
    gateway.main()
