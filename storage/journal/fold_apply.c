/*
 * Applying an entry, whole or not at all.
 *
 * The facts are walked twice. The first walk (staging) reads every fact, finds out whether it fits behind those before
 * it, and takes all memory that it needs; it changes nothing that is state. The second walk changes the tables and
 * cannot fail. So whoever looks at the fold sees the state after some slot, never one in between: an entry that another
 * release wrote wrongly, or for which memory is out, leaves reads with the state of the slot before it.
 *
 * What the entry's own earlier facts will have made true is kept beside the state: the topics that it creates in a fold
 * of their own, `created`; topics that it deletes and the ends that it moves by marks on the standing topics and
 * partitions, which are good while they carry the number of this staging.
 */
#include "storage/journal/fold_tables.h"

#include "storage/mutants.h"

/* ---- rows ---- */

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
    if (row->slot != slot || row->flags != flags || !same_time || row->position + row->len != fact->position ||
        fact->len > ST_RUN_MAX - row->len) {
        return false;
    }
    row->end = fact->base + fact->count;
    row->len += fact->len;
    if (fact->max_timestamp_ms > row->max_timestamp_ms) {
        row->max_timestamp_ms = fact->max_timestamp_ms;
    }
    return true;
}

static void add_row(struct st_partition *partition, const struct st_fact_append *fact, uint64_t slot) {
    if (fact->max_timestamp_ms > partition->time_reached_ms) {
        partition->time_reached_ms = fact->max_timestamp_ms;
    }
    struct st_row *last = partition->row_count > 0 ? &partition->rows[partition->row_count - 1] : NULL;
    if (last == NULL || !st_row_extend(last, fact, slot)) {
        last = &partition->rows[partition->row_count++];
        *last = st_row_of(fact, slot);
    }
    last->time_reached_ms = partition->time_reached_ms;
}

/* ---- staging ---- */

struct staging {
    struct st_fold *fold;
    uint64_t mark;
    struct st_fold created;         /* topics that the entry creates and does not delete again */
    struct st_topic_state **topics; /* all that it creates, in the order of their facts */
    size_t topic_count, topic_capacity, topic_next;
    struct st_producer **producers; /* for those that a partition does not know yet */
    size_t producer_count, producer_capacity;
    char *object_name;
    uint64_t object_len, level, producer_ids;
    struct st_keys keys; /* that the entry brings */
    int64_t forgotten_ms; /* keys of this time and before it forgets; INT64_MIN: none */
    size_t pooled;      /* commits of the pool */
    bool facts, in_pooled; /* the commit being read had a fact before; is one of the pool */
    int32_t partitions; /* of all topics, after the entry */
};

static struct st_topic_state *staged_topic(const struct staging *staging, const struct kp_uuid *id) {
    struct st_topic_state *topic = st_fold_topic_by_id(staging->fold, id);
    if (topic != NULL && topic->deleted_staging != staging->mark) {
        return topic;
    }
    return st_fold_topic_by_id(&staging->created, id);
}

static bool name_free(const struct staging *staging, struct kp_slice name) {
    const struct st_topic_state *topic = st_fold_topic_by_name(staging->fold, name);
    return (topic == NULL || topic->deleted_staging == staging->mark) &&
           st_fold_topic_by_name(&staging->created, name) == NULL;
}

static enum st_apply stage_topic_created(struct staging *staging, const struct st_fact_topic *fact) {
    if (staged_topic(staging, &fact->id) != NULL || !name_free(staging, fact->name) ||
        fact->partitions > ST_FOLD_PARTITIONS_MAX - staging->partitions) {
        return ST_APPLY_MISFIT;
    }
    struct st_topic_state *topic = NULL;
    if (!st_fold_grow(&staging->topics, staging->topic_count + 1, &staging->topic_capacity,
                      sizeof(struct st_topic_state *)) ||
        !st_fold_grow_topics(staging->fold, staging->topic_count + 1) || !st_fold_grow_topics(&staging->created, 1) ||
        (topic = st_topic_state_new(fact)) == NULL) {
        return ST_APPLY_NO_MEMORY;
    }
    staging->topics[staging->topic_count++] = topic;
    st_fold_insert_topic(&staging->created, topic);
    staging->partitions += fact->partitions;
    return ST_APPLY_OK;
}

