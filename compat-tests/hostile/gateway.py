"""The gateway under attack, and what must hold after each attack: the process lives, a healthy client is served at both
doors by connections of its own, nobody else's bytes are in its way, memory and descriptors are back where they were."""
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import wire

PROGRAM = os.environ["GATEWAY"]
with open(PROGRAM, "rb") as _program:
    SANITIZED = b"__asan" in _program.read()
PATIENCE = 6 if SANITIZED else 3  # how much slower everything may be, on a machine that does other things as well


class Gateway:
    def __init__(self, *options):
        self.directory = tempfile.TemporaryDirectory(prefix="gateway_hostile_")
        self.log_path = self.directory.name + "/log"
        self.log = open(self.log_path, "w+", encoding="utf-8", errors="replace")
        command = [PROGRAM, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", self.directory.name + "/data",
                   *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        ready = dict(word.split("=", 1) for word in line.split()[1:])
        self.pid = self.process.pid
        self.kafka = ("127.0.0.1", int(ready["kafka"].rsplit(":", 1)[1]))
        self.http = ("127.0.0.1", int(ready["http"].rsplit(":", 1)[1]))

    def stop(self):
        """Its exit status, and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(15 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process.stdout.close()
        lines = self.log_lines()
        self.log.close()
        self.directory.cleanup()
        return status, lines

    def log_lines(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def status(self, field):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(field + r":\s+(\d+)", file.read()).group(1)) / 1024

    def resident_mib(self):
        return self.status("VmRSS")

    def peak_mib(self):
        return self.status("VmHWM")

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w", encoding="ascii") as file:
            file.write("5")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, name):
        _, _, body = self.http_get("/metrics")
        return float(re.search(rf"^\w*{name} (\S+)$", body.decode(), re.M).group(1))

    def http_get(self, path):
        return self.http_call("GET", path)

    def http_call(self, method, path, body=None):
        client = http.client.HTTPConnection(*self.http, timeout=20 * PATIENCE)
        try:
            client.request(method, path, body)
            answer = client.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            client.close()


class Peer:
    """A connection that says what it likes."""

    def __init__(self, address, timeout=None):
        self.socket = socket.create_connection(address, 20 * PATIENCE)
        self.socket.settimeout(timeout if timeout is not None else 20 * PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, octets):
        """False when the other side has closed."""
        try:
            self.socket.sendall(octets)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def half_close(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read(self, size):
        """`size` bytes, or fewer when the connection ends before."""
        got = bytearray()
        while len(got) < size:
            try:
                more = self.socket.recv(min(size - len(got), 1 << 20))
            except ConnectionResetError:
                break
            if not more:
                break
            got += more
        return bytes(got)

    def answer(self):
        """The next Kafka answer without its length: (correlation id, body); None when the connection has ended."""
        size = self.read(4)
        if len(size) < 4:
            return None
        body = self.read(struct.unpack(">i", size)[0])
        return struct.unpack(">i", body[:4])[0], body[4:]

    def ask(self, octets):
        self.send(octets)
        answer = self.answer()
        return None if answer is None else answer[1]

    def rest(self):
        """Everything until the end of the connection."""
        return self.read(1 << 62)

    def ended(self):
        """Whether the other side closes without another byte."""
        return self.rest() == b""


class Watch:
    """Measures, beside an attack, how long a healthy client waits: the worst time of any request in milliseconds."""

    def __init__(self, gateway):
        self.gateway, self.worst_ms, self.count, self.failure = gateway, {"kafka": 0.0, "http": 0.0}, 0, None
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(door,)) for door in self.worst_ms]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def once(self, door, peer):
        if door == "http":
            peer.send(b"POST /topics/watch/produce HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\n\r\n" b'{"payload":1}')
            head = b""
            while b"\r\n\r\n" not in head:
                head += peer.read(1)
            peer.read(int(re.search(rb"Content-Length: (\d+)", head).group(1)))
            return head.startswith(b"HTTP/1.1 200")
        answer = peer.ask(wire.produce(b"healthy", [wire.batch()]))
        return answer is not None and wire.produce_answer(answer)[0][1][0][1] == wire.NO_ERROR

    def run(self, door):
        try:
            with Peer(getattr(self.gateway, door)) as peer:
                while not self.over.is_set():
                    began = time.monotonic()
                    if not self.once(door, peer):
                        self.failure = f"refused at the {door} door"
                    self.worst_ms[door] = max(self.worst_ms[door], (time.monotonic() - began) * 1000)
                    self.count += 1
                    self.over.wait(0.02)
        except (OSError, AttributeError, struct.error) as error:
            self.failure = f"{door} door: {error!r}"


class Attack(unittest.TestCase):
    """A test case with a gateway of its own; `options` are the gateway's."""
    options = ()
    memory_mib = 160  # resident, at the end of each test

    @classmethod
    def setUpClass(cls):
        cls.gateway = Gateway(*cls.options)
        try:
            with Peer(cls.gateway.kafka) as peer:
                peer.ask(wire.metadata([b"healthy"], create=True))
        except BaseException:
            cls.gateway.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        status, lines = cls.gateway.stop()
        reports = [line for line in lines if "ERROR: " in line or "runtime error" in line]
        if status != 0 or reports:
            raise AssertionError(f"the gateway ended with {status}\n" + "\n".join(lines[-60:]))

    def setUp(self):
        self.descriptors = self.gateway.descriptors()
        self.gateway.forget_peak()

    def tearDown(self):
        log = "\n".join(self.gateway.log_lines()[-40:])
        self.assertIsNone(self.gateway.process.poll(), "the gateway is gone:\n" + log)
        self.assert_healthy()
        self.assert_descriptors_back()
        if not SANITIZED:  # whose shadow and quarantine are not ours to count
            self.assertLess(self.gateway.resident_mib(), self.memory_mib, "MiB resident")

    # ---- what must hold ----

    def assert_healthy(self):
        """A record goes in at each door and comes out, byte for byte, at the offset that was promised."""
        value = f"{self.id()} {time.monotonic_ns()}".encode()
        with Peer(self.gateway.kafka) as peer:
            records = wire.batch([value])
            (_, [(_, error, offset)]), = wire.produce_answer(peer.ask(wire.produce(b"healthy", [records])))
            self.assertEqual(error, wire.NO_ERROR)
            answer = wire.fetch_answer(peer.ask(wire.fetch([(b"healthy", [(0, offset, 1 << 20)])])))
            (_, [(_, error, end, got)]), = answer
            self.assertEqual((error, struct.unpack(">q", got[:8])[0]), (wire.NO_ERROR, offset))
            self.assertGreater(end, offset)
            self.assertEqual(got[16:len(records)], records[16:])
        status, _, body = self.gateway.http_call("POST", "/topics/healthy-http/produce",
                                                 json.dumps({"payload": value.decode()}))
        self.assertEqual(status, 200)
        status, _, body = self.gateway.http_get(f"/topics/healthy-http/consume?offset={json.loads(body)['offset']}")
        self.assertEqual((status, json.loads(body)["messages"][0]["payload"]), (200, value.decode()))

    def assert_descriptors_back(self):
        until = time.monotonic() + 10 * PATIENCE
        while self.gateway.descriptors() > self.descriptors + 2 and time.monotonic() < until:
            time.sleep(0.05)
        self.assertLessEqual(self.gateway.descriptors(), self.descriptors + 2, "open descriptors")

    def expect_refusals(self):
        time.sleep(1.01)  # an event has five lines in a second; the first of a second tells what was kept back
        with self.kafka() as peer:
            peer.send(struct.pack(">i", -1))
            peer.rest()
        self.lines = len(self.gateway.log_lines())
        self.refused_before = self.bad_frames()

    def assert_refused(self, count):
        """So many connections were closed for their bytes since expect_refusals, and the log has one line for each, or
        what its limit allows."""
        self.assertEqual(self.bad_frames(), self.refused_before + count)
        lines = [line for line in self.gateway.log_lines()[self.lines:] if "event=bad_frame" in line]
        suppressed = sum(int(n) for line in lines for n in re.findall(r"suppressed=(\d+)", line))
        self.assertLessEqual(len(lines) + suppressed, count)
        self.assertGreaterEqual(len(lines), min(count, 4))

    def bad_frames(self):
        return int(self.gateway.metric("bad_frames_total"))

    # ---- tools ----

    def kafka(self, timeout=None):
        return Peer(self.gateway.kafka, timeout)

    def http(self, timeout=None):
        return Peer(self.gateway.http, timeout)

    def topic(self, name, partitions=1, configs=None):
        with self.kafka() as peer:
            answer = peer.ask(wire.create_topics([(name, partitions, 1, configs or {})]))
        self.assertIn(wire.create_answer(answer)[0][1], (wire.NO_ERROR, wire.TOPIC_EXISTS))
        return name

    def end_offset(self, topic):
        with self.kafka() as peer:
            (_, [(_, error, _, offset)]), = wire.list_answer(peer.ask(wire.list_offsets(topic, [(0, -1)])))
        self.assertEqual(error, wire.NO_ERROR)
        return offset


def main():
    unittest.main(verbosity=2)
