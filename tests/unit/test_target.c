/* target.c and permission.c: real processes in each condition. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../injector/cleanup.h"
#include "../../injector/target.h"
#include "child.h"
#include "unit.h"

/* target_open must refuse `pid` with this code. */
static void assert_refused(pid_t pid, const char *code, const char *word)
{
    struct target target;
    struct error *error = target_open(&target, pid);

    assert_non_null(error);
    assert_string_equal(error->code, code);
    assert_int_equal(error->status, EXIT_CANNOT_ATTACH);
    if (!strstr(error->message, word))
        fail_msg("\"%s\" does not say \"%s\"", error->message, word);
    assert_null(strchr(error->message, '\n'));
    assert_non_null(error->hint);
    error_free(error);
}

static void assert_opens(struct target *target, pid_t pid)
{
    struct error *error = target_open(target, pid);

    if (error)
        fail_msg("%s: %s", error->code, error->message);
}

static void test_open_and_check(void **state)
{
    pid_t pid = child_start(NULL);
    struct target target;

    (void)state;
    assert_opens(&target, pid);
    assert_string_equal(target.command, "test_target");
    assert_int_equal(target.uid, getuid());
    assert_true(target.n_maps > 3);
    assert_null(target_check(&target));
    child_end(pid);
    struct error *error = target_check(&target);
    assert_non_null(error);
    assert_string_equal(error->code, "process-ended");
    error_free(error);
    target_close(&target);
}

static void test_no_such_process(void **state)
{
    pid_t pid = child_start(NULL);

    (void)state;
    child_end(pid);
    assert_refused(pid, "no-such-process", "no process");
    assert_refused(0x7ffffffe, "no-such-process", "2147483646");
}

static void test_zombie(void **state)
{
    pid_t pid = child_start(NULL);

    (void)state;
    kill(pid, SIGKILL);
    child_wait_state(pid, 'Z');
    assert_refused(pid, "zombie", "zombie");
    child_end(pid);
}

static void test_stopped(void **state)
{
    pid_t pid = child_start(NULL);

    (void)state;
    kill(pid, SIGSTOP);
    child_wait_state(pid, 'T');
    assert_refused(pid, "stopped", "stopped");
    child_wait_state(pid, 'T');
    child_end(pid);
}

static void trace_me(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void test_traced(void **state)
{
    char ourselves[32];
    pid_t pid = child_start(trace_me);

    (void)state;
    snprintf(ourselves, sizeof(ourselves), "by %d (test_target)", getpid());
    assert_refused(pid, "traced", ourselves);
    child_end(pid);
}

static void rename_oddly(void)
{
    prctl(PR_SET_NAME, "a) Z 1 (\nb");
}

static void test_odd_name(void **state)
{
    pid_t pid = child_start(rename_oddly);
    struct target target;

    (void)state;
    assert_opens(&target, pid);
    assert_string_equal(target.command, "a) Z 1 (\nb");
    target_close(&target);
    child_end(pid);
}

static void test_ourselves(void **state)
{
    (void)state;
    assert_refused(getpid(), "self", "itself");
}

static void *wait_forever(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static void start_thread(void)
{
    pthread_t thread;

    pthread_create(&thread, NULL, wait_forever, NULL);
    pthread_create(&thread, NULL, wait_forever, NULL);
}

static void test_threads(void **state)
{
    pid_t pid = child_start(start_thread);
    _cleanup_free_ pid_t *tids = NULL;
    struct target target;
    char owner[32];
    size_t n;

    (void)state;
    assert_opens(&target, pid);
    assert_null(target_threads(&target, &tids, &n));
    assert_int_equal(n, 3);
    assert_int_equal(tids[0], pid);
    snprintf(owner, sizeof(owner), "thread of process %d", pid);
    assert_refused(tids[1], "not-a-process", owner);
    target_close(&target);
    child_end(pid);
}

static const char secret[] = "what the child has at this address";

static void test_reading_memory(void **state)
{
    pid_t pid = child_start(NULL);
    const struct mapping *mapping;
    char buffer[sizeof(secret)];
    struct target target;
    struct error *error;

    (void)state;
    assert_opens(&target, pid);
    assert_null(target_read(&target, (uintptr_t)secret, buffer, sizeof(buffer)));
    assert_string_equal(buffer, secret);
    mapping = target_mapping_at(&target, (uintptr_t)secret);
    assert_non_null(mapping);
    assert_non_null(strstr(mapping->path, "test_target"));
    assert_null(target_mapping_at(&target, 1));

    error = target_read(&target, 1, buffer, sizeof(buffer));
    assert_non_null(error);
    assert_string_equal(error->code, "read-memory");
    error_free(error);
    target_close(&target);
    child_end(pid);
}

/* A mapped file whose name is gone, and another file in its place. */
static void *map_replaced_file(char path[])
{
    int fd = mkstemp(path), other;
    void *address;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "original", 8), 8);
    address = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(address != MAP_FAILED);
    close(fd);
    unlink(path);
    other = open(path, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(other, "impostor", 8), 8);
    close(other);
    return address;
}

static void test_file_replaced_on_disk(void **state)
{
    char path[] = "/tmp/pyhot-test-XXXXXX", content[8];
    void *address = map_replaced_file(path);
    pid_t pid = child_start(NULL);
    const struct mapping *mapping;
    struct target target;
    int fd;

    (void)state;
    assert_opens(&target, pid);
    mapping = target_mapping_at(&target, (uintptr_t)address);
    assert_non_null(mapping);
    fd = target_open_mapped(&target, mapping);
    if (geteuid() == 0) { /* without privilege the old file cannot be reached */
        assert_true(fd >= 0);
        assert_int_equal(read(fd, content, 8), 8);
        assert_memory_equal(content, "original", 8);
        close(fd);
    } else {
        assert_int_equal(fd, -1);
    }
    target_close(&target);
    child_end(pid);
    unlink(path);
    munmap(address, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_check), cmocka_unit_test(test_no_such_process),
        cmocka_unit_test(test_zombie),         cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_traced),         cmocka_unit_test(test_odd_name),
        cmocka_unit_test(test_ourselves),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_reading_memory), cmocka_unit_test(test_file_replaced_on_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
