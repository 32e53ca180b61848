#!/usr/bin/env python3
"""The gateway as a process: how it starts, what it says when it cannot, how it ends. GATEWAY names the program."""
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

GATEWAY = os.environ["GATEWAY"]
READY = re.compile(r"^ready kafka=(\S+) http=(\S+) pid=(\d+)\n$")


def post(http, topic, payload):
    request = urllib.request.Request(f"http://{http}/topics/{topic}/produce", data=b'{"payload":%s}' % payload)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


class Life(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="gateway_life_")
        self.running = []

    def tearDown(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, *arguments, environment=None):
        """A serving gateway: (process, kafka address, http address)."""
        process = subprocess.Popen([GATEWAY, "--data", self.directory + "/data", *arguments], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={**os.environ, **(environment or {})})
        self.running.append(process)
        line = process.stdout.readline()
        match = READY.match(line)
        self.assertTrue(match, line + (process.stderr.read() if not line else ""))
        self.assertEqual(int(match.group(3)), process.pid)
        return process, match.group(1), match.group(2)

    def start_anywhere(self, *arguments, **more):
        return self.start("--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments, **more)

    def refused(self, *arguments):
        """What a gateway that does not start says: (status, its one line on standard error)."""
        done = subprocess.run([GATEWAY, *arguments], text=True, capture_output=True, timeout=20)
        self.assertEqual(done.stdout, "")
        lines = [line for line in done.stderr.splitlines() if not line.startswith("ts=")]
        self.assertEqual(len(lines), 1, done.stderr)
        return done.returncode, lines[0]

    def ended(self, process, status=0, seconds=10):
        self.assertEqual(process.wait(seconds), status)
        output, errors = process.communicate()
        self.assertEqual(output, "")
        for line in errors.splitlines():
            self.assertRegex(line, r"^ts=\S+ level=\S+ event=\S+ ")

    def test_it_serves_both_doors_and_ends_well(self):
        process, kafka, http = self.start_anywhere()
        self.assertEqual(post(http, "t", b"1"), b'{"topic":"t","offset":1}')
        host, port = kafka.split(":")
        socket.create_connection((host, int(port)), 5).close()
        process.send_signal(signal.SIGTERM)
        self.ended(process)

    def test_a_door_may_be_closed(self):
        process, kafka, http = self.start("--kafka", "none", "--http", "127.0.0.1:0")
        self.assertEqual(kafka, "none")
        self.assertEqual(post(http, "t", b"1"), b'{"topic":"t","offset":1}')
        process.send_signal(signal.SIGINT)
        self.ended(process)

    def test_what_was_acknowledged_is_there_after_a_restart(self):
        process, _, http = self.start_anywhere()
        for i in range(5):
            post(http, "t", b"%d" % i)
        process.send_signal(signal.SIGTERM)
        self.ended(process)
        process, _, http = self.start_anywhere()
        with urllib.request.urlopen(f"http://{http}/topics/t/consume?offset=1", timeout=20) as answer:
            self.assertIn(b'"next_offset":6', answer.read())

    def test_two_gateways_share_a_store(self):
        _, _, first = self.start_anywhere()
        _, _, second = self.start_anywhere()
        self.assertIn(b'"offset":1', post(first, "t", b"1"))
        self.assertIn(b'"offset":2', post(second, "t", b"2"))
        self.assertIn(b'"offset":3', post(first, "t", b"3"))

    def test_options_come_from_file_and_environment(self):
        path = self.directory + "/gateway.properties"
        with open(path, "w") as file:
            file.write("kafka = none\nhttp = 127.0.0.1:1\n")
        _, kafka, http = self.start("--config", path, environment={"STREAMS_HTTP": "127.0.0.1:0"})
        self.assertEqual(kafka, "none")
        self.assertNotEqual(http, "127.0.0.1:1")

    def test_a_port_in_use_is_one_sentence(self):
        _, kafka, http = self.start_anywhere()
        other = ["--data", self.directory + "/other"]
        port = kafka.split(":")[1]
        self.assertEqual(self.refused(*other, "--kafka", kafka, "--http", "none"),
                         (1, f"gateway: port {port} of 127.0.0.1 is in use"))
        port = http.split(":")[1]
        self.assertEqual(self.refused(*other, "--kafka", "127.0.0.1:0", "--http", http),
                         (1, f"gateway: port {port} of 127.0.0.1 is in use"))

    def test_a_directory_that_cannot_be_used_is_one_sentence(self):
        path = self.directory + "/file"
        open(path, "w").close()
        status, line = self.refused("--data", path + "/below", "--kafka", "127.0.0.1:0", "--http", "none")
        self.assertEqual(status, 1)
        self.assertIn(path, line)

    def test_a_store_of_a_newer_format_is_one_sentence(self):
        process, _, _ = self.start_anywhere()
        process.send_signal(signal.SIGTERM)
        self.ended(process)
        database = sqlite3.connect(self.directory + "/data/store.db")
        database.execute("UPDATE store SET format_version = 99")
        database.commit()
        database.close()
        status, line = self.refused("--data", self.directory + "/data", "--kafka", "127.0.0.1:0", "--http", "none")
        self.assertEqual(status, 1)
        self.assertIn("format 99", line)

    def test_bad_options_are_one_sentence(self):
        status, line = self.refused("--kafka", "0.0.0.0:9092")
        self.assertEqual(status, 2)
        self.assertIn("--advertise", line)
        self.assertEqual(self.refused("--htp", "x"),
                         (2, "gateway: there is no option --htp; the nearest is --http (--help lists all)"))

    def test_requests_under_way_are_finished_at_the_end(self):
        process, _, http = self.start_anywhere()
        acknowledged, lock, stop = [], threading.Lock(), threading.Event()

        def produce(client):
            for i in range(1000000):
                try:
                    post(http, "t", b'"%d-%d"' % (client, i))
                except OSError:
                    return
                with lock:
                    acknowledged.append(f'"{client}-{i}"')
                if stop.is_set():
                    return

        clients = [threading.Thread(target=produce, args=(n,)) for n in range(8)]
        for client in clients:
            client.start()
        while len(acknowledged) < 100:
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        self.ended(process)
        stop.set()
        for client in clients:
            client.join()
        process, _, http = self.start_anywhere()
        stored, offset = [], 1
        while True:
            with urllib.request.urlopen(f"http://{http}/topics/t/consume?offset={offset}&limit=100", timeout=20) as answer:
                found = re.findall(r'"payload":("[^"]*")', answer.read().decode())
            if not found:
                break
            stored += found
            offset += len(found)
        self.assertEqual(len(set(stored)), len(stored))
        self.assertLessEqual(set(acknowledged), set(stored))

    def test_silent_connections_do_not_delay_the_end(self):
        process, kafka, http = self.start_anywhere()
        sockets = []
        for address in (kafka, http):
            host, port = address.split(":")
            sockets += [socket.create_connection((host, int(port)), 5) for _ in range(3)]
            sockets[-1].sendall(b"\0\0")  # part of a request, and no more
        time.sleep(0.1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        self.ended(process)
        self.assertLess(time.monotonic() - began, 9)
        for each in sockets:
            each.close()

    def test_a_second_signal_ends_it_at_once(self):
        process, _, http = self.start_anywhere()
        host, port = http.split(":")
        with socket.create_connection((host, int(port)), 5) as stuck:
            stuck.sendall(b"POST /topics/t/produce HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n")
            time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            self.assertIsNone(process.poll())  # it waits for the request
            process.send_signal(signal.SIGTERM)
            self.ended(process, status=1, seconds=2)

    def test_idle_connections_cost_little(self):
        process, _, http = self.start_anywhere()

        def resident_kib():
            with open(f"/proc/{process.pid}/status") as status:
                return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

        host, port = http.split(":")
        post(http, "t", b"1")
        before = resident_kib()
        sockets = [socket.create_connection((host, int(port)), 5) for _ in range(800)]
        post(http, "t", b"2")
        with open(GATEWAY, "rb") as program:
            sanitized = b"__asan" in program.read()  # whose shadow memory is not ours to count
        if not sanitized:
            self.assertLess(resident_kib() - before, 800 * 2)
        for each in sockets:
            each.close()


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=1))