static enum st_apply stage_topic_deleted(struct staging *staging, const struct kp_uuid *id) {
    struct st_topic_state *topic = staged_topic(staging, id);
    if (topic == NULL) {
        return ST_APPLY_MISFIT;
    }
    if (st_fold_topic_by_id(&staging->created, id) == topic) {
        st_fold_remove_topic(&staging->created, topic);
    } else {
        topic->deleted_staging = staging->mark;
    }
    staging->partitions -= topic->view.partition_count;
    return ST_APPLY_OK;
}

/* One object at most. */
static enum st_apply stage_object(struct staging *staging, const struct st_fact *fact) {
    if (staging->object_len > 0 || fact->u.object.len == 0) {
        return ST_APPLY_DAMAGED;
    }
    struct st_fold *fold = staging->fold;
    staging->object_len = fact->u.object.len;
    staging->object_name = (char *)(uintptr_t)st_fold_duplicate(fact->u.object.name).ptr;
    bool room = staging->object_name != NULL && st_fold_grow(&fold->objects, fold->object_count + 1,
                                                             &fold->object_capacity, sizeof(struct st_object_ref));
    return room ? ST_APPLY_OK : ST_APPLY_NO_MEMORY;
}

static bool stage_producer(struct staging *staging, struct st_partition *partition) {
    struct st_producer *producer = NULL;
    if (!st_partition_grow_producers(partition, ++partition->staged_producers) ||
        !st_fold_grow(&staging->producers, staging->producer_count + 1, &staging->producer_capacity,
                      sizeof(struct st_producer *)) ||
        (producer = calloc(1, sizeof *producer)) == NULL) {
        return false;
    }
    staging->producers[staging->producer_count++] = producer;
    return true;
}

/* Every append lies whole in the inline area or in the entry's object, which is named before it. */
static enum st_apply stage_append(struct staging *staging, const struct st_entry *entry,
                                  const struct st_fact_append *fact) {
    uint64_t room = (fact->flags & ST_APPEND_INLINE) != 0 ? entry->inline_bytes.len : staging->object_len;
    if ((uint64_t)fact->position + fact->len > room) {
        return ST_APPLY_DAMAGED;
    }
    struct st_topic_state *topic = staged_topic(staging, &fact->topic_id);
    if (topic == NULL || fact->partition >= topic->view.partition_count) {
        return ST_APPLY_MISFIT;
    }
    struct st_partition *partition = &topic->partitions[fact->partition];
    if (partition->staging != staging->mark) {
        partition->staging = staging->mark;
        partition->staged_end = partition->end;
        partition->staged_rows = partition->staged_producers = 0;
    }
    if (partition->staged_end != fact->base) {
        return ST_APPLY_MISFIT;
    }
    partition->staged_end = fact->base + fact->count;
    if (!st_fold_grow(&partition->rows, partition->row_count + ++partition->staged_rows, &partition->row_capacity,
                      sizeof(struct st_row))) {
        return ST_APPLY_NO_MEMORY;
    }
    bool known = (fact->flags & ST_APPEND_PRODUCER) == 0 || st_partition_producer(partition, fact->producer_id) != NULL;
    return known || stage_producer(staging, partition) ? ST_APPLY_OK : ST_APPLY_NO_MEMORY;
}

static enum st_apply stage_appends(struct staging *staging, const struct st_entry *entry,
                                   const struct st_fact_appends *fact) {
    struct st_append_reader reader = st_append_reader(fact);
    struct st_fact_append append;
    enum st_apply result = ST_APPLY_OK;
    while (result == ST_APPLY_OK && st_append_next(&reader, &append)) {
        result = stage_append(staging, entry, &append);
    }
    return result;
}

