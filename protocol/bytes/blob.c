/*
 * Buffers from 4 KiB to 64 MiB come in four sizes per power of two (so that at most a fifth is wasted) and return to a
 * list per size; a list's links lie in the buffers themselves. Kept memory is bounded over all sizes: at the bound,
 * spares of the size that nobody has asked for the longest go first, be it the one that comes back (a gateway that took
 * in large frames and now serves readers would otherwise keep frames for ever and map every block anew; one whose cache
 * drops thousands of small buffers would give up large ones for them). Larger requests go to the allocator; smaller
 * ones lie behind their struct. Under AddressSanitizer a kept buffer is poisoned, and so is what lies behind the
 * requested size, so that the pool does not hide a use after free.
 */
#include "protocol/bytes/blob.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON 1
#endif
#endif
#ifdef POISON
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

enum {
    CLASS_BITS_MIN = 12, /* 4 KiB */
    CLASS_BITS_MAX = 26, /* 64 MiB */
    CLASSES = 4 * (CLASS_BITS_MAX - CLASS_BITS_MIN) + 1,
};

#define MAPPED_LEAST ((size_t)128 << 10)

struct spare {
    struct spare *next;
};

static struct {
    struct spare *lists[CLASSES];
    uint64_t asked[CLASSES]; /* number of the last request for the size */
    uint64_t requests;
    size_t limit;
    struct kp_blob_stats stats;
} pool = {.limit = (size_t)48 << 20};

/* Size class + 1 of a request, 0 for one that is not pooled. Class 4k + q holds (4 + q) / 4 * 2^(k + 12) bytes. */
static uint32_t class_of(size_t size) {
    if (size < (size_t)1 << CLASS_BITS_MIN || size > (size_t)1 << CLASS_BITS_MAX) {
        return 0;
    }
    uint32_t bits = 63 - (uint32_t)__builtin_clzll(size);
    size_t step = (size_t)1 << (bits - 2);
    uint32_t quarters = (uint32_t)((size - ((size_t)1 << bits) + step - 1) / step); /* 4: the next power of two */
    return 4 * (bits - CLASS_BITS_MIN) + quarters + 1;
}

static size_t capacity_of(uint32_t pooled, size_t size) {
    if (pooled == 0) {
        return size;
    }
    uint32_t bits = (pooled - 1) / 4 + CLASS_BITS_MIN, quarters = (pooled - 1) % 4;
    return ((size_t)1 << bits) + quarters * ((size_t)1 << (bits - 2));
}

/* Small blobs: struct and data are one allocation. */
static bool lies_behind(const struct kp_blob *blob) {
    return blob->data == (const uint8_t *)(blob + 1);
}

/* Large buffers come from the kernel and go back to it: in the allocator's heap they would leave holes that nothing of
 * their size fits again. Under AddressSanitizer they stay in its sight. */
static void *memory_new(size_t capacity) {
#ifndef POISON
    if (capacity >= MAPPED_LEAST) {
        void *mapped = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return mapped != MAP_FAILED ? mapped : NULL;
    }
#endif
    void *data = NULL;
    return posix_memalign(&data, KP_BLOB_ALIGN, capacity) == 0 ? data : NULL;
}

static void memory_free(void *data, size_t capacity) {
#ifndef POISON
    if (capacity >= MAPPED_LEAST) {
        munmap(data, capacity);
        return;
    }
#endif
    (void)capacity;
    free(data);
}

static uint8_t *data_new(uint32_t pooled, size_t size) {
    size_t capacity = capacity_of(pooled, size);
    void *data = NULL;
    if (pooled != 0) {
        pool.asked[pooled - 1] = ++pool.requests;
    }
    if (pooled != 0 && pool.lists[pooled - 1] != NULL) {
        struct spare *spare = pool.lists[pooled - 1];
        pool.lists[pooled - 1] = spare->next;
        pool.stats.pooled_bytes -= capacity;
        data = spare;
    } else if ((data = memory_new(capacity)) == NULL) {
        return NULL;
    }
    ASAN_UNPOISON_MEMORY_REGION(data, size);
    ASAN_POISON_MEMORY_REGION((uint8_t *)data + size, capacity - size);
    pool.stats.live_bytes += capacity;
    return data;
}

