/*
 * GET /topics/{topic}/consume?offset=1&limit=10
 *   -> {"messages":[{"offset":1,"payload":...,"timestamp":1700000000000}],"next_offset":2}
 *
 * payload is the record's value: JSON as it is, other UTF-8 as a string beside "encoding":"text", other bytes in base64
 * beside "encoding":"base64", and null for a null value. timestamp is the record's, in milliseconds of Unix time.
 *
 * next_offset is where to go on: one past the last message, also past batches that have none to show (control
 * batches, compacted ones). With no message it is the offset asked for, or the log start when that lies above. Left
 * out, the offset is the log start; of a topic that does not exist yet it is 0, which no first record of any door
 * lies below.
 *
 * An answer is bounded four ways, and holds at least one message if there is one: by limit, by bytes of answer, by
 * bytes inflated (a small answer can cost much, when records carry large headers), and by reads of the log (long
 * stretches of control batches). It may so have fewer messages than asked for, even none with a next_offset that has
 * moved.
 */
#include "lambda/exchange.h"

#include "lambda/batches.h"
#include "lambda/json.h"
#include "lambda/query.h"
#include "lambda/response.h"

#define LIMIT_DEFAULT 10
#define LIMIT_MAX 100
#define READS_MAX 32
#define READ_BYTES_FIRST (64 << 10) /* doubled with each read ... */
#define READ_BYTES_MAX (1 << 20)    /* ... up to this */
#define MESSAGE_OVERHEAD 128        /* bytes of one message in the answer besides its payload, at most */
#define ARENA_SLACK (1 << 20)       /* what a decompressor needs besides its output */
#define ESCAPED_MAX 6               /* answer bytes that one payload byte can become: \u0001 */

/* What a look at some records leads to. */
enum progress { GO_ON, ENOUGH, STOPPED /* answered already */ };

static void look(struct rest_exchange *exchange);

static void release(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    rest_writer_release(&consume->writer);
    kp_arena_release(&consume->arena);
}

static void answer_messages(struct rest_exchange *exchange, int64_t next_offset) {
    struct rest_consume *consume = &exchange->consume;
    struct rest_writer *writer = &consume->writer;
    rest_writer_bytes(writer, consume->count == 0 ? KP_SLICE_LIT("{\"messages\":[") : KP_SLICE_LIT(""));
    rest_writer_bytes(writer, KP_SLICE_LIT("],\"next_offset\":"));
    rest_writer_number(writer, next_offset);
    rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    if (writer->failed) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    struct rest_response *response = &exchange->call->response;
    rest_response_begin(response, 200);
    rest_writer_finish(writer, &response->body);
    rest_exchange_done(exchange);
}

static void write_payload(struct rest_writer *writer, struct kp_slice value) {
    switch (rest_value_kind(value)) {
    case REST_VALUE_NULL:
        rest_writer_bytes(writer, KP_SLICE_LIT("null"));
        return;
    case REST_VALUE_JSON:
        rest_writer_bytes(writer, value);
        return;
    case REST_VALUE_TEXT:
        rest_writer_string(writer, value);
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"encoding\":\"text\""));
        return;
    case REST_VALUE_BINARY:
        rest_writer_base64(writer, value);
        rest_writer_bytes(writer, KP_SLICE_LIT(",\"encoding\":\"base64\""));
        return;
    }
}

/* False when the message is not the first and does not fit any more. */
static bool write_message(struct rest_consume *consume, const struct kp_record *record, size_t bytes_max) {
    struct rest_writer *writer = &consume->writer;
    size_t before = writer->used;
    if (consume->count > 0 && before + MESSAGE_OVERHEAD + record->value.len > bytes_max) {
        return false;
    }
    rest_writer_bytes(writer, consume->count == 0 ? KP_SLICE_LIT("{\"messages\":[{\"offset\":")
                                                  : KP_SLICE_LIT(",{\"offset\":"));
    rest_writer_number(writer, record->offset);
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"payload\":"));
    write_payload(writer, record->value);
    rest_writer_bytes(writer, KP_SLICE_LIT(",\"timestamp\":"));
    rest_writer_number(writer, record->timestamp_ms);
    rest_writer_bytes(writer, KP_SLICE_LIT("}"));
    if (consume->count > 0 && writer->used + MESSAGE_OVERHEAD > bytes_max) {
        writer->used = before; /* escapes or base64 made it longer than it is */
        return false;
    }
    consume->count++;
    return true;
}

