"""A double of the Lambda runtime API, and the function that runs against it.

The real API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html) is one small HTTP server for each instance
of a function. So is this one: a Sandbox is a server on a port of its own and one process of the bootstrap. It answers
one invocation at a time, as an instance does, and can misbehave where the real thing can: an answer that is read and
never acknowledged, connections closed while the process is frozen, events that are no events.

    with Sandbox("build/lambda/bootstrap", {"STREAMS_STORE": "memory:"}) as sandbox:
        answer = sandbox.invoke(events.rest_api("GET", "/health"))

Everything blocks; many sandboxes are used from many threads.
"""
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import uuid

ANSWER_BYTES_MAX = 6 * 1024 * 1024  # what Lambda takes of an answer in one piece
PREFIX = "/2018-06-01/runtime/"


class Dead(Exception):
    """The process has ended, or did not answer before the function would have been killed."""


class Invocation:
    def __init__(self, event, timeout, headers):
        self.id = str(uuid.uuid4())
        self.payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        self.timeout = timeout
        self.headers = headers or {}
        self.done = threading.Event()
        self.given = None       # when the function got it
        self.answered = None    # when its answer was whole
        self.kind = None        # "response" or "error"
        self.answer_headers = {}
        self.trailers = {}
        self.body = b""
        self.pieces = []        # (time, bytes) of a streamed answer, as they came
        self.posts = 0          # how often an answer came

    @property
    def seconds(self):
        return self.answered - self.given

    def json(self):
        return json.loads(self.body)

    def http(self):
        """Status, headers (names in lower case, lists of values) and body of an answer to a front end."""
        if self.answer_headers.get("lambda-runtime-function-response-mode") == "streaming":
            head, body = self.body.split(b"\0" * 8, 1)
            answer = json.loads(head)
        else:
            answer = self.json()
            body = answer.get("body", "").encode()
            if answer.get("isBase64Encoded"):
                import base64
                body = base64.b64decode(answer["body"], validate=True)
        headers = {name.lower(): [value] for name, value in answer.get("headers", {}).items()}
        headers.update({name.lower(): values for name, values in answer.get("multiValueHeaders", {}).items()})
        return answer["statusCode"], headers, body


