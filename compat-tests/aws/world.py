"""A world to test in: S3 and DynamoDB behind the fault proxy, gateways on them, clients that write and read, one history.

The servers are those that the environment names (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB and the keys: what
infra/aws-parts prints). GATEWAY, BOOTSTRAP, KAFKA_CLIENT and PROXY name programs."""
import ctypes
import datetime
import hashlib
import hmac
import http.client
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lambda"))
import events  # noqa: E402
import runtime_double  # noqa: E402
from faultproxy import Proxy  # noqa: E402
from history import History, identify, value  # noqa: E402

REGION = os.environ.get("AWS_REGION", "us-east-1")
READY_S = 60
READ_S = 60


def sign(method, host, path, service, headers, body):
    """The headers of a request signed with SigV4; path without a query."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    hashed = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-date": now, "x-amz-content-sha256": hashed, **headers}
    names = sorted(headers)
    canonical = "\n".join([method, path, ""] + [f"{name}:{headers[name]}" for name in names] + ["", ";".join(names), hashed])
    scope = f"{now[:8]}/{REGION}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in (now[:8], REGION, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}, "
                                f"SignedHeaders={';'.join(names)}, Signature={signature}")
    return headers


def make_bucket(name):
    host = urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_S3"]).netloc
    client = http.client.HTTPConnection(host, timeout=30)
    client.request("PUT", "/" + name, b"", sign("PUT", host, "/" + name, "s3", {}, b""))
    answer = client.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"bucket {name}: {answer.status} {answer.read()}")
    client.close()


def die_with_parent():
    """A test that is killed leaves no gateway behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Gateway:
    """One gateway, which can be killed and started again on its ports."""
    numbers = itertools.count(1)

    def __init__(self, store, environment=None, options=()):
        self.store, self.options = store, list(options)
        self.environment = {**os.environ, **(environment or {})}
        self.number = next(self.numbers)
        self.log_path = os.path.join(tempfile.gettempdir(), f"gateway-{os.getpid()}-{self.number}.log")
        self.kafka = self.http = "127.0.0.1:0"
        self.process = None
        self.restart()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.environ["GATEWAY"], "--kafka", self.kafka, "--http", self.http, "--store", self.store, *self.options],
                stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True, preexec_fn=die_with_parent)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(READY_S)
            raise RuntimeError("the gateway did not become ready: " + self.log()[-1000:])
        ready = dict(word.split("=", 1) for word in line.split()[1:])
        self.kafka, self.http = ready["kafka"], ready["http"]

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def restart(self):
        """As a supervisor does: what is transient at the start is tried again."""
        for tries_left in (2, 1, 0):
            try:
                return self.start()
            except RuntimeError:
                if tries_left == 0:
                    raise
                self.process.stdout.close()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """Its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process.stdout.close()
        os.unlink(self.log_path)
        return status

    def get(self, path, timeout=20):
        client = http.client.HTTPConnection(self.http, timeout=timeout)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            return answer.status, answer.read()
        finally:
            client.close()

    def metrics(self):
        lines = self.get("/metrics")[1].decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines if line and not line.startswith("#")}


class KafkaClient:
    """A clients/kafka.c whose events go into the history when it ends."""

    def __init__(self, history, what, gateway, topic, partitions, name, rate=0):
        self.history, self.name = history, name
        self.out = tempfile.TemporaryFile("w+")
        self.err = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [os.environ["KAFKA_CLIENT"], what, gateway.kafka, topic, str(partitions), name, str(rate or 1)],
            stdin=subprocess.PIPE, stdout=self.out, stderr=self.err, text=True)

    def end(self):
        """Lets it finish; its exit status must be 0."""
        if not self.process.stdin.closed:
            self.process.stdin.close()

    def join(self):
        self.end()
        status = self.process.wait(180)
        self.out.seek(0)
        for line in self.out:
            self.history.add(line)
        self.err.seek(0)
        said = self.err.read()
        self.out.close()
        self.err.close()
        if status != 0:
            raise AssertionError(f"{self.name} ended with {status}: {said}")


class Writer(threading.Thread):
    """Sends one record after the other to partition 0 and waits for each answer; never sends one twice."""

    def __init__(self, history, topic, name, pause_s, body=None):
        """body: always this one, for what measures and checks no history."""
        super().__init__(daemon=True)
        self.history, self.topic, self.name, self.pause_s, self.body = history, topic, name, pause_s, body
        self.stopped = threading.Event()
        self.events, self.times = [], []  # times: (sent, answered), of those that were acknowledged

    def run(self):
        for n in itertools.count():
            if self.stopped.is_set():
                break
            began = time.monotonic_ns()
            kind, rest = self.send(self.body or b'{"payload": ' + value(self.name, n) + b"}")
            now = time.monotonic_ns()
            self.events += [f"s {began} {self.name} {n} 0", f"{kind} {now} {self.name} {n} 0 {rest}"]
            if kind == "a":
                self.times.append((began, now))
            if kind != "a" or self.pause_s:
                self.stopped.wait(self.pause_s or 0.05)
        self.leave()

    @staticmethod
    def judge(status, body):
        """Event and its last words of an answer."""
        if status == 200:
            return "a", json.loads(body)["offset"]
        try:
            code = json.loads(body)["code"]
        except (ValueError, KeyError):
            code = "?"
        return ("f" if status in (400, 404, 413, 503) else "u"), f"{status} {code}"

    def served_since(self, when):
        return bool(self.times) and self.times[-1][0] >= when

    def end(self):
        self.stopped.set()

    def join(self, timeout=90):
        self.end()
        super().join(timeout)
        if self.is_alive():
            raise AssertionError(f"{self.name} hangs")
        for event in self.events:
            self.history.add(event)


class HttpWriter(Writer):
    """Over one connection; where `doors` are several addresses it takes the next one after each failure."""

    def __init__(self, history, doors, topic, name, pause_s=0.0, body=None):
        super().__init__(history, topic, name, pause_s, body)
        self.doors, self.client = itertools.cycle(doors), None

    def leave(self):
        if self.client is not None:
            self.client.close()
            self.client = None

    def send(self, body):
        if self.client is None:
            self.client = http.client.HTTPConnection(next(self.doors), timeout=40)
            try:
                self.client.connect()
            except OSError as error:
                self.leave()
                return "f", type(error).__name__
        try:
            self.client.request("POST", f"/topics/{self.topic}/produce", body, {"Content-Type": "application/json"})
            answer = self.client.getresponse()
            return self.judge(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            self.leave()
            return "u", type(error).__name__


class LambdaWriter(Writer):
    """One instance of the function, which it starts again when somebody has killed it."""

    def __init__(self, history, function, topic, name, pause_s=0.0, body=None):
        super().__init__(history, topic, name, pause_s, body)
        self.function = function

    def leave(self):
        pass

    def send(self, body):
        event = events.http_api("POST", f"/topics/{self.topic}/produce", body=body, headers={"content-type": "application/json"})
        try:
            invocation = self.function.sandbox.invoke(event, 40)
        except runtime_double.Dead as dead:
            self.function.renew()
            return "u", type(dead).__name__
        if invocation.kind != "response":
            return "u", invocation.kind
        status, _, answer = invocation.http()
        return self.judge(status, answer)


def function_environment(world):
    """Of a bootstrap that serves the world's store."""
    return {"STREAMS_STORE": world.store, "STREAMS_LOG_LEVEL": "warn", **world.environment,
            **{name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
               if name in os.environ}}