/* Says of its whole commit what it is, so it comes first. */
static enum st_apply stage_pooled(struct staging *staging, bool first) {
    struct st_fold *fold = staging->fold;
    if (!first) {
        return ST_APPLY_DAMAGED;
    }
    staging->in_pooled = true;
    return st_fold_grow(&fold->pooled, fold->pooled_count + ++staging->pooled, &fold->pooled_capacity,
                        sizeof *fold->pooled)
               ? ST_APPLY_OK
               : ST_APPLY_NO_MEMORY;
}

/* The records that the key names stand, here or by this entry. */
static bool places_stand(const struct staging *staging, const struct st_topic_state *topic,
                         const struct st_fact_key *fact) {
    struct st_unpack in = st_unpack_of(fact->places);
    for (size_t i = 0; i < fact->place_count; i++) {
        int32_t number, count;
        int64_t base;
        st_fact_place_next(&in, &number, &base, &count);
        const struct st_partition *partition =
            number < topic->view.partition_count ? &topic->partitions[number] : NULL;
        if (partition == NULL ||
            base + count > (partition->staging == staging->mark ? partition->staged_end : partition->end)) {
            return false;
        }
    }
    return true;
}

static enum st_apply stage_key(struct staging *staging, const struct st_fact_key *fact) {
    const struct st_topic_state *topic = staged_topic(staging, &fact->topic_id);
    const struct st_key *known = st_keys_find(&staging->fold->keys, &fact->topic_id, fact->name);
    if (topic == NULL || (known != NULL && known->time_ms > staging->forgotten_ms) ||
        st_keys_find(&staging->keys, &fact->topic_id, fact->name) != NULL || !places_stand(staging, topic, fact)) {
        return ST_APPLY_MISFIT;
    }
    struct st_key *key = st_key_new(fact);
    if (key == NULL || !st_keys_grow(&staging->keys, 1) ||
        !st_keys_grow(&staging->fold->keys, staging->keys.count + 1)) {
        free(key);
        return ST_APPLY_NO_MEMORY;
    }
    st_keys_insert(&staging->keys, key);
    return ST_APPLY_OK;
}

/* Before the keys that the entry brings, which it does not forget. */
static enum st_apply stage_forgotten(struct staging *staging, int64_t time_ms) {
    if (staging->keys.count > 0) {
        return ST_APPLY_MISFIT;
    }
    staging->forgotten_ms = time_ms > staging->forgotten_ms ? time_ms : staging->forgotten_ms;
    return ST_APPLY_OK;
}

static enum st_apply stage_fact(struct staging *staging, const struct st_entry *entry, const struct st_fact *fact) {
    bool first = !staging->facts;
    staging->facts = true;
    switch (fact->type) {
    case ST_FACT_level:
        if (fact->u.level <= staging->level || fact->u.level > ST_LEVEL) {
            return ST_APPLY_MISFIT;
        }
        staging->level = fact->u.level;
        return ST_APPLY_OK;
    case ST_FACT_topic_created:
        return stage_topic_created(staging, &fact->u.topic);
    case ST_FACT_topic_deleted:
        return stage_topic_deleted(staging, &fact->u.topic_id);
    case ST_FACT_producer_ids:
        if (fact->u.producer_ids > INT64_MAX - staging->producer_ids) {
            return ST_APPLY_MISFIT;
        }
        staging->producer_ids += fact->u.producer_ids;
        return ST_APPLY_OK;
    case ST_FACT_object:
        return stage_object(staging, fact);
    case ST_FACT_appends:
        return stage_appends(staging, entry, &fact->u.appends);
    case ST_FACT_pooled:
        return stage_pooled(staging, first);
    case ST_FACT_refused:
    case ST_FACT_duplicate:
        return staging->in_pooled ? ST_APPLY_OK : ST_APPLY_DAMAGED;
    case ST_FACT_key:
        return stage_key(staging, &fact->u.key);
    case ST_FACT_forgotten:
        return stage_forgotten(staging, fact->u.forgotten);
    }
    return ST_APPLY_MISFIT;
}

