/* Checkpoints as bytes. What reads and writes them in the store is log/checkpointing.c. */
#include "storage/journal/checkpoint.h"

#include "storage/journal/fold_tables.h"


#define MAGIC UINT64_C(0x53534350) /* "SSCP" */
#define POOLED_LEAST 18 /* bytes of the shortest outcome */

enum row_kind { ROW_FOLLOWS, ROW_OTHER_PARTITION };

/* ---- what reading shares ---- */

int st_row_key_compare(const struct kp_uuid *a, int32_t a_partition, int64_t a_base, const struct kp_uuid *b,
                       int32_t b_partition, int64_t b_base) {
    int order = memcmp(a->bytes, b->bytes, sizeof a->bytes);
    if (order == 0) {
        order = (a_partition > b_partition) - (a_partition < b_partition);
    }
    return order != 0 ? order : (a_base > b_base) - (a_base < b_base);
}

/* ---- footer ---- */

bool st_checkpoint_read_footer(struct kp_slice bytes, uint64_t object_len, struct st_checkpoint_footer *footer) {
    if (bytes.len != ST_CHECKPOINT_FOOTER || object_len < ST_CHECKPOINT_FOOTER) {
        return false;
    }
    struct kp_slice body = st_unsealed(bytes);
    if (body.ptr == NULL) {
        return false;
    }
    struct st_unpack in = st_unpack_of(body);
    bool known = st_unpack_fixed(&in, 4) == MAGIC && st_unpack_fixed(&in, 1) == ST_CHECKPOINT_VERSION;
    st_unpack_fixed(&in, 3);
    footer->slot = st_unpack_fixed(&in, 8);
    footer->hash = st_unpack_fixed(&in, 8);
    footer->inline_floor = st_unpack_fixed(&in, 8);
    footer->heads_at = st_unpack_fixed(&in, 8);
    footer->heads_len = st_unpack_fixed(&in, 8);
    footer->index_len = st_unpack_fixed(&in, 8);
    uint64_t before = object_len - ST_CHECKPOINT_FOOTER;
    return known && !in.failed && footer->heads_at <= before && footer->heads_len <= before - footer->heads_at &&
           footer->index_len == before - footer->heads_at - footer->heads_len;
}

/* ---- heads ---- */

static bool read_producer(struct st_unpack *in, struct st_partition *partition) {
    int64_t id = (int64_t)st_unpack_upto(in, INT64_MAX);
    struct st_window window = {0};
    window.epoch = (int16_t)st_unpack_upto(in, INT16_MAX);
    window.count = (uint8_t)st_unpack_upto(in, ST_WINDOW);
    for (uint8_t i = 0; i < window.count; i++) {
        window.batches[i].first_sequence = (int32_t)st_unpack_upto(in, INT32_MAX);
        window.batches[i].last_sequence = (int32_t)st_unpack_upto(in, INT32_MAX);
        window.batches[i].base = st_unpack_i(in);
        window.batches[i].append_time_ms = st_unpack_i(in);
    }
    struct st_producer *producer = in->failed ? NULL : st_partition_add_producer(partition, id);
    if (producer != NULL) {
        producer->window = window;
    }
    return producer != NULL;
}

static bool read_partition(struct st_unpack *in, struct st_partition *partition) {
    partition->log_start = st_unpack_i(in);
    partition->end = st_unpack_i(in);
    partition->time_reached_ms = st_unpack_i(in);
    partition->rows_hash = st_unpack_fixed(in, 8);
    partition->old_end = partition->end;
    partition->old_time_ms = partition->time_reached_ms;
    uint64_t producers = st_unpack_upto(in, st_unpack_left(in));
    for (uint64_t i = 0; i < producers && !in->failed; i++) {
        if (!read_producer(in, partition)) {
            return false;
        }
    }
    return !in->failed && partition->log_start >= 0 && partition->end >= partition->log_start;
}

