/* job.c: the request that the agent reads, and what is made of its answer. */
#include <stdlib.h>
#include <string.h>

#include "../../injector/cleanup.h"
#include "../../injector/job.h"
#include "unit.h"

static void test_request(void **state)
{
    char *modules[] = {(char *)"a", (char *)"shop.cart"}, *keep[] = {(char *)"LOCK"};
    const struct options options = {
        .pid = 42,
        .verbose = 1,
        .timeout_ms = 1500,
        .modules = {modules, 2},
        .keep_names = {keep, 1},
        .flags = PYHOT_FORCE,
        .data_policy = PYHOT_DATA_NEW,
    };
    static const char strings[] = "a\0shop.cart\0LOCK";
    _cleanup_free_ struct pyhot_request *request = job_request(&options, PYHOT_ATTACH);

    (void)state;
    assert_int_equal(request->protocol, PYHOT_PROTOCOL);
    assert_int_equal(request->size, sizeof(*request) + sizeof(strings));
    assert_int_equal(request->command, PYHOT_ATTACH);
    assert_int_equal(request->flags, PYHOT_FORCE | PYHOT_VERBOSE);
    assert_int_equal(request->data_policy, PYHOT_DATA_NEW);
    assert_int_equal(request->timeout_ms, 1500);
    assert_int_equal(request->n_modules, 2);
    assert_int_equal(request->n_new, 0);
    assert_int_equal(request->n_keep, 1);
    assert_int_equal(request->state, PYHOT_WAITING);
    assert_memory_equal(request->strings, strings, sizeof(strings));
}

static void assert_completed(const char *answer, const char *expected)
{
    struct json_object *whole = job_complete(json_tokener_parse(answer), 42, "3.11.2", 20.5, 400);

    assert_string_equal(json_object_to_json_string_ext(whole, JSON_C_TO_STRING_PLAIN), expected);
    json_object_put(whole);
}

static void test_answer_is_completed(void **state)
{
    (void)state;
    assert_completed("{\"python\":\"3.11.2+\",\"time\":{\"gil_ms\":9},\"modules\":[],\"exit\":5}",
                     "{\"pid\":42,\"python\":\"3.11.2+\",\"modules\":[],"
                     "\"time\":{\"total_ms\":20.500,\"stop_us\":400,\"gil_ms\":9},\"exit\":5}");
    assert_completed("{\"exit\":0}", "{\"pid\":42,\"python\":\"3.11.2\",\"time\":"
                                     "{\"total_ms\":20.500,\"stop_us\":400},\"exit\":0}");
}

/* An answer that is none must not pass for success. */
static void test_answer_without_a_good_exit(void **state)
{
    (void)state;
    assert_completed("{}", "{\"pid\":42,\"python\":\"3.11.2\",\"time\":"
                           "{\"total_ms\":20.500,\"stop_us\":400},\"exit\":3}");
    assert_completed("{\"exit\":77}", "{\"pid\":42,\"python\":\"3.11.2\",\"time\":"
                                      "{\"total_ms\":20.500,\"stop_us\":400},\"exit\":3}");
    assert_completed("[1]", "{\"pid\":42,\"python\":\"3.11.2\",\"time\":"
                            "{\"total_ms\":20.500,\"stop_us\":400},\"exit\":3}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_answer_is_completed),
        cmocka_unit_test(test_answer_without_a_good_exit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
