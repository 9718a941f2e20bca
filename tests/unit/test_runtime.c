/* runtime.c and runtime_layout.h: versions as CPython spells them. */
#include <string.h>

#include "../../injector/runtime.h"
#include "../../injector/runtime_layout.h"
#include "unit.h"

static void decoded(uint32_t hex, int minor, int micro, const char *text)
{
    struct python python = {0};

    runtime_decode_version(&python, hex);
    assert_int_equal(python.major, hex >> 24);
    assert_int_equal(python.minor, minor);
    assert_int_equal(python.micro, micro);
    assert_string_equal(python.version, text);
}

static void test_version_hex(void **state)
{
    (void)state;
    decoded(0x030b02f0, 11, 2, "3.11.2");
    decoded(0x030d00f0, 13, 0, "3.13.0");
    decoded(0x030f00a3, 15, 0, "3.15.0a3");
    decoded(0x030e00b4, 14, 0, "3.14.0b4");
    decoded(0x030e00c1, 14, 0, "3.14.0rc1");
}

static void parsed(const char *text, int minor, int micro, const char *version)
{
    struct python python = {0};

    assert_true(runtime_parse_version(&python, text));
    assert_int_equal(python.minor, minor);
    assert_int_equal(python.micro, micro);
    assert_string_equal(python.version, version);
}

static void test_version_text(void **state)
{
    (void)state;
    parsed("3.8.18 (default, Oct  3 2026, 12:00:00) \n[GCC 12.2.0]", 8, 18, "3.8.18");
    parsed("3.10.13 (main, Oct  3 2026, 12:00:00) [GCC 12.2.0]", 10, 13, "3.10.13");
    parsed("3.10.0rc2+ (heads/3.10:1234, May  3 2021) [Clang 12]", 10, 0, "3.10.0rc2+");
    parsed("2.7.18 (default, Apr  1 2026, 12:00:00) \n[GCC 12.2.0]", 7, 18, "2.7.18");
}

/* What else begins with digits and dots in a process. */
static void test_text_that_is_no_version(void **state)
{
    static const char *const texts[] = {
        "3.10.13",
        "3.10 (main) [GCC]",
        "3.10.13 main [GCC]",
        "3.10.13 (main, Oct  3 2026)",
        "3.10.x (main) [GCC]",
        "3.10.13evil (main) [GCC]",
        "",
        "3.10.13333333333333333333333333333333333333 (main) [GCC]",
    };
    struct python python = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        assert_false(runtime_parse_version(&python, texts[i]));
    assert_int_equal(python.major, 0);
}

static void test_every_version_without_debug_offsets_has_a_layout(void **state)
{
    (void)state;
    for (int minor = 8; minor <= 12; minor++)
        assert_non_null(runtime_layout(minor));
    assert_null(runtime_layout(13));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version_hex),
        cmocka_unit_test(test_version_text),
        cmocka_unit_test(test_text_that_is_no_version),
        cmocka_unit_test(test_every_version_without_debug_offsets_has_a_layout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