static bool read_topic(struct st_unpack *in, struct st_fold *fold) {
    struct st_fact_topic fact = {.id = st_unpack_uuid(in), .name = st_unpack_slice(in)};
    fact.partitions = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX);
    fact.first_offset = st_unpack_i(in);
    fact.config_count = (uint32_t)st_unpack_upto(in, ST_CONFIGS_MAX);
    const uint8_t *configs = in->at;
    for (uint32_t i = 0; i < 2 * fact.config_count; i++) {
        st_unpack_slice(in);
    }
    if (in->failed || fact.partitions < 1 || fact.first_offset < 0 || !st_topic_name_valid(fact.name)) {
        return false;
    }
    fact.configs = kp_slice_of(configs, (size_t)(in->at - configs));
    struct st_topic_state *topic = st_fold_add_topic(fold, &fact);
    for (int32_t p = 0; topic != NULL && p < fact.partitions; p++) {
        if (!read_partition(in, &topic->partitions[p])) {
            return false;
        }
    }
    return topic != NULL;
}

static bool read_pooled(struct st_unpack *in, struct st_fold *fold) {
    uint64_t count = st_unpack_upto(in, st_unpack_left(in) / POOLED_LEAST);
    if (in->failed ||
        !st_fold_grow(&fold->pooled, (size_t)count, &fold->pooled_capacity, sizeof *fold->pooled)) {
        return false;
    }
    while (fold->pooled_count < count && !in->failed) {
        struct st_pooled_outcome *outcome = &fold->pooled[fold->pooled_count++];
        outcome->id = st_unpack_uuid(in);
        outcome->slot = st_unpack_upto(in, fold->slot);
        outcome->verdict = st_refusal_error(st_unpack_u(in));
    }
    return !in->failed;
}

/* By tag, each once. */
static bool read_sections(struct st_unpack *in, struct st_fold *fold) {
    uint64_t last = 0;
    while (st_unpack_left(in) > 0) {
        uint64_t tag = st_unpack_u(in);
        bool good = tag > last && (tag == ST_HEADS_POOLED ? read_pooled(in, fold)
                                                          : tag == ST_HEADS_KEYS && st_keys_read(in, &fold->keys));
        if (!good || in->failed) {
            return false;
        }
        last = tag;
    }
    return !in->failed;
}

struct st_fold *st_checkpoint_read_heads(struct kp_slice bytes, const struct st_checkpoint_footer *footer) {
    struct kp_slice heads = st_unsealed(bytes);
    struct st_fold *fold = heads.ptr != NULL ? st_fold_new() : NULL;
    if (fold == NULL) {
        return NULL;
    }
    struct st_unpack in = st_unpack_of(heads);
    fold->slot = st_unpack_u(&in);
    fold->level = st_unpack_upto(&in, ST_LEVEL);
    fold->next_producer_id = st_unpack_upto(&in, INT64_MAX);
    fold->objects_hash = st_unpack_fixed(&in, 8);
    uint64_t topics = st_unpack_upto(&in, st_unpack_left(&in));
    bool fits = !in.failed && fold->slot == footer->slot;
    for (uint64_t i = 0; i < topics && fits; i++) {
        fits = read_topic(&in, fold);
    }
    fits = fits && read_sections(&in, fold);
    if (!fits || in.at != in.end || st_fold_hash(fold) != footer->hash) {
        st_fold_free(fold);
        return NULL;
    }
    return fold;
}

/* ---- index ---- */

