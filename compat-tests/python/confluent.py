"""confluent-kafka-python (the newest librdkafka) against a broker: confluent.py BOOTSTRAP"""
import os
import sys

import confluent_kafka
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec

import report
from report import check, expect

BOOTSTRAP = sys.argv[1]
TOPIC = f"confluent-{os.getpid()}"
RECORDS = 2000
FEATURES = ["none", "gzip", "snappy", "lz4", "zstd", "idempotent"]
TIME = 1700000000000


def record(feature, i):
    return {"key": b"key %d" % i, "value": b"%s %d %d" % (feature.encode(), i, i),
            "headers": [("feature", feature.encode())], "timestamp": TIME + i}


def produce(feature, offset_due, **options):
    offsets = []

    def delivered(error, message):
        offsets.append(str(error) if error else message.offset())
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 5, "batch.num.messages": 100,
                         **{name.replace("_", "."): value for name, value in options.items()}})
    for i in range(RECORDS):
        producer.produce(TOPIC, partition=0, on_delivery=delivered, **record(feature, i))
    producer.flush(20)
    expect(offsets, list(range(offset_due, offset_due + RECORDS)))


def fetch(first):
    consumer = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False,
                         "check.crcs": True})
    consumer.assign([TopicPartition(TOPIC, 0, first)])
    offset = first
    while offset < len(FEATURES) * RECORDS:
        message = consumer.poll(15)
        expect(message is not None and message.error() is None and message.offset(), offset)
        expect({"key": message.key(), "value": message.value(), "headers": message.headers(),
                "timestamp": message.timestamp()[1]}, record(FEATURES[offset // RECORDS], offset % RECORDS))
        offset += 1
    consumer.close()


def list_offsets(admin, spec, offset_due):
    answer = admin.list_offsets({TopicPartition(TOPIC, 0): spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED)
    expect([future.result(15).offset for future in answer.values()], [offset_due])


def main():
    print("confluent-kafka", confluent_kafka.version(), "librdkafka", confluent_kafka.libversion()[0])
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    end = len(FEATURES) * RECORDS
    check("create-topic", lambda: admin.create_topics(
        [NewTopic(TOPIC, 3, 1, config={"max.message.bytes": "700000"})])[TOPIC].result(15))
    check("describe-configs", lambda: expect(
        admin.describe_configs([resource])[resource].result(15)["max.message.bytes"].value, "700000"))
    check("metadata", lambda: expect(sorted(admin.list_topics(TOPIC, 15).topics[TOPIC].partitions), [0, 1, 2]))
    check("describe-topic", lambda: expect(
        len(admin.describe_topics(TopicCollection([TOPIC]))[TOPIC].result(15).partitions), 3))
    check("describe-cluster", lambda: expect(len(admin.describe_cluster().result(15).nodes), 1))
    for i, feature in enumerate(FEATURES[:-1]):
        check(feature, lambda f=feature, o=i * RECORDS: produce(f, o, compression_type=f))
    check("idempotent", lambda: produce("idempotent", end - RECORDS, enable_idempotence=True))
    check("list-offsets", list_offsets, admin, OffsetSpec.latest(), end)
    check("list-offsets-earliest", list_offsets, admin, OffsetSpec.earliest(), 0)
    check("list-offsets-time", list_offsets, admin, OffsetSpec.for_timestamp(TIME + 1234), 1234)
    check("list-offsets-max-time", list_offsets, admin, OffsetSpec.max_timestamp(), RECORDS - 1)
    check("fetch", fetch, 0)
    check("fetch-from-offset", fetch, 4321)
    check("delete-topic", lambda: admin.delete_topics([TOPIC])[TOPIC].result(15))
    return 1 if report.failures else 0


sys.exit(main())
