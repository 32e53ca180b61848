/*
 * Fetch: read; if that gives enough, answer. If not, or if anything is to be refused, sync, read again, and only then
 * refuse, or wait for records until max_wait_ms have passed since the request came.
 *
 * Sessions (KIP-227) are not kept: a full request is answered in full with session id 0, which every client takes for
 * "no session"; an incremental one names a session that is not known here.
 *
 * Record bytes go from the cache to the socket as references: the chains that st_read gives become pieces of the
 * answer.
 */
#include "gateway/kafka/dispatch.h"
#include "gateway/kafka/link.h"
#include "gateway/kafka/park.h"
#include "storage/runtime/metrics.h"

#define FIRST_TOPIC_ID_VERSION 13
/* Bytes of answers not yet taken by their clients above which further ones are kept small: slow readers pin what the
 * cache would like to drop. */
#define ANSWERS_PLENTY ((size_t)128 * 1024 * 1024)
#define ANSWER_SMALL ((size_t)64 * 1024)
/* A client that reads far behind is not kept waiting for the last of many partitions. */
#define ENOUGH ((size_t)1024 * 1024)

struct fetch {
    struct gw_exchange *x;
    struct st_read read;
    struct gw_park park;
    size_t turn; /* which of the partitions is served first when the answer is smaller than the client allows */
    int64_t deadline_ns;
    enum st_error sync_error;
    bool synced;
};

static bool names_topics(const struct gw_exchange *x) {
    return x->header.api_version < FIRST_TOPIC_ID_VERSION;
}

static size_t positive(int32_t number) {
    return number > 0 ? (size_t)number : 0;
}

/* A limit of 0 or less lets one batch pass like any other that is too small for it (KIP-74). */
static size_t limit_of(int32_t bytes) {
    return bytes > 0 ? (size_t)bytes : 1;
}

/* ---- the answer ---- */

static enum kp_error part_error(const struct fetch *fetch, const struct st_read_part *part) {
    bool conclusive = fetch->sync_error == ST_OK;
    switch (part->error) {
    case ST_OK:
        return conclusive || part->chain.bytes > 0 ? KP_ERROR_NONE : KP_ERROR_KAFKA_STORAGE_ERROR;
    case ST_NO_TOPIC_ID:
        if (conclusive) {
            return names_topics(fetch->x) ? KP_ERROR_UNKNOWN_TOPIC_OR_PARTITION : KP_ERROR_UNKNOWN_TOPIC_ID;
        }
        return KP_ERROR_KAFKA_STORAGE_ERROR;
    case ST_NO_PARTITION:
    case ST_OFFSET_RANGE:
        return conclusive ? st_error_kafka(part->error) : KP_ERROR_KAFKA_STORAGE_ERROR;
    default:
        return KP_ERROR_KAFKA_STORAGE_ERROR;
    }
}

static void fill_part(const struct fetch *fetch, const struct st_read_part *part,
                      struct kp_fetch_response_partition *out) {
    const struct kp_fetch_request *request = fetch->x->request;
    enum kp_error error = part_error(fetch, part);
    out->partition_index = part->partition;
    out->error_code = (int16_t)error;
    out->records.bytes = KP_SLICE_LIT("");
    if (error != KP_ERROR_NONE) {
        out->high_watermark = -1;
        return;
    }
    out->high_watermark = part->view.end;
    out->last_stable_offset = part->view.end;
    out->log_start_offset = part->view.log_start;
    out->aborted_transactions.count = request->isolation_level == 1 ? 0 : -1;
    out->records.pieces = part->chain.pieces;
    out->records.piece_count = part->chain.count;
    st_metrics.fetch_bytes_total += part->chain.bytes;
}