class Function:
    """One instance of the Lambda: a bootstrap and its double of the runtime API."""

    def __init__(self, world):
        self.environment = function_environment(world)
        self.log = tempfile.TemporaryFile("w+")
        self.sandbox = None
        self.renew()

    def renew(self):
        """A new instance; there is always one, so that others may kill it at any time."""
        before, self.sandbox = self.sandbox, runtime_double.Sandbox(os.environ["BOOTSTRAP"], self.environment, stderr=self.log)
        if before is not None:
            before.__exit__()

    def close(self):
        self.sandbox.__exit__()
        self.log.close()

    def kill(self):
        self.sandbox.process.kill()

    def freeze(self):
        self.sandbox.freeze()

    def thaw(self):
        self.sandbox.thaw()

    def get(self, path, timeout=20):
        path, _, query = path.partition("?")
        status, _, body = self.sandbox.http(events.http_api("GET", path, query), timeout)
        return status, body


def read_http(history, get, topic, name, partition=0):
    """Reads a partition page by page, until there is no more, into the history. 503 is asked again, as it says."""
    offset, first, limit = 0, True, time.monotonic() + READ_S
    while True:
        status, body = get(f"/topics/{topic}/consume?offset={offset}&limit=100&partition={partition}", 60)
        if status == 503 and time.monotonic() < limit:
            time.sleep(0.5)
            continue
        if status != 200:
            raise AssertionError(f"{name}: consume at {offset}: {status} {body[:300]}")
        answer = json.loads(body)
        if first and answer["messages"]:
            history.add(f"b {name} {partition} {answer['messages'][0]['offset']}")
            first = False
        for message in answer["messages"]:
            writer, n, state = identify(json.dumps(message["payload"]).encode())
            history.add(f"r {name} {partition} {message['offset']} {writer} {n} {state}")
        if not answer["messages"]:
            return
        offset = answer["next_offset"]