/* What has been gathered is an answer; with nothing gathered, the error is. */
static enum progress stop_at(struct rest_exchange *exchange, enum rest_error error) {
    if (exchange->consume.count > 0) {
        return ENOUGH;
    }
    rest_exchange_error(exchange, error);
    return STOPPED;
}

static enum progress show_records(struct rest_exchange *exchange, struct kp_record_reader *reader) {
    struct rest_consume *consume = &exchange->consume;
    struct kp_record record;
    int found;
    while ((found = kp_records_next(reader, &record)) > 0) {
        if (record.offset < consume->cursor) {
            continue;
        }
        if (!write_message(consume, &record, exchange->rest->options.answer_bytes_max)) {
            return ENOUGH;
        }
        consume->cursor = record.offset + 1;
        if (consume->count == consume->limit) {
            return ENOUGH;
        }
    }
    return found == 0 ? GO_ON : stop_at(exchange, REST_BATCH_UNREADABLE);
}

static enum progress show_batch(struct rest_exchange *exchange, const struct kp_batch *batch) {
    struct rest_consume *consume = &exchange->consume;
    const struct rest_options *options = &exchange->rest->options;
    int64_t last = batch->base_offset + batch->last_offset_delta;
    if (last < consume->cursor) {
        return GO_ON;
    }
    if ((batch->attributes & KP_BATCH_CONTROL) == 0) {
        if (consume->count > 0 && consume->inflated >= options->inflate_bytes_max) {
            return ENOUGH;
        }
        kp_arena_init(&consume->arena, options->inflate_bytes_max + ARENA_SLACK);
        struct kp_record_reader reader;
        enum kp_error error = kp_records_open(&reader, batch->bytes, &consume->arena, options->inflate_bytes_max);
        consume->inflated += consume->arena.used;
        enum progress progress =
            error == KP_ERROR_NONE                ? show_records(exchange, &reader)
            : error == KP_ERROR_MESSAGE_TOO_LARGE ? stop_at(exchange, REST_BATCH_TOO_LARGE)
                                                  : stop_at(exchange, REST_BATCH_UNREADABLE);
        if (progress == STOPPED) {
            return STOPPED; /* the exchange may be another call's by now */
        }
        kp_arena_release(&consume->arena);
        if (progress == ENOUGH) {
            return ENOUGH;
        }
    }
    consume->cursor = last + 1;
    return GO_ON;
}

/* Shows what was read. False when the call is answered. */
static bool show_chain(struct rest_exchange *exchange, struct kp_chain *chain) {
    struct rest_batches batches;
    rest_batches_init(&batches, chain);
    enum progress progress = GO_ON;
    int found = 1;
    while (progress == GO_ON) {
        struct kp_batch batch;
        found = rest_batches_next(&batches, &batch);
        if (found <= 0) {
            break;
        }
        progress = show_batch(exchange, &batch);
    }
    if (found < 0 && exchange->consume.count == 0) {
        rest_exchange_store_error(exchange, ST_DAMAGED);
        progress = STOPPED;
    } else if (found < 0) {
        progress = ENOUGH;
    }
    rest_batches_release(&batches);
    if (progress == ENOUGH) {
        answer_messages(exchange, exchange->consume.cursor);
    }
    return progress == GO_ON;
}

static void read_failed(struct rest_exchange *exchange, enum st_error error) {
    struct rest_consume *consume = &exchange->consume;
    bool moved = error == ST_OFFSET_RANGE || error == ST_NO_TOPIC_ID || error == ST_NO_TOPIC ||
                 error == ST_NO_PARTITION;
    if (consume->count > 0) {
        answer_messages(exchange, consume->cursor);
    } else if (moved && consume->reads < READS_MAX) {
        consume->cursor = -1; /* retention or a deletion came between: look at the topic as it is now */
        rest_exchange_sync(exchange, look);
    } else {
        rest_exchange_store_error(exchange, moved ? ST_UNREADABLE : error);
    }
}

