/* python.c, image.c and runtime.c on a real interpreter, and on what is none. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "../../injector/image.h"
#include "../../injector/python.h"
#include "child.h"
#include "unit.h"

static void test_debian_python(void **state)
{
    pid_t pid = child_exec("/usr/bin/python3", "-cimport time; time.sleep(1000)");
    struct target target;
    struct python python;
    struct error *error;

    (void)state;
    assert_null(target_open(&target, pid));
    /* It sleeps, but perhaps on a page that is read in, and is not ready yet. */
    for (int i = 0; i < 1000; i++) {
        error = python_find(&python, &target);
        if (!error || strcmp(error->code, "not-initialised"))
            break;
        error_free(error);
        child_wait_state(pid, 'S');
    }
    assert_null(error);
    assert_int_equal(python.major, 3);
    assert_in_range(python.minor, 8, 15);
    assert_true(python.runtime != 0);
    assert_true(python.dlopen && python.pthread_create && python.munmap && python.close);
    assert_true(python.loaded_agent == 0);
    python_clear(&python);
    target_close(&target);
    child_end(pid);
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
        cmocka_unit_test(test_no_python),
        cmocka_unit_test(test_symbols_are_where_the_loader_put_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