class World:
    """A store of its own behind a proxy of its own."""

    def __init__(self, seed=1):
        self.seed = seed
        self.directory = tempfile.mkdtemp(prefix="aws-world-")
        self.gateways, self.functions, self.clients, self.proxy = [], [], [], None
        self.history = History()
        self.local = os.environ.get("WORLD_STORE", "aws") == "file"  # to try the tests themselves without servers
        if self.local:
            self.store, self.environment = "file:" + self.directory + "/data", {}
            return
        name = "world-" + secrets.token_hex(6)
        make_bucket(name)
        upstream = [urllib.parse.urlsplit(os.environ["AWS_ENDPOINT_URL_" + which]).netloc for which in ("S3", "DYNAMODB")]
        self.proxy = Proxy(*upstream, seed=seed)
        self.environment = self.proxy.environment()
        self.store = f"s3://{name}?table={name}"
        self.options = ["--create-table", "true"]

    def gateway(self, *options):
        made = Gateway(self.store, self.environment, [*([] if self.local else self.options), *options])
        self.gateways.append(made)
        return made

    def function(self):
        self.functions.append(Function(self))
        return self.functions[-1]

    def topic(self, gateway, name, partitions):
        subprocess.run([os.environ["KAFKA_CLIENT"], "create", gateway.kafka, name, str(partitions)], check=True)

    def kafka(self, what, gateway, topic, partitions, name, rate=0):
        if what == "write":
            self.history.ordered.add(name)
        self.clients.append(KafkaClient(self.history, what, gateway, topic, partitions, name, rate))
        return self.clients[-1]

    def writer(self, doors, topic, name, pause_s=0.0, body=None):
        """doors: addresses of HTTP doors, or a function."""
        made = LambdaWriter if isinstance(doors, Function) else HttpWriter
        self.clients.append(made(self.history, doors, topic, name, pause_s, body))
        self.clients[-1].start()
        return self.clients[-1]

    def finish(self):
        """Ends the clients; they have a minute for what is under way."""
        for client in self.clients:
            client.end()
        for client in self.clients:
            client.join()
        self.clients = []

    def verdict(self, gateways, topic, partitions, functions=()):
        """Fresh readers at every door; what the checker finds, in sentences."""
        for i, gateway in enumerate(gateways):
            reader = KafkaClient(self.history, "read", gateway, topic, partitions, f"final-kafka-{i}")
            reader.process.stdin.close()
            reader.join()
        for i, door in enumerate([*gateways, *functions]):
            for partition in range(partitions):
                read_http(self.history, door.get, topic, f"final-http-{i}", partition)
        return self.history.check()

    def close(self):
        """Exit statuses of the gateways that still ran."""
        for client in self.clients:
            if isinstance(client, KafkaClient):
                client.process.kill()
                client.process.wait()
            else:
                client.end()
                threading.Thread.join(client, 10)
        for function in self.functions:
            function.close()
        statuses = [gateway.stop() for gateway in self.gateways if gateway.process.poll() is None]
        if self.proxy is not None:
            self.proxy.stop()
        shutil.rmtree(self.directory)
        return statuses
