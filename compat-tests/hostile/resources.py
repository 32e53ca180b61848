#!/usr/bin/env python3
"""What is scarce: memory, connections, descriptors, time. Clients take as much of it as they can get, others are still
served, and all of it comes back."""
import resource
import select
import struct
import time

import gateway
import wire
from gateway import PATIENCE, SANITIZED

MIB = 1 << 20
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Resources(gateway.Attack):
    """The caps are small, so that passing them is seen: requests 16 MiB and one larger one, cache 16, records to be
    stored 8."""
    options = ("--queued.max.request.bytes", "16M", "--http.queued.max.bytes", "16M",
               "--socket.request.max.bytes", "100M", "--cache.bytes", "16M",
               "--flush.bytes", "8M", "--hold.bytes", "1M", "--receive.timeout.ms", "2000", "--send.timeout.ms", "2500",
               "--connections.max.idle.ms", "4000")
    memory_mib = 240

    def attack(self, worst_ms=500.0):
        """A healthy client beside what happens inside."""
        return Beside(self, worst_ms * PATIENCE)

    def proven(self, count, timeout=None):
        peers = []
        for _ in range(count):
            peer = self.kafka(timeout)
            peer.send(wire.api_versions())
            peers.append(peer)
        for peer in peers:
            peer.answer()
        return peers

    def all_closed(self, peers, seconds):
        """How many of them the gateway has closed when the time is over."""
        left, until = {peer.socket: peer for peer in peers}, time.monotonic() + seconds
        poll = select.poll()
        by_number = {}
        for number in left:
            poll.register(number, select.POLLIN | select.POLLHUP)
            by_number[number.fileno()] = number
        while left and time.monotonic() < until:
            for number, _ in poll.poll(100):
                found = by_number[number]
                try:
                    more = found.recv(65536)
                except ConnectionResetError:
                    more = b""
                if not more:
                    poll.unregister(found)
                    del left[found]
        for peer in peers:
            peer.socket.close()
        return len(peers) - len(left)

    def test_claims_of_200_gib_take_no_memory_and_nobodys_place(self):
        before = self.gateway.resident_mib()
        peers = self.proven(2000)
        with self.attack():
            for peer in peers:
                peer.send(struct.pack(">i", 100 << 20))
            time.sleep(2)
            if not SANITIZED:
                self.assertLess(self.gateway.peak_mib(), before + 16 + 100 + 16)
            self.assertEqual(self.all_closed(peers, 12 * PATIENCE), 2000)

    def test_frames_that_begin_and_stop_do_not_keep_others_from_being_served(self):
        before = self.gateway.resident_mib()
        peers = self.proven(2000)
        with self.attack(worst_ms=6000):
            for peer in peers:
                peer.socket.setblocking(False)
                try:
                    peer.socket.send(struct.pack(">i", 100 << 20) + wire.head(wire.PRODUCE, 3) + b"\0" * 60000)
                except BlockingIOError:
                    pass
                peer.socket.settimeout(20)
            if not SANITIZED:
                self.assertLess(self.gateway.peak_mib(), before + 16 + 100 + 32)
            self.assertEqual(self.all_closed(peers, 30 * PATIENCE), 2000)

    def test_http_bodies_that_begin_and_stop_do_not_keep_others_from_being_served(self):
        before = self.gateway.resident_mib()
        head = b"POST /topics/stop/produce HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n"
        with self.attack():
            peers = [self.http() for _ in range(1000)]
            for peer in peers:
                peer.socket.setblocking(False)
                try:
                    peer.socket.send(head + b"x" * 60000)
                except BlockingIOError:
                    pass
            time.sleep(1)
            if not SANITIZED:
                self.assertLess(self.gateway.peak_mib(), before + 16 + 32)
            self.assertEqual(self.all_closed(peers, 12 * PATIENCE), 1000)

    def test_a_byte_now_and_then_is_closed_by_the_deadline(self):
        begins = [struct.pack(">i", 1000), struct.pack(">i", 1000) + wire.head(wire.METADATA, 1), b"\0"]
        peers = self.proven(len(begins) * 30)
        began = time.monotonic()
        with self.attack():
            for n, peer in enumerate(peers):
                peer.send(begins[n % len(begins)])
                peer.socket.setblocking(False)
            left = list(peers)
            while left and time.monotonic() < began + 12 * PATIENCE:
                time.sleep(0.5)
                for peer in list(left):
                    try:
                        peer.socket.send(b"\1")
                        if peer.socket.recv(100) == b"":
                            left.remove(peer)
                    except BlockingIOError:
                        pass
                    except OSError:
                        left.remove(peer)
            self.assertEqual(len(left), 0)
        for peer in peers:
            peer.socket.close()

    def test_silent_connections_cost_little_and_are_closed_when_idle(self):
        before = self.gateway.resident_mib()
        with self.attack():
            peers = [self.kafka() if n % 2 else self.http() for n in range(2000)]
            time.sleep(1)
            if not SANITIZED:
                self.assertLess(self.gateway.peak_mib(), before + 20)
            self.assertEqual(self.all_closed(peers, 15 * PATIENCE), 2000)

    def test_resets_in_great_number(self):
        halves = [wire.metadata(None)[:9], wire.produce(b"healthy", [wire.batch()]),
                  wire.fetch([(b"healthy", [(0, 0, MIB)])]) * 5,
                  wire.fetch([(b"healthy", [(0, 1 << 40, MIB)])], wait=60000, least=1), b"", struct.pack(">i", -1)]
        with self.attack():
            for n in range(3000):
                peer = self.kafka()
                peer.send(halves[n % len(halves)])
                peer.reset()
            for n in range(1000):
                peer = self.http()
                peer.send((b"GET /topics/healthy/consume?offset=0 HTTP/1.1\r\nHost: h\r\n\r\n",
                           b"POST /topics/reset/produce HTTP/1.1\r\nHost: h\r\nContent-Length: 13\r\n\r\n"
                           b'{"payload":1}', b"GET / HT")[n % 3])
                peer.reset()

    def fill(self, topic, mib):
        self.topic(topic)
        octets = wire.batch([b"x" * 1000000])
        with self.kafka() as peer:
            for _ in range(mib):
                peer.ask(wire.produce(topic, [octets]))

    def test_consumers_that_never_read_pin_little_and_are_closed(self):
        self.fill(b"long", 90)
        before = self.gateway.resident_mib()
        peers = self.proven(150)
        with self.attack(worst_ms=1500):
            for n, peer in enumerate(peers):
                peer.send(b"".join(wire.fetch([(b"long", [(0, n % 80, 50 * MIB)])]) for _ in range(20)))
            time.sleep(3)
            if not SANITIZED:
                self.assertLess(self.gateway.peak_mib(), before + 250)
            self.assertEqual(self.closed_without_reading(peers, 15 * PATIENCE), 150)

    def closed_without_reading(self, peers, seconds):
        """As many as the gateway gave up: bytes are left unread, so only the hang-up is looked for."""
        until, closed = time.monotonic() + seconds, set()
        poll = select.poll()
        for peer in peers:
            poll.register(peer.socket, 0)  # hang-ups are always told
        while len(closed) < len(peers) and time.monotonic() < until:
            for number, what in poll.poll(200):
                closed.add(number)
                poll.unregister(number)
        for peer in peers:
            peer.socket.close()
        return len(closed)

    def test_a_client_far_ahead_of_its_answers_is_paused(self):
        before = self.gateway.resident_mib()
        count, octets = 3000, wire.batch([b"x" * 20000])
        self.topic(b"ahead")
        with self.attack(), self.kafka() as peer:
            peer.socket.setblocking(False)
            queue, at, answered, buffered = b"".join(wire.produce(b"ahead", [octets], correlation=n)
                                                     for n in range(count)), 0, 0, b""
            until = time.monotonic() + 20 * PATIENCE
            while answered < count and time.monotonic() < until:
                can_read, can_write, _ = select.select([peer.socket], [peer.socket] if at < len(queue) else [], [], 1)
                if can_write:
                    at += peer.socket.send(queue[at:at + MIB])
                if can_read:
                    buffered += peer.socket.recv(65536)
                while len(buffered) >= 8 and len(buffered) >= 4 + struct.unpack(">i", buffered[:4])[0]:
                    self.assertEqual(struct.unpack(">i", buffered[4:8])[0], answered)
                    buffered = buffered[4 + struct.unpack(">i", buffered[:4])[0]:]
                    answered += 1
            self.assertEqual(answered, count)
        self.assertEqual(self.end_offset(b"ahead"), count)
        if not SANITIZED:
            self.assertLess(self.gateway.peak_mib(), before + 16 + 8 + 16 + 60)


