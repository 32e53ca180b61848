#!/usr/bin/env python3
"""The proxy before a server of this test's own: every fault does what faults.def says, and counts are right.

PROXY names the program."""
import base64
import http.client
import http.server
import json
import os
import socket
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from faultproxy import Proxy, Refused  # noqa: E402

BODY = bytes(range(256)) * 64


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        answer = self.server.answers.pop(0) if self.server.answers else (200, BODY)
        self.send_response(answer[0])
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(answer[1]), 1000):
                part = answer[1][at:at + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(answer[1])))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer[1])

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.answers, self.chunked = [], [], False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # requests cut short are what is tested

    def address(self):
        return "%s:%d" % self.server_address

    def wait_for(self, count):
        limit = time.monotonic() + 20
        while len(self.seen) < count and time.monotonic() < limit:
            time.sleep(0.01)
        return len(self.seen)


class ProxyTest(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.proxy = Proxy(self.server.address(), self.server.address(), seed=7)

    def tearDown(self):
        self.assertEqual(self.proxy.stop(), 0)
        self.server.shutdown()
        self.server.server_close()

    def ask(self, method="GET", path="/bucket/ingest/00/0-1-w-1", body=None, headers=None, service="s3", timeout=20):
        host, port = getattr(self.proxy, service).split(":")
        client = http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            return answer.status, answer.read(), answer
        finally:
            client.close()

    def table(self, operation, request, **more):
        headers = {"X-Amz-Target": "DynamoDB_20120810." + operation, "Content-Type": "application/x-amz-json-1.0"}
        status, body, answer = self.ask("POST", "/", json.dumps(request), headers, "dynamodb", **more)
        return status, body, answer

    def assertLost(self, *args, **kwargs):
        with self.assertRaises((ConnectionError, http.client.HTTPException)):
            self.ask(*args, **kwargs)

    def test_what_meets_no_fault_passes_unchanged(self):
        status, body, _ = self.ask("PUT", "/bucket/a%2Fb?x=1", BODY, {"Host": "else.where", "Authorization": "AWS4 x"})
        self.assertEqual((status, body), (200, BODY))
        method, path, headers, sent = self.server.seen[0]
        self.assertEqual((method, path, sent), ("PUT", "/bucket/a%2Fb?x=1", BODY))
        self.assertEqual((headers["Host"], headers["Authorization"]), ("else.where", "AWS4 x"))

    def test_one_connection_carries_many_requests_also_head_and_chunked_answers(self):
        client = http.client.HTTPConnection(self.proxy.s3, timeout=20)
        for method, chunked in (("GET", False), ("HEAD", False), ("GET", True), ("DELETE", False)):
            self.server.chunked = chunked
            client.request(method, "/bucket/key")
            answer = client.getresponse()
            self.assertEqual(answer.read(), b"" if method == "HEAD" else BODY)
        client.close()
        self.assertEqual(self.proxy.counts().connections["s3"], 1)

    def test_a_reset_before_the_effect_reaches_no_server(self):
        self.proxy.fault("*", "reset_before", 1)
        self.assertLost("PUT", body=BODY)
        self.proxy.calm()
        self.ask()
        self.assertEqual([seen[0] for seen in self.server.seen], ["GET"])

    def test_a_lost_answer_has_had_its_effect(self):
        self.proxy.fault("s3.put", "lost_answer", 1)
        self.assertLost("PUT", body=BODY)
        self.assertEqual(self.server.seen[0][3], BODY)
        self.assertEqual(self.ask()[0], 200)

    def test_a_late_write_comes_after_its_client_has_gone(self):
        self.proxy.fault("s3.put", "late", 1, 300)
        self.assertLost("PUT", body=BODY)
        self.assertEqual(self.server.seen, [])
        self.assertEqual(self.server.wait_for(1), 1)
        self.assertEqual(self.server.seen[0][3], BODY)

    def test_a_request_cut_within_its_body_is_no_request(self):
        self.proxy.fault("s3.put", "cut_request", 1)
        self.assertLost("PUT", body=BODY)
        self.assertEqual(self.proxy.counts().met("cut_request"), 1)
        self.assertTrue(all(len(seen[3]) < len(BODY) for seen in self.server.seen))

    def test_an_answer_cut_within_its_body_ends_in_a_reset(self):
        self.proxy.fault("s3.get", "cut_answer", 1)
        host, port = self.proxy.s3.split(":")
        with socket.create_connection((host, int(port)), 20) as client:
            client.sendall(b"GET /bucket/key HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            with self.assertRaises(ConnectionResetError):
                while True:
                    part = client.recv(65536)
                    got += part
                    self.assertTrue(part, "an orderly end")
        self.assertEqual(got.split(b"\r\n\r\n", 1)[1], BODY[:len(BODY) // 2])

    def test_errors_come_in_the_form_of_their_service(self):
        for fault, status, code in (("conflict", 409, b"ConditionalRequestConflict"), ("slow_down", 503, b"SlowDown"),
                                    ("internal", 500, b"InternalError"), ("error_200", 200, b"InternalError"),
                                    ("expired", 400, b"ExpiredToken")):
            self.proxy.calm()
            self.proxy.fault("s3.put", fault, 1)
            got, body, answer = self.ask("PUT", body=b"x")
            self.assertEqual(got, status)
            self.assertIn(b"<Error><Code>" + code + b"</Code>", body)
            self.assertIsNotNone(answer.getheader("Date"))
        self.assertEqual(self.server.seen, [])
        for fault, status, code in (("throttled", 400, "ProvisionedThroughputExceededException"),
                                    ("throttling", 400, "ThrottlingException"),
                                    ("server_error", 500, "InternalServerError"),
                                    ("expired_token", 400, "ExpiredTokenException")):
            self.proxy.calm()
            self.proxy.fault("dynamodb.*", fault, 1)
            got, body, _ = self.table("Query", {})
            self.assertEqual((got, json.loads(body)["__type"].split("#")[1]), (status, code))
        self.assertEqual(self.server.seen, [])

    def test_errors_after_the_effect_reach_the_server(self):
        self.proxy.fault("*", "internal_after", 1)
        self.proxy.fault("*", "server_error_after", 1)
        self.assertEqual(self.ask("PUT", body=b"x")[0], 500)
        self.assertEqual(self.table("PutItem", {"Item": {}})[0], 500)
        self.assertEqual(len(self.server.seen), 2)

    def test_what_is_swallowed_is_answered_and_reaches_no_server(self):
        self.proxy.fault("s3.put", "swallow", 1)
        self.assertEqual(self.ask("PUT", body=BODY)[:2], (200, b""))
        self.assertEqual(self.server.seen, [])

    def test_412_meets_only_conditional_requests_and_200_with_an_error_no_reads(self):
        self.proxy.fault("*", "own_retry", 1)
        self.proxy.fault("*", "error_200", 1)
        self.assertEqual(self.ask("PUT", body=b"x", headers={"If-None-Match": "*"})[0], 412)
        self.assertEqual(len(self.server.seen), 1)
        status, body, _ = self.ask("PUT", body=b"x")
        self.assertEqual((status, b"<Error>" in body), (200, True))
        self.assertEqual(self.ask()[1], BODY)

    def test_a_stall_holds_the_effect_or_the_answer(self):
        for fault, seen_meanwhile in (("stall_before", 0), ("stall_after", 1)):
            self.proxy.calm()
            self.server.seen.clear()
            self.proxy.fault("*", fault, 1, 3000)
            with self.assertRaises(TimeoutError):
                self.ask("PUT", body=b"x", timeout=0.5)
            self.assertEqual(len(self.server.seen), seen_meanwhile)
            self.assertEqual(self.server.wait_for(1), 1)  # though its client has gone

    def test_a_trickle_takes_its_time(self):
        self.proxy.fault("s3.get", "trickle", 1)
        began = time.monotonic()
        self.assertEqual(self.ask()[1], BODY)
        self.assertGreaterEqual(time.monotonic() - began, len(BODY) / 10240 * 0.9)

    def test_a_service_that_is_away_refuses_and_comes_back_where_it_was(self):
        self.proxy.away("s3", 60000)
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            try:
                self.ask()
            except ConnectionRefusedError:
                break
            except (ConnectionError, http.client.HTTPException):
                pass
        else:
            self.fail("it never refused")
        self.assertEqual(self.table("Query", {})[0], 200)  # the other one is there
        self.proxy.away("s3", 0)
        while time.monotonic() < limit:
            try:
                self.assertEqual(self.ask()[0], 200)
                break
            except ConnectionError:
                time.sleep(0.01)
        else:
            self.fail("it never came back")

    def test_rates_hit_as_often_as_they_say_and_a_seed_says_which(self):
        hits = []
        for _ in range(2):
            self.proxy.tell("seed 3")
            self.proxy.fault("s3.get", "slow_down", 0.25)
            hits.append([self.ask()[0] for _ in range(200)])
        self.assertEqual(hits[0], hits[1])
        self.assertTrue(25 <= hits[0].count(503) <= 75)
        self.assertEqual(self.proxy.counts().met("slow_down", "s3.get"), 2 * hits[0].count(503))

    def test_latencies_are_waited_for(self):
        self.proxy.latency("s3.get", 30, 60)
        began = time.monotonic()
        for _ in range(20):
            self.ask()
        self.assertGreaterEqual(time.monotonic() - began, 20 * 0.015)

    def test_requests_are_counted_by_kind_and_place(self):
        self.ask("PUT", "/bucket/pre/ingest/0f/1", b"12345")
        self.ask("GET", "/bucket/checkpoints/0/00000000000000000001")
        self.ask("GET", "/bucket?list-type=2&prefix=ingest")
        self.ask("POST", "/bucket?delete", b"<Delete/>")
        self.ask("DELETE", "/bucket/topics/t/0/1.segment")
        self.ask("HEAD", "/bucket/store")
        self.ask("HEAD", "/bucket")
        counts = self.proxy.counts()
        for kind, place in (("s3.put", "ingest"), ("s3.get", "checkpoints"), ("s3.list", "-"), ("s3.delete_objects", "-"),
                            ("s3.delete", "topics"), ("s3.head", "store"), ("s3.other", "-")):
            self.assertEqual(counts.requests(kind, place), 1, kind)
        self.assertEqual(counts.sum("bytes_in", "s3.put"), 5)
        self.assertEqual(counts.sum("bytes_out", "s3.get"), len(BODY))
        self.proxy.forget()
        self.assertEqual(self.proxy.counts().rows, [])

    @staticmethod
    def item(slot, size):
        return {"pk": {"S": "journal#0"}, "sk": {"N": str(slot)}, "body": {"B": base64.b64encode(bytes(size)).decode()}}

    def test_write_units_are_by_size_also_of_what_was_refused_and_deleted(self):
        def put(item, answer=(200, b"{}")):
            self.server.answers.append(answer)
            before = self.proxy.counts().write_units()
            self.table("PutItem", {"TableName": "t", "Item": item})
            return self.proxy.counts().write_units() - before
        around = len("pk" + "journal#0" + "sk" + "body") + 2  # and two bytes for a number of one digit
        self.assertEqual(put(self.item(1, 1024 - around)), 1)
        self.assertEqual(put(self.item(2, 1024 - around + 1)), 2)
        self.assertEqual(put(self.item(3, 10000)), 10)
        stood = {"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "Item": self.item(1, 3000)}
        self.assertEqual(put(self.item(1, 10), (400, json.dumps(stood).encode())), 3)
        throttled = {"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}
        self.assertEqual(put(self.item(4, 10), (400, json.dumps(throttled).encode())), 0)
        before = self.proxy.counts().write_units()
        keys = [{"pk": {"S": "journal#0"}, "sk": {"N": str(n)}} for n in (2, 3, 9)]
        self.table("BatchWriteItem", {"RequestItems": {"t": [{"DeleteRequest": {"Key": key}} for key in keys]}})
        self.assertEqual(self.proxy.counts().write_units() - before, 2 + 10 + 1)
        self.assertEqual(self.proxy.counts().sum("deletes", "dynamodb.*", "journal"), 3)

    def test_read_units_are_by_size_of_the_answer_and_half_when_not_consistent(self):
        def read(operation, answer, consistent):
            self.server.answers.append((200, json.dumps(answer).encode()))
            before = self.proxy.counts().read_units()
            self.table(operation, {"Key": {"pk": {"S": "store"}}, "ConsistentRead": consistent})
            return self.proxy.counts().read_units() - before
        self.assertEqual(read("Query", {"Items": []}, True), 1)
        self.assertEqual(read("Query", {"Items": []}, False), 0.5)
        self.assertEqual(read("Query", {"Items": [self.item(1, 3000), self.item(2, 3000)]}, True), 2)
        self.assertEqual(read("GetItem", {"Item": self.item(1, 9000)}, True), 3)

    def test_commands_that_are_wrong_are_refused_with_a_sentence(self):
        for command in ("fault", "fault s3.put no_such 1", "fault s3.nothing late 1", "fault s3.put late 2",
                        "fault s3.put throttled 1", "latency s3.put 9 3", "away moon 5", "what"):
            with self.assertRaises(Refused):
                self.proxy.tell(command)
        self.assertEqual(self.ask()[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