static bool fill(struct fetch *fetch, struct kp_fetch_response *response) {
    struct gw_exchange *x = fetch->x;
    const struct kp_fetch_request *request = x->request;
    const struct st_read_part *part = fetch->read.parts;
    response->responses.items = gw_exchange_items(x, kp_fetch_response_topic_type(), request->topics.count);
    if (response->responses.items == NULL) {
        return false;
    }
    response->responses.count = request->topics.count;
    for (int32_t t = 0; t < request->topics.count; t++) {
        const struct kp_fetch_request_topic *asked = &request->topics.items[t];
        struct kp_fetch_response_topic *out = &response->responses.items[t];
        out->topic = asked->topic;
        out->topic_id = asked->topic_id;
        out->partitions.items =
            gw_exchange_items(x, kp_fetch_response_partition_type(), asked->partitions.count);
        if (out->partitions.items == NULL) {
            return false;
        }
        out->partitions.count = asked->partitions.count;
        for (int32_t p = 0; p < asked->partitions.count; p++) {
            fill_part(fetch, part++, &out->partitions.items[p]);
        }
    }
    return true;
}

static void release_chains(struct fetch *fetch) {
    for (size_t i = 0; i < fetch->read.count; i++) {
        kp_chain_release(&fetch->read.parts[i].chain);
        kp_chain_init(&fetch->read.parts[i].chain);
    }
}

static void answer(struct fetch *fetch) {
    struct gw_exchange *x = fetch->x;
    struct kp_fetch_response response;
    kp_init(kp_fetch_response_type(), &response);
    gw_exchange_hold(x);
    if (fill(fetch, &response)) {
        gw_exchange_answer(x, &response);
    }
    release_chains(fetch);
    gw_exchange_drop(x);
}

static void refuse_session(struct gw_exchange *x) {
    struct kp_fetch_response response;
    kp_init(kp_fetch_response_type(), &response);
    response.error_code = KP_ERROR_FETCH_SESSION_ID_NOT_FOUND;
    gw_exchange_answer(x, &response);
}

/* ---- reading and waiting ---- */

static void read_again(struct fetch *fetch);

static void hurried(struct gw_exchange *x) {
    struct fetch *fetch = x->state;
    gw_park_stop(&fetch->park);
    x->hurry = NULL;
    answer(fetch);
}

static void wait_over(struct gw_park *park, bool grew) {
    struct fetch *fetch = ST_OWNER(park, struct fetch, park);
    fetch->x->hurry = NULL;
    if (grew) {
        read_again(fetch);
    } else {
        answer(fetch);
    }
}

/* What came while the read was under way would not wake a waiter that starts now. */
static bool grown_since_read(struct fetch *fetch) {
    for (size_t i = 0; i < fetch->read.count; i++) {
        const struct st_read_part *part = &fetch->read.parts[i];
        struct st_partition_view now;
        const struct st_topic *topic = st_topic_by_id(fetch->x->gateway->engine, &part->topic_id);
        if (topic == NULL || !st_partition_view(fetch->x->gateway->engine, topic, part->partition, &now) ||
            now.end != part->view.end) {
            return true;
        }
    }
    return false;
}

static void wait(struct fetch *fetch) {
    struct gw_exchange *x = fetch->x;
    if (grown_since_read(fetch)) {
        read_again(fetch);
        return;
    }
    for (size_t i = 0; i < fetch->read.count; i++) {
        fetch->park.waiters[i].waiter.topic_id = fetch->read.parts[i].topic_id;
        fetch->park.waiters[i].waiter.partition = fetch->read.parts[i].partition;
    }
    x->hurry = hurried;
    gw_park_start(&fetch->park, fetch->deadline_ns - st_now_ns(x->gateway->loop));
}

static void fresh(struct gw_exchange *x, enum st_error error) {
    struct fetch *fetch = x->state;
    fetch->synced = true;
    fetch->sync_error = error;
    if (error == ST_OK) {
        read_again(fetch);
    } else {
        answer(fetch);
    }
}

