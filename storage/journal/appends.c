/* Runs of batches: what a batch has in common with the one before it is said once. */
#include "storage/journal/appends.h"

#include "protocol/record_batch.h"
#include "storage/journal/fact.h"

#define RUN_FLAGS (ST_APPEND_PRODUCER | ST_APPEND_TIME)

/* ---- writing ---- */

void st_append_writer_init(struct st_append_writer *writer, size_t limit) {
    *writer = (struct st_append_writer){0};
    st_pack_init(&writer->runs, limit);
}

void st_append_writer_release(struct st_append_writer *writer) {
    st_pack_release(&writer->runs);
}

static bool bytes_follow(const struct st_append_writer *writer, const struct st_fact_append *append) {
    const struct st_fact_append *last = &writer->last;
    return writer->runs.len > 0 && (append->flags & ST_APPEND_INLINE) == writer->flags &&
           append->position == last->position + last->len;
}

static bool run_goes_on(const struct st_fact_append *last, const struct st_fact_append *append) {
    if (!kp_uuid_equal(&append->topic_id, &last->topic_id) || append->partition != last->partition ||
        append->base != last->base + last->count || append->flags != last->flags) {
        return false;
    }
    return (append->flags & ST_APPEND_PRODUCER) == 0 ||
           (append->producer_id == last->producer_id && append->epoch == last->epoch &&
            append->first_sequence == st_sequence_add(last->first_sequence, last->count));
}

static void write_run(struct st_pack *out, const struct st_fact_append *append, bool names_topic) {
    st_pack_u(out, (append->flags & RUN_FLAGS) | (names_topic ? (uint32_t)ST_APPEND_TOPIC : 0));
    if (names_topic) {
        st_pack_uuid(out, &append->topic_id);
    }
    st_pack_u(out, (uint64_t)append->partition);
    st_pack_u(out, (uint64_t)append->base);
    if ((append->flags & ST_APPEND_PRODUCER) != 0) {
        st_pack_u(out, (uint64_t)append->producer_id);
        st_pack_u(out, (uint64_t)append->epoch);
        st_pack_u(out, (uint64_t)append->first_sequence);
    }
}

void st_append_writer_add(struct st_append_writer *writer, const struct st_fact_append *append, struct st_pack *facts) {
    struct st_pack *out = &writer->runs;
    if (!bytes_follow(writer, append)) {
        st_append_writer_end(writer, facts);
        writer->flags = append->flags & ST_APPEND_INLINE;
        writer->position = append->position;
    }
    const struct st_fact_append *last = out->len > 0 ? &writer->last : NULL;
    if (last == NULL || !run_goes_on(last, append)) {
        if (last != NULL) {
            st_pack_u(out, 0);
        }
        write_run(out, append, last == NULL || !kp_uuid_equal(&append->topic_id, &last->topic_id));
    }
    int64_t before_ms = last != NULL ? last->max_timestamp_ms : 0;
    st_pack_u(out, (uint64_t)append->count);
    st_pack_u(out, append->len);
    st_pack_i(out, (int64_t)((uint64_t)append->max_timestamp_ms - (uint64_t)before_ms)); /* any times: it wraps */
    facts->failed |= out->failed;
    writer->last = *append;
}

void st_append_writer_end(struct st_append_writer *writer, struct st_pack *facts) {
    if (writer->runs.len > 0) {
        struct st_fact fact = {
            .type = ST_FACT_appends,
            .u.appends = {.flags = writer->flags,
                          .position = writer->position,
                          .runs = kp_slice_of(writer->runs.data, writer->runs.len)},
        };
        st_fact_write(facts, &fact);
    }
    st_append_writer_drop(writer);
}

void st_append_writer_drop(struct st_append_writer *writer) {
    writer->runs.len = 0;
}

/* ---- reading ---- */

struct st_append_reader st_append_reader(const struct st_fact_appends *fact) {
    return (struct st_append_reader){
        .in = st_unpack_of(fact->runs),
        .at = {.position = fact->position},
        .fact_flags = fact->flags,
    };
}

static void read_run(struct st_append_reader *reader, bool first) {
    struct st_unpack *in = &reader->in;
    struct st_fact_append *at = &reader->at;
    uint32_t flags = (uint32_t)st_unpack_upto(in, RUN_FLAGS | ST_APPEND_TOPIC);
    if ((flags & ST_APPEND_TOPIC) != 0) {
        at->topic_id = st_unpack_uuid(in);
    }
    bool names_none = first && (flags & ST_APPEND_TOPIC) == 0;
    in->failed |= names_none || (flags & ST_APPEND_INLINE) != 0;
    at->flags = reader->fact_flags | (flags & RUN_FLAGS);
    at->partition = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX - 1);
    at->base = (int64_t)st_unpack_upto(in, INT64_MAX);
    bool numbered = (flags & ST_APPEND_PRODUCER) != 0;
    at->producer_id = numbered ? (int64_t)st_unpack_upto(in, INT64_MAX) : -1;
    at->epoch = numbered ? (int16_t)st_unpack_upto(in, INT16_MAX) : (int16_t)-1;
    at->first_sequence = numbered ? (int32_t)st_unpack_upto(in, INT32_MAX) : -1;
    reader->in_run = true;
}

bool st_append_next(struct st_append_reader *reader, struct st_fact_append *append) {
    struct st_unpack *in = &reader->in;
    struct st_fact_append *at = &reader->at;
    if (in->failed || st_unpack_left(in) == 0) {
        return false;
    }
    bool first = at->count == 0;
    at->position += at->len;
    int32_t count = reader->in_run ? (int32_t)st_unpack_upto(in, INT32_MAX) : 0;
    if (count > 0) {
        at->base += at->count;
        at->first_sequence = at->producer_id >= 0 ? st_sequence_add(at->first_sequence, at->count) : -1;
    } else {
        read_run(reader, first);
        count = (int32_t)st_unpack_upto(in, INT32_MAX);
    }
    at->count = count;
    at->len = (uint32_t)st_unpack_upto(in, ST_RUN_MAX);
    at->max_timestamp_ms = (int64_t)((uint64_t)at->max_timestamp_ms + (uint64_t)st_unpack_i(in));
    if (count < 1 || at->base > INT64_MAX - count || at->len < KP_BATCH_HEADER_SIZE ||
        at->position > UINT32_MAX - at->len) {
        in->failed = true;
    }
    *append = *at;
    return !in->failed;
}
