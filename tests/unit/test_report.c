/* report.c and text.c: what is printed for a result, and that whatever a target answers is
 * printed harmlessly. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../agent/request.h"
#include "../../injector/cleanup.h"
#include "../../injector/report.h"
#include "../../injector/text.h"
#include "unit.h"

typedef void (*report)(const struct options *, struct json_object *);

/* Runs `action` with `stream` going to a file; returns what it printed, malloc'ed. */
static char *captured(FILE *stream, report action, const struct options *options,
                      struct json_object *result)
{
    FILE *file = tmpfile();
    int saved = dup(fileno(stream));
    char *text;
    long size;

    fflush(stream);
    dup2(fileno(file), fileno(stream));
    action(options, result);
    fflush(stream);
    dup2(saved, fileno(stream));
    close(saved);
    size = lseek(fileno(file), 0, SEEK_END);
    text = calloc(1, size + 1);
    assert_int_equal(pread(fileno(file), text, size, 0), size);
    fclose(file);
    return text;
}

static void assert_prints(report action, const struct options *options, const char *json,
                          const char *expected)
{
    struct json_object *result = json_tokener_parse(json);
    _cleanup_free_ char *text = captured(stdout, action, options, result);

    assert_non_null(result);
    assert_string_equal(text, expected);
    json_object_put(result);
}

static const struct options plain = {.pid = 42, .color = COLOR_NEVER};

#define RELOADED                                                                                   \
    "{\"pid\":42,\"python\":\"3.11.2\",\"modules\":[{\"name\":\"shop.cart\","                      \
    "\"file\":\"/srv/cart.py\",\"result\":\"reloaded\",\"replaced\":{\"functions\":1,"             \
    "\"classes\":2,\"methods\":5,\"code\":0},\"added\":[\"total\"],\"removed\":[],"                \
    "\"kept\":[\"CACHE\",\"LOCK\"],\"taken\":[\"VERSION\"],\"error\":null}],"                      \
    "\"remap\":{\"objects_scanned\":1000,\"referrers\":9,\"references_rewritten\":17,"             \
    "\"by_kind\":{\"dict\":13,\"list\":0,\"instance\":4},\"rehashed\":{\"set\":1},"                \
    "\"migrated\":1,\"unresolved\":0,\"unaccounted\":0,\"held\":[],\"frames_on_old_code\":"        \
    "[{\"thread\":\"worker\",\"function\":\"run\",\"file\":\"/srv/w.py\",\"line\":7},"             \
    "{\"suspended\":\"coroutine\",\"function\":\"ask\",\"file\":\"/srv/w.py\",\"line\":9}]},"      \
    "\"time\":{\"total_ms\":20.5,\"stop_us\":400,\"gil_ms\":9.0,\"scan_ms\":8,\"commit_ms\":0.5}," \
    "\"exit\":0}"

static void test_reloaded(void **state)
{
    (void)state;
    assert_prints(report_attach, &plain, RELOADED,
                  "shop.cart reloaded in 42 (python 3.11.2): 1 function, 2 classes, 5 methods\n"
                  "  added: total\n"
                  "  kept: CACHE, LOCK\n"
                  "  taken: VERSION\n"
                  "  17 references rewritten: 13 dict, 4 instance; 9 objects referred to what was "
                  "replaced\n"
                  "  1 instance moved to the new layout\n"
                  "  still running old code: run (/srv/w.py:7) in thread worker\n"
                  "  still running old code: ask (/srv/w.py:9) in a suspended coroutine\n");
}

static void test_dry_run(void **state)
{
    struct options options = plain;
    struct json_object *result = json_tokener_parse(RELOADED);
    _cleanup_free_ char *text = NULL;

    (void)state;
    options.flags = PYHOT_DRY_RUN;
    text = captured(stdout, report_attach, &options, result);
    assert_non_null(strstr(text, "shop.cart would be reloaded in 42"));
    assert_non_null(strstr(text, "17 references to rewrite: 13 dict"));
    assert_null(strstr(text, "rewritten"));
    json_object_put(result);
}

