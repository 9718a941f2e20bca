/* struct _pycontextvarobject of Include/internal/pycore_context.h, the same in 3.8 to 3.15
 * (GIL builds).  What ContextVar.get() returned last is kept without a reference of its own,
 * for the thread and the state of its context that it was true for (Python/context.c). */
#ifndef PYHOT_CPYTHON_CONTEXTVAR_H
#define PYHOT_CPYTHON_CONTEXTVAR_H

#include "api.h"

struct context_var {
    PyObject ob_base;
    PyObject *name, *default_;
    PyObject *cached; /* uncounted, not visited; NULL: ask the context */
    uint64_t cached_thread, cached_version;
    Py_hash_t hash;
};

#endif
