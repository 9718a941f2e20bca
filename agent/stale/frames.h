/* The running frames of all threads, innermost first.  GIL held; runs no Python code of the
 * target. */
#ifndef PYHOT_STALE_FRAMES_H
#define PYHOT_STALE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "cpython/api.h"

struct running_frame {
    PyObject *frame, *code, *globals;   /* strong references */
    PyObject *thread, *function, *file; /* str; strong */
    long tid;                           /* as the kernel has it; 0: threading does not know */
    long line;
    bool innermost; /* the first one of its thread */
};

struct running_frames {
    struct running_frame *items;
    size_t n, cap;
};

/* 0, or -1 with an exception; running_frames_clear in either case. */
int running_frames_read(struct running_frames *);
void running_frames_clear(struct running_frames *);

/* Of the thread with this identifier (threading.get_ident): "Thread-2", or "thread 1234" where
 * threading does not know it.  New reference. */
PyObject *thread_name(PyObject *identifier);

/* "frame of Thread-2 in worker() line 88".  New reference. */
PyObject *frame_title(const struct running_frame *);

/* Calls visit(name, value, arg) for each local variable of a function's frame, without making
 * its f_locals.  0; what visit returned if not 0; -1 with an exception. */
int frame_locals(const struct running_frame *,
                 int (*visit)(PyObject *name, PyObject *value, void *arg), void *arg);

#endif
