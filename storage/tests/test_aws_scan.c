/* One text out of a small answer, JSON or XML. */
#include "storage/backends/aws/scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROOM = 8 };

struct example {
    const char *text, *found; /* found NULL: nothing, and "" */
};

/* Looks in a copy of exact size, so that the sanitizer sees a read past the end; and in every prefix of it, which must
 * not find anything else. */
static void check(const struct example *example, const char *name,
                  bool (*scan)(struct kp_slice text, const char *name, char *out, size_t size)) {
    size_t len = strlen(example->text);
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *copy = malloc(cut + 1);
        char out[ROOM + 1] = "unclean";
        out[ROOM] = '#';
        memcpy(copy, example->text, cut);
        copy[cut] = 0xAA;
        uint8_t *exact = realloc(copy, cut > 0 ? cut : 1);
        bool found = scan(kp_slice_of(exact, cut), name, out, ROOM);
        const char *expected = found ? example->found : "";
        if ((cut == len && found != (example->found != NULL)) || expected == NULL || strcmp(out, expected) != 0) {
            fail_msg("in %.*s: found %d '%s'", (int)cut, example->text, found, out);
        }
        assert_int_equal(out[ROOM], '#');
        free(exact);
    }
}

static void members_of_the_outermost_object_are_found(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"{\"a\":\"b\"}", "b"},
        {" \t\r\n{ \"a\" : \"b\" , \"c\":1}", "b"},
        {"{\"a\":\"\"}", ""},
        {"{\"x\":1,\"y\":[1,{\"a\":\"no\"},\"]\"],\"z\":{\"a\":\"no\",\"}\":\"{\"},\"t\":true,\"n\":null,"
         "\"a\":\"b\"}", "b"},
        {"{\"x\":\"\\\"a\\\":\\\"no\\\"\",\"a\":\"b\"}", "b"},
        {"{\"a\":\"first\",\"a\":\"second\"}", "first"},
        {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\t\"}", "\"\\/\b\f\n\t"},
        {"{\"a\":\"\\u0041\\u00e4\\u20AC\"}", "A\xC3\xA4\xE2\x82\xAC"},
        {"{\"a\":\"\\ud83d\\ude00\"}", "\xF0\x9F\x98\x80"},
        {"{\"a\":\"1234567\"}", "1234567"},
        {"{\"a\":\"12345678\"}", NULL},
        {"{\"a\":\"\\u0000\"}", NULL},
        {"{\"a\":\"\\ud83d\"}", NULL},
        {"{\"a\":\"\\ud83dx\"}", NULL},
        {"{\"a\":\"\\ude00\"}", NULL},
        {"{\"a\":\"\\x\"}", NULL},
        {"{\"a\":\"\\u12g4\"}", NULL},
        {"{\"a\":1}", NULL},
        {"{\"a\":{\"a\":\"no\"}}", NULL},
        {"{\"b\":\"a\"}", NULL},
        {"{\"aa\":\"b\"}", NULL},
        {"[{\"a\":\"b\"}]", NULL},
        {"{\"x\":]],\"a\":\"b\"}", NULL},
        {"{\"x\" \"a\":\"b\"}", NULL},
        {"{a:\"b\"}", NULL},
        {"\"a\":\"b\"", NULL},
        {"{}", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        check(&examples[i], "a", st_scan_json);
    }
}

static void elements_are_found_at_any_depth(void **state) {
    (void)state;
    static const struct example examples[] = {
        {"<Code>b</Code>", "b"},
        {"<?xml version=\"1.0\"?>\n<Error>\n <Code>b</Code>\n</Error>", "b"},
        {"<Error><Codes>no</Codes><Code>b</Code><Code>second</Code></Error>", "b"},
        {"<Code xmlns=\"x\">b</Code >", "b"},
        {"<Code></Code>", ""},
        {"<Code>&lt;&amp;&gt;&quot;&apos;</Code>", "<&>\"'"},
        {"<Code>&#65;&#x42;&#xe4;</Code>", "AB\xC3\xA4"},
        {"<Code>1234567</Code>", "1234567"},
        {"<Code>12345678</Code>", NULL},
        {"<Code/>", NULL},
        {"<Code />", NULL},
        {"<Code>b<x/></Code>", NULL},
        {"<Code>b</Cod>", NULL},
        {"<Code>&unknown;</Code>", NULL},
        {"<Code>&#0;</Code>", NULL},
        {"<Code>&#x110000;</Code>", NULL},
        {"<Code>&#xd800;</Code>", NULL},
        {"<Code>&#;x</Code>", NULL},
        {"<Code>&</Code>", NULL},
        {"<code>b</code>", NULL},
        {"</Code>b</Code>", NULL},
        {"Code>b</Code>", NULL},
        {"<<<<", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
        check(&examples[i], "Code", st_scan_xml);
    }
}

static void the_root_is_told_from_what_it_holds(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_error;
    } cases[] = {
        {"<Error>", true},          {"<Error/>", true},
        {"<Error xmlns=\"x\">", true}, {"\xEF\xBB\xBF<?xml version=\"1\"?>\n<!-- <x> -->\n<!DOCTYPE y>\n<Error>", true},
        {"<Errors>", false},        {"<DeleteResult><Error>", false},
        {"<!-- <Error> -->", false}, {"<?xml <Error>", false},
        {"<Error", false},          {"<", false},
        {"", false},                {"{\"a\":1}", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (st_scan_xml_root(kp_slice_cstr(cases[i].text), "Error") != cases[i].is_error) {
            fail_msg("%s", cases[i].text);
        }
    }
    assert_false(st_scan_xml_root((struct kp_slice){0}, "Error"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_of_the_outermost_object_are_found),
        cmocka_unit_test(elements_are_found_at_any_depth),
        cmocka_unit_test(the_root_is_told_from_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
