/*
 * GET /topics/{topic}/consume?offset=1&limit=10
 *   -> {"messages":[{"offset":1,"payload":...,"timestamp":1700000000000}],"next_offset":2}
 *
 * Further parameters, each optional: partition (0), max_bytes (of answer; at least one message is given), wait_ms (at
 * most 60,000: how long to wait for a message when there is none). Accept chooses the form (form.h); message.h has the
 * form of a message. payload is the record's value: JSON as it is, other UTF-8 as a string beside "encoding":"text",
 * other bytes in base64 beside "encoding":"base64", and null for a null value. timestamp is the record's, in
 * milliseconds of Unix time.
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
 *
 * Lines and events go out in pieces where the caller can send such, each piece bounded as an answer is; the whole is
 * bounded only by limit and max_bytes, if they are given. Lines end when nothing has come for wait_ms. Events end when
 * their client goes, when the topic goes, or after options.stream_ms_max; the client asks again with Last-Event-ID,
 * which counts instead of offset. Where the caller cannot send pieces, both are one answer like the others.
 *
 *   look --something there--> read --> show --+--more to come--> look
 *    |                                        +--enough--> answer, or a piece, and look again
 *    +--nothing there, after a sync--> answer, or park until the partition grows, and look again
 */
#include "lambda/exchange.h"

#include "lambda/batches.h"
#include "lambda/json.h"
#include "lambda/query.h"
#include "lambda/response.h"

#include <strings.h>

#define LIMIT_DEFAULT 10
#define LIMIT_MAX 100
#define READS_MAX 32
#define READ_BYTES_FIRST (64 << 10) /* doubled with each read ... */
#define READ_BYTES_MAX (1 << 20)    /* ... up to this */
#define PIECE_BYTES (256 << 10)     /* of a stream, at most, but for one larger message */
#define MESSAGE_OVERHEAD 128        /* bytes of one message in the answer besides its payload, at most */
#define ARENA_SLACK (1 << 20)       /* what a decompressor needs besides its output */
#define ESCAPED_MAX 6               /* answer bytes that one payload byte can become: \u0001 */
#define WAIT_MS_MAX 60000
#define WAIT_MS_EVENTS 20000              /* of an answer of events that cannot grow, when none is given */
#define UNKNOWN_TOPIC_NS (500 * ST_MS)    /* between looks for a topic that does not exist yet */
#define END_MARGIN_NS (200 * ST_MS)       /* what a call's own timeout leaves for the answer */

/* What a look at some records leads to. */
enum progress { GO_ON, ENOUGH, STOPPED /* answered already */ };

static void look(struct rest_exchange *exchange);

static void release(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    rest_writer_release(&consume->writer);
    kp_arena_release(&consume->arena);
}

/* ---- answers ---- */

static void open_form(struct rest_consume *consume) {
    if (!consume->opened) {
        consume->opened = true;
        rest_form_open(consume->form, &consume->writer);
    }
}

static void refuse_writer(struct rest_exchange *exchange) {
    rest_exchange_error(exchange, exchange->consume.writer.over ? REST_BATCH_TOO_LARGE : REST_OVERLOADED);
}

static void answer_messages(struct rest_exchange *exchange, int64_t next_offset) {
    struct rest_consume *consume = &exchange->consume;
    struct rest_writer *writer = &consume->writer;
    open_form(consume);
    rest_form_close(consume->form, writer, next_offset, consume->count == 0);
    if (writer->failed) {
        refuse_writer(exchange);
        return;
    }
    struct rest_response *response = &exchange->call->response;
    rest_form_begin(consume->form, response);
    rest_writer_finish(writer, &response->body);
    rest_exchange_done(exchange);
}

static void last_words(struct rest_exchange *exchange, struct kp_chain *json, struct kp_chain *out) {
    rest_form_error(exchange->consume.form, json, out);
}

static void ended(struct rest_exchange *exchange) {
    rest_exchange_end(exchange, false);
}

/* Sends what is written, then goes on. */
static void send_piece(struct rest_exchange *exchange, void (*go_on)(struct rest_exchange *exchange)) {
    struct rest_consume *consume = &exchange->consume;
    if (consume->writer.failed) {
        refuse_writer(exchange);
        return;
    }
    size_t bytes = consume->writer.used;
    consume->bytes_left -= bytes < consume->bytes_left ? bytes : consume->bytes_left;
    consume->limit -= consume->count;
    consume->count = 0;
    consume->reads = 0;
    consume->inflated = 0;
    consume->spoke_ns = st_now_ns(exchange->rest->loop);
    struct kp_chain piece;
    kp_chain_init(&piece);
    rest_writer_finish(&consume->writer, &piece);
    if (piece.failed) {
        kp_chain_release(&piece);
        rest_exchange_end(exchange, true);
        return;
    }
    rest_exchange_piece(exchange, &piece, go_on);
}

