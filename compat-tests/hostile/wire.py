"""Kafka's bytes, built by hand and without a check, so that every field can lie. Versions are old, inflexible ones
where it does not matter, because they are short."""
import struct

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS = 0, 1, 2, 3, 18, 19, 20
INIT_PRODUCER_ID, LEADER_EPOCH, DESCRIBE_CONFIGS, DESCRIBE_CLUSTER, DESCRIBE_PARTITIONS = 22, 23, 32, 60, 75
# What the gateway serves: key -> (least, greatest, first flexible version).
SERVED = {PRODUCE: (3, 13, 9), FETCH: (4, 17, 12), LIST_OFFSETS: (1, 10, 6), METADATA: (0, 13, 9),
          API_VERSIONS: (0, 4, 3), CREATE_TOPICS: (2, 7, 5), DELETE_TOPICS: (1, 6, 4), INIT_PRODUCER_ID: (0, 5, 2),
          LEADER_EPOCH: (2, 4, 4), DESCRIBE_CONFIGS: (1, 4, 4), DESCRIBE_CLUSTER: (0, 2, 0),
          DESCRIBE_PARTITIONS: (0, 0, 0)}
INT32_MAX, INT64_MAX = 2 ** 31 - 1, 2 ** 63 - 1
INT32_MIN, INT64_MIN = -2 ** 31, -2 ** 63

NO_ERROR, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC, MESSAGE_TOO_LARGE = 0, 1, 2, 3, 10
TIMED_OUT, INVALID_TOPIC, NOT_NOW, INVALID_ACKS, INVALID_TIMESTAMP = 7, 17, 19, 21, 32
UNSUPPORTED_VERSION, TOPIC_EXISTS = 35, 36
INVALID_PARTITIONS, INVALID_REPLICATION, INVALID_CONFIG, INVALID_REQUEST = 37, 38, 40, 42
INVALID_TXN_STATE, NO_SESSION, NO_CODEC, INVALID_RECORD = 48, 70, 76, 87


def _table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = _table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def uvarint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def varint(n):
    return uvarint(n << 1 ^ n >> 63)


def string(text):
    return struct.pack(">h", len(text)) + text


def data(octets):
    return struct.pack(">i", len(octets)) + octets


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def frame(payload):
    return struct.pack(">i", len(payload)) + payload


def head(key, version, correlation=1):
    """The header of a request: of the flexible kind where the version is."""
    flexible = key in SERVED and version >= SERVED[key][2]
    return struct.pack(">hhih", key, version, correlation, -1) + (b"\0" if flexible else b"")


def request(key, version, body=b"", correlation=1):
    return frame(head(key, version, correlation) + body)


def api_versions(correlation=1):
    return request(API_VERSIONS, 0, correlation=correlation)


# ---- records ----

def record(value, delta=0, key=None, time_delta=0):
    key_bytes = varint(-1) if key is None else varint(len(key)) + key
    body = b"\0" + varint(time_delta) + varint(delta) + key_bytes + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


def batch(values=(b"v",), records=None, base_offset=0, length=None, magic=2, crc=None, attributes=0, last_delta=None,
          time=None, max_time=None, producer=(-1, -1, -1), count=None, now=1700000000000):
    """One batch; whatever is not given is what it should be."""
    values = list(values)
    if records is None:
        records = b"".join(record(value, delta) for delta, value in enumerate(values))
    time = now if time is None else time
    tail = struct.pack(">hiqqqhii", attributes, len(values) - 1 if last_delta is None else last_delta, time,
                       time if max_time is None else max_time, *producer, len(values) if count is None else count)
    tail += records
    return struct.pack(">qiibI", base_offset, 9 + len(tail) if length is None else length, -1, magic,
                       crc32c(tail) if crc is None else crc) + tail


# ---- requests ----