class Beside:
    def __init__(self, case, worst_ms):
        self.case, self.worst_ms, self.watch = case, worst_ms, gateway.Watch(case.gateway)

    def __enter__(self):
        self.watch.__enter__()
        return self.watch

    def __exit__(self, kind, *_):
        self.watch.__exit__()
        if kind is None:
            self.case.assertIsNone(self.watch.failure)
            self.case.assertGreater(self.watch.count, 3)
            self.case.assertLess(max(self.watch.worst_ms.values()), self.worst_ms, "ms for a healthy client")


class SlowHeads(gateway.Attack):
    options = ("--http.queued.max.bytes", "16M", "--receive.timeout.ms", "20000")

    def test_heads_that_stop_lose_their_memory_to_others_before_their_deadline(self):
        peers = [self.http() for _ in range(2500)]
        for peer in peers:
            peer.send(b"GET /health HTTP/1.1\r\nX: ")
        time.sleep(0.5)
        began, status = time.monotonic(), self.gateway.http_get("/health")[0]
        self.assertEqual(status, 503)
        while status == 503 and time.monotonic() < began + 5 * PATIENCE:
            time.sleep(0.1)
            status = self.gateway.http_get("/health")[0]
        self.assertEqual(status, 200)
        for peer in peers:
            peer.socket.close()


