/* The mark "tp_finalize was called" of an object known to the collector: bit 0 of
 * _gc_prev, the word before the object (Include/internal/pycore_gc.h, 3.9 to 3.15;
 * Include/cpython/objimpl.h in 3.8; GIL builds).  A marked object dies without __del__. */
#ifndef PYHOT_CPYTHON_FINALIZED_H
#define PYHOT_CPYTHON_FINALIZED_H

#include <stdbool.h>

#include "object.h"

static inline bool finalized_get(const PyObject *o)
{
    return ((const uintptr_t *)o)[-1] & 1;
}

static inline void finalized_set(PyObject *o, bool on)
{
    uintptr_t *gc_prev = (uintptr_t *)o - 1;

    *gc_prev = on ? *gc_prev | 1 : *gc_prev & ~(uintptr_t)1;
}

#endif
