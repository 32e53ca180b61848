/*
 * Applying facts. Everything here is deterministic: tables are sorted arrays, never hash tables, because what is
 * walked in order is also written in order (checkpoints) and must be the same in every process.
 */
#include "storage/journal/fold.h"

#include "storage/journal/checkpoint.h"
#include "storage/mutants.h"
#include "storage/topic_config.h"


uint64_t st_hash_mix(uint64_t hash, uint64_t value) {
    /* The finalizer of splitmix64 over the sum: every bit of value reaches every bit of the result. */
    uint64_t x = (hash ^ value) + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct st_fold *st_fold_new(void) {
    return calloc(1, sizeof(struct st_fold));
}

static void topic_free(struct st_topic_state *topic) {
    for (int32_t p = 0; p < topic->view.partition_count; p++) {
        struct st_partition *partition = &topic->partitions[p];
        for (size_t i = 0; i < partition->producer_count; i++) {
            free(partition->producers[i]);
        }
        free(partition->producers);
        free(partition->rows);
    }
    free(topic->partitions);
    free((void *)(uintptr_t)topic->view.configs);
    free((void *)(uintptr_t)topic->name_copy.ptr);
    free((void *)(uintptr_t)topic->configs_copy.ptr);
    free(topic);
}

void st_fold_free(struct st_fold *fold) {
    if (fold == NULL) {
        return;
    }
    for (size_t i = 0; i < fold->topic_count; i++) {
        topic_free(fold->by_id[i]);
    }
    for (size_t i = 0; i < fold->object_count; i++) {
        free(fold->objects[i].name);
    }
    free(fold->by_id);
    free(fold->by_name);
    free(fold->objects);
    st_checkpoint_free(fold->checkpoint);
    free(fold);
}

/* ---- look-ups ---- */

static size_t id_position(const struct st_fold *fold, const struct kp_uuid *id) {
    size_t low = 0, high = fold->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(fold->by_id[middle]->view.id.bytes, id->bytes, sizeof id->bytes) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static size_t name_position(const struct st_fold *fold, struct kp_slice name) {
    size_t low = 0, high = fold->topic_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (kp_slice_compare(fold->by_name[middle]->view.name, name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct st_topic_state *st_fold_topic_by_id(const struct st_fold *fold, const struct kp_uuid *id) {
    size_t at = id_position(fold, id);
    return at < fold->topic_count && kp_uuid_equal(&fold->by_id[at]->view.id, id) ? fold->by_id[at] : NULL;
}

struct st_topic_state *st_fold_topic_by_name(const struct st_fold *fold, struct kp_slice name) {
    size_t at = name_position(fold, name);
    return at < fold->topic_count && kp_slice_equal(fold->by_name[at]->view.name, name) ? fold->by_name[at] : NULL;
}

size_t st_fold_name_above(const struct st_fold *fold, struct kp_slice name) {
    if (name.ptr == NULL) {
        return 0;
    }
    size_t at = name_position(fold, name);
    return at < fold->topic_count && kp_slice_equal(fold->by_name[at]->view.name, name) ? at + 1 : at;
}

struct st_partition *st_fold_partition(const struct st_fold *fold, const struct kp_uuid *id, int32_t number) {
    struct st_topic_state *topic = st_fold_topic_by_id(fold, id);
    return topic != NULL && number >= 0 && number < topic->view.partition_count ? &topic->partitions[number] : NULL;
}

const struct st_object_ref *st_fold_object(const struct st_fold *fold, uint64_t slot) {
    size_t low = 0, high = fold->object_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (fold->objects[middle].slot < slot) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < fold->object_count && fold->objects[low].slot == slot ? &fold->objects[low] : NULL;
}

static size_t producer_position(const struct st_partition *partition, int64_t id) {
    size_t low = 0, high = partition->producer_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (partition->producers[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct st_producer *st_partition_producer(const struct st_partition *partition, int64_t id) {
    size_t at = producer_position(partition, id);
    return at < partition->producer_count && partition->producers[at]->id == id ? partition->producers[at] : NULL;
}

const struct st_row *st_partition_row(const struct st_partition *partition, int64_t offset) {
    size_t low = 0, high = partition->row_count;
    while (low < high) { /* first row that ends above offset */
        size_t middle = low + (high - low) / 2;
        if (partition->rows[middle].end <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < partition->row_count && partition->rows[low].base <= offset ? &partition->rows[low] : NULL;
}

/* ---- growth of the sorted arrays ---- */

/* Room for `count` elements of `size` bytes in a malloc'ed array. */
static bool grow(void *array, size_t count, size_t *capacity, size_t size) {
    if (count <= *capacity) {
        return true;
    }
    size_t wanted = *capacity == 0 ? 4 : *capacity * 2;
    wanted = wanted > count ? wanted : count;
    void *grown = realloc(*(void **)array, wanted * size);
    if (grown == NULL) {
        return false;
    }
    *(void **)array = grown;
    *capacity = wanted;
    return true;
}

static bool grow_producers(struct st_partition *partition, size_t more) {
    return grow(&partition->producers, partition->producer_count + more, &partition->producer_capacity,
                sizeof(struct st_producer *));
}

/* There is room for it. */
static void insert_producer(struct st_partition *partition, struct st_producer *producer, int64_t id) {
    producer->id = id;
    size_t at = producer_position(partition, id);
    memmove(&partition->producers[at + 1], &partition->producers[at],
            (partition->producer_count - at) * sizeof(struct st_producer *));
    partition->producers[at] = producer;
    partition->producer_count++;
}

struct st_producer *st_partition_add_producer(struct st_partition *partition, int64_t id) {
    struct st_producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL || !grow_producers(partition, 1)) {
        free(producer);
        return NULL;
    }
    insert_producer(partition, producer, id);
    return producer;
}

/* ---- topics ---- */

static struct kp_slice duplicate(struct kp_slice bytes) {
    uint8_t *copy = malloc(bytes.len + 1);
    if (copy == NULL) {
        return (struct kp_slice){0};
    }
    memcpy(copy, bytes.ptr, bytes.len);
    copy[bytes.len] = 0;
    return kp_slice_of(copy, bytes.len);
}

static void read_effective_configs(struct st_topic_state *topic) {
    const struct st_config_rule *rule = st_config_rule(KP_SLICE_LIT("max.message.bytes"));
    topic->message_bytes_max = (uint32_t)strtoul(rule->value, NULL, 10);
    for (size_t i = 0; i < topic->view.config_count; i++) {
        const struct st_config *config = &topic->view.configs[i];
        if (kp_slice_equal(config->name, KP_SLICE_LIT("max.message.bytes"))) {
            char text[16] = {0};
            memcpy(text, config->value.ptr, config->value.len < 15 ? config->value.len : 15);
            topic->message_bytes_max = (uint32_t)strtoul(text, NULL, 10);
        } else if (kp_slice_equal(config->name, KP_SLICE_LIT("message.timestamp.type"))) {
            topic->append_time = kp_slice_equal(config->value, KP_SLICE_LIT("LogAppendTime"));
        }
    }
}

static bool fill_topic(struct st_topic_state *topic, const struct st_fact_topic *fact) {
    struct st_config *configs = calloc(fact->config_count + 1, sizeof *configs);
    topic->partitions = calloc((size_t)fact->partitions, sizeof *topic->partitions);
    topic->name_copy = duplicate(fact->name);
    topic->configs_copy = duplicate(fact->configs);
    topic->view.configs = configs;
    if (configs == NULL || topic->partitions == NULL || topic->name_copy.ptr == NULL ||
        topic->configs_copy.ptr == NULL) {
        return false;
    }
    topic->view.id = fact->id;
    topic->view.name = topic->name_copy;
    topic->view.first_offset = fact->first_offset;
    topic->view.partition_count = fact->partitions;
    struct st_unpack in = st_unpack_of(topic->configs_copy);
    while (topic->view.config_count < fact->config_count &&
           st_fact_config_next(&in, &configs[topic->view.config_count])) {
        topic->view.config_count++;
    }
    for (int32_t p = 0; p < fact->partitions; p++) {
        topic->partitions[p] = (struct st_partition){
            .topic = topic,
            .number = p,
            .log_start = fact->first_offset,
            .end = fact->first_offset,
            .time_reached_ms = INT64_MIN,
            .old_end = fact->first_offset,
            .old_time_ms = INT64_MIN,
        };
    }
    read_effective_configs(topic);
    return true;
}

static bool topic_fits(const struct st_fold *fold, const struct st_fact_topic *fact) {
    return st_fold_topic_by_id(fold, &fact->id) == NULL && st_fold_topic_by_name(fold, fact->name) == NULL &&
           fact->partitions <= ST_FOLD_PARTITIONS_MAX - fold->partition_count;
}

static bool grow_topics(struct st_fold *fold, size_t more) {
    size_t capacity = fold->topic_capacity;
    return grow(&fold->by_name, fold->topic_count + more, &capacity, sizeof(struct st_topic_state *)) &&
           grow(&fold->by_id, fold->topic_count + more, &fold->topic_capacity, sizeof(struct st_topic_state *));
}

static struct st_topic_state *topic_new(const struct st_fact_topic *fact) {
    struct st_topic_state *topic = calloc(1, sizeof *topic);
    if (topic != NULL && !fill_topic(topic, fact)) {
        topic_free(topic);
        return NULL;
    }
    return topic;
}

/* It fits, and there is room for it. */
static void insert_topic(struct st_fold *fold, struct st_topic_state *topic) {
    size_t name_at = name_position(fold, topic->view.name), id_at = id_position(fold, &topic->view.id);
    size_t tail = fold->topic_count * sizeof(struct st_topic_state *);
    memmove(&fold->by_name[name_at + 1], &fold->by_name[name_at], tail - name_at * sizeof(struct st_topic_state *));
    memmove(&fold->by_id[id_at + 1], &fold->by_id[id_at], tail - id_at * sizeof(struct st_topic_state *));
    fold->by_name[name_at] = topic;
    fold->by_id[id_at] = topic;
    fold->topic_count++;
    fold->partition_count += topic->view.partition_count;
}

struct st_topic_state *st_fold_add_topic(struct st_fold *fold, const struct st_fact_topic *fact) {
    if (!topic_fits(fold, fact) || !grow_topics(fold, 1)) {
        return NULL;
    }
    struct st_topic_state *topic = topic_new(fact);
    if (topic != NULL) {
        insert_topic(fold, topic);
    }
    return topic;
}

static bool apply_topic_deleted(struct st_fold *fold, const struct kp_uuid *id) {
    struct st_topic_state *topic = st_fold_topic_by_id(fold, id);
    if (topic == NULL) {
        return false;
    }
    if (fold->on_deleted != NULL) {
        fold->on_deleted(fold->arg, topic);
    }
    size_t name_at = name_position(fold, topic->view.name), id_at = id_position(fold, id);
    size_t last = --fold->topic_count;
    memmove(&fold->by_name[name_at], &fold->by_name[name_at + 1], (last - name_at) * sizeof(struct st_topic_state *));
    memmove(&fold->by_id[id_at], &fold->by_id[id_at + 1], (last - id_at) * sizeof(struct st_topic_state *));
    fold->partition_count -= topic->view.partition_count;
    topic_free(topic);
    return true;
}

/* ---- appends ---- */

struct st_row st_row_of(const struct st_fact_append *fact, uint64_t slot) {
    return (struct st_row){
        .base = fact->base,
        .end = fact->base + fact->count,
        .slot = slot,
        .position = fact->position,
        .len = fact->len,
        .flags = fact->flags & (ST_APPEND_INLINE | ST_APPEND_TIME),
        .max_timestamp_ms = fact->max_timestamp_ms,
    };
}

bool st_row_extend(struct st_row *row, const struct st_fact_append *fact, uint64_t slot) {
    uint32_t flags = fact->flags & (ST_APPEND_INLINE | ST_APPEND_TIME);
    bool same_time = (flags & ST_APPEND_TIME) == 0 || row->max_timestamp_ms == fact->max_timestamp_ms;
    if (row->slot != slot || row->flags != flags || !same_time || row->position + row->len != fact->position) {
        return false;
    }
    row->end = fact->base + fact->count;
    row->len += fact->len; /* position + len of a fact fits 32 bits, so this does */
    if (fact->max_timestamp_ms > row->max_timestamp_ms) {
        row->max_timestamp_ms = fact->max_timestamp_ms;
    }
    return true;
}

static bool grow_rows(struct st_partition *partition, size_t more) {
    return grow(&partition->rows, partition->row_count + more, &partition->row_capacity, sizeof(struct st_row));
}

static bool add_row(struct st_partition *partition, const struct st_fact_append *fact, uint64_t slot) {
    if (fact->max_timestamp_ms > partition->time_reached_ms) {
        partition->time_reached_ms = fact->max_timestamp_ms;
    }
    struct st_row *last = partition->row_count > 0 ? &partition->rows[partition->row_count - 1] : NULL;
    if (last == NULL || !st_row_extend(last, fact, slot)) {
        if (!grow_rows(partition, 1)) {
            return false;
        }
        last = &partition->rows[partition->row_count++];
        *last = st_row_of(fact, slot);
    }
    last->time_reached_ms = partition->time_reached_ms;
    return true;
}

/*
 * Memory for what an entry brings, taken before anything of it is applied, so that an entry is applied whole or not at
 * all. (An append to a topic that the same entry creates finds its room when it is applied; no writer makes one.)
 */
struct reserve {
    struct st_topic_state **topics; /* in the order of their facts; NULL: does not fit */
    size_t topic_count, topic_capacity, topic_next;
    int32_t partitions;
    struct st_producer **producers;
    size_t producer_count, producer_capacity;
    char *object_name;
};

static bool reserve_topic(struct st_fold *fold, const struct st_fact_topic *fact, struct reserve *reserve) {
    if (!grow(&reserve->topics, reserve->topic_count + 1, &reserve->topic_capacity, sizeof(struct st_topic_state *)) ||
        !grow_topics(fold, reserve->topic_count + 1)) {
        return false;
    }
    struct st_topic_state *topic = NULL;
    bool fits = fact->partitions <= ST_FOLD_PARTITIONS_MAX - reserve->partitions;
    if (fits && (topic = topic_new(fact)) == NULL) {
        return false;
    }
    reserve->partitions += fits ? fact->partitions : 0;
    reserve->topics[reserve->topic_count++] = topic;
    return true;
}

static bool reserve_append(struct st_fold *fold, const struct st_fact_append *fact, struct reserve *reserve) {
    struct st_partition *partition = st_fold_partition(fold, &fact->topic_id, fact->partition);
    if (partition == NULL) {
        return true;
    }
    if (partition->reserved_slot != fold->slot + 1) {
        partition->reserved_slot = fold->slot + 1;
        partition->reserved_rows = partition->reserved_producers = 0;
    }
    if (!grow_rows(partition, ++partition->reserved_rows)) {
        return false;
    }
    if ((fact->flags & ST_APPEND_PRODUCER) == 0 || st_partition_producer(partition, fact->producer_id) != NULL) {
        return true;
    }
    struct st_producer *producer = NULL;
    if (!grow_producers(partition, ++partition->reserved_producers) ||
        !grow(&reserve->producers, reserve->producer_count + 1, &reserve->producer_capacity,
              sizeof(struct st_producer *)) ||
        (producer = calloc(1, sizeof *producer)) == NULL) {
        return false;
    }
    reserve->producers[reserve->producer_count++] = producer;
    return true;
}

static bool reserve_fact(struct st_fold *fold, const struct st_fact *fact, struct reserve *reserve) {
    switch (fact->type) {
    case ST_FACT_topic_created:
        return reserve_topic(fold, &fact->u.topic, reserve);
    case ST_FACT_object:
        reserve->object_name = (char *)(uintptr_t)duplicate(fact->u.object.name).ptr;
        return reserve->object_name != NULL && grow(&fold->objects, fold->object_count + 1, &fold->object_capacity,
                                                    sizeof(struct st_object_ref));
    case ST_FACT_append:
        return reserve_append(fold, &fact->u.append, reserve);
    default:
        return true;
    }
}

/* Frees what was not used. */
static void reserve_release(struct reserve *reserve) {
    for (size_t i = reserve->topic_next; i < reserve->topic_count; i++) {
        if (reserve->topics[i] != NULL) {
            topic_free(reserve->topics[i]);
        }
    }
    for (size_t i = 0; i < reserve->producer_count; i++) {
        free(reserve->producers[i]);
    }
    free(reserve->topics);
    free(reserve->producers);
    free(reserve->object_name);
}

static bool apply_topic_created(struct st_fold *fold, const struct st_fact_topic *fact, struct reserve *reserve) {
    struct st_topic_state *topic = reserve->topics[reserve->topic_next];
    if (topic == NULL || !topic_fits(fold, fact)) {
        return false;
    }
    reserve->topic_next++;
    insert_topic(fold, topic);
    return true;
}

static struct st_producer *add_producer(struct st_partition *partition, int64_t id, struct reserve *reserve) {
    if (reserve->producer_count == 0) { /* of a topic that this entry created */
        return st_partition_add_producer(partition, id);
    }
    if (!grow_producers(partition, 1)) {
        return NULL;
    }
    struct st_producer *producer = reserve->producers[--reserve->producer_count];
    insert_producer(partition, producer, id);
    return producer;
}

static bool apply_append(struct st_fold *fold, const struct st_fact_append *fact, uint64_t slot,
                         struct reserve *reserve) {
    struct st_partition *partition = st_fold_partition(fold, &fact->topic_id, fact->partition);
    if (partition == NULL || partition->end != fact->base || !add_row(partition, fact, slot)) {
        return false;
    }
    partition->end = fact->base + fact->count;
    partition->rows_hash = st_hash_mix(partition->rows_hash, (uint64_t)fact->base);
    partition->rows_hash = st_hash_mix(partition->rows_hash, slot);
    partition->rows_hash = st_hash_mix(partition->rows_hash, (uint64_t)fact->position << 32 | fact->len);
    if ((fact->flags & ST_APPEND_PRODUCER) != 0) {
        struct st_producer *producer = st_partition_producer(partition, fact->producer_id);
        if (producer == NULL) {
            producer = add_producer(partition, fact->producer_id, reserve);
        }
        if (producer == NULL) {
            return false;
        }
        int64_t append_time_ms = (fact->flags & ST_APPEND_TIME) != 0 ? fact->max_timestamp_ms : -1;
        st_window_add(&producer->window, fact->epoch, fact->first_sequence, fact->count, fact->base, append_time_ms);
    }
    if (fold->on_appended != NULL) {
        fold->on_appended(fold->arg, partition);
    }
    return true;
}

static void apply_object(struct st_fold *fold, struct kp_slice name, uint64_t len, uint64_t slot,
                         struct reserve *reserve) {
    fold->objects[fold->object_count++] =
        (struct st_object_ref){.slot = slot, .name = reserve->object_name, .len = len};
    reserve->object_name = NULL;
    fold->objects_hash = st_hash_mix(fold->objects_hash, slot);
    for (size_t i = 0; i < name.len; i++) {
        fold->objects_hash = st_hash_mix(fold->objects_hash, name.ptr[i]);
    }
}

static bool apply_fact(struct st_fold *fold, const struct st_fact *fact, uint64_t slot, struct reserve *reserve) {
    switch (fact->type) {
    case ST_FACT_level:
        if (fact->u.level <= fold->level || fact->u.level > ST_LEVEL) {
            return false;
        }
        fold->level = fact->u.level;
        return true;
    case ST_FACT_topic_created:
        return apply_topic_created(fold, &fact->u.topic, reserve);
    case ST_FACT_topic_deleted:
        return apply_topic_deleted(fold, &fact->u.topic_id);
    case ST_FACT_producer_ids:
        if (fact->u.producer_ids > INT64_MAX - fold->next_producer_id) {
            return false;
        }
        fold->next_producer_id += fact->u.producer_ids;
        return true;
    case ST_FACT_object:
        apply_object(fold, fact->u.object.name, fact->u.object.len, slot, reserve);
        return true;
    case ST_FACT_append:
        return apply_append(fold, &fact->u.append, slot, reserve);
    }
    return false;
}

/* What a fact says of the entry's own bytes: one object at most, before its appends, and every append lies whole in the
 * inline area or in that object. */
static bool bytes_fit(const struct st_entry *entry, const struct st_fact *fact, uint64_t *object_len) {
    if (fact->type == ST_FACT_object) {
        bool first = *object_len == 0;
        *object_len = fact->u.object.len;
        return first && *object_len > 0;
    }
    if (fact->type == ST_FACT_append) {
        const struct st_fact_append *append = &fact->u.append;
        uint64_t room = (append->flags & ST_APPEND_INLINE) != 0 ? entry->inline_bytes.len : *object_len;
        return (uint64_t)append->position + append->len <= room;
    }
    return true;
}

/* Decodes every fact without applying any, and takes the memory that applying them needs. */
static enum st_apply prepare(struct st_fold *fold, const struct st_entry *entry, struct reserve *reserve) {
    struct st_unpack commits = st_unpack_of(entry->commits);
    bool room = true;
    struct st_commit commit;
    uint64_t object_len = 0;
    while (st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_fact fact;
        while (st_unpack_left(&facts) > 0) {
            if (!st_fact_read(&facts, &fact) || !bytes_fit(entry, &fact, &object_len)) {
                return ST_APPLY_DAMAGED;
            }
            room = room && reserve_fact(fold, &fact, reserve);
        }
    }
    return commits.failed ? ST_APPLY_DAMAGED : room ? ST_APPLY_OK : ST_APPLY_NO_MEMORY;
}

static enum st_apply apply_facts(struct st_fold *fold, const struct st_entry *entry, struct reserve *reserve) {
    uint64_t slot = fold->slot + 1;
    struct st_unpack commits = st_unpack_of(entry->commits);
    struct st_commit commit;
    while (st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_fact fact;
        while (st_unpack_left(&facts) > 0 && st_fact_read(&facts, &fact)) {
            if (!apply_fact(fold, &fact, slot, reserve)) {
                return ST_APPLY_MISFIT;
            }
        }
    }
    return ST_APPLY_OK;
}

enum st_apply st_fold_apply(struct st_fold *fold, struct kp_slice body) {
    struct st_entry entry;
    if (!st_entry_read(body, &entry)) {
        return ST_APPLY_DAMAGED;
    }
    struct reserve reserve = {0};
    enum st_apply result = prepare(fold, &entry, &reserve);
    if (result == ST_APPLY_OK) {
        result = apply_facts(fold, &entry, &reserve);
    }
    reserve_release(&reserve);
    if (result != ST_APPLY_OK) {
        return result;
    }
    fold->slot++;
    fold->entries_since_checkpoint++;
    fold->bytes_since_checkpoint += body.len;
    return ST_APPLY_OK;
}

/* ---- a newer checkpoint ---- */

static void forget_old_rows(struct st_partition *partition, const struct st_partition *at_checkpoint, uint64_t slot) {
    size_t old = 0;
    while (old < partition->row_count && partition->rows[old].slot <= slot) {
        old++;
    }
    if (old > 0) {
        memmove(partition->rows, partition->rows + old, (partition->row_count - old) * sizeof(struct st_row));
        partition->row_count -= old;
    }
    if (at_checkpoint != NULL) {
        partition->old_end = at_checkpoint->end;
        partition->old_time_ms = at_checkpoint->time_reached_ms;
    }
}

void st_fold_adopt(struct st_fold *fold, struct st_checkpoint *checkpoint, const struct st_fold *at_checkpoint) {
    uint64_t slot = checkpoint->slot;
    for (size_t i = 0; i < fold->topic_count; i++) {
        struct st_topic_state *topic = fold->by_id[i];
        for (int32_t p = 0; p < topic->view.partition_count; p++) {
            struct st_partition *partition = &topic->partitions[p];
            forget_old_rows(partition, st_fold_partition(at_checkpoint, &topic->view.id, p), slot);
        }
    }
    size_t old = 0;
    while (old < fold->object_count && fold->objects[old].slot <= slot) {
        free(fold->objects[old++].name);
    }
    if (old > 0) {
        memmove(fold->objects, fold->objects + old, (fold->object_count - old) * sizeof(struct st_object_ref));
        fold->object_count -= old;
    }
    fold->entries_since_checkpoint = fold->slot - slot;
    fold->bytes_since_checkpoint = 0;
    st_checkpoint_free(fold->checkpoint);
    fold->checkpoint = checkpoint;
}

/* ---- canonical form ---- */

static void write_producer(const struct st_producer *producer, struct st_pack *out) {
    st_pack_u(out, (uint64_t)producer->id);
    st_pack_u(out, (uint64_t)producer->window.epoch);
    st_pack_u(out, producer->window.count);
    for (uint8_t i = 0; i < producer->window.count; i++) {
        const struct st_window_batch *batch = &producer->window.batches[i];
        st_pack_u(out, (uint64_t)batch->first_sequence);
        st_pack_u(out, (uint64_t)batch->last_sequence);
        st_pack_i(out, batch->base);
        st_pack_i(out, batch->append_time_ms);
    }
}

static void write_topic_head(const struct st_topic_state *topic, struct st_pack *out) {
    st_pack_uuid(out, &topic->view.id);
    st_pack_slice(out, topic->view.name);
    st_pack_u(out, (uint64_t)topic->view.partition_count);
    st_pack_i(out, topic->view.first_offset);
    st_pack_u(out, topic->view.config_count);
    st_pack_bytes(out, topic->configs_copy.ptr, topic->configs_copy.len);
    for (int32_t p = 0; p < topic->view.partition_count; p++) {
        const struct st_partition *partition = &topic->partitions[p];
        st_pack_i(out, partition->log_start);
        st_pack_i(out, partition->end);
        st_pack_i(out, partition->time_reached_ms);
        st_pack_fixed(out, partition->rows_hash, 8);
        size_t producers = ST_MUTANT(checkpoint_omits_producers) ? 0 : partition->producer_count;
        st_pack_u(out, producers);
        for (size_t i = 0; i < producers; i++) {
            write_producer(partition->producers[i], out);
        }
    }
}

void st_fold_write_heads(const struct st_fold *fold, struct st_pack *out) {
    st_pack_u(out, fold->slot);
    st_pack_u(out, fold->level);
    st_pack_u(out, fold->next_producer_id);
    st_pack_fixed(out, fold->objects_hash, 8);
    st_pack_u(out, fold->topic_count);
    for (size_t i = 0; i < fold->topic_count; i++) {
        write_topic_head(fold->by_id[i], out);
    }
}

uint64_t st_heads_hash(struct kp_slice heads) {
    uint64_t hash = heads.len;
    for (size_t i = 0; i < heads.len; i++) {
        hash = st_hash_mix(hash, heads.ptr[i]);
    }
    return hash != 0 ? hash : 1;
}

uint64_t st_fold_hash(const struct st_fold *fold) {
    struct st_pack out;
    st_pack_init(&out, SIZE_MAX);
    st_fold_write_heads(fold, &out);
    uint64_t hash = out.failed ? 0 : st_heads_hash(kp_slice_of(out.data, out.len));
    st_pack_release(&out);
    return hash;
}

static bool copy_partition(const struct st_partition *from, struct st_partition *to) {
    to->log_start = from->log_start;
    to->end = to->old_end = from->end;
    to->time_reached_ms = to->old_time_ms = from->time_reached_ms;
    to->rows_hash = from->rows_hash;
    for (size_t i = 0; i < from->producer_count; i++) {
        struct st_producer *producer = st_partition_add_producer(to, from->producers[i]->id);
        if (producer == NULL) {
            return false;
        }
        producer->window = from->producers[i]->window;
    }
    return true;
}

struct st_fold *st_fold_copy_heads(const struct st_fold *fold) {
    struct st_fold *copy = st_fold_new();
    bool whole = copy != NULL;
    for (size_t i = 0; whole && i < fold->topic_count; i++) {
        const struct st_topic_state *from = fold->by_id[i];
        struct st_fact_topic fact = {
            .id = from->view.id,
            .name = from->view.name,
            .partitions = from->view.partition_count,
            .first_offset = from->view.first_offset,
            .config_count = (uint32_t)from->view.config_count,
            .configs = from->configs_copy,
        };
        struct st_topic_state *to = st_fold_add_topic(copy, &fact);
        whole = to != NULL;
        for (int32_t p = 0; whole && p < from->view.partition_count; p++) {
            whole = copy_partition(&from->partitions[p], &to->partitions[p]);
        }
    }
    if (!whole) {
        st_fold_free(copy);
        return NULL;
    }
    copy->slot = fold->slot;
    copy->level = fold->level;
    copy->next_producer_id = fold->next_producer_id;
    copy->objects_hash = fold->objects_hash;
    return copy;
}
