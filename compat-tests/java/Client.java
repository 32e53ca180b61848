// Apache Kafka's Java client against a broker: java -cp ... Client BOOTSTRAP
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Client {
    static final int RECORDS = 2000;
    static final long TIME = 1700000000000L;
    static final List<String> FEATURES = List.of("none", "gzip", "snappy", "lz4", "zstd", "idempotent");
    static final String TOPIC = "java-" + ProcessHandle.current().pid();
    static final TopicPartition PARTITION = new TopicPartition(TOPIC, 0);
    static String bootstrap;
    static int failures;

    interface Work {
        void run() throws Exception;
    }

    static void check(String feature, Work work) {
        try {
            work.run();
            System.out.println("ok " + feature);
        } catch (Exception | AssertionError error) {
            failures++;
            System.out.println("not ok " + feature + ": " + error.toString().replace('\n', ' '));
            error.printStackTrace();
        }
    }

    static void expect(Object had, Object due) {
        if (!had.equals(due)) {
            throw new AssertionError(had + ", " + due + " due");
        }
    }

    static ProducerRecord<String, String> record(String feature, int i) {
        return new ProducerRecord<>(TOPIC, 0, TIME + i, "key " + i, feature + " " + i + " " + i,
            List.of(new RecordHeader("feature", feature.getBytes())));
    }

    static void produce(String feature, long offsetDue) throws Exception {
        boolean idempotent = feature.equals("idempotent");
        Map<String, Object> options = Map.of("bootstrap.servers", bootstrap, "linger.ms", 5, "acks", "all",
            "enable.idempotence", idempotent, "compression.type", idempotent ? "none" : feature,
            "delivery.timeout.ms", 20000, "request.timeout.ms", 10000);
        try (var producer = new KafkaProducer<>(options, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < RECORDS; i++) {
                sent.add(producer.send(record(feature, i)));
            }
            for (int i = 0; i < RECORDS; i++) {
                expect(sent.get(i).get().offset(), offsetDue + i);
            }
        }
    }

    static void fetch(long first) {
        Map<String, Object> options = Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", false);
        try (var consumer = new KafkaConsumer<>(options, new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(PARTITION));
            consumer.seek(PARTITION, first);
            long offset = first, end = (long) FEATURES.size() * RECORDS;
            long deadline = System.nanoTime() + 20_000_000_000L;
            while (offset < end && System.nanoTime() < deadline) {
                for (ConsumerRecord<String, String> had : consumer.poll(Duration.ofMillis(500))) {
                    var due = record(FEATURES.get((int) (offset / RECORDS)), (int) (offset % RECORDS));
                    expect(had.offset(), offset);
                    expect(had.key(), due.key());
                    expect(had.value(), due.value());
                    expect(had.timestamp(), due.timestamp());
                    expect(had.headers(), due.headers());
                    offset++;
                }
            }
            expect(offset, end);
        }
    }

    static void listOffsets(Admin admin, OffsetSpec spec, long due) throws Exception {
        expect(admin.listOffsets(Map.of(PARTITION, spec)).partitionResult(PARTITION).get().offset(), due);
    }

    public static void main(String[] args) {
        bootstrap = args[0];
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", 10000, "default.api.timeout.ms", 20000))) {
            check("create-topic", () -> admin.createTopics(List.of(
                new NewTopic(TOPIC, 3, (short) 1).configs(Map.of("max.message.bytes", "700000")))).all().get());
            check("describe-topic", () -> expect(
                admin.describeTopics(List.of(TOPIC)).allTopicNames().get().get(TOPIC).partitions().size(), 3));
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
            check("describe-configs", () -> expect(admin.describeConfigs(List.of(resource)).all().get().get(resource)
                .get("max.message.bytes").value(), "700000"));
            check("describe-cluster", () -> expect(admin.describeCluster().nodes().get().size(), 1));
            check("metadata", () -> expect(admin.listTopics().names().get().contains(TOPIC), true));
            for (int i = 0; i < FEATURES.size(); i++) {
                long offset = (long) i * RECORDS;
                String feature = FEATURES.get(i);
                check(feature, () -> produce(feature, offset));
            }
            long end = (long) FEATURES.size() * RECORDS;
            check("list-offsets", () -> listOffsets(admin, OffsetSpec.latest(), end));
            check("list-offsets-earliest", () -> listOffsets(admin, OffsetSpec.earliest(), 0));
            check("list-offsets-time", () -> listOffsets(admin, OffsetSpec.forTimestamp(TIME + 1234), 1234));
            check("list-offsets-max-time", () -> listOffsets(admin, OffsetSpec.maxTimestamp(), RECORDS - 1));
            check("fetch", () -> fetch(0));
            check("fetch-from-offset", () -> fetch(4321));
            check("delete-topic", () -> admin.deleteTopics(List.of(TOPIC)).all().get());
        }
        System.exit(failures == 0 ? 0 : 1);
    }
}