struct st_checkpoint *st_checkpoint_read_index(struct kp_slice bytes, const struct st_checkpoint_footer *footer) {
    struct kp_slice index = st_unsealed(bytes);
    struct st_checkpoint *checkpoint = index.ptr != NULL ? calloc(1, sizeof *checkpoint) : NULL;
    if (checkpoint == NULL) {
        return NULL;
    }
    struct st_unpack in = st_unpack_of(index);
    checkpoint->slot = footer->slot;
    checkpoint->hash = footer->hash;
    checkpoint->inline_floor = footer->inline_floor;
    checkpoint->block_count = (size_t)st_unpack_upto(&in, st_unpack_left(&in) / 16);
    checkpoint->blocks = calloc(checkpoint->block_count + 1, sizeof *checkpoint->blocks);
    bool fits = checkpoint->blocks != NULL;
    for (size_t i = 0; fits && i < checkpoint->block_count; i++) {
        struct st_block_ref *block = &checkpoint->blocks[i];
        block->topic_id = st_unpack_uuid(&in);
        block->partition = (int32_t)st_unpack_upto(&in, ST_PARTITIONS_MAX - 1);
        block->base = st_unpack_i(&in);
        block->time_reached_ms = st_unpack_i(&in);
        block->position = st_unpack_u(&in);
        block->len = (uint32_t)st_unpack_upto(&in, 16 * ST_CHECKPOINT_BLOCK);
        fits = !in.failed && block->position <= footer->heads_at && block->len <= footer->heads_at - block->position;
    }
    if (!fits || in.failed || in.at != in.end) {
        st_checkpoint_free(checkpoint);
        return NULL;
    }
    return checkpoint;
}

void st_checkpoint_free(struct st_checkpoint *checkpoint) {
    if (checkpoint != NULL) {
        free(checkpoint->blocks);
        free(checkpoint);
    }
}

