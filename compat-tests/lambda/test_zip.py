#!/usr/bin/env python3
"""What is uploaded: both zips as infra/lambda makes them, and the programs in them, arm64 under emulation.

The programs are static and bring their own libcurl, libcrypto and resolver, so this looks at what only they can get
wrong: names, TLS, roots.
"""
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import events  # noqa: E402
from runtime_double import Sandbox  # noqa: E402

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
ZIP_BYTES_MAX = 3_000_000
NEXT_SECONDS_MAX = 0.005
RUNNERS = {"x86_64": [], "arm64": ["qemu-aarch64"]}


class Endpoint:
    """An AWS endpoint over TLS at localhost that refuses everything, and remembers what it was asked."""

    def __init__(self, folder):
        self.ca = os.path.join(folder, "ca.pem")
        key = os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", key, "-out", self.ca, "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def refuse(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append((self.connection.version(), self.headers.get("Authorization", "")))
                body = b'{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}'
                self.send_response(400)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = refuse

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Zips(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp()
        subprocess.run([os.path.join(ROOT, "infra/lambda"), "zip"], check=True)
        for arch in RUNNERS:
            with zipfile.ZipFile(os.path.join(ROOT, f"build-lambda/lambda-{arch}.zip")) as archive:
                archive.extractall(os.path.join(cls.folder, arch))
            os.chmod(cls.program(arch), 0o755)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def program(cls, arch):
        return os.path.join(cls.folder, arch, "bootstrap")

    def function(self, arch, environment, **named):
        return Sandbox(RUNNERS[arch] + [self.program(arch)],
                       {"LAMBDA_TASK_ROOT": os.path.join(self.folder, arch), **environment}, **named)

    def test_a_zip_is_small_and_holds_a_static_program_and_the_roots(self):
        for arch, machine in (("x86_64", b"\x3e\0"), ("arm64", b"\xb7\0")):
            path = os.path.join(ROOT, f"build-lambda/lambda-{arch}.zip")
            print(f"{os.path.basename(path)}: {os.path.getsize(path)} bytes", file=sys.stderr)
            self.assertLessEqual(os.path.getsize(path), ZIP_BYTES_MAX)
            with zipfile.ZipFile(path) as archive:
                self.assertEqual(sorted(archive.namelist()), ["bootstrap", "roots.pem"])
                self.assertEqual(archive.getinfo("bootstrap").external_attr >> 16 & 0o777, 0o755)
                program = archive.read("bootstrap")
                self.assertEqual(archive.read("roots.pem").count(b"BEGIN CERTIFICATE"), 5)
            self.assertEqual(program[:4] + program[18:20], b"\x7fELF" + machine)
            headers = subprocess.run(["readelf", "-lS", self.program(arch)], capture_output=True, text=True, check=True)
            self.assertNotIn("INTERP", headers.stdout)
            self.assertNotIn(".debug", headers.stdout)

    def test_the_native_one_asks_for_an_event_within_five_milliseconds(self):
        times = []
        while len(times) < 20 or (min(times) >= NEXT_SECONDS_MAX and len(times) < 200):  # others may use the processor
            with self.function("x86_64", {"STREAMS_STORE": "s3://bucket?table=table&region=us-east-1"}) as sandbox:
                sandbox.wait_asking()
                times.append(sandbox.api.first_asked - sandbox.started)
        times.sort()
        print(f"exec to first event: best {times[0] * 1000:.1f} ms, median {times[len(times) // 2] * 1000:.1f} ms",
              file=sys.stderr)
        self.assertLess(times[0], NEXT_SECONDS_MAX)

    def test_each_serves_records(self):
        for arch in RUNNERS:
            with self.function(arch, {"STREAMS_STORE": "memory:"}) as sandbox:
                for number in range(1, 4):
                    event = events.rest_api("POST", "/topics/t/produce", body=json.dumps({"payload": [number]}))
                    self.assertEqual(json.loads(sandbox.http(event, 20)[2]), {"topic": "t", "offset": number})
                answer = json.loads(sandbox.http(events.function_url("GET", "/topics/t/consume", "offset=1"), 20)[2])
                self.assertEqual([m["payload"] for m in answer["messages"]], [[1], [2], [3]])
                self.assertEqual(sandbox.invoke(events.queue_record(), 20).kind, "error")
                self.assertEqual(sandbox.terminate(), 0)

    def ask(self, arch, endpoint, environment):
        """One request to a store behind the endpoint."""
        url = f"s3://bucket?table=table&region=us-east-1&endpoint=https://localhost:{endpoint.port}"
        environment = {"STREAMS_STORE": url,
                       "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", **environment}
        with self.function(arch, environment, stderr=subprocess.DEVNULL) as sandbox:
            self.assertEqual(sandbox.http(events.rest_api("GET", "/topics/t/consume"), 8)[0], 503)

    def test_each_looks_names_up_and_speaks_tls_to_whom_it_trusts_alone(self):
        for arch in RUNNERS:
            endpoint = Endpoint(self.folder)
            try:
                self.ask(arch, endpoint, {})
                self.assertEqual(endpoint.asked, [], "the zip's roots do not include this one")
                self.ask(arch, endpoint, {"AWS_CA_BUNDLE": endpoint.ca})
                version, authorization = endpoint.asked[0]
                self.assertEqual(version, "TLSv1.3")
                self.assertTrue(authorization.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), authorization)
                before = len(endpoint.asked)
                self.ask(arch, endpoint, {"SSL_CERT_FILE": endpoint.ca})
                self.assertGreater(len(endpoint.asked), before)
            finally:
                endpoint.close()


if __name__ == "__main__":
    unittest.main()
