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

/* A context finds a variable by the hash that it was given when it was made (Python/hamt.c).  With
 * that of `from`, `to` is found where it takes the place of `from`. */
static inline void context_var_set_hash(PyObject *to, const PyObject *from)
{
    ((struct context_var *)to)->hash = ((const struct context_var *)from)->hash;
}

#endif
