"""A world to test in: S3 and DynamoDB behind the fault proxy, gateways on them, clients that write and read, one history.

The servers are those that the environment names (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL_DYNAMODB and the keys: what
infra/aws-parts prints). GATEWAY, KAFKA_CLIENT and PROXY name programs."""
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
import tempfile
import threading
import time
import urllib.parse

from faultproxy import Proxy
from history import History, identify, value

REGION = os.environ.get("AWS_REGION", "us-east-1")
READY_S = 60


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
        self.start()

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.environ["GATEWAY"], "--kafka", self.kafka, "--http", self.http, "--store", self.store, *self.options],
                stdout=subprocess.PIPE, stderr=log, env=self.environment, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("ready "):
            self.process.wait(READY_S)
            raise RuntimeError("the gateway did not become ready: " + self.log()[-1000:])
        ready = dict(word.split("=", 1) for word in line.split()[1:])
        self.kafka, self.http = ready["kafka"], ready["http"]

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


class HttpWriter(threading.Thread):
    """Sends one record after the other to partition 0 over one connection, and never one twice. Where `doors` are
    several addresses it takes the next one after each failure."""

    def __init__(self, history, doors, topic, name, pause_s=0.0):
        super().__init__(daemon=True)
        self.history, self.doors, self.topic, self.name = history, itertools.cycle(doors), topic, name
        self.pause_s, self.stopped = pause_s, threading.Event()
        self.events, self.latencies, self.statuses = [], [], {}

    def run(self):
        client = None
        for n in itertools.count():
            if self.stopped.is_set():
                break
            if client is None:
                client = http.client.HTTPConnection(next(self.doors), timeout=40)
            began = time.monotonic_ns()
            kind, rest, keep = self.send(client, n)
            now = time.monotonic_ns()
            self.latencies.append((began, now))
            self.events += [f"s {began} {self.name} {n} 0", f"{kind} {now} {self.name} {n} 0 {rest}"]
            if not keep:
                client.close()
                client = None
            if kind != "a" or self.pause_s:
                time.sleep(self.pause_s or 0.05)
        if client is not None:
            client.close()

    def send(self, client, n):
        """Event, its last words, and whether the connection lives."""
        try:
            client.connect() if client.sock is None else None
        except OSError as error:
            return "f", type(error).__name__, False
        try:
            client.request("POST", f"/topics/{self.topic}/produce", b'{"payload": ' + value(self.name, n) + b"}",
                           {"Content-Type": "application/json"})
            answer = client.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return "u", type(error).__name__, False
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 200:
            return "a", json.loads(body)["offset"], True
        code = json.loads(body).get("code", "?") if answer.status != 502 else "?"
        return ("f" if answer.status in (400, 404, 413, 503) else "u"), f"{answer.status} {code}", True

    def end(self):
        self.stopped.set()

    def join(self, timeout=90):
        self.end()
        super().join(timeout)
        if self.is_alive():
            raise AssertionError(f"{self.name} hangs")
        for event in self.events:
            self.history.add(event)


def read_http(history, get, topic, name, partition=0):
    """Reads a partition page by page, until there is no more, into the history."""
    offset, first = 0, True
    while True:
        status, body = get(f"/topics/{topic}/consume?offset={offset}&limit=100&partition={partition}", 60)
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
        self.gateways, self.clients, self.proxy = [], [], None
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
        self.options = ["--create-table"]

    def gateway(self, *options):
        made = Gateway(self.store, self.environment, [*([] if self.local else self.options), *options])
        self.gateways.append(made)
        return made

    def topic(self, gateway, name, partitions):
        subprocess.run([os.environ["KAFKA_CLIENT"], "create", gateway.kafka, name, str(partitions)], check=True)

    def kafka(self, what, gateway, topic, partitions, name, rate=0):
        if what == "write":
            self.history.ordered.add(name)
        self.clients.append(KafkaClient(self.history, what, gateway, topic, partitions, name, rate))
        return self.clients[-1]

    def writer(self, doors, topic, name, pause_s=0.0):
        self.clients.append(HttpWriter(self.history, doors, topic, name, pause_s))
        self.clients[-1].start()
        return self.clients[-1]

    def finish(self):
        """Ends the clients; they have a minute for what is under way."""
        for client in self.clients:
            client.end()
        for client in self.clients:
            client.join()
        self.clients = []

    def verdict(self, gateways, topic, partitions):
        """Fresh readers at every door; what the checker finds, in sentences."""
        for i, gateway in enumerate(gateways):
            reader = KafkaClient(self.history, "read", gateway, topic, partitions, f"final-kafka-{i}")
            reader.process.stdin.close()
            reader.join()
        for i, gateway in enumerate(gateways):
            for partition in range(partitions):
                read_http(self.history, gateway.get, topic, f"final-http-{i}", partition)
        return self.history.check()

    def close(self):
        """Exit statuses of the gateways that still ran."""
        for client in self.clients:
            if isinstance(client, KafkaClient):
                client.process.kill()
                client.process.wait()
            else:
                client.end()
        statuses = [gateway.stop() for gateway in self.gateways if gateway.process.poll() is None]
        if self.proxy is not None:
            self.proxy.stop()
        shutil.rmtree(self.directory)
        return statuses
