/* The target's `threading` and a thread that it does not know: ours. */
#ifndef PYHOT_THREADS_H
#define PYHOT_THREADS_H

#include <stdbool.h>

#include "cpython/api.h"

/* What there was to be known before new source ran in this thread. */
struct threads_before {
    bool imported; /* threading was in sys.modules */
    bool known;    /* and had a Thread object for this thread */
};

struct threads_before threads_look(void);

/* Removes the _DummyThread that threading made for this thread since, and, if threading was
 * imported by this thread (to 3.12 it then takes it for the main thread), gives MainThread the
 * identity of the thread that is.  GIL held; runs no code of the target. */
void threads_tidy(const struct threads_before *);

#endif
