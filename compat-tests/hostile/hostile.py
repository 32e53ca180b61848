#!/usr/bin/env python3
"""Hostile bytes at both doors of a running gateway, over sockets. Whatever comes: the connection that sent it is closed
or answered, others are served, the log does not flood, memory stays near what the options allow, and the process ends
well. GATEWAY names the program; SEED repeats a run (the first line says which it was)."""
import gzip
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

GATEWAY = os.environ["GATEWAY"]
VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../protocol/tests/vectors/clients.txt")
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
# What the gateway may keep of requests, of records to be stored and of records for readers; and the process itself.
LIMITS = ["--queued.max.request.bytes", "16M", "--flush.bytes", "8M", "--cache.bytes", "8M", "--hold.bytes", "1M",
          "--receive.timeout.ms", "3000", "--log.level", "info"]
RESIDENT_MIB_MAX = 16 + 8 + 8 + 1 + 64


def client_requests():
    """Frames that real clients sent: (name, bytes)."""
    with open(VECTORS, encoding="utf-8") as file:
        blocks = re.findall(r"^frame request (\w+ v\d+)\nhex\n(.*?)^dump", file.read(), re.M | re.S)
    return [(name, bytes.fromhex(text)) for name, text in blocks]


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def varint(n):
    n = n << 1 ^ n >> 63
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def bomb(size):
    """A gzip batch of one record that inflates to `size` bytes."""
    value = b"\0" * size
    body = b"\0" + varint(0) + varint(0) + varint(-1) + varint(size) + value + varint(0)
    packed = gzip.compress(varint(len(body)) + body, 9)
    tail = struct.pack(">hiqqqhii", 1, 0, 1700000000000, 1700000000000, -1, -1, -1, 1) + packed
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, 2, crc32c(tail)) + tail


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="gateway_hostile_")
        cls.log_path = cls.directory.name + "/log"
        cls.log = open(cls.log_path, "w+", encoding="utf-8")
        cls.gateway = subprocess.Popen([GATEWAY, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data",
                                        cls.directory.name + "/data", *LIMITS],
                                       stdout=subprocess.PIPE, stderr=cls.log, text=True)
        ready = dict(word.split("=", 1) for word in cls.gateway.stdout.readline().split()[1:])
        cls.kafka = ("127.0.0.1", int(ready["kafka"].split(":")[1]))
        cls.http = ("127.0.0.1", int(ready["http"].split(":")[1]))
        with open(GATEWAY, "rb") as program:
            cls.sanitized = b"__asan" in program.read()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.send_signal(signal.SIGTERM)
        status = cls.gateway.wait(15)
        cls.gateway.stdout.close()
        cls.log.close()
        cls.directory.cleanup()
        if status != 0:
            raise AssertionError(f"the gateway ended with {status}")

    def setUp(self):
        self.random = random.Random(f"{SEED} {self.id()}")

    def tearDown(self):
        """Others are served, and nothing grew without bound."""
        self.assertIsNone(self.gateway.poll(), "the gateway is gone")
        offset = self.post("good", {"payload": self.id()})["offset"]
        answer = self.get(f"/topics/good/consume?offset={offset}")
        self.assertEqual(answer["messages"][0]["payload"], self.id())
        self.assertEqual(self.exchange(dict(client_requests())["api_versions v0"])[8:10], b"\0\0")
        if not self.sanitized:  # whose shadow memory is not ours to count
            self.assertLess(self.resident_mib(), RESIDENT_MIB_MAX)

    def log_lines(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read().splitlines()

    def resident_mib(self):
        with open(f"/proc/{self.gateway.pid}/status", encoding="utf-8") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) / 1024

    def post(self, topic, body):
        request = urllib.request.Request("http://%s:%d/topics/%s/produce" % (*self.http, topic),
                                         data=json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def get(self, path):
        with urllib.request.urlopen("http://%s:%d%s" % (*self.http, path), timeout=20) as answer:
            return json.load(answer)

    def exchange(self, data, address=None, wait=10.0, half_close=False):
        """Sends data; gives what comes back up to one Kafka frame or the end of the connection."""
        with socket.create_connection(address or self.kafka, 10) as peer:
            peer.settimeout(wait)
            answer = b""
            try:
                peer.sendall(data)
                if half_close:
                    peer.shutdown(socket.SHUT_WR)
                while len(answer) < 4 or len(answer) < 4 + struct.unpack(">i", answer[:4])[0]:
                    more = peer.recv(65536)
                    if not more:
                        break
                    answer += more
            except OSError:  # closed, reset or silent
                pass
            return answer

    def test_lengths_that_cannot_be_are_closed_with_one_line_each(self):
        for length in (-1, 0, 3, -2 ** 31, 2 ** 31 - 1, 101 << 20):
            before = len(self.log_lines())
            self.assertEqual(self.exchange(struct.pack(">i", length) + b"x" * 100), b"")
            self.assertLessEqual(len(self.log_lines()) - before, 1)

    def test_claims_of_large_frames_take_no_memory(self):
        peers = [socket.create_connection(self.kafka, 10) for _ in range(400)]
        for peer in peers:  # 400 times 100 MiB are announced, 64 KiB of each arrive
            peer.setblocking(False)
            try:
                peer.send(struct.pack(">i", 100 << 20) + struct.pack(">hhi", 0, 9, 1) + b"\0" * 65000)
            except BlockingIOError:
                pass
        self.assertEqual(self.get("/health"), {"status": "ok"})
        for peer in peers:
            peer.close()

    def test_a_request_that_never_ends_is_closed_by_its_deadline(self):
        for address, begin in ((self.kafka, struct.pack(">i", 1000) + b"\0\3"),
                               (self.http, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")):
            with socket.create_connection(address, 10) as peer:
                peer.settimeout(12)
                began = time.monotonic()
                peer.sendall(begin)
                while time.monotonic() - began < 12:
                    try:
                        peer.sendall(b"\1")
                        peer.settimeout(0.25)
                        peer.recv(4096)
                        break
                    except socket.timeout:
                        continue
                    except ConnectionError:
                        break
                self.assertLess(time.monotonic() - began, 10)

    def test_random_bodies_of_every_api_and_version(self):
        for key in list(range(0, 93)) + [-1, 127, 32767]:
            for version in self.random.sample(range(0, 20), 4) + [-1, 32767]:
                body = struct.pack(">hhih", key, version, 7, -1) + self.random.randbytes(self.random.randrange(0, 200))
                self.exchange(struct.pack(">i", len(body)) + body, wait=0.2, half_close=True)

    def test_mutated_requests_of_real_clients(self):
        requests = [frame for name, frame in client_requests() if not name.startswith("delete_topics")]
        for _ in range(1500):
            body = bytearray(self.random.choice(requests)[4:])
            for _ in range(self.random.choice((1, 1, 2, 8))):
                at = self.random.randrange(len(body))
                match self.random.randrange(4):
                    case 0:
                        body[at] ^= 1 << self.random.randrange(8)
                    case 1:
                        body[at:at + 4] = self.random.choice((b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0"))
                    case 2:
                        del body[at:at + self.random.randrange(1, 9)]
                    case 3:
                        body[at:at] = self.random.randbytes(self.random.randrange(1, 9))
                if len(body) == 0:
                    break
            self.exchange(struct.pack(">i", len(body)) + body, wait=0.05, half_close=True)

    def test_random_http(self):
        heads = [b"GET ", b"POST ", b"/topics/good/produce", b"/topics/good/consume?offset=", b" HTTP/1.1\r\n",
                 b"Host: x\r\n", b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Content-Length: 99999999999\r\n",
                 b"Transfer-Encoding: chunked\r\n", b"\r\n", b"ffffffffffffffff\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n",
                 b'{"payload":', b"[" * 5000, b'"\\ud800"}', b"%00%ff", b"\0", b"Expect: 100-continue\r\n",
                 b"X: " + b"y" * 20000 + b"\r\n", b"9" * 30]
        for _ in range(400):
            data = b"".join(self.random.choices(heads, k=self.random.randrange(1, 12)))
            answer = self.exchange(data, self.http, wait=0.05, half_close=True)
            self.assertFalse(re.match(rb"HTTP/1.1 5(?!0[135])", answer), answer[:200])

    def test_a_compressed_bomb_is_refused_or_read_by_pieces(self):
        records = bomb(1 << 30)
        topic = b"bomb"
        self.exchange(self.metadata_request(topic))
        body = struct.pack(">hhih", 0, 7, 2, -1) + struct.pack(">hhiih", -1, -1, 10000, 1, len(topic)) + topic + \
            struct.pack(">iii", 1, 0, len(records)) + records
        answer = self.exchange(struct.pack(">i", len(body)) + body)
        error, = struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(topic) + 4 + 4)
        if error == 0:  # it was stored; then reading it costs no more than is allowed
            with self.assertRaises(urllib.error.HTTPError) as refused:
                self.get("/topics/bomb/consume?offset=0")
            self.assertEqual(refused.exception.code, 422)
            refused.exception.close()

    @staticmethod
    def metadata_request(topic):
        body = struct.pack(">hhih", 3, 4, 1, -1) + struct.pack(">ih", 1, len(topic)) + topic + b"\1"
        return struct.pack(">i", len(body)) + body

    def test_the_log_does_not_flood(self):
        before = len(self.log_lines())
        for _ in range(2000):
            self.exchange(struct.pack(">i", -1), wait=0.5)
        self.assertLess(len(self.log_lines()) - before, 500)


if __name__ == "__main__":
    print(f"SEED={SEED}")
    sys.exit(unittest.main(verbosity=2))
