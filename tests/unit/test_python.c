/* python.c, image.c and runtime.c on a real interpreter, and on what is none. */
#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../injector/image.h"
#include "../../injector/python.h"
#include "child.h"
#include "unit.h"

static void test_debian_python(void **state)
{
    char *argv[] = {(char *)"/usr/bin/python3", (char *)"-uc",
                    (char *)"import time; print(); time.sleep(1000)", NULL};
    pid_t pid = child_exec(argv);
    struct target target;
    struct python python;

    (void)state;
    assert_null(target_open(&target, pid));
    assert_null(python_find(&python, &target));
    assert_int_equal(python.major, 3);
    assert_in_range(python.minor, 8, 15);
    assert_true(python.runtime != 0);
    assert_true(python.dlopen && python.pthread_create && python.munmap && python.close);
    assert_true(python.loaded_agent == 0);
    python_clear(&python);
    target_close(&target);
    child_end(pid);
}

/* What python_find says of a fake interpreter in this state: "VERSION FREE INIT FINAL". */
static struct error *find_fake(const char *kind, const char *fake_state, char version[32])
{
    char program[PATH_MAX], words[64], *argv[6] = {program};
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 32);
    struct target target;
    struct python python;
    struct error *error;
    pid_t pid;

    assert_true(length > 0);
    program[length] = 0;
    strcpy(strrchr(program, '/') + 1, kind);
    strcpy(words, fake_state);
    for (int i = 1; i < 5; i++)
        argv[i] = strtok(i == 1 ? words : NULL, " ");
    pid = child_exec(argv);
    assert_null(target_open(&target, pid));
    error = python_find(&python, &target);
    if (!error) {
        strcpy(version, python.version);
        python_clear(&python);
    }
    target_close(&target);
    child_end(pid);
    return error;
}

static void test_states_that_are_served(void **state)
{
    char version[32];

    (void)state;
    assert_null(find_fake("fake-python", "030b0cf0 0 1 0", version));
    assert_string_equal(version, "3.11.12");
    assert_null(find_fake("fake-python", "030e00c1 0 1 0", version));
    assert_string_equal(version, "3.14.0rc1");
    assert_null(find_fake("fake-python", "031000f0 0 1 0", version)); /* the agent will tell */
    assert_string_equal(version, "3.16.0");
}

static void test_states_that_are_refused(void **state)
{
    static const struct {
        const char *kind, *state, *code, *word;
    } cases[] = {
        {"fake-python", "030f00f0 1 1 0", "free-threaded", "3.15.0"},
        {"fake-python", "041000f0 0 1 0", "unknown-version", "4.16.0"},
        {"fake-python", "030700f0 0 1 0", "unknown-version", "3.7.0"},
        {"fake-python", "030c00f0 0 0 0", "not-initialised", "not initialised"},
        {"fake-python", "030d00f0 0 0 0", "not-initialised", "not initialised"},
        {"fake-python", "030c00f0 0 1 1", "finalizing", "finalizing"},
        {"fake-python", "030d00f0 0 1 1", "finalizing", "finalizing"},
        {"fake-python-refs", "030c00f0 0 1 0", "trace-refs", "Py_TRACE_REFS"},
        {"fake-python-static", "030c00f0 0 1 0", "no-loader", "statically"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char version[32] = "";
        struct error *error = find_fake(cases[i].kind, cases[i].state, version);

        if (!error)
            fail_msg("%s %s is not refused", cases[i].kind, cases[i].state);
        assert_string_equal(error->code, cases[i].code);
        assert_non_null(strstr(error->message, cases[i].word));
        assert_non_null(error->hint);
        error_free(error);
    }
}

static void test_no_python(void **state)
{
    pid_t pid = child_start(NULL);
    struct target target;
    struct python python;
    struct error *error;

    (void)state;
    assert_null(target_open(&target, pid));
    error = python_find(&python, &target);
    assert_non_null(error);
    assert_string_equal(error->code, "not-python");
    error_free(error);
    target_close(&target);
    child_end(pid);
}

/* The addresses in a copy of this process are those that the loader tells here. */
static void test_symbols_are_where_the_loader_put_them(void **state)
{
    struct symbol symbols[] = {{.name = "getppid"}, {.name = "no_such_symbol"}};
    pid_t pid = child_start(NULL);
    const struct mapping *mapping;
    struct target target;
    struct image image;
    char *soname;

    (void)state;
    assert_null(target_open(&target, pid));
    mapping = target_mapping_at(&target, (uintptr_t)dlsym(RTLD_DEFAULT, "getppid"));
    assert_non_null(mapping);
    assert_int_equal(image_open(&image, &target, mapping), 0);
    image_find_symbols(&image, symbols, 2);
    assert_true(symbols[0].address == (uintptr_t)dlsym(RTLD_DEFAULT, "getppid"));
    assert_true(symbols[1].address == 0);
    soname = image_soname(&image);
    assert_non_null(soname);
    assert_memory_equal(soname, "libc.", 5);
    free(soname);
    image_close(&image);
    target_close(&target);
    child_end(pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_debian_python),
        cmocka_unit_test(test_states_that_are_served),
        cmocka_unit_test(test_states_that_are_refused),
        cmocka_unit_test(test_no_python),
        cmocka_unit_test(test_symbols_are_where_the_loader_put_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