static void end_stream(struct rest_exchange *exchange, int64_t next_offset) {
    struct rest_consume *consume = &exchange->consume;
    open_form(consume);
    rest_form_close(consume->form, &consume->writer, next_offset, true);
    send_piece(exchange, ended);
}

static void begin_stream(struct rest_exchange *exchange) {
    if (!exchange->call->streaming) {
        rest_form_begin(exchange->consume.form, &exchange->call->response);
        exchange->last_words = last_words;
        rest_exchange_begin(exchange);
    }
}

static void next_round(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    int64_t now = st_now_ns(exchange->rest->loop);
    rest_exchange_renew(exchange);
    if (consume->limit == 0 || consume->past_bytes || consume->bytes_left == 0 || now >= consume->end_ns ||
        rest_exchange_hurried(exchange)) {
        end_stream(exchange, consume->cursor);
    } else {
        look(exchange);
    }
}

/* What one round may bring together is there. */
static void enough(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    if (!consume->streams) {
        answer_messages(exchange, consume->cursor);
        return;
    }
    if (!rest_exchange_may_wait(exchange)) {
        rest_exchange_error(exchange, REST_TOO_MANY_WAITS);
        return;
    }
    begin_stream(exchange);
    open_form(consume);
    int64_t until = st_now_ns(exchange->rest->loop) + consume->wait_ns;
    if (consume->form == REST_FORM_LINES && consume->count > 0) {
        consume->until_ns = until < consume->end_ns ? until : consume->end_ns;
    }
    send_piece(exchange, next_round);
}

/* ---- messages ---- */

/* Bytes that the answer, or this piece of it, may have. */
static size_t bytes_max(const struct rest_exchange *exchange) {
    const struct rest_consume *consume = &exchange->consume;
    size_t most = consume->streams ? PIECE_BYTES : exchange->rest->options.answer_bytes_max;
    return consume->bytes_left < most ? consume->bytes_left : most;
}

