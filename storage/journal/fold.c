/*
 * The fold's tables and what is looked up in them. Everything here is deterministic: tables are sorted arrays, never
 * hash tables, because what is walked in order is also written in order (checkpoints) and must be the same in every
 * process. What changes them is fold_apply.c, what writes them down fold_heads.c.
 */
#include "storage/journal/fold_tables.h"

#include "storage/journal/checkpoint.h"
#include "storage/topic_config.h"

uint64_t st_hash_mix(uint64_t hash, uint64_t value) {
    /* The finalizer of splitmix64 over the sum: every bit of value reaches every bit of the result. */
    uint64_t x = (hash ^ value) + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

struct st_fold *st_fold_new(void) {
    struct st_fold *fold = calloc(1, sizeof *fold);
    if (fold != NULL) {
        fold->pool_window = ST_POOL_WINDOW;
        st_keys_init(&fold->keys);
    }
    return fold;
}

void st_topic_state_free(struct st_topic_state *topic) {
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
        st_topic_state_free(fold->by_id[i]);
    }
    for (size_t i = 0; i < fold->object_count; i++) {
        free(fold->objects[i].name);
    }
    free(fold->by_id);
    free(fold->by_name);
    free(fold->objects);
    free(fold->pooled);
    st_keys_release(&fold->keys);
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

const struct st_pooled_outcome *st_fold_pooled(const struct st_fold *fold, const struct kp_uuid *id, uint64_t begun) {
    for (size_t i = fold->pooled_count; i > 0 && fold->pooled[i - 1].slot > begun; i--) {
        if (kp_uuid_equal(&fold->pooled[i - 1].id, id)) {
            return &fold->pooled[i - 1];
        }
    }
    return NULL;
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

bool st_fold_grow(void *array, size_t count, size_t *capacity, size_t size) {
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

bool st_partition_grow_producers(struct st_partition *partition, size_t more) {
    return st_fold_grow(&partition->producers, partition->producer_count + more, &partition->producer_capacity,
                sizeof(struct st_producer *));
}

void st_partition_insert_producer(struct st_partition *partition, struct st_producer *producer, int64_t id) {
    producer->id = id;
    size_t at = producer_position(partition, id);
    memmove(&partition->producers[at + 1], &partition->producers[at],
            (partition->producer_count - at) * sizeof(struct st_producer *));
    partition->producers[at] = producer;
    partition->producer_count++;
}

struct st_producer *st_partition_add_producer(struct st_partition *partition, int64_t id) {
    struct st_producer *producer = calloc(1, sizeof *producer);
    if (producer == NULL || !st_partition_grow_producers(partition, 1)) {
        free(producer);
        return NULL;
    }
    st_partition_insert_producer(partition, producer, id);
    return producer;
}

/* ---- topics ---- */

struct kp_slice st_fold_duplicate(struct kp_slice bytes) {
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
    topic->name_copy = st_fold_duplicate(fact->name);
    topic->configs_copy = st_fold_duplicate(fact->configs);
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
    if (topic->message_bytes_max > ST_RUN_MAX) {
        topic->message_bytes_max = ST_RUN_MAX;
    }
    return true;
}

static bool topic_fits(const struct st_fold *fold, const struct st_fact_topic *fact) {
    return st_fold_topic_by_id(fold, &fact->id) == NULL && st_fold_topic_by_name(fold, fact->name) == NULL &&
           fact->partitions <= ST_FOLD_PARTITIONS_MAX - fold->partition_count;
}

bool st_fold_grow_topics(struct st_fold *fold, size_t more) {
    size_t capacity = fold->topic_capacity;
    return st_fold_grow(&fold->by_name, fold->topic_count + more, &capacity, sizeof(struct st_topic_state *)) &&
           st_fold_grow(&fold->by_id, fold->topic_count + more, &fold->topic_capacity, sizeof(struct st_topic_state *));
}

struct st_topic_state *st_topic_state_new(const struct st_fact_topic *fact) {
    struct st_topic_state *topic = calloc(1, sizeof *topic);
    if (topic != NULL && !fill_topic(topic, fact)) {
        st_topic_state_free(topic);
        return NULL;
    }
    return topic;
}

void st_fold_insert_topic(struct st_fold *fold, struct st_topic_state *topic) {
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
    if (!topic_fits(fold, fact) || !st_fold_grow_topics(fold, 1)) {
        return NULL;
    }
    struct st_topic_state *topic = st_topic_state_new(fact);
    if (topic != NULL) {
        st_fold_insert_topic(fold, topic);
    }
    return topic;
}

void st_fold_remove_topic(struct st_fold *fold, const struct st_topic_state *topic) {
    size_t name_at = name_position(fold, topic->view.name), id_at = id_position(fold, &topic->view.id);
    size_t last = --fold->topic_count;
    memmove(&fold->by_name[name_at], &fold->by_name[name_at + 1], (last - name_at) * sizeof(struct st_topic_state *));
    memmove(&fold->by_id[id_at], &fold->by_id[id_at + 1], (last - id_at) * sizeof(struct st_topic_state *));
    fold->partition_count -= topic->view.partition_count;
}
