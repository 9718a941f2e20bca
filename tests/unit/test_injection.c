/* The parts of the injection that need no stopped thread: ourselves serve as the target. */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../injector/arch/arch.h"
#include "../../injector/codemap.h"
#include "../../injector/eintr.h"
#include "unit.h"

static bool endless(long number, int index, uint64_t value)
{
    uint64_t arguments[6] = {0};
    bool answer = false;
    arguments[index] = value;
    assert_true(eintr_on_stop(number, arguments, &answer));
    return answer;
}

static void test_calls_that_a_stop_ends(void **state)
{
    const uint64_t none[6] = {0};
    bool answer;
    (void)state;

    assert_false(eintr_on_stop(SYS_read, none, &answer));
    assert_false(eintr_on_stop(SYS_clock_nanosleep, none, &answer));
    assert_false(eintr_on_stop(-1, none, &answer));
    assert_true(endless(SYS_epoll_pwait, 3, 0xffffffff));
    assert_false(endless(SYS_epoll_pwait, 3, 0));
    assert_false(endless(SYS_epoll_pwait, 3, 1000));
    assert_true(endless(SYS_rt_sigtimedwait, 2, 0));
    assert_false(endless(SYS_rt_sigtimedwait, 2, 0x7ffc00001000));
    assert_true(endless(SYS_semop, 0, 1));
}

static void test_calls_that_python_makes_again(void **state)
{
    (void)state;
    assert_true(eintr_is_retried(SYS_futex));
    assert_true(eintr_is_retried(SYS_epoll_pwait));
    assert_false(eintr_is_retried(SYS_rt_sigsuspend));
    assert_false(eintr_is_retried(SYS_ioctl));
    assert_false(eintr_is_retried(-1));
    assert_true(eintr_awaits_signal(SYS_rt_sigsuspend));
    assert_false(eintr_awaits_signal(SYS_futex));
}

static void test_gadgets_are_found_once(void **state)
{
    const uint8_t text[] = {0x90, 0x0f, 0x05, 0xc3, 0x0f, 0x05, 0xc3, 0x48,
                            0xc7, 0xc0, 0x0f, 0,    0,    0,    0x0f, 0x05};
    struct arch_gadgets gadgets = {0, 0};
    (void)state;

    arch_find_gadgets(&gadgets, text, 3, 0x1000);
    assert_int_equal(gadgets.syscall_return, 0);
    arch_find_gadgets(&gadgets, text, sizeof text, 0x1000);
    assert_int_equal(gadgets.syscall_return, 0x1001);
    assert_int_equal(gadgets.sigreturn, 0x1007);
    arch_find_gadgets(&gadgets, text, sizeof text, 0x2000);
    assert_int_equal(gadgets.syscall_return, 0x1001);
}

static void test_jumps(void **state)
{
    const uint8_t code[] = {0x90, 0xe9, 0xfb, 0xff, 0xff, 0xff, /* jmp to itself */
                            0x0f, 0x84, 0x10, 0,    0,    0,    /* je 16 behind it */
                            0xe9, 0x00, 0x01, 0};               /* cut off */
    uint64_t targets[4];
    (void)state;

    assert_int_equal(arch_jump_targets(code, sizeof code, 0x1000, targets, 4), 2);
    assert_int_equal(targets[0], 0x1001);
    assert_int_equal(targets[1], 0x1000 + 12 + 16);
    assert_int_equal(arch_jump_targets(code, sizeof code, 0x1000, targets, 1), 1);
}

static void test_page_cache(void **state)
{
    struct page_cache cache = {.pid = getpid()};
    size_t size = 3 * 4096 + 100;
    char *ours = malloc(size), *copy = malloc(size), text[8];
    (void)state;

    for (size_t i = 0; i < size; i++)
        ours[i] = (char)(i * 7 / 3);
    assert_int_equal(page_cache_read(&cache, (uintptr_t)ours, copy, size), 0);
    assert_memory_equal(ours, copy, size);
    assert_int_equal(page_cache_read_string(&cache, (uintptr_t) "a long string", text, sizeof text),
                     0);
    assert_string_equal(text, "a long ");
    assert_int_equal(page_cache_read(&cache, 16, copy, 1), -1);
    page_cache_clear(&cache);
    free(ours);
    free(copy);
}

static void test_codemap_of_ourselves(void **state)
{
    struct target target = {.pid = getpid(), .pidfd = -1}; /* target_open refuses ourselves */
    struct codemap map;
    bool changed;
    (void)state;

    assert_null(codemap_open(&map, &target));
    assert_null(codemap_refresh(&map, &changed));
    assert_false(changed);

    const struct code_image *c_library = codemap_find(&map, map.program_start);
    assert_non_null(c_library);
    assert_int_equal(c_library->kind, CODE_C_LIBRARY);
    assert_true(codemap_unchanged(&map, c_library));
    assert_int_equal(codemap_find(&map, (uintptr_t)test_jumps)->kind, CODE_ORDINARY);

    assert_int_equal(codemap_function_start(&map, c_library, map.program_start + 3),
                     map.program_start);
    assert_true(codemap_function_end(&map, c_library, map.program_start) > map.program_start);
    assert_false(codemap_is_sleeper(&map, map.program_start));
    assert_true(map.n_sleepers > 40);
    codemap_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_that_a_stop_ends),
        cmocka_unit_test(test_calls_that_python_makes_again),
        cmocka_unit_test(test_gadgets_are_found_once),
        cmocka_unit_test(test_jumps),
        cmocka_unit_test(test_page_cache),
        cmocka_unit_test(test_codemap_of_ourselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