def produce(topic, batches, acks=-1, version=3, correlation=1, transactional=None, timeout=10000, partition=0):
    """Each of `batches` is bytes, or None for null, or (partition, bytes)."""
    parts = []
    for records in batches:
        at, records = records if isinstance(records, tuple) else (partition, records)
        parts.append(struct.pack(">i", at) + (struct.pack(">i", -1) if records is None else data(records)))
    name = struct.pack(">h", -1) if transactional is None else string(transactional)
    body = name + struct.pack(">hi", acks, timeout) + array([string(topic) + array(parts)])
    return request(PRODUCE, version, body, correlation)


def fetch(topics, wait=0, least=0, most=INT32_MAX, correlation=1, replica=-1):
    """topics: [(name, [(partition, offset, max_bytes)])]"""
    body = struct.pack(">iiiib", replica, wait, least, most, 0)
    body += array([string(name) + array([struct.pack(">iqi", *part) for part in parts]) for name, parts in topics])
    return request(FETCH, 4, body, correlation)


def fetch_session(session, epoch):
    return request(FETCH, 7, struct.pack(">iiiibii", -1, 0, 0, 1000, 0, session, epoch) + array([]) + array([]))


def list_offsets(topic, asked, version=1, correlation=1):
    """asked: [(partition, time)]"""
    body = struct.pack(">i", -1) + array([string(topic) + array([struct.pack(">iq", *part) for part in asked])])
    return request(LIST_OFFSETS, version, body, correlation)


def metadata(topics, create=False, correlation=1):
    """topics: names, or None for all."""
    names = struct.pack(">i", -1) if topics is None else array([string(name) for name in topics])
    return request(METADATA, 4, names + (b"\1" if create else b"\0"), correlation)


def create_topics(topics, timeout=10000, validate=False, correlation=1):
    """topics: [(name, partitions, replication, {config: value})]"""
    rows = [string(name) + struct.pack(">ih", partitions, replication) + array([]) +
            array([string(key) + string(value) for key, value in configs.items()])
            for name, partitions, replication, configs in topics]
    body = array(rows) + struct.pack(">i", timeout) + (b"\1" if validate else b"\0")
    return request(CREATE_TOPICS, 2, body, correlation)


# ---- answers ----

class Reader:
    """Takes an answer apart, from its front."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.octets, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def bytes(self, size):
        octets = self.octets[self.at:self.at + size]
        self.at += size
        return octets

    def string(self):
        size = self.take("h")
        return None if size < 0 else self.bytes(size)

    def data(self):
        size = self.take("i")
        return None if size < 0 else self.bytes(size)

    def array(self, item):
        return [item() for _ in range(self.take("i"))]


def produce_answer(octets):
    """[(name, [(partition, error, base offset)])] of version 3"""
    r = Reader(octets)
    return r.array(lambda: (r.string(), r.array(lambda: r.take("ihqq")[:3])))


def fetch_answer(octets):
    """[(name, [(partition, error, high watermark, record bytes)])] of version 4"""
    r = Reader(octets)
    r.take("i")

    def part():
        index, error, end, _ = r.take("ihqq")
        r.array(lambda: r.take("qq"))
        return index, error, end, r.data()
    return r.array(lambda: (r.string(), r.array(part)))


def list_answer(octets):
    """[(name, [(partition, error, time, offset)])] of version 1"""
    r = Reader(octets)
    return r.array(lambda: (r.string(), r.array(lambda: r.take("ihqq"))))


def metadata_answer(octets):
    """{name: (error, partitions)} of version 4"""
    r = Reader(octets)
    r.take("i")
    r.array(lambda: (r.take("i"), r.string(), r.take("i"), r.string()))
    r.string()
    r.take("i")

    def topic():
        error, name = r.take("h"), r.string()
        r.take("b")
        return name, error, len(r.array(lambda: (r.take("hii"), r.array(lambda: r.take("i")),
                                                 r.array(lambda: r.take("i")))))
    return [topic() for _ in range(r.take("i"))]


def create_answer(octets):
    """[(name, error)] of version 2"""
    r = Reader(octets)
    r.take("i")
    return r.array(lambda: (r.string(), r.take("h"), r.string())[:2])