/* Gives a spare of a class back to the system. */
static void spare_drop(uint32_t class) {
    struct spare *spare = pool.lists[class];
    size_t freed = capacity_of(class + 1, 0);
    pool.lists[class] = spare->next;
    pool.stats.pooled_bytes -= freed;
    ASAN_UNPOISON_MEMORY_REGION(spare, freed);
    memory_free(spare, freed);
}

/* Frees spares of classes that were not asked for since this one was, until one of this class fits. False when it can
 * not. */
static bool make_room(size_t capacity, uint32_t pooled) {
    while (pool.stats.pooled_bytes + capacity > pool.limit) {
        uint32_t victim = CLASSES;
        uint64_t oldest = pool.asked[pooled - 1];
        for (uint32_t class = 0; class < CLASSES; class++) {
            if (pool.lists[class] != NULL && pool.asked[class] < oldest) {
                victim = class;
                oldest = pool.asked[class];
            }
        }
        if (victim == CLASSES) {
            return false;
        }
        spare_drop(victim);
    }
    return true;
}

static void data_free(uint8_t *data, uint32_t pooled, size_t size) {
    size_t capacity = capacity_of(pooled, size);
    pool.stats.live_bytes -= capacity;
    ASAN_UNPOISON_MEMORY_REGION(data, capacity);
    if (pooled == 0 || !make_room(capacity, pooled)) {
        memory_free(data, capacity);
        return;
    }
    struct spare *spare = (struct spare *)(void *)data;
    spare->next = pool.lists[pooled - 1];
    pool.lists[pooled - 1] = spare;
    pool.stats.pooled_bytes += capacity;
    ASAN_POISON_MEMORY_REGION(data + sizeof *spare, capacity - sizeof *spare);
}

struct kp_blob *kp_blob_new(size_t size) {
    bool small = size < (size_t)1 << CLASS_BITS_MIN;
    struct kp_blob *blob = malloc(sizeof *blob + (small ? size : 0));
    if (blob == NULL) {
        return NULL;
    }
    uint32_t pooled = class_of(size);
    uint8_t *data = small ? (uint8_t *)(blob + 1) : data_new(pooled, size);
    if (data == NULL) {
        free(blob);
        return NULL;
    }
    if (small) {
        pool.stats.live_bytes += size;
    }
    *blob = (struct kp_blob){.data = data, .size = size, .refs = 1, .pooled = pooled};
    return blob;
}

size_t kp_blob_capacity(const struct kp_blob *blob) {
    return capacity_of(blob->pooled, blob->size);
}

/* Gives back the data of a blob that is freed, or whose data moves. */
static void data_drop(struct kp_blob *blob) {
    if (lies_behind(blob)) {
        pool.stats.live_bytes -= blob->size;
    } else {
        data_free(blob->data, blob->pooled, blob->size);
    }
}

bool kp_blob_grow(struct kp_blob *blob, size_t used, size_t size) {
    assert(blob->refs == 1 && used <= blob->size && size >= blob->size);
    if (blob->pooled != 0 && size <= capacity_of(blob->pooled, 0)) {
        ASAN_UNPOISON_MEMORY_REGION(blob->data, size);
        blob->size = size;
        return true;
    }
    uint32_t pooled = class_of(size);
    uint8_t *data = data_new(pooled, size); /* one that was small may stay below the classes: then it is not pooled */
    if (data == NULL) {
        return false;
    }
    if (used > 0) {
        memcpy(data, blob->data, used);
        pool.stats.grow_copied_bytes += used;
    }
    data_drop(blob);
    blob->data = data;
    blob->size = size;
    blob->pooled = pooled;
    return true;
}

struct kp_blob *kp_blob_ref(struct kp_blob *blob) {
    assert(blob->refs > 0 && blob->refs < UINT32_MAX);
    blob->refs++;
    return blob;
}

void kp_blob_unref(struct kp_blob *blob) {
    if (blob == NULL) {
        return;
    }
    assert(blob->refs > 0);
    if (--blob->refs > 0) {
        return;
    }
    data_drop(blob);
    free(blob);
}

struct kp_blob_stats kp_blob_stats(void) {
    return pool.stats;
}

void kp_blob_pool_limit(size_t bytes) {
    pool.limit = bytes;
    for (uint32_t i = CLASSES; i-- > 0 && pool.stats.pooled_bytes > bytes;) {
        while (pool.lists[i] != NULL && pool.stats.pooled_bytes > bytes) {
            spare_drop(i);
        }
    }
}