static void test_json_is_one_line_and_all(void **state)
{
    struct options options = {.pid = 42, .json = true, .quiet = true, .verbose = 2};

    (void)state;
    assert_prints(report_attach, &options, "{\"pid\":42,\"file\":\"/a/b\",\"exit\":0}",
                  "{\"pid\":42,\"file\":\"/a/b\",\"exit\":0}\n");
}

static const char failed[] =
    "{\"python\":\"3.8.18\",\"modules\":[{\"name\":\"m\",\"result\":\"failed\",\"error\":"
    "{\"type\":\"ZeroDivisionError\",\"message\":\"division by zero\",\"traceback\":"
    "\"Traceback (most recent call last):\\n  File \\\"m.py\\\", line 3\\nZeroDivisionError: "
    "division by zero\\n\"}}],\"exit\":1}";

static void test_failed_source_shows_the_traceback(void **state)
{
    static const char expected[] =
        "m failed in 42 (python 3.8.18): the new source failed, nothing was changed\n"
        "Traceback (most recent call last):\n"
        "  File \"m.py\", line 3\n"
        "ZeroDivisionError: division by zero\n";
    struct options quiet = plain;

    (void)state;
    quiet.quiet = true;
    assert_prints(report_attach, &plain, failed, expected);
    assert_prints(report_attach, &quiet, failed, expected);
}

static void test_what_a_failed_source_left_is_told(void **state)
{
    (void)state;
    assert_prints(
        report_attach, &plain,
        "{\"python\":\"3.8.18\",\"modules\":[{\"name\":\"m\",\"result\":\"failed\",\"error\":"
        "{\"type\":\"E\",\"message\":\"no; and more\",\"traceback\":\"E: no\\n\"}}],"
        "\"left\":[\"m.f in registry.ALL\"],\"remap\":null,\"exit\":1}",
        "m failed in 42 (python 3.8.18): the new source failed, nothing was changed\n"
        "E: no\n"
        "  E: no; and more\n"
        "  left by the failed source, not taken back: m.f in registry.ALL\n");
}

static void test_quiet_says_nothing_of_success(void **state)
{
    struct options quiet = plain;

    (void)state;
    quiet.quiet = true;
    assert_prints(report_attach, &quiet, RELOADED, "");
}

static void test_control_characters_of_the_target(void **state)
{
    (void)state;
    assert_prints(report_attach, &plain,
                  "{\"python\":\"3.9\",\"modules\":[{\"name\":\"a\\u001b[2Jb\\u009b\\n\","
                  "\"result\":\"unchanged\"}],\"exit\":0}",
                  "a\\x1b[2Jb\\x9b\\x0a unchanged in 42 (python 3.9)\n");
}

/* None of these may crash; the process that answers is not ours. */
static void test_answers_of_any_shape(void **state)
{
    static const char *const answers[] = {
        "{}",
        "{\"modules\":7,\"remap\":[],\"exit\":\"x\"}",
        "{\"modules\":[null,1,\"x\",{}],\"exit\":0}",
        "{\"modules\":[{\"name\":1,\"result\":null,\"replaced\":[],\"kept\":{},\"added\":[1,null]}]"
        ","
        "\"remap\":{\"held\":[1],\"frames_on_old_code\":[null],\"by_kind\":{\"a\":\"b\"}},\"exit\":"
        "5}",
        "{\"objects\":[1,{\"held_by\":[2]}],\"processes\":[3]}",
        "[]",
    };
    static const report reports[] = {report_attach, report_stale, report_processes};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++)
        for (size_t k = 0; k < sizeof(reports) / sizeof(*reports); k++) {
            struct json_object *result = json_tokener_parse(answers[i]);
            struct options options = {.pid = 42, .verbose = 1};

            free(captured(stdout, reports[k], &options, result));
            json_object_put(result);
        }
}