class ConnectionLimit(gateway.Attack):
    options = ("--max.connections", "50")

    def test_connections_beyond_the_limit_are_closed_and_the_others_live(self):
        first = self.kafka()
        peers = [self.kafka() if n % 2 else self.http() for n in range(49)]
        self.assertIsNotNone(first.ask(wire.api_versions()))
        for _ in range(100):
            for peer in (self.kafka(), self.http()):
                with peer:
                    self.assertTrue(peer.ended())
        self.assertIsNotNone(first.ask(wire.api_versions()))
        lines = [line for line in self.gateway.log_lines() if "event=connection_limit" in line]
        self.assertGreater(len(lines), 0)
        self.assertLess(len(lines), 30)
        for peer in [first] + peers:
            peer.socket.close()
        time.sleep(0.3)


class Descriptors(gateway.Attack):
    def test_when_descriptors_run_out_it_waits_quietly_and_recovers(self):
        keeper = self.kafka()
        self.assertIsNotNone(keeper.ask(wire.api_versions()))
        most = self.gateway.descriptors() + 20
        before_limit = resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE, (most, hard))
        peers = [self.kafka() if n % 2 else self.http() for n in range(300)]  # the kernel takes what does not fit
        time.sleep(0.5)
        self.assertEqual(self.gateway.descriptors(), most)
        before = self.gateway.cpu_seconds()
        time.sleep(3)
        self.assertLess(self.gateway.cpu_seconds() - before, 0.3 * PATIENCE, "CPU seconds while it waits")
        for size in (10, 1000, 100000):  # who is in stays served; what cannot be stored now is refused, not lost
            answer = keeper.ask(wire.produce(b"healthy", [wire.batch([b"x" * size])], timeout=1000))
            self.assertIn(wire.produce_answer(answer)[0][1][0][1], (wire.NO_ERROR, wire.TIMED_OUT, wire.NOT_NOW))
        lines = [line for line in self.gateway.log_lines() if "event=accept_paused" in line]
        self.assertTrue(0 < len(lines) < 20, lines)
        for peer in [keeper] + peers:
            peer.socket.close()
        time.sleep(1)
        self.assert_healthy()  # still with few descriptors
        resource.prlimit(self.gateway.pid, resource.RLIMIT_NOFILE, before_limit)


if __name__ == "__main__":
    gateway.main()
