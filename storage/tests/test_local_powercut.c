/*
 * The local store when the power goes, in the file model that fsync promises: bytes written and not yet synced may be
 * there, not there, or in part; a new name may be missing until its directory is synced. A file system that remembers
 * what is not durable stops the process at its Nth call, for every N, and takes away what a power cut could; then
 * whatever had been acknowledged must be whole. (SQLite's files are its own: the same rules are its own tests' affair.)
 */
#include "storage/tests/local_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what is not durable yet ---- */

struct pending {
    struct pending *next;
    char path[PATH_MAX];
    bool is_name; /* a directory entry; else bytes of the file */
    off_t at;
    size_t len;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct pending *pending;
static int calls_left;      /* until the power goes; 0: it stays */
static unsigned cut_seed;   /* 0: everything pending is lost, else some of it */

static void path_of_fd(int fd, char path[PATH_MAX]) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, PATH_MAX - 1);
    path[len > 0 ? len : 0] = '\0';
}

static void path_at(int dir, const char *name, char path[PATH_MAX]) {
    path[0] = '\0';
    if (dir != AT_FDCWD && name[0] != '/') {
        path_of_fd(dir, path);
        strncat(path, "/", PATH_MAX - strlen(path) - 1);
    }
    strncat(path, name, PATH_MAX - strlen(path) - 1);
}

static void remember(const char *path, bool is_name, off_t at, size_t len) {
    struct pending *one = calloc(1, sizeof *one);
    if (one == NULL) {
        _exit(95);
    }
    *one = (struct pending){.next = pending, .is_name = is_name, .at = at, .len = len};
    snprintf(one->path, sizeof one->path, "%s", path);
    pending = one;
}

/* A sync of the path: its bytes, or the names in it. */
static void forget(const char *path, bool is_directory) {
    size_t len = strlen(path);
    for (struct pending **at = &pending; *at != NULL;) {
        struct pending *one = *at;
        bool in_it = strncmp(one->path, path, len) == 0 && one->path[len] == '/' &&
                     strchr(one->path + len + 1, '/') == NULL;
        if (is_directory ? one->is_name && in_it : !one->is_name && strcmp(one->path, path) == 0) {
            *at = one->next;
            free(one);
        } else {
            at = &one->next;
        }
    }
}

static void take_away(const struct pending *one, unsigned part) {
    static const uint8_t zeros[1 << 16];
    if (one->is_name) {
        scratch_remove(one->path);
        return;
    }
    int fd = open(one->path, O_RDWR | O_CLOEXEC);
    size_t done = part == 2 ? one->len / 2 & ~(size_t)511 : 0;
    while (fd >= 0 && done < one->len) {
        size_t len = one->len - done < sizeof zeros ? one->len - done : sizeof zeros;
        if (pwrite(fd, zeros, len, one->at + (off_t)done) <= 0) {
            break;
        }
        done += len;
    }
    close(fd);
}

/* Under the mutex, at the begin of every call. */
static void count_call(void) {
    if (calls_left == 0 || --calls_left > 0) {
        return;
    }
    unsigned random = cut_seed * 2654435761u + 1;
    for (const struct pending *one = pending; one != NULL; one = one->next) {
        random = random * 1664525u + 1013904223u;
        unsigned part = cut_seed == 0 ? 1 : (random >> 16) % 3; /* 0: it had reached the disk */
        if (part > 0) {
            take_away(one, part);
        }
    }
    _exit(99);
}

#define GUARDED(type, call)                                                                                            \
    pthread_mutex_lock(&mutex);                                                                                        \
    count_call();                                                                                                      \
    type result = st_fs_posix.call

