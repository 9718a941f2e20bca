/* procfs.c: the texts of /proc, with the names that people and programs really use. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../../injector/cleanup.h"
#include "../../injector/procfs.h"
#include "unit.h"

/* Fields 4 to 22 of a real line: flags 0x400040 is field 9, start time 987654 field 22. */
#define STAT_TAIL " 1 10 10 0 -1 4194368 1 2 3 4 5 6 7 8 20 0 3 0 987654 1000 200 184467440737"

static void parse_stat_named(const char *name)
{
    struct proc_stat stat;
    char line[256];

    snprintf(line, sizeof(line), "42 (%s) S" STAT_TAIL "\n", name);
    assert_int_equal(proc_parse_stat(line, &stat), 0);
    assert_string_equal(stat.command, name);
    assert_int_equal(stat.state, 'S');
    assert_int_equal(stat.parent, 1);
    assert_int_equal(stat.flags, 4194368);
    assert_int_equal(stat.start_time, 987654);
    assert_false(proc_is_kernel_thread(&stat));
}

static void test_stat_with_odd_names(void **state)
{
    (void)state;
    parse_stat_named("python3");
    parse_stat_named("a b");
    parse_stat_named("a) R 1 (b");
    parse_stat_named("((()))");
    parse_stat_named("line\nbreak");
    parse_stat_named("");
}

static void test_stat_of_a_kernel_thread(void **state)
{
    struct proc_stat stat;

    (void)state;
    assert_int_equal(
        proc_parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5 0", &stat),
        0);
    assert_true(proc_is_kernel_thread(&stat));
}

static void test_stat_that_is_none(void **state)
{
    struct proc_stat stat;

    (void)state;
    assert_int_equal(proc_parse_stat("", &stat), -1);
    assert_int_equal(proc_parse_stat("42 (cut", &stat), -1);
    assert_int_equal(proc_parse_stat("42 (cut) S 1 10", &stat), -1);
    assert_int_equal(proc_parse_stat("42 )( S" STAT_TAIL, &stat), -1);
}

static const char status_text[] = "Name:\tTracerPid:\t77\n"
                                  "State:\tS (sleeping)\n"
                                  "Tgid:\t42\n"
                                  "Pid:\t43\n"
                                  "TracerPid:\t99\n"
                                  "Uid:\t1000\t1001\t1002\t1003\n"
                                  "Gid:\t100\t101\t102\t103\n"
                                  "CapPrm:\t000001ffffffffff\n"
                                  "CapEff:\t0000000000080000\n"
                                  "Seccomp:\t2\n";

static void test_status(void **state)
{
    struct proc_status status;

    (void)state;
    assert_int_equal(proc_parse_status(status_text, &status), 0);
    assert_int_equal(status.tgid, 42);
    assert_int_equal(status.tracer, 99);
    assert_int_equal(status.uid[0], 1000);
    assert_int_equal(status.uid[3], 1003);
    assert_int_equal(status.gid[1], 101);
    assert_true(status.permitted == UINT64_C(0x1ffffffffff));
    assert_true(status.effective == 1 << 19);
    assert_int_equal(status.seccomp, 2);
}

static void test_status_without_a_field(void **state)
{
    struct proc_status status;

    (void)state;
    assert_int_equal(proc_parse_status("Tgid:\t42\n", &status), -1);
    assert_int_equal(proc_parse_status("", &status), -1);
}

static struct mapping parse_mapping(const char *text)
{
    struct mapping mapping;
    char line[512];

    snprintf(line, sizeof(line), "%s", text);
    assert_int_equal(proc_parse_mapping(line, &mapping), 0);
    return mapping;
}

static void test_mapping_of_a_file(void **state)
{
    struct mapping mapping = parse_mapping(
        "7f0000001000-7f0000002000 r-xp 0001f000 fe:01 123456                     /usr/lib/a b.so");

    (void)state;
    assert_true(mapping.start == UINT64_C(0x7f0000001000));
    assert_true(mapping.end == UINT64_C(0x7f0000002000));
    assert_int_equal(mapping.offset, 0x1f000);
    assert_int_equal(mapping.inode, 123456);
    assert_true(mapping.device == (UINT64_C(0xfe) << 32 | 1));
    assert_string_equal(mapping.perms, "r-xp");
    assert_string_equal(mapping.path, "/usr/lib/a b.so");
    free(mapping.path);
}

static void test_mappings_with_odd_paths(void **state)
{
    static const struct {
        const char *line, *path;
    } cases[] = {
        {"1000-2000 rw-p 00000000 00:00 0 ", ""},
        {"1000-2000 rw-p 00000000 00:00 0", ""},
        {"1000-2000 rw-p 00000000 00:00 0                [stack]\n", "[stack]"},
        {"1000-2000 r-xp 0 00:01 5 /memfd:pyhot-agent (deleted)\n", "/memfd:pyhot-agent (deleted)"},
        {"1000-2000 r-xp 0 00:01 5 /srv/a\\012b.so", "/srv/a\\012b.so"},
        {"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]", "[vsyscall]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct mapping mapping = parse_mapping(cases[i].line);

        assert_string_equal(mapping.path, cases[i].path);
        free(mapping.path);
    }
}

static void test_mapping_that_is_none(void **state)
{
    struct mapping mapping;
    char garbage[] = "hello", cut[] = "1000-2000 r-xp 0";

    (void)state;
    assert_int_equal(proc_parse_mapping(garbage, &mapping), -1);
    assert_int_equal(proc_parse_mapping(cut, &mapping), -1);
}

static void test_reading_a_file_larger_than_a_page(void **state)
{
    size_t size = 0;
    _cleanup_free_ char *text = proc_read(getpid(), "smaps", &size);

    (void)state;
    assert_non_null(text);
    assert_true(size > 4096);
    assert_int_equal(strlen(text), size);
    assert_int_equal(text[size - 1], '\n');
}

static void test_reading_of_no_process(void **state)
{
    (void)state;
    errno = 0;
    assert_null(proc_read(0x7ffffffe, "stat", NULL));
    assert_int_equal(errno, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stat_with_odd_names),
        cmocka_unit_test(test_stat_of_a_kernel_thread),
        cmocka_unit_test(test_stat_that_is_none),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_without_a_field),
        cmocka_unit_test(test_mapping_of_a_file),
        cmocka_unit_test(test_mappings_with_odd_paths),
        cmocka_unit_test(test_mapping_that_is_none),
        cmocka_unit_test(test_reading_a_file_larger_than_a_page),
        cmocka_unit_test(test_reading_of_no_process),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
