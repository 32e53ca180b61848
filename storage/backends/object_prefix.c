/* The folders of objects, which all backends but the local one share. */
#include "storage/store.h"

const char *st_object_prefix(enum st_object_kind kind) {
    switch (kind) {
    case ST_OBJECT_INGEST:
        return "ingest/";
    case ST_OBJECT_CHECKPOINT:
        return "checkpoints/";
    case ST_OBJECT_SEGMENT:
        return "topics/";
    }
    return "";
}