/* False when the message is not the first and does not fit any more. */
static bool write_message(struct rest_exchange *exchange, const struct kp_record *record) {
    struct rest_consume *consume = &exchange->consume;
    struct rest_writer *writer = &consume->writer;
    size_t most = bytes_max(exchange), before = writer->used;
    size_t least = MESSAGE_OVERHEAD + record->value.len + record->key.len + record->headers.len;
    bool first = consume->count == 0;
    bool fits = first || before + least <= most;
    if (fits) {
        open_form(consume);
        rest_form_message(consume->form, writer, record, first, &consume->how);
        fits = first || writer->used + MESSAGE_OVERHEAD <= most; /* escapes or base64 made it longer than it is */
    }
    if (!fits) {
        writer->used = before;
        consume->past_bytes = most == consume->bytes_left;
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
        if (!write_message(exchange, &record)) {
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

/* Shows what was read. False when the call is answered, or goes on by itself. */
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
        enough(exchange);
    }
    return progress == GO_ON;
}

/* ---- reads ---- */

static void read_failed(struct rest_exchange *exchange, enum st_error error) {
    struct rest_consume *consume = &exchange->consume;
    bool moved = error == ST_OFFSET_RANGE || error == ST_NO_TOPIC_ID || error == ST_NO_TOPIC ||
                 error == ST_NO_PARTITION;
    if (consume->count > 0) {
        enough(exchange);
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
    consume->moved = true;
    consume->topic_id = topic->id;
    consume->part = (struct st_read_part){
        .topic_id = topic->id, .partition = consume->how.partition, .offset = consume->cursor, .max_bytes = bytes};
    kp_chain_init(&consume->part.chain);
    consume->read = (struct st_read){.parts = &consume->part, .count = 1, .max_bytes = bytes, .done = have_read};
    rest_exchange_wait(exchange);
    st_read(exchange->rest->engine, &consume->read);
}

/* ---- waiting ---- */

static void woken(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    int64_t now = st_now_ns(exchange->rest->loop), ping_ns = exchange->rest->options.ping_ms * ST_MS;
    rest_exchange_renew(exchange);
    if (consume->streams && consume->form == REST_FORM_EVENTS && now - consume->spoke_ns >= ping_ns) {
        rest_form_ping(&consume->writer, consume->cursor >= 0 ? consume->cursor : consume->asked);
        send_piece(exchange, look);
    } else {
        look(exchange);
    }
}

/* False: it must not wait (longer). */
static bool park(struct rest_exchange *exchange, const struct st_topic *topic) {
    struct rest_consume *consume = &exchange->consume;
    int64_t now = st_now_ns(exchange->rest->loop), delay = consume->until_ns - now;
    if (delay <= 0 || rest_exchange_hurried(exchange)) {
        return false;
    }
    if (topic == NULL) {
        exchange->synced = false; /* another process may make it */
        delay = delay < UNKNOWN_TOPIC_NS ? delay : UNKNOWN_TOPIC_NS;
    }
    if (consume->streams && consume->form == REST_FORM_EVENTS) {
        int64_t ping = consume->spoke_ns + exchange->rest->options.ping_ms * ST_MS - now;
        delay = ping < delay ? ping : delay;
    }
    rest_exchange_park(exchange, topic, consume->how.partition, delay, woken);
    return true;
}

/* Nothing (more) to see in the fold as it is, which counts if there are messages, or if it is known to be fresh. */
static void at_end(struct rest_exchange *exchange, const struct st_topic *topic, int64_t next_offset) {
    struct rest_consume *consume = &exchange->consume;
    if (consume->count == 0 && !exchange->synced) {
        rest_exchange_sync(exchange, look);
        return;
    }
    if (!consume->streams && (consume->count > 0 || consume->until_ns == 0)) {
        answer_messages(exchange, next_offset);
        return;
    }
    if (!rest_exchange_may_wait(exchange)) {
        rest_exchange_error(exchange, REST_TOO_MANY_WAITS);
        return;
    }
    if (consume->streams && (consume->count > 0 || !consume->opened)) {
        enough(exchange); /* the first time, so that the client sees the head of the answer */
    } else if (!park(exchange, topic)) {
        if (consume->streams) {
            end_stream(exchange, next_offset);
        } else {
            answer_messages(exchange, next_offset);
        }
    }
}

/* The topic was deleted under a reader, perhaps made again: what was read before belongs to no offset of it. */
static bool topic_changed(const struct rest_consume *consume, const struct st_topic *topic) {
    return consume->moved && (topic == NULL || !kp_uuid_equal(&topic->id, &consume->topic_id));
}

static void look(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    struct st_engine *engine = exchange->rest->engine;
    const struct st_topic *topic = st_topic_by_name(engine, rest_exchange_topic(exchange));
    struct st_partition_view view;
    if (exchange->call->streaming && topic_changed(consume, topic)) {
        end_stream(exchange, consume->cursor < 0 ? 0 : consume->cursor);
        return;
    }
    if (topic == NULL) {
        at_end(exchange, NULL, consume->count > 0 ? consume->cursor : consume->asked >= 0 ? consume->asked : 0);
        return;
    }
    if (!st_partition_view(engine, topic, consume->how.partition, &view)) {
        if (exchange->synced) {
            rest_exchange_store_error(exchange, ST_NO_PARTITION);
        } else {
            rest_exchange_sync(exchange, look);
        }
        return;
    }
    if (consume->cursor < 0) {
        consume->cursor = consume->asked > view.log_start ? consume->asked : view.log_start;
    }
    if (consume->cursor >= view.end) {
        int64_t cursor = consume->cursor;
        consume->cursor = consume->moved ? cursor : -1; /* the sync may tell of another log start */
        at_end(exchange, topic, cursor);
    } else if (consume->reads >= READS_MAX) {
        enough(exchange);
    } else {
        read_on(exchange, topic);
    }
}

/* ---- the request ---- */

/* The value of Last-Event-ID; ptr NULL when there is none, or an empty one, which means the same. */
static struct kp_slice last_event_id(const struct rest_request *request) {
    struct kp_slice name = KP_SLICE_LIT("last-event-id"), found = {NULL, 0};
    for (size_t i = 0; i < request->header_count; i++) {
        const struct rest_header *header = &request->headers[i];
        if (header->name.len == name.len && header->value.len > 0 &&
            strncasecmp((const char *)header->name.ptr, (const char *)name.ptr, name.len) == 0) {
            found = header->value;
        }
    }
    return found;
}

static bool refuse(struct rest_exchange *exchange, enum rest_error error) {
    rest_exchange_error(exchange, error);
    return false;
}

/* The parameter, or *number as it was. False: it is no whole number. Beyond INT64_MAX is INT64_MAX, if that may be. */
static bool read_number(const struct rest_request *request, struct kp_slice name, bool may_overflow, int64_t *number) {
    struct kp_slice value;
    bool overflow;
    return !rest_query_last(request->query, name, &value) ||
           (rest_whole_number(value, number, &overflow) && (may_overflow || !overflow));
}

/* False when the request is refused. */
static bool read_query(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    const struct rest_request *request = &exchange->call->request;
    struct kp_slice id = consume->form == REST_FORM_EVENTS ? last_event_id(request) : (struct kp_slice){NULL, 0}, part;
    bool lists = consume->form == REST_FORM_JSON, overflow;
    int64_t limit = lists ? LIMIT_DEFAULT : INT64_MAX, bytes = INT64_MAX, wait_ms = -1, partition = 0;
    consume->asked = -1;
    if (!read_number(request, KP_SLICE_LIT("offset"), false, &consume->asked) ||
        (id.ptr != NULL && (!rest_whole_number(id, &consume->asked, &overflow) || overflow))) {
        return refuse(exchange, REST_BAD_OFFSET);
    }
    if (!read_number(request, KP_SLICE_LIT("limit"), true, &limit) || limit == 0) {
        return refuse(exchange, REST_BAD_LIMIT);
    }
    if (!read_number(request, KP_SLICE_LIT("max_bytes"), true, &bytes) || bytes == 0) {
        return refuse(exchange, REST_BAD_MAX_BYTES);
    }
    if (!read_number(request, KP_SLICE_LIT("wait_ms"), true, &wait_ms)) {
        return refuse(exchange, REST_BAD_WAIT);
    }
    if (!read_number(request, KP_SLICE_LIT("partition"), false, &partition) || partition > INT32_MAX) {
        return refuse(exchange, REST_BAD_PARTITION);
    }
    consume->limit = (size_t)(lists && limit > LIMIT_MAX ? LIMIT_MAX : limit);
    consume->bytes_left = (size_t)bytes;
    consume->how.partition = (int32_t)partition;
    consume->how.partitioned = rest_query_last(request->query, KP_SLICE_LIT("partition"), &part);
    consume->how.line = !lists;
    bool events = consume->form == REST_FORM_EVENTS;
    wait_ms = wait_ms < 0 ? (events ? WAIT_MS_EVENTS : 0) : wait_ms < WAIT_MS_MAX ? wait_ms : WAIT_MS_MAX;
    consume->wait_ns = wait_ms * ST_MS;
    return true;
}

/* When waiting ends, and when a stream does. */
static void set_times(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    int64_t now = st_now_ns(exchange->rest->loop);
    consume->spoke_ns = now;
    consume->end_ns = now + exchange->rest->options.stream_ms_max * ST_MS;
    if (exchange->end_ns != ST_NEVER && exchange->end_ns - END_MARGIN_NS < consume->end_ns) {
        consume->end_ns = exchange->end_ns - END_MARGIN_NS;
    }
    bool follows = consume->streams && consume->form == REST_FORM_EVENTS;
    int64_t until = follows ? consume->end_ns : now + consume->wait_ns;
    until = until < consume->end_ns ? until : consume->end_ns;
    consume->until_ns = consume->wait_ns > 0 || follows ? until : 0;
}

void rest_consume_start(struct rest_exchange *exchange) {
    struct rest_consume *consume = &exchange->consume;
    *consume = (struct rest_consume){.cursor = -1};
    consume->form = rest_form_accepted(&exchange->call->request);
    consume->streams = consume->form != REST_FORM_JSON && rest_exchange_can_stream(exchange);
    if (!read_query(exchange)) {
        return;
    }
    const struct rest_options *options = &exchange->rest->options;
    struct kp_blob_stats blobs = kp_blob_stats();
    if (blobs.live_bytes > options->memory_bytes_max) {
        rest_exchange_error(exchange, REST_OVERLOADED);
        return;
    }
    set_times(exchange);
    size_t largest = options->inflate_bytes_max > options->answer_bytes_max ? options->inflate_bytes_max
                                                                            : options->answer_bytes_max;
    rest_writer_init(&consume->writer, largest * ESCAPED_MAX + MESSAGE_OVERHEAD);
    kp_arena_init(&consume->arena, options->inflate_bytes_max + ARENA_SLACK);
    exchange->release = release;
    look(exchange);
}