static void test_long_lists_are_cut(void **state)
{
    (void)state;
    assert_prints(
        report_attach, &plain,
        "{\"python\":\"3.9\",\"modules\":[{\"name\":\"m\",\"result\":\"reloaded\","
        "\"kept\":[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\",\"i\",\"j\"]}],\"exit\":0}",
        "m reloaded in 42 (python 3.9)\n"
        "  kept: a, b, c, d, e, f, g, h and 2 more (-v)\n");
}

static void test_stale(void **state)
{
    (void)state;
    assert_prints(
        report_stale, &plain,
        "{\"pid\":42,\"python\":\"3.11.2\",\"modules\":[{\"name\":\"m\",\"file\":\"/"
        "m.py\",\"state\":"
        "\"stale\",\"changes\":[{\"name\":\"C.f\",\"change\":\"changed\",\"kind\":\"function\"}]},"
        "{\"name\":\"os\",\"file\":\"/os.py\",\"state\":\"fresh\",\"changes\":[]}],"
        "\"objects\":[{\"object\":\"m.C\",\"module\":\"m\",\"kind\":\"class\",\"count\":2,\"held_"
        "by\":"
        "[{\"path\":\"app.REGISTRY['c']\",\"kind\":\"dict\"}]}],\"exit\":0}",
        "m  stale  /m.py\n"
        "  changed  function  C.f\n"
        "  old      class     C  2 generations\n"
        "             held by app.REGISTRY['c']\n"
        "2 modules compared in 42 (python 3.11.2): 1 stale; 1 kind of old objects\n");
}

static void print_given_error(const struct options *options, struct json_object *unused)
{
    struct error *error = error_new(EXIT_CANNOT_ATTACH, "traced", "process 42 (a\nb) is traced");

    (void)unused;
    report_error(options, error_hint(error, "end it"));
    error_free(error);
}

static void test_error(void **state)
{
    struct options json = {.pid = 42, .json = true};
    _cleanup_free_ char *text = captured(stderr, print_given_error, &plain, NULL);
    _cleanup_free_ char *object = captured(stdout, print_given_error, &json, NULL);

    (void)state;
    assert_string_equal(text, "pyhot: process 42 (a\\x0ab) is traced\n       end it\n");
    assert_string_equal(object,
                        "{\"pid\":42,\"error\":{\"code\":\"traced\",\"message\":"
                        "\"process 42 (a\\nb) is traced\",\"hint\":\"end it\"},\"exit\":3}\n");
}

static void test_bytes_that_are_no_utf8(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8d"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"cut\xe2\x82", "cut\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct json_object *object = json_text(cases[i].bytes);

        assert_string_equal(json_object_get_string(object), cases[i].text);
        json_object_put(object);
    }
}

static void test_colors(void **state)
{
    struct options options = {.color = COLOR_AUTO};

    (void)state;
    setenv("TERM", "xterm", 1);
    assert_false(color_wanted(&options, stdout) && !isatty(1));
    setenv("NO_COLOR", "1", 1);
    assert_false(color_wanted(&options, stdout));
    options.color = COLOR_ALWAYS;
    assert_true(color_wanted(&options, stdout));
    options.color = COLOR_NEVER;
    unsetenv("NO_COLOR");
    assert_false(color_wanted(&options, stdout));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reloaded),
        cmocka_unit_test(test_dry_run),
        cmocka_unit_test(test_json_is_one_line_and_all),
        cmocka_unit_test(test_failed_source_shows_the_traceback),
        cmocka_unit_test(test_what_a_failed_source_left_is_told),
        cmocka_unit_test(test_quiet_says_nothing_of_success),
        cmocka_unit_test(test_control_characters_of_the_target),
        cmocka_unit_test(test_answers_of_any_shape),
        cmocka_unit_test(test_long_lists_are_cut),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_error),
        cmocka_unit_test(test_bytes_that_are_no_utf8),
        cmocka_unit_test(test_colors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
