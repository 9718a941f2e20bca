/* error.c */
#include <errno.h>

#include "../../injector/error.h"
#include "unit.h"

static void test_message_and_code_are_copied(void **state)
{
    char code[] = "some-code", name[] = "cat";
    struct error *error = error_new(EXIT_CANNOT_ATTACH, code, "process %d (%s)", 12, name);

    (void)state;
    code[0] = name[0] = 'X';
    assert_int_equal(error->status, EXIT_CANNOT_ATTACH);
    assert_string_equal(error->code, "some-code");
    assert_string_equal(error->message, "process 12 (cat)");
    assert_null(error->hint);
    error_free(error);
}

static void test_errno_is_spelled_out(void **state)
{
    struct error *error = error_errno(EXIT_DEADLINE, "x", ENOENT, "cannot read %s", "it");

    (void)state;
    assert_string_equal(error->message, "cannot read it: No such file or directory");
    error_free(error);
}

static void test_a_hint_replaces_the_one_before(void **state)
{
    struct error *error = error_new(EXIT_USAGE, "x", "y");

    (void)state;
    assert_ptr_equal(error_hint(error, "first"), error);
    error_hint(error, "second %d", 2);
    assert_string_equal(error->hint, "second 2");
    error_free(error);
}

static void test_an_error_is_never_success(void **state)
{
    static const int given[] = {0, -1, 77, EXIT_DEADLINE}, expected[] = {3, 3, 3, 4};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct error *error = error_new(given[i], "x", "y");

        assert_int_equal(error->status, expected[i]);
        error_free(error);
    }
}

static void test_no_error_is_freed_too(void **state)
{
    (void)state;
    error_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_and_code_are_copied),
        cmocka_unit_test(test_errno_is_spelled_out),
        cmocka_unit_test(test_a_hint_replaces_the_one_before),
        cmocka_unit_test(test_an_error_is_never_success),
        cmocka_unit_test(test_no_error_is_freed_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
