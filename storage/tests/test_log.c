/* What the log writes, read back through a pipe in the place of standard error. Also run under ThreadSanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/runtime/log.h"

struct capture {
    int saved_fd, fds[2];
    char text[65536];
};

static void capture_begin(struct capture *capture) {
    fflush(stderr);
    assert_int_equal(pipe(capture->fds), 0);
    capture->saved_fd = dup(STDERR_FILENO);
    dup2(capture->fds[1], STDERR_FILENO);
    close(capture->fds[1]);
}

/* What was written since; at most a pipe full (64 KiB). */
static const char *capture_end(struct capture *capture) {
    dup2(capture->saved_fd, STDERR_FILENO);
    close(capture->saved_fd);
    size_t used = 0;
    for (ssize_t n; (n = read(capture->fds[0], capture->text + used, sizeof capture->text - 1 - used)) > 0;) {
        used += (size_t)n;
    }
    close(capture->fds[0]);
    capture->text[used] = '\0';
    return capture->text;
}

static void assert_matches(const char *text, const char *pattern) {
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    int answer = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    if (answer != 0) {
        fail_msg("\"%s\" does not match \"%s\"", text, pattern);
    }
}

static size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

/* The limits of all events begin anew. */
static void next_second(void) {
    const struct timespec second = {1, 10000000};
    nanosleep(&second, NULL);
}

static void a_line_has_time_level_event_values_and_sentence(void **state) {
    (void)state;
    static struct capture capture;
    capture_begin(&capture);
    ST_LOG(bad_frame, "peer=%s size=%d", "127.0.0.1:5", -1);
    ST_LOG(stopping, "%s", "");
    const char *text = capture_end(&capture);
    assert_matches(text, "^ts=20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z level=warn "
                         "event=bad_frame peer=127\\.0\\.0\\.1:5 size=-1 msg=\"[a-z][^\"]*\"\n");
    assert_matches(text, "\nts=[^ ]* level=info event=stopping +msg=\"[^\"]*\"\n$");
}

static void events_below_the_level_are_dropped_but_counted(void **state) {
    (void)state;
    static struct capture capture;
    unsigned long before = st_log_count(ST_EVENT_debug);
    capture_begin(&capture);
    ST_LOG(debug, "a=%d", 1);
    st_log_level(ST_DEBUG);
    ST_LOG(debug, "a=%d", 2);
    st_log_level(ST_ERROR);
    ST_LOG(started, "a=%d", 3);
    st_log_level(ST_INFO);
    const char *text = capture_end(&capture);
    assert_int_equal(count_lines(text), 1);
    assert_matches(text, "level=debug event=debug a=2 ");
    assert_int_equal(st_log_count(ST_EVENT_debug), before + 2);
}

static void a_flood_of_one_event_is_cut_and_counted_and_leaves_others_alone(void **state) {
    (void)state;
    static struct capture capture;
    next_second();
    capture_begin(&capture);
    for (int i = 0; i < 100; i++) {
        ST_LOG(connection_limit, "i=%d", i);
    }
    ST_LOG(store_damaged, "%s", "slot=1");
    const char *text = capture_end(&capture);
    size_t first_lines = count_lines(text);
    assert_true(first_lines >= 2 && first_lines <= 11); /* two seconds' worth if one began in the middle */
    assert_matches(text, "event=store_damaged slot=1 ");
    next_second();
    capture_begin(&capture);
    ST_LOG(connection_limit, "i=%d", 100);
    ST_LOG(connection_limit, "i=%d", 101);
    text = capture_end(&capture);
    assert_int_equal(count_lines(text), 2);
    assert_matches(text, "i=100 suppressed=(95|90) msg=[^\n]*\n[^\n]*i=101 msg=");
}

static void hostile_values_stay_on_one_line_and_long_ones_are_cut(void **state) {
    (void)state;
    static struct capture capture;
    static char long_value[5000];
    next_second();
    memset(long_value, 'x', sizeof long_value - 1);
    capture_begin(&capture);
    ST_LOG(bad_frame, "raw=%s", "a\nts=fake\x1b[31m\x7f");
    ST_LOG(bad_frame, "long=%s", long_value);
    const char *text = capture_end(&capture);
    assert_int_equal(count_lines(text), 2);
    assert_matches(text, "raw=a\\?ts=fake\\?\\[31m\\? msg=");
    assert_matches(text, "xxx\\.\\.\\. msg=\"[^\"]*\"\n$");
}

static void quoted_bytes_are_escaped_and_truncated(void **state) {
    (void)state;
    assert_string_equal(st_log_quote("plain text", 10), "\"plain text\"");
    assert_string_equal(st_log_quote("\"\\\n\0\xff", 5), "\"\\\"\\\\\\x0a\\x00\\xff\"");
    assert_string_equal(st_log_quote("", 0), "\"\"");
    char many[4096];
    memset(many, 1, sizeof many);
    const char *cut = st_log_quote(many, sizeof many);
    assert_true(strlen(cut) < 256);
    assert_matches(cut, "^\"(\\\\x01)+\\.\\.\\.\"$");
    memset(many, 'y', sizeof many);
    assert_true(strlen(st_log_quote(many, sizeof many)) < 256);
}

static void four_quotes_may_stand_in_one_line(void **state) {
    (void)state;
    const char *a = st_log_quote("a", 1), *b = st_log_quote("b", 1), *c = st_log_quote("c", 1),
               *d = st_log_quote("d", 1);
    assert_string_equal(a, "\"a\"");
    assert_string_equal(b, "\"b\"");
    assert_string_equal(c, "\"c\"");
    assert_string_equal(d, "\"d\"");
}

enum { THREADS = 4, LINES_EACH = 2000 };

static void *flood(void *arg) {
    for (int i = 0; i < LINES_EACH; i++) {
        ST_LOG(store_unavailable, "thread=%s i=%d", st_log_quote(arg, 1), i);
    }
    return NULL;
}

static void threads_log_whole_lines(void **state) {
    (void)state;
    static struct capture capture;
    unsigned long before = st_log_count(ST_EVENT_store_unavailable);
    static char names[] = "abcd";
    pthread_t threads[THREADS];
    capture_begin(&capture);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, flood, names + i), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    char *text = strdup(capture_end(&capture));
    assert_int_equal(st_log_count(ST_EVENT_store_unavailable), before + THREADS * LINES_EACH);
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && *line != '\0';) {
        assert_matches(line, "^ts=[^ ]* level=warn event=store_unavailable thread=\"[abcd]\" i=[0-9]+ "
                             "(suppressed=[0-9]+ )?msg=\"[^\"]*\"$");
    }
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_event_values_and_sentence),
        cmocka_unit_test(events_below_the_level_are_dropped_but_counted),
        cmocka_unit_test(a_flood_of_one_event_is_cut_and_counted_and_leaves_others_alone),
        cmocka_unit_test(hostile_values_stay_on_one_line_and_long_ones_are_cut),
        cmocka_unit_test(quoted_bytes_are_escaped_and_truncated),
        cmocka_unit_test(four_quotes_may_stand_in_one_line),
        cmocka_unit_test(threads_log_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
