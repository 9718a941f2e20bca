/* See noted_signal.h.  The stop for this is like any other, so a signal may pass the main thread by
 * then too; but it reads notes after it. */
#include "noted_signal.h"

#include <time.h>

#include "cleanup.h"
#include "codemap.h"
#include "runtime.h"
#include "safepoint.h"
#include "threads.h"

#define PATIENCE_NS 200000000
#define PAUSE_NS    1000000

static bool main_thread_sleeps(const struct target *target)
{
    _cleanup_free_ struct thread *threads = NULL;
    bool sleeps = false;
    size_t n = 0;

    error_free(threads_list(target, &threads, &n));
    for (size_t i = 0; i < n; i++)
        sleeps = sleeps || (threads[i].tid == target->pid && threads[i].ip);
    return sleeps;
}

static void end_wait(const struct target *target, uint64_t deadline_ns)
{
    struct codemap map;
    struct safepoint safepoint = {.map = &map};
    struct error *error = codemap_open(&map, target);

    if (!error)
        error = safepoint_open(&safepoint, &map);
    if (!error)
        error = safepoint_end_wait(&safepoint, target->pid, deadline_ns);
    error_free(error); /* we have tried */
    safepoint_close(&safepoint);
    codemap_close(&map);
}

void noted_signal_let_see(const struct target *target, const struct python *python)
{
    uint64_t deadline_ns = monotonic_ns() + PATIENCE_NS;

    while (runtime_signal_noted(python, target) && monotonic_ns() < deadline_ns) {
        if (main_thread_sleeps(target))
            end_wait(target, deadline_ns);
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
}