static enum st_apply stage_all(struct staging *staging, const struct st_entry *entry) {
    struct st_unpack commits = st_unpack_of(entry->commits);
    enum st_apply result = ST_APPLY_OK;
    struct st_commit commit;
    while (result == ST_APPLY_OK && st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_fact fact;
        staging->facts = staging->in_pooled = false;
        while (result == ST_APPLY_OK && st_unpack_left(&facts) > 0) {
            result = st_fact_read(&facts, &fact) ? stage_fact(staging, entry, &fact) : ST_APPLY_DAMAGED;
        }
    }
    return commits.failed ? ST_APPLY_DAMAGED : result;
}

/* Frees what was not used. */
static void staging_release(struct staging *staging) {
    for (size_t i = staging->topic_next; i < staging->topic_count; i++) {
        st_topic_state_free(staging->topics[i]);
    }
    for (size_t i = 0; i < staging->producer_count; i++) {
        free(staging->producers[i]);
    }
    free(staging->created.by_id);
    free(staging->created.by_name);
    free(staging->topics);
    free(staging->producers);
    free(staging->object_name);
    st_keys_release(&staging->keys);
}

/* ---- applying: nothing fails from here on ---- */

static void apply_topic_deleted(struct st_fold *fold, const struct kp_uuid *id) {
    struct st_topic_state *topic = st_fold_topic_by_id(fold, id);
    if (fold->on_deleted != NULL) {
        fold->on_deleted(fold->arg, topic);
    }
    st_keys_drop_topic(&fold->keys, id);
    st_fold_remove_topic(fold, topic);
    st_topic_state_free(topic);
}

static void apply_append(struct staging *staging, const struct st_fact_append *fact, uint64_t slot) {
    struct st_fold *fold = staging->fold;
    struct st_partition *partition = st_fold_partition(fold, &fact->topic_id, fact->partition);
    add_row(partition, fact, slot);
    partition->end = fact->base + fact->count;
    partition->rows_hash = st_hash_mix(partition->rows_hash, (uint64_t)fact->base);
    partition->rows_hash = st_hash_mix(partition->rows_hash, slot);
    partition->rows_hash = st_hash_mix(partition->rows_hash, (uint64_t)fact->position << 32 | fact->len);
    if ((fact->flags & ST_APPEND_PRODUCER) != 0) {
        struct st_producer *producer = st_partition_producer(partition, fact->producer_id);
        if (producer == NULL) {
            producer = staging->producers[--staging->producer_count];
            st_partition_insert_producer(partition, producer, fact->producer_id);
        }
        int64_t append_time_ms = (fact->flags & ST_APPEND_TIME) != 0 ? fact->max_timestamp_ms : -1;
        st_window_add(&producer->window, fact->epoch, fact->first_sequence, fact->count, fact->base, append_time_ms);
    }
    if (fold->on_appended != NULL) {
        fold->on_appended(fold->arg, partition);
    }
}

static void apply_appends(struct staging *staging, const struct st_fact_appends *fact, uint64_t slot) {
    struct st_append_reader reader = st_append_reader(fact);
    struct st_fact_append append;
    while (st_append_next(&reader, &append)) {
        apply_append(staging, &append, slot);
    }
}

static void apply_object(struct staging *staging, struct kp_slice name, uint64_t len, uint64_t slot) {
    struct st_fold *fold = staging->fold;
    fold->objects[fold->object_count++] =
        (struct st_object_ref){.slot = slot, .name = staging->object_name, .len = len};
    staging->object_name = NULL;
    fold->objects_hash = st_hash_mix(fold->objects_hash, slot);
    for (size_t i = 0; i < name.len; i++) {
        fold->objects_hash = st_hash_mix(fold->objects_hash, name.ptr[i]);
    }
}

/* What the facts of a pooled commit say together, one after the other. */
static void note_outcome(struct st_pooled_outcome *outcome, const struct st_fact *fact, bool *made_true) {
    if (fact->type == ST_FACT_appends || fact->type == ST_FACT_duplicate) {
        *made_true = true;
        outcome->verdict = ST_OK;
    } else if (fact->type == ST_FACT_refused && !*made_true && outcome->verdict == ST_OK) {
        outcome->verdict = fact->u.refused;
    }
}

