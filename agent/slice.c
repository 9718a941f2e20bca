/* Slices with the GIL (slice.h). */
#include "slice.h"

#include <time.h>

#include "cpython/api.h"

enum { SLICE_NS = 17000000 };

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void slice_begin(struct slice *slice)
{
    slice->since = slice->before = now_ns();
}

void slice_share(struct slice *slice)
{
    /* Who waits for the GIL is woken; taken again at once, it would be gone before they look. */
    const struct timespec moment = {0, 50000};
    uint64_t now = now_ns(), step = now - slice->before;
    PyThreadState *thread;

    slice->before = now;
    slice->step = step > slice->step / 2 ? step : slice->step / 2;
    if (now - slice->since + slice->step < SLICE_NS)
        return;
    thread = PyEval_SaveThread();
    nanosleep(&moment, NULL);
    PyEval_RestoreThread(thread);
    slice_begin(slice);
}
