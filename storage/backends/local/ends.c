/* What is known of journals' ends; see the header. */
#include "storage/backends/local/ends.h"

/* The place in `known`, or `count`. */
static unsigned find(const struct st_ends *ends, uint32_t journal) {
    unsigned i = 0;
    while (i < ends->count && ends->known[i].journal != journal) {
        i++;
    }
    return i;
}

static void remember(struct st_ends *ends, uint32_t journal, uint64_t end) {
    unsigned at = find(ends, journal);
    if (at == ends->count) {
        if (ends->count < ST_ENDS_JOURNALS) {
            ends->count++;
        } else {
            at = ends->next++ % ST_ENDS_JOURNALS;
        }
    } else if (ends->known[at].end < end) {
        return; /* both are true; the lower one says more */
    }
    ends->known[at].journal = journal;
    ends->known[at].end = end;
}

/* The knowledge moves on with the commit: an entry more in one journal, nothing else. */
static void learn_commit(struct st_ends *ends, const struct st_news *news) {
    if (!st_wal_mark_equals(&ends->mark, &news->before)) {
        return;
    }
    ends->mark = news->after;
    unsigned at = find(ends, news->journal);
    if (news->slot != 0 && at < ends->count && ends->known[at].end <= news->slot) {
        ends->known[at].end = news->slot + 1;
    }
}

static void learn_read(struct st_ends *ends, const struct st_news *news) {
    if (!st_wal_mark_equals(&ends->mark, &news->after)) {
        if (!st_wal_mark_stands(ends->index, &news->after)) {
            return;
        }
        ends->mark = news->after;
        ends->count = 0;
    }
    remember(ends, news->journal, news->end);
}

void st_ends_learn(struct st_ends *ends, const struct st_news *news) {
    if (news->kind == ST_NEWS_COMMIT) {
        learn_commit(ends, news);
    } else if (news->kind == ST_NEWS_READ) {
        learn_read(ends, news);
    }
}

bool st_ends_at(const struct st_ends *ends, uint32_t journal, uint64_t from) {
    unsigned at = find(ends, journal);
    return at < ends->count && ends->known[at].end <= from && st_wal_mark_stands(ends->index, &ends->mark);
}
