/*
 * One mutex guards both lists, the jobs to do and the jobs done; no thread holds it while it works. The thread that
 * puts the first job into the empty done list wakes the loop through an eventfd; those that follow before the loop has
 * looked find the list filled and need not, so a batch costs one wake-up.
 */
#include "storage/runtime/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "storage/runtime/watch.h"

#define NAME_MAX_BYTES 16 /* of a thread, with the NUL */

struct job_list {
    struct st_job *first, **last;
};

struct st_workers {
    pthread_mutex_t mutex;
    pthread_cond_t wanted;
    struct job_list queue, done; /* both under the mutex */
    bool closing;                /* under the mutex */
    int wake_fd;
    struct st_watch wake;
    struct st_loop *loop;
    char name[NAME_MAX_BYTES];
    unsigned thread_count;
    pthread_t threads[];
};

static void list_init(struct job_list *list) {
    list->first = NULL;
    list->last = &list->first;
}

static void list_push(struct job_list *list, struct st_job *job) {
    job->next = NULL;
    *list->last = job;
    list->last = &job->next;
}

static struct st_job *list_pop(struct job_list *list) {
    struct st_job *job = list->first;
    list->first = job->next;
    if (list->first == NULL) {
        list->last = &list->first;
    }
    job->next = NULL;
    return job;
}

static void wake_loop(struct st_workers *workers) {
    const uint64_t one = 1;
    while (write(workers->wake_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void *serve(void *arg) {
    struct st_workers *workers = arg;
    pthread_setname_np(pthread_self(), workers->name);
    pthread_mutex_lock(&workers->mutex);
    for (;;) {
        while (workers->queue.first == NULL && !workers->closing) {
            pthread_cond_wait(&workers->wanted, &workers->mutex);
        }
        if (workers->queue.first == NULL) {
            break;
        }
        struct st_job *job = list_pop(&workers->queue);
        pthread_mutex_unlock(&workers->mutex);
        job->work(job);
        pthread_mutex_lock(&workers->mutex);
        bool first = workers->done.first == NULL;
        list_push(&workers->done, job);
        if (first) { /* not under the mutex: the loop would wake up only to wait for it */
            pthread_mutex_unlock(&workers->mutex);
            wake_loop(workers);
            pthread_mutex_lock(&workers->mutex);
        }
    }
    pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

/* Runs the done functions of what is done by now. */
static void drain(struct st_workers *workers) {
    pthread_mutex_lock(&workers->mutex);
    struct st_job *job = workers->done.first;
    list_init(&workers->done);
    pthread_mutex_unlock(&workers->mutex);
    while (job != NULL) {
        struct st_job *next = job->next; /* done may free the job, or submit it again */
        job->next = NULL;
        job->done(job);
        job = next;
    }
}

static void woken(struct st_watch *watch, unsigned events) {
    struct st_workers *workers = ST_OWNER(watch, struct st_workers, wake);
    (void)events;
    uint64_t count;
    if (read(workers->wake_fd, &count, sizeof count) == (ssize_t)sizeof count) {
        drain(workers);
    }
}

static void stop_threads(struct st_workers *workers) {
    pthread_mutex_lock(&workers->mutex);
    workers->closing = true;
    pthread_cond_broadcast(&workers->wanted);
    pthread_mutex_unlock(&workers->mutex);
    for (unsigned i = 0; i < workers->thread_count; i++) {
        pthread_join(workers->threads[i], NULL);
    }
}

static void release(struct st_workers *workers) {
    st_watch_stop(workers->loop, &workers->wake);
    if (workers->wake_fd >= 0) {
        close(workers->wake_fd);
    }
    pthread_cond_destroy(&workers->wanted);
    pthread_mutex_destroy(&workers->mutex);
    free(workers);
}

/* Signals are the loop thread's affair: the threads start with all of them blocked. */
static bool start_threads(struct st_workers *workers, unsigned threads) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (workers->thread_count < threads &&
           pthread_create(&workers->threads[workers->thread_count], NULL, serve, workers) == 0) {
        workers->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return workers->thread_count == threads;
}

struct st_workers *st_workers_new(struct st_loop *loop, const char *name, unsigned threads) {
    struct st_workers *workers = calloc(1, sizeof *workers + threads * sizeof(pthread_t));
    if (workers == NULL) {
        return NULL;
    }
    pthread_mutex_init(&workers->mutex, NULL);
    pthread_cond_init(&workers->wanted, NULL);
    list_init(&workers->queue);
    list_init(&workers->done);
    snprintf(workers->name, sizeof workers->name, "%s", name);
    workers->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    workers->wake.ready = woken;
    workers->loop = loop;
    if (workers->wake_fd < 0 || !st_watch_start(loop, &workers->wake, workers->wake_fd, ST_WATCH_READ)) {
        release(workers);
        return NULL;
    }
    if (threads == 0 || !start_threads(workers, threads)) {
        stop_threads(workers);
        release(workers);
        return NULL;
    }
    return workers;
}

void st_workers_submit(struct st_workers *workers, struct st_job *job) {
    pthread_mutex_lock(&workers->mutex);
    list_push(&workers->queue, job);
    pthread_mutex_unlock(&workers->mutex);
    pthread_cond_signal(&workers->wanted); /* not under the mutex: as above */
}

void st_workers_free(struct st_workers *workers) {
    if (workers == NULL) {
        return;
    }
    stop_threads(workers);
    drain(workers);
    while (workers->queue.first != NULL) { /* submitted by a done function just now: no thread is left to take it */
        struct st_job *job = list_pop(&workers->queue);
        job->work(job);
        job->done(job);
    }
    release(workers);
}
