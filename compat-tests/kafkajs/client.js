// kafkajs against a broker: producer and admin only, because its consumer needs a group. client.js BOOTSTRAP
'use strict';
const assert = require('node:assert');
const { Kafka, CompressionTypes, ConfigResourceTypes, logLevel } = require('kafkajs');

const topic = `kafkajs-${process.pid}`;
const records = 500;
const time = 1700000000000;
const kafka = new Kafka({ clientId: 'compat', brokers: [process.argv[2]], logLevel: logLevel.ERROR });
let failures = 0;

async function check(feature, work) {
    try {
        await work();
        console.log(`ok ${feature}`);
    } catch (error) {
        failures++;
        console.log(`not ok ${feature}: ${String(error.message).replaceAll('\n', ' ')}`);
        console.error(error);
    }
}

async function produce(feature, offsetDue, options, compression) {
    const producer = kafka.producer(options);
    await producer.connect();
    try {
        for (let batch = 0; batch < 5; batch++) {
            const messages = [];
            for (let i = batch * records / 5; i < (batch + 1) * records / 5; i++) {
                messages.push({ key: `key ${i}`, value: `${feature} ${i} ${i}`, partition: 0, headers: { feature },
                                timestamp: String(time + i) });
            }
            const [answer] = await producer.send({ topic, messages, compression, acks: -1 });
            assert.strictEqual(answer.errorCode, 0);
            assert.strictEqual(answer.baseOffset, String(offsetDue + batch * records / 5));
        }
    } finally {
        await producer.disconnect();
    }
}

async function main() {
    const admin = kafka.admin();
    await admin.connect();
    await check('create-topic', async () => assert(await admin.createTopics({ topics: [{
        topic, numPartitions: 3, replicationFactor: 1,
        configEntries: [{ name: 'max.message.bytes', value: '700000' }] }] })));
    await check('describe-configs', async () => {
        const answer = await admin.describeConfigs({ includeSynonyms: false,
            resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] });
        const entry = answer.resources[0].configEntries.find((e) => e.configName === 'max.message.bytes');
        assert.strictEqual(entry.configValue, '700000');
    });
    await check('metadata', async () => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
        assert.strictEqual(topics[0].partitions.length, 3);
    });
    await check('describe-cluster', async () => assert.strictEqual((await admin.describeCluster()).brokers.length, 1));
    await check('none', () => produce('none', 0, {}, CompressionTypes.None));
    await check('gzip', () => produce('gzip', records, {}, CompressionTypes.GZIP));
    await check('idempotent', () => produce('idempotent', 2 * records, { idempotent: true, maxInFlightRequests: 1 }));
    await check('list-offsets', async () => {
        const offset = (await admin.fetchTopicOffsets(topic)).find((o) => o.partition === 0);
        assert.deepStrictEqual([offset.low, offset.high], ['0', String(3 * records)]);
    });
    await check('list-offsets-time', async () => {
        const offset = (await admin.fetchTopicOffsetsByTimestamp(topic, time + 321)).find((o) => o.partition === 0);
        assert.strictEqual(offset.offset, '321');
    });
    await check('delete-topic', () => admin.deleteTopics({ topics: [topic] }));
    await admin.disconnect();
    process.exitCode = failures ? 1 : 0;
}

main();