static void read_done(struct st_read *read) {
    struct fetch *fetch = ST_OWNER(read, struct fetch, read);
    struct gw_exchange *x = fetch->x;
    const struct kp_fetch_request *request = x->request;
    size_t bytes = 0;
    bool errors = false;
    for (size_t i = 0; i < read->count; i++) {
        bytes += read->parts[i].chain.bytes;
        errors = errors || read->parts[i].error != ST_OK;
    }
    size_t least = positive(request->min_bytes);
    least = least < read->max_bytes ? least : read->max_bytes; /* more than may be sent need not be waited for */
    bool enough = bytes > 0 && bytes >= least;
    if (enough && !errors) {
        answer(fetch);
    } else if (!fetch->synced) {
        gw_exchange_sync(x, fresh);
    } else if (errors || request->min_bytes <= 0 || x->gateway->draining || x->link == NULL || x->link->ended ||
               st_now_ns(x->gateway->loop) >= fetch->deadline_ns) {
        answer(fetch);
    } else {
        wait(fetch);
    }
}

static void read_again(struct fetch *fetch) {
    struct gw_exchange *x = fetch->x;
    const struct kp_fetch_request *request = x->request;
    struct st_read_part *part = fetch->read.parts;
    release_chains(fetch);
    for (int32_t t = 0; t < request->topics.count; t++) {
        const struct kp_fetch_request_topic *asked = &request->topics.items[t];
        struct kp_uuid id = asked->topic_id;
        if (names_topics(x)) {
            const struct st_topic *topic = st_topic_by_name(x->gateway->engine, asked->topic);
            id = topic != NULL ? topic->id : (struct kp_uuid){0};
        }
        for (int32_t p = 0; p < asked->partitions.count; p++, part++) {
            const struct kp_fetch_request_partition *wanted = &asked->partitions.items[p];
            *part = (struct st_read_part){.topic_id = id,
                                          .partition = wanted->partition,
                                          .offset = wanted->fetch_offset,
                                          .max_bytes = limit_of(wanted->partition_max_bytes)};
        }
    }
    size_t most = (size_t)x->gateway->config->fetch_max_bytes;
    if (x->gateway->kafka->answer_bytes > ANSWERS_PLENTY) {
        most = ANSWER_SMALL;
    }
    size_t wished = limit_of(request->max_bytes);
    fetch->read.max_bytes = wished < most ? wished : most;
    fetch->read.first = wished > most ? fetch->turn % fetch->read.count : 0;
    fetch->read.enough = positive(request->min_bytes) > ENOUGH ? positive(request->min_bytes) : ENOUGH;
    st_read(x->gateway->engine, &fetch->read);
}

static bool begin(struct gw_exchange *x, size_t parts) {
    const struct kp_fetch_request *request = x->request;
    struct fetch *fetch = gw_exchange_room(x, 1, sizeof *fetch);
    if (fetch == NULL) {
        return false;
    }
    x->state = fetch;
    fetch->x = x;
    fetch->read = (struct st_read){.count = parts, .done = read_done};
    fetch->park = (struct gw_park){.gateway = x->gateway, .count = parts, .over = wait_over};
    fetch->turn = x->gateway->kafka->fetches++;
    fetch->deadline_ns = x->begun_ns + (int64_t)positive(request->max_wait_ms) * ST_MS;
    fetch->read.parts = gw_exchange_room(x, parts, sizeof *fetch->read.parts);
    if (fetch->read.parts == NULL) {
        return false;
    }
    fetch->park.waiters = gw_exchange_room(x, parts, sizeof *fetch->park.waiters);
    return fetch->park.waiters != NULL;
}

static bool from_replica(const struct gw_exchange *x) {
    const struct kp_fetch_request *request = x->request;
    int32_t replica = x->header.api_version >= 15 ? request->replica_state.replica_id : request->replica_id;
    return replica >= 0;
}

void gw_handle_fetch(struct gw_exchange *x) {
    const struct kp_fetch_request *request = x->request;
    if (from_replica(x)) {
        gw_exchange_fail(x, "fetch by a replica");
        return;
    }
    if (request->session_epoch != 0 && request->session_epoch != -1) {
        refuse_session(x);
        return;
    }
    size_t parts = 0;
    for (int32_t t = 0; t < request->topics.count; t++) {
        parts += (size_t)request->topics.items[t].partitions.count;
    }
    if (begin(x, parts)) {
        struct fetch *fetch = x->state;
        if (parts == 0) {
            answer(fetch);
        } else {
            read_again(fetch);
        }
    }
}
