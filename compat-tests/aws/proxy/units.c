#include "units.h"
#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { WRITE_UNIT = 1024, READ_UNIT = 4096, REMEMBERED = 1 << 20 };

/* Sizes of items by a hash of their key; a slot taken by another key is overwritten, which costs a count, no more. */
static struct {
    uint64_t key;
    uint32_t bytes;
} remembered[REMEMBERED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned in_units(size_t bytes, size_t unit) {
    return bytes <= unit ? 1 : (unsigned)((bytes + unit - 1) / unit);
}

/* ---- sizes ---- */

static size_t value_size(const cJSON *value);

static size_t binary_size(const char *text) {
    size_t len = strlen(text), padding = 0;
    while (len > padding && text[len - 1 - padding] == '=') {
        padding++;
    }
    return len / 4 * 3 - padding;
}

static size_t number_size(const char *text) {
    size_t digits = 0;
    for (; *text != '\0'; text++) {
        digits += *text >= '0' && *text <= '9';
    }
    return (digits + 1) / 2 + 1;
}

static size_t item_size(const cJSON *item) {
    size_t size = 0;
    const cJSON *attribute;
    cJSON_ArrayForEach(attribute, item) {
        size += strlen(attribute->string) + value_size(attribute->child);
    }
    return size;
}

/* `value` is the one member of {"S": "..."}. Sets, which have the names SS, NS, BS, are sums of their elements. */
static size_t value_size(const cJSON *value) {
    if (value == NULL || value->string == NULL) {
        return 0;
    }
    switch (value->string[0]) {
    case 'S':
    case 'N':
    case 'B':
        if (cJSON_IsArray(value)) {
            size_t size = 0;
            const cJSON *element;
            cJSON_ArrayForEach(element, value) {
                size += cJSON_IsString(element) ? strlen(element->valuestring) : 0;
            }
            return size;
        }
        if (!cJSON_IsString(value)) {
            return 1; /* BOOL and NULL */
        }
        return value->string[0] == 'S'   ? strlen(value->valuestring)
               : value->string[0] == 'N' ? number_size(value->valuestring)
                                         : binary_size(value->valuestring);
    case 'M':
        return 3 + item_size(value) + (size_t)cJSON_GetArraySize(value);
    case 'L': {
        size_t size = 3;
        const cJSON *element;
        cJSON_ArrayForEach(element, value) {
            size += 1 + value_size(element->child);
        }
        return size;
    }
    default:
        return 0;
    }
}

/* ---- items by key ---- */

static uint64_t hash_text(uint64_t hash, const char *text) { /* FNV-1a */
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return hash;
}

/* The table's keys are called pk and sk. 0: it has none. */
static uint64_t key_of(const cJSON *item) {
    uint64_t hash = 0xcbf29ce484222325u;
    const char *const names[] = {"pk", "sk"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cJSON *attribute = cJSON_GetObjectItemCaseSensitive(item, names[i]);
        const cJSON *value = attribute == NULL ? NULL : attribute->child;
        if (!cJSON_IsString(value)) {
            return 0;
        }
        hash = hash_text(hash_text(hash, value->valuestring), "|");
    }
    return hash | 1;
}

/* Sets what is known of the item now (0: gone) and returns what was known before. */
static size_t remember(const cJSON *item, size_t bytes) {
    uint64_t key = key_of(item);
    size_t before = 0;
    pthread_mutex_lock(&lock);
    if (remembered[key % REMEMBERED].key == key) {
        before = remembered[key % REMEMBERED].bytes;
    }
    remembered[key % REMEMBERED].key = key;
    remembered[key % REMEMBERED].bytes = (uint32_t)bytes;
    pthread_mutex_unlock(&lock);
    return before;
}

/* ---- requests ---- */

static void set_place(struct units *units, const char *key) {
    snprintf(units->place, sizeof units->place, "%.*s", (int)strcspn(key, "#"), key);
}

static void name_place(struct units *units, const cJSON *item) {
    const cJSON *pk = cJSON_GetObjectItemCaseSensitive(item, "pk");
    if (pk != NULL && cJSON_IsString(pk->child)) {
        set_place(units, pk->child->valuestring);
    }
}

static void count_put(struct units *units, const cJSON *item, const cJSON *answer) {
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(answer, "__type");
    size_t bytes = item_size(item);
    units->puts++;
    name_place(units, item);
    if (cJSON_IsString(type)) { /* refused: an item that stood there is charged when the condition failed */
        bool condition = strstr(type->valuestring, "ConditionalCheckFailed") != NULL;
        const cJSON *stood = cJSON_GetObjectItemCaseSensitive(answer, "Item");
        units->write += condition ? in_units(item_size(stood), WRITE_UNIT) : 0;
        return;
    }
    size_t before = remember(item, bytes);
    units->write += in_units(bytes > before ? bytes : before, WRITE_UNIT);
}

static void count_delete(struct units *units, const cJSON *key) {
    units->deletes++;
    name_place(units, key);
    units->write += in_units(remember(key, 0), WRITE_UNIT);
}

static void count_batch(struct units *units, const cJSON *request) {
    const cJSON *table, *write;
    cJSON_ArrayForEach(table, cJSON_GetObjectItemCaseSensitive(request, "RequestItems")) {
        cJSON_ArrayForEach(write, table) {
            const cJSON *put = cJSON_GetObjectItemCaseSensitive(write, "PutRequest");
            const cJSON *gone = cJSON_GetObjectItemCaseSensitive(write, "DeleteRequest");
            if (put != NULL) {
                count_put(units, cJSON_GetObjectItemCaseSensitive(put, "Item"), NULL);
            } else if (gone != NULL) {
                count_delete(units, cJSON_GetObjectItemCaseSensitive(gone, "Key"));
            }
        }
    }
}

static void count_read(struct units *units, const cJSON *request, const cJSON *answer) {
    size_t bytes = item_size(cJSON_GetObjectItemCaseSensitive(answer, "Item"));
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(answer, "Items")) {
        bytes += item_size(item);
    }
    bool consistent = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "ConsistentRead"));
    units->read_halves += in_units(bytes, READ_UNIT) * (consistent ? 2 : 1);
    name_place(units, cJSON_GetObjectItemCaseSensitive(request, "Key"));
    const cJSON *value;
    cJSON_ArrayForEach(value, cJSON_GetObjectItemCaseSensitive(request, "ExpressionAttributeValues")) {
        if (units->place[0] == '\0' && value->child != NULL && cJSON_IsString(value->child) &&
            strcmp(value->child->string, "S") == 0) {
            set_place(units, value->child->valuestring);
        }
    }
}

struct units units_count(enum kind kind, const char *request, size_t request_len, const char *answer,
                         size_t answer_len) {
    struct units units = {.write = 0};
    cJSON *asked = cJSON_ParseWithLength(request, request_len);
    cJSON *answered = answer == NULL ? NULL : cJSON_ParseWithLength(answer, answer_len);
    switch (kind) {
    case DYNAMODB_put_item:
        count_put(&units, cJSON_GetObjectItemCaseSensitive(asked, "Item"), answered);
        break;
    case DYNAMODB_delete_item:
        count_delete(&units, cJSON_GetObjectItemCaseSensitive(asked, "Key"));
        break;
    case DYNAMODB_update_item: /* the item's new size is not in the request: one unit, as for what is small */
        units.write = 1;
        name_place(&units, cJSON_GetObjectItemCaseSensitive(asked, "Key"));
        break;
    case DYNAMODB_batch_write:
        count_batch(&units, asked);
        break;
    case DYNAMODB_get_item:
    case DYNAMODB_query:
        count_read(&units, asked, answered);
        break;
    default:
        break;
    }
    cJSON_Delete(asked);
    cJSON_Delete(answered);
    return units;
}
