#!/usr/bin/env python3
"""The HTTP port: framing that could be read in two ways, requests that are none, and values nobody should send."""
import json
import re
import struct
import time

import gateway
import wire
from gateway import PATIENCE

MIB = 1 << 20
HOST = b"Host: h\r\n"
GOOD = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
PRODUCE = b"POST /topics/http/produce HTTP/1.1\r\n" + HOST
CONSUME = b"GET /topics/http/consume%s HTTP/1.1\r\n" + HOST + b"\r\n"


class Answer:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    @property
    def code(self):
        return json.loads(self.body)["code"]


class HttpDoor(gateway.Attack):
    options = ("--receive.timeout.ms", "1500", "--http.request.max.bytes", "1M")

    def answer(self, peer, head_only=False):
        """The next answer of the connection; None when it has ended."""
        head = bytearray()
        while b"\r\n\r\n" not in head:
            more = peer.read(1)
            if not more:
                self.assertEqual(head, b"", "an answer is cut")
                return None
            head += more
        lines = head[:-4].decode("ascii").split("\r\n")
        status = int(re.fullmatch(r"HTTP/1\.1 (\d{3}) [A-Za-z ]+", lines[0]).group(1))
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        body = b"" if head_only or status == 100 else peer.read(int(fields["content-length"]))
        if status >= 400 and not head_only:
            found = json.loads(body)
            self.assertEqual(set(found), {"error", "code"})
            self.assertRegex(found["code"], r"^[a-z0-9_]+$")
            self.assertRegex(found["error"], r"^[A-Z].*\.$")
        return Answer(status, fields, body)

    def answers(self, octets, half_close=True):
        """All answers to these bytes, until the connection ends."""
        with self.http() as peer:
            peer.send(octets)
            if half_close:
                peer.half_close()
            found = []
            while True:
                answer = self.answer(peer)
                if answer is None:
                    return found
                found.append(answer)

    def stored(self):
        return json.loads(self.gateway.http_get("/topics/http/consume?offset=999999999")[2]) and \
            int(json.loads(self.gateway.http_call("POST", "/topics/http/produce", '{"payload":"count"}')[2])["offset"])

    def refused(self, octets, status, closes=True):
        """One answer, and whatever comes behind the bytes is never taken for a request."""
        found = self.answers(octets + GOOD, half_close=False) if closes else self.answers(octets)
        self.assertEqual([answer.status for answer in found], [status], octets[:200])
        if closes:
            self.assertEqual(found[0].fields.get("connection"), "close")

    def test_framing_that_two_servers_could_read_in_two_ways_is_refused(self):
        hidden = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
        before = self.stored()
        five = b'{"payload":1}'
        n = b"%d" % len(five)
        heads = [
            b"Content-Length: " + n + b"\r\nContent-Length: " + n + b"\r\n",
            b"Content-Length: " + n + b"\r\nContent-Length: 0\r\n",
            b"Content-Length: 0\r\nContent-Length: " + n + b"\r\n",
            b"Content-Length: " + n + b", " + n + b"\r\n",
            b"Content-Length: +" + n + b"\r\n", b"Content-Length: -1\r\n", b"Content-Length: 0x0d\r\n",
            b"Content-Length: 1_3\r\n", b"Content-Length: " + n + b".0\r\n", b"Content-Length: 1 3\r\n",
            b"Content-Length:\r\n", b"Content-Length: \x0b" + n + b"\r\n", b"Content-Length: " + n + b"\r\n\t\r\n",
            b"Content-Length: " + n + b"\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: " + n + b"\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n", b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: identity\r\n", b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding:\r\n",
            b"Transfer-Encoding: \x0bchunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n",
            b"Transfer-Encoding : chunked\r\n", b" Transfer-Encoding: chunked\r\n",
            b"X: y\r\n Transfer-Encoding: chunked\r\n", b"X: y\r\n\tfolded\r\nContent-Length: " + n + b"\r\n",
            b"Content-Length : " + n + b"\r\n", b"Content Length: " + n + b"\r\n", b"Content-Length\r\n",
            b": no name\r\nContent-Length: " + n + b"\r\n", b"Content-Length: " + n + b"\n",
            b"Content-Length: " + n + b"\r\r\n", b"X: \0\r\nContent-Length: " + n + b"\r\n",
            b"X\0: y\r\nContent-Length: " + n + b"\r\n", b"X: a\rb\r\nContent-Length: " + n + b"\r\n",
            b"X: a\nContent-Length: " + n + b"\r\n", b"Host: other\r\nContent-Length: " + n + b"\r\n",
            b"X\xff: y\r\nContent-Length: " + n + b"\r\n", b"X(: y\r\nContent-Length: " + n + b"\r\n",
        ]
        for head in heads:
            self.refused(PRODUCE + head + b"\r\n" + five + hidden, 400)
        self.refused(PRODUCE.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400)
        self.refused(PRODUCE + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501)
        self.refused(PRODUCE + b"\r\n" + five, 411)
        self.assertEqual(self.stored(), before + 1, "nothing of it was stored")

    def test_chunks_that_are_none_are_refused(self):
        before = self.stored()
        chunked = PRODUCE + b"Transfer-Encoding: chunked\r\n\r\n"
        for body in (b"\r\n", b"x\r\n", b"-1\r\n", b"+d\r\n", b"0xd\r\n", b" d\r\n", b"d\n", b"fffffffffffffffff\r\n",
                     b"10000000000000000\r\n", b"d\r\n" + b'{"payload":1}' + b"XX",
                     b"d\r\n" + b'{"payload":1}' + b"\n0\r\n",
                     b"c\r\n" + b'{"payload":1}' + b"\r\n0\r\n", b"d;" + b"e" * 1000 + b"\r\n", b"d;\0\r\n",
                     b"d;a\n\r\n", b"d\r\n" + b'{"payload":1}' + b"\r\n0\r\nX: \0\r\n\r\n",
                     b"d\r\n" + b'{"payload":1}' + b"\r\n0\r\n" + b"X: y\r\n" * 2000 + b"\r\n", b"g\r\n", b";\r\n"):
            self.refused(chunked + body, 400)
        for body in (b"d\r\n" + b'{"payload":1}' + b"\r\n0\r\n\r\n", b"0000000d;ext=\"v\"\r\n" + b'{"payload":1}' +
                     b"\r\n0;e\r\nTrailer: t\r\n\r\n",
                     b"1\r\n{\r\n" + b"C \r\n" + b'"payload":1}' + b"\r\n000\r\n\r\n"):
            found = self.answers(chunked + body)
            self.assertEqual([answer.status for answer in found], [200], body)
        self.assertEqual(self.stored(), before + 4)

    def test_request_lines_that_are_none(self):
        for line, status in ((b"GET /health", 400), (b"GET", 400), (b"GET  /health HTTP/1.1", 400),
                             (b"GET /health  HTTP/1.1", 400), (b" GET /health HTTP/1.1", 400),
                             (b"GET /health HTTP/1.1 ", 400), (b"GET\t/health\tHTTP/1.1", 400),
                             (b"GET /hea lth HTTP/1.1", 400), (b"GET /health\0 HTTP/1.1", 400),
                             (b"GET /health HTTP/1", 400), (b"GET /health http/1.1", 400),
                             (b"GET /health HTTP/1.1.1", 400), (b"GET /health HTTP/a.b", 400),
                             (b"G(T /health HTTP/1.1", 400), (b"GET /\xc3\xa4 HTTP/1.1", 400),
                             (b"GET /health#f HTTP/1.1", 400), (b"GET health HTTP/1.1", 400),
                             (b"GET /health HTTP/2.0", 505), (b"GET /health HTTP/0.9", 505),
                             (b"GET /health HTTP/3.7", 505), (b"PRI * HTTP/2.0", 505),
                             (b"GET /" + b"a" * 9000 + b" HTTP/1.1", 414), (b"M" * 9000 + b" / HTTP/1.1", 414)):
            with self.subTest(line[:40]):
                self.refused(line + b"\r\n" + HOST + b"\r\n", status)

    def test_http_2_and_other_protocols(self):
        for hello, status in ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 30, 505),
                              (bytes.fromhex("1603010200010001fc0303") + bytes(300), 400),
                              (b"SSH-2.0-OpenSSH_9.2\r\n", 400), (wire.api_versions() + b"\0" * 20, 400)):
            found = self.answers(hello, half_close=False)
            self.assertEqual([answer.status for answer in found], [status], hello[:20])

    def test_hosts(self):
        get = b"GET /health HTTP/1.1\r\n%s\r\n"
        for fields in (b"", b"Host: a\r\nHost: a\r\n", b"Host: a b\r\n", b"Host: a/b\r\n", b"Host: a\0\r\n"):
            self.refused(get % fields, 400)
        for fields in (b"Host:\r\n", b"Host: [::1]:80\r\n", b"hOST: h\r\n", b"Host:h\r\n", b"Host: \t h \t \r\n"):
            self.assertEqual([a.status for a in self.answers(get % fields)], [200], fields)
        self.assertEqual([a.status for a in self.answers(b"GET /health HTTP/1.0\r\n\r\n")], [200])
        self.assertEqual([a.status for a in self.answers(b"GET http://h/health HTTP/1.1\r\nHost: h\r\n\r\n")], [200])

    def test_methods(self):
        for line, status, allow in ((b"get /health", 405, "get, head"), (b"POST /health", 405, "get, head"),
                                    (b"DELETE /topics/http/produce", 405, "post"),
                                    (b"GET /topics/http/produce", 405, "post"), (b"PURGE /health", 405, "get, head"),
                                    (b"POST /topics/http/consume", 405, "get, head"),
                                    (b"TRACE /health", 405, "get, head"),
                                    (b"CONNECT h:80", 400, None), (b"GET /absent", 404, None), (b"GET /", 404, None),
                                    (b"GET //health", 404, None), (b"GET /v1/v2/health", 404, None),
                                    (b"GET /..%2fhealth", 404, None), (b"GET /topics/a/b/c/d/e/f/g/h/i/j", 404, None),
                                    (b"OPTIONS *", 404, None)):
            with self.subTest(line):
                found = self.answers(line + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
                self.assertEqual([(a.status, a.fields.get("allow")) for a in found], [(status, allow)])

    def test_head_has_no_body(self):
        with self.http() as peer:
            peer.send(GOOD.replace(b"GET", b"HEAD") + GOOD)
            head, get = self.answer(peer, head_only=True), self.answer(peer)
            self.assertEqual((head.status, head.fields["content-length"]), (200, str(len(get.body))))
            peer.send(GOOD.replace(b"GET /health", b"HEAD /absent") + GOOD)
            self.assertEqual(self.answer(peer, head_only=True).status, 404)
            self.assertEqual(self.answer(peer).status, 200)

    def test_one_thousand_pipelined_requests_are_answered_in_order(self):
        before = self.stored()
        with self.http() as peer:
            peer.send((PRODUCE + b"Content-Length: 13\r\n\r\n" + b'{"payload":1}' + GOOD) * 500)
            for n in range(500):
                produced, health = self.answer(peer), self.answer(peer)
                self.assertEqual((produced.status, json.loads(produced.body)["offset"]), (200, before + 1 + n))
                self.assertEqual((health.status, json.loads(health.body)), (200, {"status": "ok"}))
        self.assertEqual(self.stored(), before + 501)

    def test_keep_alive_and_close(self):
        for version, field, stays in ((b"1.1", b"", True), (b"1.1", b"Connection: close\r\n", False),
                                      (b"1.1", b"Connection: Close, x\r\n", False),
                                      (b"1.1", b"Connection: x,close\r\nConnection: keep-alive\r\n", False),
                                      (b"1.0", b"", False), (b"1.0", b"Connection: keep-alive\r\n", True)):
            octets = b"GET /health HTTP/" + version + b"\r\nHost: h\r\n" + field + b"\r\n"
            self.assertEqual(len(self.answers(octets * 2)), 2 if stays else 1, (version, field))

    def test_expect(self):
        with self.http() as peer:
            peer.send(PRODUCE + b"Content-Length: 13\r\nExpect: 100-continue\r\n\r\n")
            self.assertEqual(self.answer(peer).status, 100)
            peer.send(b'{"payload":1}')
            self.assertEqual(self.answer(peer).status, 200)
        self.refused(PRODUCE + b"Content-Length: 13\r\nExpect: 200-ok\r\n\r\n", 417)
        self.refused(PRODUCE + b"Content-Length: 9999999\r\nExpect: 100-continue\r\n\r\n", 413)

    def test_too_much(self):
        self.refused(b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431)
        self.refused(b"GET /health HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 5000 + b"\r\n", 431)
        self.refused(b"GET /health HTTP/1.1\r\n" + HOST + b"x" * 30000 + b": y\r\n\r\n", 431)
        self.refused(b"GET /topics/" + b"a" * 4000 + b"/consume HTTP/1.1\r\n" + HOST + b"\r\n", 400, closes=False)
        for length in (b"1048577", b"99999999999", b"9" * 40):
            self.refused(PRODUCE + b"Content-Length: " + length + b"\r\n\r\n", 413)
        body = b'{"payload":"' + b"x" * (2 * MIB) + b'"}'
        chunk = b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
        found = self.answers(PRODUCE + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, half_close=False)
        self.assertEqual([a.status for a in found], [413])
        self.assertEqual([a.status for a in self.answers(PRODUCE + b"Content-Length: %d\r\n\r\n" % len(body) + body,
                                                         half_close=False)], [413])

    def test_what_is_slow_is_answered_408_and_delays_nobody(self):
        begins = (b"G", b"GET /health HTTP/1.1\r\nX: ", PRODUCE + b"Content-Length: 50\r\n\r\n{",
                  PRODUCE + b"Transfer-Encoding: chunked\r\n\r\n50\r\n{")
        with gateway.Watch(self.gateway) as watch:
            peers = [self.http() for _ in begins]
            for peer, begin in zip(peers, begins):
                peer.send(begin)
            open_peers, until = dict(enumerate(peers)), time.monotonic() + 6 * PATIENCE
            while open_peers and time.monotonic() < until:
                time.sleep(0.25)
                for n, peer in list(open_peers.items()):
                    peer.socket.settimeout(0.001)
                    try:
                        answer = peer.socket.recv(4096)
                        self.assertRegex(answer, rb"^HTTP/1.1 408 ")
                        self.assertIn(b'"code":"request_timeout"', answer)
                        del open_peers[n]
                    except TimeoutError:
                        peer.send(b"a")
            self.assertEqual(open_peers, {})
            for peer in peers:
                peer.socket.close()
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 500 * PATIENCE)

    def test_bodies_that_are_no_payload(self):
        before = self.stored()
        long = b"1" * 900000
        bad = [b"", b" ", b"null", b"[]", b"1", b'"payload"', b"{", b"}", b"{}x", b"{'payload':1}", b"{payload:1}",
               b'{"payload":}', b'{"payload":1,}', b'{"payload":1 "x":2}', b'{"payload":1}{}', b'{"payload":01}',
               b'{"payload":1.}', b'{"payload":.5}', b'{"payload":+1}', b'{"payload":1e}', b'{"payload":NaN}',
               b'{"payload":Infinity}', b'{"payload":tru}', b'{"payload":"\n"}', b'{"payload":"\0"}',
               b'{"payload":1}\0',
               b'{"payload":"\\x41"}', b'{"payload":"\\u12g4"}', b'{"payload":"\\u12"}', b'{"payload":"\xff"}',
               b'{"payload":"\xc0\x80"}', b'{"payload":"\xed\xa0\x80"}', b'{"payload":"\xf4\x90\x80\x80"}',
               b'{"payload":"\xe2\x82"}', b'\xef\xbb\xbf{"payload":1}', b'\xff\xfe{\0', b'{"payload":1,"payload":2}',
               b'{"payload":' + b"[" * 400000, b'{"payload":' + b"[" * 100000 + b"]" * 100000 + b"}",
               b'{"payload":' + b'{"a":' * 50000 + b"1" + b"}" * 50000 + b"}", b'{"' + b"k" * 900000,
               b'/**/{"payload":1}']
        with self.http() as peer:
            for body in bad:
                with self.subTest(body[:40]):
                    peer.send(PRODUCE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    answer = self.answer(peer)
                    self.assertEqual((answer.status, answer.code), (400, "bad_json"))
            for body in (b"{}", b'{"Payload":1}', b'{"a":{"payload":1}}', b'{"payload ":1}'):
                peer.send(PRODUCE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                answer = self.answer(peer)
                self.assertEqual((answer.status, answer.code), (400, "missing_payload"))
            self.assertEqual(self.stored(), before + 1)
            good = [b"null", b'""', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"\xf4\x8f\xbf\xbf"', b"-0", b"1e999",
                    b"9" * 300, long, b'"' + b"\xe2\x82\xac" * 100000 + b'"', b"[" * 50 + b"]" * 50, b'{"a":1,"a":2}']
            for payload in good:
                body = b'{"payload": ' + payload + b"}"
                peer.send(PRODUCE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                produced = self.answer(peer)
                self.assertEqual(produced.status, 200, (payload[:40], produced.body))
                peer.send(CONSUME % b"?limit=1&offset=%d" % json.loads(produced.body)["offset"])
                consumed = self.answer(peer)
                self.assertEqual(consumed.status, 200)
                self.assertIn(b'"payload":' + payload + b',"timestamp"', consumed.body)

    def test_offsets_and_limits(self):
        self.stored()
        bad_offsets = (b"", b"-1", b"+1", b"1.0", b"1e3", b"0x1", b"%31%2d", b"9223372036854775808", b"9" * 100,
                       b"%00", b"1%00", b"one", b"%", b"%2", b"1;2", b"NaN", b"1%20")
        bad_limits = (b"", b"0", b"-1", b"+5", b"1.5", b"ten", b"%zz", b"00", b"1%0a")
        with self.http() as peer:
            for query, code in [(b"?offset=" + text, "bad_offset") for text in bad_offsets] + \
                    [(b"?limit=" + text, "bad_limit") for text in bad_limits]:
                with self.subTest(query):
                    peer.send(CONSUME % query)
                    answer = self.answer(peer)
                    self.assertEqual((answer.status, answer.code), (400, code))
            for query in (b"", b"?", b"?&&&", b"?offset=0", b"?offset=00000000000000000000001", b"?offset=%31",
                          b"?limit=101", b"?limit=9223372036854775807", b"?limit=99999999999999999999999",
                          b"?x=y&offset=1",
                          b"?offset=1&limit=1&offset=2", b"?OFFSET=x", b"?offset=9223372036854775807"):
                with self.subTest(query):
                    peer.send(CONSUME % query)
                    self.assertEqual(self.answer(peer).status, 200)
            peer.send(CONSUME % b"?offset=9223372036854775807")
            self.assertEqual(json.loads(self.answer(peer).body), {"messages": [], "next_offset": 9223372036854775807})

    def test_topic_names(self):
        with self.http() as peer:
            for name in (b"", b".", b"..", b"%2e%2e", b"a%2fb", b"a%00", b"%", b"%zz", b"a" * 250, b"a%20b",
                         b"%c3%a4", b"*", b"a%0d%0aX:y"):
                for line in (b"POST /topics/%s/produce", b"GET /topics/%s/consume"):
                    with self.subTest(line % name):
                        fields = b" HTTP/1.1\r\n" + HOST + b"Content-Length: 13\r\n\r\n"
                        peer.send(line % name + fields + b'{"payload":1}')
                        answer = self.answer(peer)
                        self.assertEqual((answer.status, answer.code), (400, "bad_topic_name"))

    def test_a_body_that_ends_too_early_is_not_stored(self):
        before = self.stored()
        for octets in (PRODUCE + b"Content-Length: 14\r\n\r\n" + b'{"payload":1}',
                       PRODUCE + b"Transfer-Encoding: chunked\r\n\r\nd\r\n" + b'{"payload":1}' + b"\r\n",
                       PRODUCE + b"Transfer-Encoding: chunked\r\n\r\nd\r\n" + b'{"payload":1}' + b"\r\n0\r\n"):
            self.assertEqual([a.status for a in self.answers(octets)], [])
            peer = self.http()
            peer.send(octets)
            peer.reset()
        self.assertEqual(self.stored(), before + 1)

    def test_messages_that_are_none(self):
        self.gateway.http_call("POST", "/topics/http/produce", '{"payload":1}')
        bad = [(b'{"messages":[]}', "bad_messages"), (b'{"messages":[1]}', "bad_messages"),
               (b'{"messages":[{"payload":1},{}]}', "missing_payload"),
               (b'{"messages":[' + b'{"payload":1},' * 10000 + b'{"payload":1}]}', "bad_messages"),
               (b'{"payload":1,"headers":[' + b'{"name":"a"},' * 1000 + b'{"name":"a"}]}', "bad_headers"),
               (b'{"payload":1,"headers":{"":[]}}', "bad_headers"),
               (b'{"payload":1,"key":{"base64":"=AAA"}}', "bad_key"),
               (b'{"payload":1,"partition":4294967296}', "bad_partition"),
               (b'{"payload":1,"timestamp":' + b"9" * 1000 + b"}", "bad_timestamp")]
        before = self.stored()
        with self.http() as peer:
            for body, code in bad:
                with self.subTest(body[:60]):
                    peer.send(PRODUCE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                    answer = self.answer(peer)
                    self.assertEqual((answer.status, answer.code), (400, code))
            for key in (b"", b" ", b"k" * 256, b"\x80", b"a\r\nIdempotency-Key: b"):
                with self.subTest(key[:20]):
                    peer.send(PRODUCE + b"Idempotency-Key: %s\r\nContent-Length: 13\r\n\r\n" % key + b'{"payload":1}')
                    answer = self.answer(peer)
                    self.assertEqual((answer.status, answer.code), (400, "bad_idempotency_key"))
            for name in (b"", b"a b", b"..", b"x" * 250):
                body = b'{"name":"%s"}' % name
                peer.send(b"POST /topics HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                self.assertEqual(self.answer(peer).code, "bad_topic_name")
        self.assertEqual(self.stored(), before + 1)

    def test_a_crowd_that_waits_costs_others_nothing(self):
        """More than there may be requests at once, half of them streams; then all of them vanish."""
        self.gateway.http_call("POST", "/topics/wait/produce", '{"payload":1}')
        peers = [self.http() for _ in range(700)]
        with gateway.Watch(self.gateway) as watch:
            for n, peer in enumerate(peers):
                accept = b"Accept: text/event-stream\r\n" if n % 2 else b""
                peer.send(b"GET /topics/wait/consume?offset=2&wait_ms=60000 HTTP/1.1\r\n" + HOST + accept + b"\r\n")
            time.sleep(2 * PATIENCE)
            self.gateway.http_call("POST", "/topics/wait/produce", '{"payload":"woken"}')
            for peer in peers[::50]:
                found = b""
                while b"woken" not in found:
                    more = peer.socket.recv(4096)
                    self.assertNotEqual(more, b"", found)
                    found += more
            for peer in peers:
                peer.reset()
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE)

    def test_answers_nobody_reads_are_bounded(self):
        value = json.dumps({"payload": "x" * 900000})
        for _ in range(8):
            self.gateway.http_call("POST", "/topics/wide/produce", value)
        peers = [self.http() for _ in range(30)]
        with gateway.Watch(self.gateway) as watch:
            for peer in peers:
                peer.send(b"GET /topics/wide/consume?limit=100 HTTP/1.1\r\nHost: h\r\n\r\n" * 20)
            time.sleep(2 * PATIENCE)
            for peer in peers:
                peer.reset()
        self.assertIsNone(watch.failure)
        self.assertLess(max(watch.worst_ms.values()), 1000 * PATIENCE)
        if not gateway.SANITIZED:
            self.assertLess(self.gateway.peak_mib(), 400)


if __name__ == "__main__":
    gateway.main()