size_t st_checkpoint_block_of(const struct st_checkpoint *checkpoint, const struct kp_uuid *topic_id, int32_t partition,
                              int64_t base) {
    size_t low = 0, high = checkpoint->block_count;
    while (low < high) { /* first block that begins above the key */
        size_t middle = low + (high - low) / 2;
        const struct st_block_ref *block = &checkpoint->blocks[middle];
        if (st_row_key_compare(&block->topic_id, block->partition, block->base, topic_id, partition, base) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low - 1;
}

/* ---- blocks ---- */

#define ROW_LEAST 8        /* bytes of the shortest row */
#define ROW_LEAST_OBJECT 12 /* ... that names an object other than the last row's */

/* Appends the row's object name to the block's memory, from the last name and what follows it. */
static bool read_name(struct st_unpack *in, struct st_block *block, size_t *names_len, size_t names_capacity,
                      struct kp_slice last, struct kp_slice *name) {
    size_t shared = (size_t)st_unpack_upto(in, last.len);
    struct kp_slice rest = st_unpack_slice(in);
    size_t len = shared + rest.len;
    if (in->failed || len == 0 || len >= ST_OBJECT_NAME_MAX || memchr(rest.ptr, 0, rest.len) != NULL) {
        return false;
    }
    if (shared == last.len && rest.len == 0) {
        *name = last; /* the same object */
        return true;
    }
    if (len > names_capacity - *names_len) {
        return false;
    }
    char *at = block->names + *names_len;
    if (shared > 0) {
        memcpy(at, last.ptr, shared); /* names lie one behind the other: they never overlap */
    }
    memcpy(at + shared, rest.ptr, rest.len);
    *names_len += len;
    *name = kp_slice_of(at, len);
    return true;
}

static bool read_row(struct st_unpack *in, const struct st_block_row *last, struct st_block_row *row) {
    uint64_t kind = st_unpack_upto(in, ROW_OTHER_PARTITION);
    if (kind == ROW_OTHER_PARTITION) {
        row->topic_id = st_unpack_uuid(in);
        row->partition = (int32_t)st_unpack_upto(in, ST_PARTITIONS_MAX - 1);
        row->row.base = st_unpack_i(in);
    } else if (last != NULL) {
        row->topic_id = last->topic_id;
        row->partition = last->partition;
        row->row.base = last->row.end;
    } else {
        return false;
    }
    uint64_t count = st_unpack_upto(in, INT64_MAX);
    row->row.slot = st_unpack_u(in);
    row->row.position = (uint32_t)st_unpack_upto(in, UINT32_MAX);
    row->row.len = (uint32_t)st_unpack_upto(in, ST_RUN_MAX);
    row->row.flags = (uint32_t)st_unpack_upto(in, ST_APPEND_INLINE | ST_APPEND_TIME);
    row->row.max_timestamp_ms = st_unpack_i(in);
    row->row.time_reached_ms = st_unpack_i(in);
    if (in->failed || row->row.len > UINT32_MAX - row->row.position || row->row.base < 0 || count == 0 ||
        (int64_t)count > INT64_MAX - row->row.base) {
        return false;
    }
    row->row.end = row->row.base + (int64_t)count;
    return true;
}

bool st_block_read(struct kp_slice bytes, struct st_block *block) {
    struct kp_slice body = st_unsealed(bytes);
    *block = (struct st_block){0};
    if (body.ptr == NULL) {
        return false;
    }
    size_t most = body.len / ROW_LEAST + 1;
    size_t names_capacity = (body.len / ROW_LEAST_OBJECT + 1) * ST_OBJECT_NAME_MAX, names_len = 0;
    block->rows = calloc(most, sizeof *block->rows);
    block->names = malloc(names_capacity);
    struct st_unpack in = st_unpack_of(body);
    struct kp_slice name = {0};
    bool fits = block->rows != NULL && block->names != NULL, no_memory = !fits;
    while (fits && st_unpack_left(&in) > 0) {
        struct st_block_row *row = &block->rows[block->count];
        fits = read_row(&in, block->count > 0 ? row - 1 : NULL, row);
        if (fits && (row->row.flags & ST_APPEND_INLINE) == 0) {
            fits = read_name(&in, block, &names_len, names_capacity, name, &name);
            row->object = name;
            row->object_len = st_unpack_u(&in);
            fits = fits && !in.failed && row->object_len >= (uint64_t)row->row.position + row->row.len;
        }
        block->count++;
    }
    if (!fits) {
        st_block_release(block);
        block->no_memory = no_memory;
    }
    return fits;
}

void st_block_release(struct st_block *block) {
    free(block->rows);
    free(block->names);
    *block = (struct st_block){0};
}

/* ---- writing ---- */

bool st_checkpoint_writer_init(struct st_checkpoint_writer *writer) {
    *writer = (struct st_checkpoint_writer){0};
    st_pack_init(&writer->out, ST_CHECKPOINT_MAX);
    writer->checkpoint = calloc(1, sizeof *writer->checkpoint);
    if (writer->checkpoint != NULL) {
        writer->checkpoint->inline_floor = UINT64_MAX;
    }
    return writer->checkpoint != NULL;
}

void st_checkpoint_writer_release(struct st_checkpoint_writer *writer) {
    st_pack_release(&writer->out);
    st_checkpoint_free(writer->checkpoint);
    writer->checkpoint = NULL;
}

static void block_close(struct st_checkpoint_writer *writer) {
    if (writer->block_open) {
        st_pack_seal(&writer->out, writer->block_at);
        struct st_block_ref *block = &writer->checkpoint->blocks[writer->checkpoint->block_count - 1];
        block->len = (uint32_t)(writer->out.len - writer->block_at);
        writer->block_open = false;
    }
}

static void block_begin(struct st_checkpoint_writer *writer, const struct st_block_row *row) {
    struct st_checkpoint *checkpoint = writer->checkpoint;
    if (checkpoint->block_count == writer->block_capacity) {
        size_t capacity = writer->block_capacity == 0 ? 16 : writer->block_capacity * 2;
        struct st_block_ref *grown = realloc(checkpoint->blocks, capacity * sizeof *grown);
        if (grown == NULL) {
            writer->out.failed = true;
            return;
        }
        checkpoint->blocks = grown;
        writer->block_capacity = capacity;
    }
    writer->block_at = writer->out.len;
    writer->block_open = true;
    writer->last_name[0] = 0;
    checkpoint->blocks[checkpoint->block_count++] = (struct st_block_ref){
        .topic_id = row->topic_id,
        .partition = row->partition,
        .base = row->row.base,
        .time_reached_ms = row->row.time_reached_ms,
        .position = writer->out.len,
    };
}

static void write_name(struct st_checkpoint_writer *writer, struct kp_slice name) {
    size_t shared = 0, last_len = strlen(writer->last_name);
    while (shared < last_len && shared < name.len && (uint8_t)writer->last_name[shared] == name.ptr[shared]) {
        shared++;
    }
    st_pack_u(&writer->out, shared);
    st_pack_slice(&writer->out, kp_slice_of(name.ptr + shared, name.len - shared));
    memcpy(writer->last_name, name.ptr, name.len);
    writer->last_name[name.len] = 0;
}

void st_checkpoint_write_row(struct st_checkpoint_writer *writer, const struct st_block_row *row) {
    if (writer->block_open && writer->out.len - writer->block_at >= ST_CHECKPOINT_BLOCK) {
        block_close(writer);
    }
    bool first = !writer->block_open;
    if (first) {
        block_begin(writer, row);
    }
    struct st_pack *out = &writer->out;
    bool follows = !first && kp_uuid_equal(&writer->last.topic_id, &row->topic_id) &&
                   writer->last.partition == row->partition && writer->last.row.end == row->row.base;
    st_pack_u(out, follows ? ROW_FOLLOWS : ROW_OTHER_PARTITION);
    if (!follows) {
        st_pack_uuid(out, &row->topic_id);
        st_pack_u(out, (uint64_t)row->partition);
        st_pack_i(out, row->row.base);
    }
    st_pack_u(out, (uint64_t)(row->row.end - row->row.base));
    st_pack_u(out, row->row.slot);
    st_pack_u(out, row->row.position);
    st_pack_u(out, row->row.len);
    st_pack_u(out, row->row.flags);
    st_pack_i(out, row->row.max_timestamp_ms);
    st_pack_i(out, row->row.time_reached_ms);
    if ((row->row.flags & ST_APPEND_INLINE) == 0) {
        write_name(writer, row->object);
        st_pack_u(out, row->object_len);
    } else if (row->row.slot < writer->checkpoint->inline_floor) {
        writer->checkpoint->inline_floor = row->row.slot;
    }
    writer->last = *row;
}

bool st_checkpoint_write_end(struct st_checkpoint_writer *writer, uint64_t slot, struct kp_slice heads, uint64_t hash) {
    struct st_pack *out = &writer->out;
    struct st_checkpoint *checkpoint = writer->checkpoint;
    block_close(writer);
    checkpoint->slot = slot;
    checkpoint->hash = hash;
    size_t heads_at = out->len;
    st_pack_bytes(out, heads.ptr, heads.len);
    st_pack_seal(out, heads_at);
    size_t index_at = out->len;
    st_pack_u(out, checkpoint->block_count);
    for (size_t i = 0; i < checkpoint->block_count; i++) {
        const struct st_block_ref *block = &checkpoint->blocks[i];
        st_pack_uuid(out, &block->topic_id);
        st_pack_u(out, (uint64_t)block->partition);
        st_pack_i(out, block->base);
        st_pack_i(out, block->time_reached_ms);
        st_pack_u(out, block->position);
        st_pack_u(out, block->len);
    }
    st_pack_seal(out, index_at);
    size_t footer_at = out->len;
    st_pack_fixed(out, MAGIC, 4);
    st_pack_fixed(out, ST_CHECKPOINT_VERSION, 1);
    st_pack_fixed(out, 0, 3);
    st_pack_fixed(out, slot, 8);
    st_pack_fixed(out, hash, 8);
    st_pack_fixed(out, checkpoint->inline_floor, 8);
    st_pack_fixed(out, heads_at, 8);
    st_pack_fixed(out, index_at - heads_at, 8);
    st_pack_fixed(out, footer_at - index_at, 8);
    st_pack_seal(out, footer_at);
    return !out->failed;
}