static void have_read(struct st_read *read) {
    struct rest_exchange *exchange = ST_OWNER(read, struct rest_exchange, consume.read);
    struct kp_chain chain = exchange->consume.part.chain;
    if (rest_exchange_resume(exchange)) {
        enum st_error error = exchange->consume.part.error;
        if (error != ST_OK) {
            read_failed(exchange, error);
        } else if (show_chain(exchange, &chain)) {
            look(exchange);
        }
    }
    kp_chain_release(&chain);
}

static void read_on(struct rest_exchange *exchange, const struct st_topic *topic) {
    struct rest_consume *consume = &exchange->consume;
    size_t bytes = (size_t)READ_BYTES_FIRST << (consume->reads < 4 ? consume->reads : 4);
    bytes = bytes < READ_BYTES_MAX ? bytes : READ_BYTES_MAX;
    consume->reads++;
    consume->part = (struct st_read_part){.topic_id = topic->id, .offset = consume->cursor, .max_bytes = bytes};
    kp_chain_init(&consume->part.chain);
    consume->read = (struct st_read){.parts = &consume->part, .count = 1, .max_bytes = bytes, .done = have_read};
    rest_exchange_wait(exchange);
    st_read(exchange->rest->engine, &consume->read);
}

/* Nothing (more) to see in the fold as it is: an answer if there are messages, or if it is known to be fresh. */
static void at_end(struct rest_exchange *exchange, int64_t next_offset) {
    if (exchange->consume.count == 0 && !exchange->synced) {
        rest_exchange_sync(exchange, look);
    } else {
        answer_messages(exchange, next_offset);
    }
}

static void look(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    struct st_engine *engine = exchange->rest->engine;
    const struct st_topic *topic = st_topic_by_name(engine, rest_exchange_topic(exchange));
    struct st_partition_view view;
    if (topic == NULL || !st_partition_view(engine, topic, 0, &view)) {
        at_end(exchange, consume->count > 0 ? consume->cursor : consume->asked >= 0 ? consume->asked : 0);
        return;
    }
    if (consume->cursor < 0) {
        consume->cursor = consume->asked > view.log_start ? consume->asked : view.log_start;
    }
    if (consume->cursor >= view.end) {
        int64_t cursor = consume->cursor;
        consume->cursor = consume->reads == 0 ? -1 : cursor; /* the sync may tell of another log start */
        at_end(exchange, cursor);
    } else if (consume->reads >= READS_MAX) {
        answer_messages(exchange, consume->cursor);
    } else {
        read_on(exchange, topic);
    }
}

/* False when the request is refused. */
static bool read_query(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    struct kp_slice query = exchange->call->request.query, value;
    bool overflow;
    consume->asked = -1;
    if (rest_query_last(query, KP_SLICE_LIT("offset"), &value) &&
        (!rest_whole_number(value, &consume->asked, &overflow) || overflow)) {
        rest_exchange_error(exchange, REST_BAD_OFFSET);
        return false;
    }
    int64_t limit = LIMIT_DEFAULT;
    if (rest_query_last(query, KP_SLICE_LIT("limit"), &value) &&
        (!rest_whole_number(value, &limit, &overflow) || limit == 0)) {
        rest_exchange_error(exchange, REST_BAD_LIMIT);
        return false;
    }
    consume->limit = limit < LIMIT_MAX ? (size_t)limit : LIMIT_MAX;
    return true;
}

void rest_consume_start(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    if (!read_query(exchange)) {
        return;
    }
    const struct rest_options *options = &exchange->rest->options;
    struct kp_blob_stats blobs = kp_blob_stats();
    if (blobs.live_bytes > options->memory_bytes_max) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    consume->count = 0;
    consume->reads = 0;
    consume->inflated = 0;
    consume->cursor = -1;
    size_t largest = options->inflate_bytes_max > options->answer_bytes_max ? options->inflate_bytes_max
                                                                           : options->answer_bytes_max;
    rest_writer_init(&consume->writer, largest * ESCAPED_MAX + MESSAGE_OVERHEAD);
    kp_arena_init(&consume->arena, options->inflate_bytes_max + ARENA_SLACK);
    exchange->release = release;
    look(exchange);
}