static int fragile_open(int dir, const char *name, int flags, mode_t mode) {
    GUARDED(int, open(dir, name, flags, mode));
    if (result >= 0 && (flags & O_EXCL) != 0) {
        char path[PATH_MAX];
        path_at(dir, name, path);
        remember(path, true, 0, 0);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

static ssize_t fragile_pwrite(int fd, const void *bytes, size_t len, off_t at) {
    GUARDED(ssize_t, pwrite(fd, bytes, len, at));
    char path[PATH_MAX];
    path_of_fd(fd, path);
    remember(path, false, at, len);
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_allocate(int fd, int mode, off_t at, off_t len) {
    GUARDED(int, allocate(fd, mode, at, len));
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_truncate(int fd, off_t size) {
    GUARDED(int, truncate(fd, size));
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_datasync(int fd) {
    GUARDED(int, datasync(fd));
    char path[PATH_MAX];
    path_of_fd(fd, path);
    forget(path, false);
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_sync(int fd) {
    GUARDED(int, sync(fd));
    char path[PATH_MAX];
    struct stat status;
    path_of_fd(fd, path);
    forget(path, fstat(fd, &status) == 0 && S_ISDIR(status.st_mode));
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_rename(int dir, const char *from, const char *to) {
    GUARDED(int, rename(dir, from, to));
    char before[PATH_MAX], after[PATH_MAX];
    path_at(dir, from, before);
    path_at(dir, to, after);
    for (struct pending *one = pending; one != NULL; one = one->next) {
        if (strcmp(one->path, before) == 0) {
            memcpy(one->path, after, sizeof after);
        }
    }
    remember(after, true, 0, 0);
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_unlink(int dir, const char *name) {
    GUARDED(int, unlink(dir, name));
    pthread_mutex_unlock(&mutex);
    return result;
}

static int fragile_mkdir(int dir, const char *name, mode_t mode) {
    GUARDED(int, mkdir(dir, name, mode));
    if (result == 0) {
        char path[PATH_MAX];
        path_at(dir, name, path);
        remember(path, true, 0, 0);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

static const struct st_fs fragile_fs = {
    .open = fragile_open,
    .pread = pread,
    .pwrite = fragile_pwrite,
    .allocate = fragile_allocate,
    .truncate = fragile_truncate,
    .datasync = fragile_datasync,
    .sync = fragile_sync,
    .rename = fragile_rename,
    .unlink = fragile_unlink,
    .mkdir = fragile_mkdir,
};

/* ---- the test ---- */

/* Objects over two extents and two checkpoints; each name goes to the pipe when it is acknowledged. */
static void put_all(const char *directory, int to) {
    struct handle handle;
    if (!handle_try(&handle, directory, &fragile_fs, 1 << 18)) {
        _exit(96);
    }
    for (unsigned i = 0; i < 6; i++) {
        char name[ST_OBJECT_NAME_MAX] = {0};
        enum st_object_kind kind = i % 3 == 2 ? ST_OBJECT_CHECKPOINT : ST_OBJECT_INGEST;
        if (put_object(&handle, kind, (uint8_t)(i + 1), 100000 + i, name) != ST_OK ||
            write(to, name, sizeof name) != sizeof name) {
            _exit(97);
        }
    }
    handle_close(&handle);
}

/* True when the power went before the end. */
static bool cut_at(int call, unsigned seed) {
    char directory[SCRATCH_PATH_MAX], name[ST_OBJECT_NAME_MAX];
    int ends[2], status;
    scratch_make(directory);
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        calls_left = call;
        cut_seed = seed;
        put_all(directory, ends[1]);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    while (read(ends[0], name, sizeof name) == sizeof name) {
        if (st_store_local_verify(directory, name) != ST_OK) {
            fail_msg("%s is lost when the power goes at call %d, seed %u", name, call, seed);
        }
    }
    close(ends[0]);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));

    struct handle handle; /* and the store goes on */
    handle_open(&handle, directory);
    assert_int_equal(put_object(&handle, ST_OBJECT_INGEST, 1, 5000, name), ST_OK);
    assert_int_equal(get_object(&handle, name, 1, 5000), ST_OK);
    handle_close(&handle);
    scratch_remove(directory);
    return WEXITSTATUS(status) == 99;
}

static void a_power_cut_at_any_file_call_takes_nothing_acknowledged(void **state) {
    (void)state;
    int call = 1;
    while (cut_at(call, 0)) {
        if (call % 3 == 0) {
            cut_at(call, (unsigned)call);
        }
        call++;
        assert_true(call < 1000);
    }
    assert_true(call > 40);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_at_any_file_call_takes_nothing_acknowledged),
    };
    if (access("/dev/shm", W_OK) == 0) {
        setenv("TMPDIR", "/dev/shm", 1); /* hundreds of stores: the model needs no disk */
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