class Connection:
    """One connection of the function: requests in, answers out."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""

    def _more(self):
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionError("closed by the function")
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def exactly(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionError("closed by the function")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[count:]
        return whole[:count]

    def fields(self):
        fields = {}
        while True:
            line = self.line()
            if not line:
                return fields
            name, _, value = line.partition(":")
            fields[name.strip().lower()] = value.strip()

    def chunks(self):
        while True:
            size = int(self.line().split(";")[0], 16)
            if size == 0:
                return
            yield self.exactly(size)
            self.line()

    def answer(self, status, body=b"", headers=(), reason="x"):
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}", *headers]
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


class RuntimeAPI:
    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.waiting = queue.Queue()
        self.current = None
        self.asked = threading.Semaphore(0)   # released at each request for an event
        self.first_asked = None               # time of the first one
        self.init_error = None
        self.init_failed = threading.Event()
        self.connections = 0
        self.open = []
        self.lock = threading.Lock()
        self.raw_next = []        # bytes that are sent instead of the next events
        self.lose_answers = 0     # so many answers are read, and the connection closed instead of acknowledging
        self.lose_receipts = 0    # so many answers are taken, and the connection closed instead of saying so
        self.refuse_answers = []  # statuses for the next answers, instead of 202
        self.chunked_next = False
        self.ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.ended = True
        self.waiting.put(None)
        self.server.close()
        self.cut_connections()

    def cut_connections(self):
        with self.lock:
            connections, self.open = self.open, []
        for connection in connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.sock.close()

    def _accept(self):
        while not self.ended:
            try:
                sock, _ = self.server.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            with self.lock:
                self.connections += 1
                self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            while True:
                method, target, _ = connection.line().split(" ")
                fields = connection.fields()
                if method == "GET" and target == PREFIX + "invocation/next":
                    self._next(connection)
                elif method == "POST":
                    self._post(connection, target[len(PREFIX):], fields)
                else:
                    connection.answer(404)
        except (ConnectionError, OSError, ValueError):
            pass
        finally:
            connection.sock.close()

    def _take(self, connection):
        """The next invocation, while the connection lives."""
        while True:
            try:
                return self.waiting.get(timeout=0.02)
            except queue.Empty:
                with self.lock:
                    if connection not in self.open:
                        raise ConnectionError("cut")
            connection.sock.setblocking(False)
            try:
                if connection.sock.recv(1, socket.MSG_PEEK) == b"":
                    raise ConnectionError("closed by the function")
            except BlockingIOError:
                pass
            finally:
                connection.sock.setblocking(True)

    def _next(self, connection):
        if self.first_asked is None:
            self.first_asked = time.monotonic()
        self.asked.release()
        if self.raw_next:
            raw = self.raw_next.pop(0)
            connection.sock.sendall(raw)
            raise ConnectionError("cut after raw bytes")
        invocation = self._take(connection)
        if invocation is None:
            raise ConnectionError("the double closes")
        self.current = invocation
        invocation.given = time.monotonic()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + invocation.timeout) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:streams",
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
            **invocation.headers,
        }
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        if self.chunked_next:
            head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *lines]).encode() + b"\r\n\r\n"
            connection.sock.sendall(head)
            for at in range(0, len(invocation.payload), 100_000):
                piece = invocation.payload[at:at + 100_000]
                connection.sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sock.sendall(b"0\r\n\r\n")
        else:
            connection.answer(200, invocation.payload, lines, "OK")

    def _body(self, connection, fields, invocation):
        if fields.get("transfer-encoding", "").lower() != "chunked":
            return connection.exactly(int(fields.get("content-length", 0))), {}
        pieces = []
        for piece in connection.chunks():
            pieces.append(piece)
            if invocation is not None:
                invocation.pieces.append((time.monotonic(), piece))
        return b"".join(pieces), connection.fields()

    def _post(self, connection, target, fields):
        if target == "init/error":
            body, _ = self._body(connection, fields, None)
            self.init_error = (fields.get("lambda-runtime-function-error-type"), json.loads(body))
            connection.answer(202, b'{"status":"OK"}')
            self.init_failed.set()
            return
        _, request_id, kind = target.split("/")
        invocation = self.current
        known = invocation is not None and invocation.id == request_id
        body, trailers = self._body(connection, fields, invocation if known else None)
        if known:
            invocation.posts += 1
        if self.lose_answers > 0:
            self.lose_answers -= 1
            raise ConnectionError("the answer's acknowledgement is lost")
        if not known or invocation.done.is_set():
            connection.answer(400, b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}')
            return
        status = self.refuse_answers.pop(0) if self.refuse_answers else 202
        if len(body) > ANSWER_BYTES_MAX and "lambda-runtime-function-response-mode" not in fields:
            status = 413
        invocation.kind = kind if status < 300 else "refused"
        invocation.body, invocation.trailers, invocation.answer_headers = body, trailers, fields
        invocation.answered = time.monotonic()
        invocation.done.set()
        if self.lose_receipts > 0:
            self.lose_receipts -= 1
            raise ConnectionError("the receipt is lost")
        connection.answer(status, b'{"status":"OK"}' if status < 300 else b'{"errorMessage":"refused"}')


class Sandbox:
    def __init__(self, command, environment, memory_mb=512, stderr=None, start=True):
        self.api = RuntimeAPI()
        self.command = [command] if isinstance(command, str) else list(command)
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.api.port}",
            "AWS_LAMBDA_FUNCTION_NAME": "streams",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
            **{name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")},
            **environment,
        }
        self.stderr = stderr
        self.process = None
        self.started = None
        if start:
            self.start()

    def start(self):
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, env=self.environment, stderr=self.stderr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.api.close()

    def wait_asking(self, timeout=20):
        """Until the function asks for an event (once for each call)."""
        if not self.api.asked.acquire(timeout=timeout):
            raise Dead(f"no request for an event within {timeout} s, exit status {self.process.poll()}")

    def begin(self, event, timeout=10, headers=None):
        invocation = Invocation(event, timeout, headers)
        self.api.waiting.put(invocation)
        return invocation

    def finish(self, invocation, patience=None):
        """Waits for the answer, at most until the function would be killed (or `patience` seconds)."""
        end = time.monotonic() + (patience or invocation.timeout + 5)
        while not invocation.done.wait(0.05):
            if self.process.poll() is not None:
                raise Dead(f"the function ended with status {self.process.returncode} and no answer")
            late = invocation.given is not None and time.monotonic() > invocation.given + invocation.timeout
            if time.monotonic() > end or (late and patience is None):
                raise Dead("no answer before the function would have been killed")
        return invocation

    def invoke(self, event, timeout=10, headers=None):
        return self.finish(self.begin(event, timeout, headers))

    def http(self, event, timeout=10):
        """Status, headers and body that the front end's client gets."""
        invocation = self.invoke(event, timeout)
        if invocation.kind != "response":
            raise AssertionError(f"{invocation.kind}: {invocation.body[:300]!r}")
        return invocation.http()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def terminate(self, timeout=10):
        self.process.terminate()
        return self.process.wait(timeout)
