/*
 * Writing and reading the store's own formats: fixed integers big-endian, the rest LEB128 varints (signed ones
 * zigzag'ed), byte strings behind their length. A failed writer or reader stays failed, so that callers check once.
 */
#ifndef ST_PACK_H
#define ST_PACK_H

#include "protocol/bytes/be.h"
#include "protocol/bytes/crc32c.h"
#include "protocol/bytes/slice.h"
#include "protocol/bytes/uuid.h"

#include <stdlib.h>

/* A growing buffer with a mandatory limit. */
struct st_pack {
    uint8_t *data;
    size_t len, capacity, limit;
    bool failed; /* limit reached or memory out: nothing more is written */
};

static inline void st_pack_init(struct st_pack *pack, size_t limit) {
    *pack = (struct st_pack){.limit = limit};
}

static inline void st_pack_release(struct st_pack *pack) {
    free(pack->data);
    *pack = (struct st_pack){0};
}

/* Room for `len` more bytes, or NULL and failed. */
static inline uint8_t *st_pack_room(struct st_pack *pack, size_t len) {
    if (pack->failed || len > pack->limit - pack->len) {
        pack->failed = true;
        return NULL;
    }
    if (len > pack->capacity - pack->len) {
        size_t capacity = pack->capacity < 256 ? 256 : pack->capacity;
        while (capacity - pack->len < len) {
            capacity *= 2;
        }
        uint8_t *grown = realloc(pack->data, capacity);
        if (grown == NULL) {
            pack->failed = true;
            return NULL;
        }
        pack->data = grown;
        pack->capacity = capacity;
    }
    uint8_t *room = pack->data + pack->len;
    pack->len += len;
    return room;
}

static inline void st_pack_bytes(struct st_pack *pack, const void *bytes, size_t len) {
    uint8_t *room = len > 0 ? st_pack_room(pack, len) : NULL;
    if (room != NULL) {
        memcpy(room, bytes, len);
    }
}

static inline void st_pack_fixed(struct st_pack *pack, uint64_t value, size_t width) {
    uint8_t *room = st_pack_room(pack, width);
    for (size_t i = width; room != NULL && i > 0; i--) {
        room[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

static inline void st_pack_u(struct st_pack *pack, uint64_t value) {
    uint8_t bytes[10];
    size_t len = 0;
    while (value >= 0x80) {
        bytes[len++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[len++] = (uint8_t)value;
    st_pack_bytes(pack, bytes, len);
}

static inline void st_pack_i(struct st_pack *pack, int64_t value) {
    st_pack_u(pack, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

static inline void st_pack_uuid(struct st_pack *pack, const struct kp_uuid *id) {
    st_pack_bytes(pack, id->bytes, sizeof id->bytes);
}

static inline void st_pack_slice(struct st_pack *pack, struct kp_slice slice) {
    st_pack_u(pack, slice.len);
    st_pack_bytes(pack, slice.ptr, slice.len);
}

/* Sums what was written from `from` on, behind it. */
static inline void st_pack_seal(struct st_pack *pack, size_t from) {
    if (!pack->failed) {
        st_pack_fixed(pack, kp_crc32c(0, pack->data + from, pack->len - from), 4);
    }
}

/* The bytes before a trailing CRC-32C that fits them; ptr NULL otherwise. */
static inline struct kp_slice st_unsealed(struct kp_slice bytes) {
    if (bytes.len < 4) {
        return (struct kp_slice){0};
    }
    struct kp_slice content = kp_slice_of(bytes.ptr, bytes.len - 4);
    bool fits = kp_be_load32(content.ptr + content.len) == kp_crc32c(0, content.ptr, content.len);
    return fits ? content : (struct kp_slice){0};
}

/* A cursor over borrowed bytes. After a failure every read gives zero. */
struct st_unpack {
    const uint8_t *at, *end;
    bool failed;
};

static inline struct st_unpack st_unpack_of(struct kp_slice bytes) {
    return (struct st_unpack){bytes.ptr, bytes.ptr + bytes.len, false};
}

static inline size_t st_unpack_left(const struct st_unpack *in) {
    return (size_t)(in->end - in->at);
}

static inline struct kp_slice st_unpack_bytes(struct st_unpack *in, size_t len) {
    if (in->failed || len > st_unpack_left(in)) {
        in->failed = true;
        return (struct kp_slice){0};
    }
    struct kp_slice bytes = {in->at, len};
    in->at += len;
    return bytes;
}

static inline uint64_t st_unpack_fixed(struct st_unpack *in, size_t width) {
    struct kp_slice bytes = st_unpack_bytes(in, width);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        value = value << 8 | bytes.ptr[i];
    }
    return value;
}

static inline uint64_t st_unpack_u(struct st_unpack *in) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (in->failed || in->at == in->end) {
            break;
        }
        uint8_t byte = *in->at++;
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    in->failed = true;
    return 0;
}

static inline int64_t st_unpack_i(struct st_unpack *in) {
    uint64_t value = st_unpack_u(in);
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

/* A varint that must not exceed `most`. */
static inline uint64_t st_unpack_upto(struct st_unpack *in, uint64_t most) {
    uint64_t value = st_unpack_u(in);
    if (value > most) {
        in->failed = true;
        return 0;
    }
    return value;
}

static inline struct kp_uuid st_unpack_uuid(struct st_unpack *in) {
    struct kp_uuid id = {{0}};
    struct kp_slice bytes = st_unpack_bytes(in, sizeof id.bytes);
    if (bytes.ptr != NULL) {
        memcpy(id.bytes, bytes.ptr, sizeof id.bytes);
    }
    return id;
}

static inline struct kp_slice st_unpack_slice(struct st_unpack *in) {
    return st_unpack_bytes(in, (size_t)st_unpack_upto(in, SIZE_MAX));
}

#endif