/* Exactly the last pool_window slots are remembered. */
static void forget_pooled(struct st_fold *fold) {
    uint64_t window = ST_MUTANT(pool_ids_forgotten) ? 1 : fold->pool_window;
    size_t old = 0;
    while (old < fold->pooled_count && fold->pooled[old].slot + window <= fold->slot) {
        old++;
    }
    if (old > 0) {
        memmove(fold->pooled, fold->pooled + old, (fold->pooled_count - old) * sizeof *fold->pooled);
        fold->pooled_count -= old;
    }
}

/* The one that was staged, unless the entry deletes its topic again. */
static void apply_key(struct staging *staging, const struct st_fact_key *fact) {
    struct st_keys *keys = &staging->keys;
    struct st_key *key = st_keys_find(keys, &fact->topic_id, fact->name);
    size_t at = 0;
    while (keys->at[at] != key) {
        at++;
    }
    memmove(&keys->at[at], &keys->at[at + 1], (--keys->count - at) * sizeof(struct st_key *));
    st_keys_insert(&staging->fold->keys, key);
}

static void apply_fact(struct staging *staging, const struct st_fact *fact, uint64_t slot) {
    struct st_fold *fold = staging->fold;
    switch (fact->type) {
    case ST_FACT_level:
        fold->level = fact->u.level;
        break;
    case ST_FACT_topic_created:
        st_fold_insert_topic(fold, staging->topics[staging->topic_next++]);
        break;
    case ST_FACT_topic_deleted:
        apply_topic_deleted(fold, &fact->u.topic_id);
        break;
    case ST_FACT_producer_ids:
        fold->next_producer_id += fact->u.producer_ids;
        break;
    case ST_FACT_object:
        apply_object(staging, fact->u.object.name, fact->u.object.len, slot);
        break;
    case ST_FACT_appends:
        apply_appends(staging, &fact->u.appends, slot);
        break;
    case ST_FACT_key:
        apply_key(staging, &fact->u.key);
        break;
    case ST_FACT_forgotten:
        st_keys_forget(&fold->keys, fact->u.forgotten);
        break;
    case ST_FACT_pooled:
    case ST_FACT_refused:
    case ST_FACT_duplicate:
        break; /* state only as outcomes of their commit */
    }
}

static void apply_all(struct staging *staging, const struct st_entry *entry) {
    struct st_unpack commits = st_unpack_of(entry->commits);
    struct st_fold *fold = staging->fold;
    uint64_t slot = fold->slot + 1;
    struct st_commit commit;
    while (st_commit_next(&commits, &commit)) {
        struct st_unpack facts = st_unpack_of(commit.facts);
        struct st_pooled_outcome *outcome = NULL;
        bool made_true = false;
        struct st_fact fact;
        while (st_unpack_left(&facts) > 0 && st_fact_read(&facts, &fact)) {
            apply_fact(staging, &fact, slot);
            if (fact.type == ST_FACT_pooled) {
                outcome = &fold->pooled[fold->pooled_count++];
                *outcome = (struct st_pooled_outcome){.id = commit.id, .slot = slot};
            } else if (outcome != NULL) {
                note_outcome(outcome, &fact, &made_true);
            }
        }
    }
}

enum st_apply st_fold_apply(struct st_fold *fold, struct kp_slice body) {
    struct st_entry entry;
    if (!st_entry_read(body, &entry)) {
        return ST_APPLY_DAMAGED;
    }
    struct staging staging = {
        .fold = fold,
        .mark = ++fold->stagings,
        .level = fold->level,
        .producer_ids = fold->next_producer_id,
        .partitions = fold->partition_count,
        .forgotten_ms = INT64_MIN,
    };
    st_keys_init(&staging.keys);
    enum st_apply result = stage_all(&staging, &entry);
    if (result == ST_APPLY_OK) {
        apply_all(&staging, &entry);
        fold->slot++;
        forget_pooled(fold);
        fold->entries_since_checkpoint++;
        fold->bytes_since_checkpoint += body.len;
    }
    staging_release(&staging);
    return result;
}
