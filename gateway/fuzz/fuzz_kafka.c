/*
 * The whole Kafka door: frames, handlers and engine, on the memory store under virtual time. Whatever a client sends,
 * nothing crashes, every byte of memory comes back, and a bystander is still served.
 *
 * The input is a script: one byte of what to do, and for bytes to be sent a length of two (little-endian) before them.
 *   0 a frame: its length prefix is put before the bytes   1 raw bytes   2 time passes   3 the store goes, or returns
 *   4 as 0, in pieces of one byte                          5 the peer stops sending
 */
#include "gateway/tests/kafka_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_frame(struct client *client, const uint8_t *bytes, size_t len, size_t step) {
    const uint8_t prefix[4] = {0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    if (client_give(client, prefix, sizeof prefix, step) == sizeof prefix) {
        client_give(client, bytes, len, step);
    }
}

static void send(struct client *client, unsigned what, const uint8_t *bytes, size_t len) {
    if (what == 1) {
        client_give(client, bytes, len, SIZE_MAX);
    } else {
        send_frame(client, bytes, len, what == 4 ? 1 : SIZE_MAX);
    }
}

static void play(struct door *door, struct client *client, const uint8_t *data, size_t size) {
    size_t at = 0;
    while (at < size && !client->closed) {
        unsigned what = data[at++] % 6;
        if (what == 2) {
            door_run(door, 100 * ST_MS);
        } else if (what == 3) {
            store_away = !store_away;
        } else if (what == 5) {
            client->conn.ops->ended(&client->conn);
            return;
        } else if (size - at >= 2) {
            size_t len = (size_t)data[at] | (size_t)data[at + 1] << 8;
            at += 2;
            len = len < size - at ? len : size - at;
            send(client, what, data + at, len);
            at += len;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    st_log_level(ST_ERROR + 1);
    struct door *door = door_new();
    door->config.num_partitions = 2;
    struct client *client = client_new(door), *bystander = client_new(door);
    play(door, client, data, size);
    static const uint8_t versions[] = {0, 18, 0, 0, 0, 0, 0, 1, 255, 255};
    send_frame(bystander, versions, sizeof versions, SIZE_MAX);
    CHECK(bystander->out.bytes > 0);
    client_free(client); /* hangs up whatever is under way */
    door_run(door, ST_SECOND);
    client_free(bystander);
    door_free(door);
    return 0;
}
