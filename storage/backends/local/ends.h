/*
 * Where journals are known to end, so that "is there anything from slot n on?" is mostly answered from memory: who
 * reads at the end of a partition asks it all the time, and a query on another thread costs far more than the answer is
 * worth.
 *
 * The knowledge is about one mark (wal_index.h): slots >= `end` of a journal were empty then. It comes as news from the
 * threads that work on the database, and is kept on the loop thread:
 *
 *   read      nothing from `end` on; no commit came between the beginning of the read and its end
 *   commit    one commit of this process led from `before` to `after` and added the entry `slot`, or none
 *
 * News may arrive out of the order in which they were made. Those about a state that is past teach nothing and harm
 * nobody: a mark that does not stand proves nothing, and the read that follows brings a new one.
 */
#ifndef ST_LOCAL_ENDS_H
#define ST_LOCAL_ENDS_H

#include "storage/backends/local/wal_index.h"

#define ST_ENDS_JOURNALS 8 /* remembered at a time */

enum st_news_kind { ST_NEWS_NONE, ST_NEWS_READ, ST_NEWS_COMMIT };

struct st_news {
    enum st_news_kind kind;
    struct st_wal_mark before, after; /* of a read: the same */
    uint32_t journal;
    uint64_t slot; /* commit: 0 when it added no entry */
    uint64_t end;  /* read */
};

struct st_ends {
    const uint32_t *index; /* NULL: nothing will ever be known */
    struct st_wal_mark mark;
    struct {
        uint32_t journal;
        uint64_t end;
    } known[ST_ENDS_JOURNALS];
    unsigned count, next; /* next: to be replaced */
};

void st_ends_learn(struct st_ends *ends, const struct st_news *news);
/* Whether the journal surely holds no entry with slot >= from, now. */
bool st_ends_at(const struct st_ends *ends, uint32_t journal, uint64_t from);

#endif
