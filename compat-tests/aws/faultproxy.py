"""The proxy of proxy/ as an object: starts it, speaks to its control port, reads its counts."""
import os
import re
import socket
import subprocess


class Refused(Exception):
    """The proxy did not take a command."""


class Proxy:
    def __init__(self, s3, dynamodb, seed=1, program=None):
        """s3, dynamodb: HOST:PORT of the servers behind it."""
        self.process = subprocess.Popen([program or os.environ["PROXY"], "--s3", s3, "--dynamodb", dynamodb, "--seed", str(seed)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = dict(word.split("=") for word in self.process.stdout.readline().split()[1:])
        self.s3, self.dynamodb = ready["s3"], ready["dynamodb"]
        host, port = ready["control"].split(":")
        self.control = socket.create_connection((host, int(port)))
        self.lines = self.control.makefile("r", encoding="ascii")

    def environment(self):
        """What points the engine here."""
        return {"AWS_ENDPOINT_URL_S3": "http://" + self.s3, "AWS_ENDPOINT_URL_DYNAMODB": "http://" + self.dynamodb}

    def tell(self, command):
        """The lines of its answer."""
        self.control.sendall(command.encode("ascii") + b"\n")
        answer = []
        for line in self.lines:
            line = line.strip()
            if line == "ok":
                return answer
            if line.startswith("error "):
                raise Refused(f"{command}: {line[6:]}")
            answer.append(line)
        raise Refused("the proxy is gone")

    def fault(self, kind, name, rate, ms=None):
        self.tell(f"fault {kind} {name} {rate}" + ("" if ms is None else f" {ms}"))

    def latency(self, kind, p50_ms, p99_ms):
        self.tell(f"latency {kind} {p50_ms} {p99_ms}")

    def aws_latencies(self):
        """What S3 and DynamoDB take in their region: the table's and the bucket's median and 99th percentile."""
        self.latency("dynamodb.*", 4, 12)
        self.latency("dynamodb.put_item", 8, 20)
        self.latency("dynamodb.batch_write", 8, 20)
        self.latency("s3.*", 20, 80)
        self.latency("s3.put", 60, 300)

    def away(self, service, ms):
        self.tell(f"away {service} {ms}")

    def calm(self):
        self.tell("calm")

    def forget(self):
        self.tell("forget")

    def counts(self):
        return Counts(self.tell("counts"))

    def stop(self):
        self.lines.close()
        self.control.close()
        self.process.stdin.close()
        self.process.stdout.close()
        return self.process.wait(10)


class Counts:
    """Sums over what the proxy has counted since it was told to forget. kind and place are regular expressions."""

    def __init__(self, lines):
        rows = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        self.rows = [row for row in rows if "requests" in row]
        self.faults = [row for row in rows if "fault" in row]
        self.connections = {row["service"]: int(row["connections"]) for row in rows if "connections" in row}

    def sum(self, field, kind, place=".*"):
        return sum(float(row[field]) for row in self.rows
                   if re.fullmatch(kind, row["kind"]) and re.fullmatch(place, row["place"]))

    def requests(self, kind, place=".*"):
        return int(self.sum("requests", kind, place))

    def write_units(self, place=".*"):
        return int(self.sum("write_units", r"dynamodb\..*", place))

    def read_units(self, place=".*"):
        return self.sum("read_units", r"dynamodb\..*", place)

    def met(self, fault, kind=".*"):
        return sum(int(row["met"]) for row in self.faults if row["fault"] == fault and re.fullmatch(kind, row["kind"]))

    def __str__(self):
        return "\n".join(" ".join(f"{k}={v}" for k, v in row.items()) for row in self.rows + self.faults)
