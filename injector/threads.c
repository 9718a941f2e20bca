/* /proc/PID/task/TID/{stat,syscall} tell where a thread sleeps without stopping it. */
#include "threads.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "eintr.h"

static bool read_task_file(pid_t pid, pid_t tid, const char *name, char *line, int size)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    return file && fgets(line, size, file);
}

static bool is_uninterruptible(pid_t pid, pid_t tid)
{
    char line[512];
    const char *name_end =
        read_task_file(pid, tid, "stat", line, sizeof line) ? strrchr(line, ')') : NULL;
    return name_end && name_end[1] && name_end[2] == 'D';
}

static void look_at(pid_t pid, struct thread *thread)
{
    char line[256];
    long number = -1;
    uint64_t arguments[6];
    bool endless;

    thread->rank = THREAD_RUNS;
    thread->ip = thread->sp = 0;
    if (!read_task_file(pid, thread->tid, "syscall", line, sizeof line) ||
        sscanf(line,
               "%ld %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64
               " %" SCNx64 " %" SCNx64,
               &number, &arguments[0], &arguments[1], &arguments[2], &arguments[3], &arguments[4],
               &arguments[5], &thread->sp, &thread->ip) != 9)
        return;
    thread->rank = THREAD_SLEEPS;
    if (number == SYS_futex)
        thread->rank = THREAD_WAITS;
    else if (thread->tid == pid && eintr_awaits_signal(number))
        thread->rank = THREAD_AWAITS_SIGNAL;
    else if (eintr_on_stop(number, arguments, &endless) && !endless)
        thread->rank = THREAD_SLEEPS_BRIEFLY;
    if (is_uninterruptible(pid, thread->tid))
        thread->rank = THREAD_UNSTOPPABLE;
}

/* By rank; among equals the order of the kernel's list, where the main thread is first. */
static int compare_threads(const void *a, const void *b)
{
    const struct thread *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->tid > y->tid) - (x->tid < y->tid);
}

struct error *threads_list(const struct target *target, struct thread **threads, size_t *n)
{
    _cleanup_free_ pid_t *tids = NULL;
    struct error *error = target_threads(target, &tids, n);
    if (error)
        return error;
    *threads = calloc(*n ? *n : 1, sizeof **threads);
    if (!*threads)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "pyhot is out of memory");
    for (size_t i = 0; i < *n; i++) {
        (*threads)[i].tid = tids[i];
        look_at(target->pid, &(*threads)[i]);
    }
    qsort(*threads, *n, sizeof **threads, compare_threads);
    return NULL;
}
