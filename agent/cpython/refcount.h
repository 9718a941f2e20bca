/* ob_refcnt as it is to be read.
 *
 * To 3.11 it is the whole word.  From 3.12 (PEP 683, Include/object.h and, from 3.14,
 * Include/refcount.h; 64-bit GIL builds) the low 32 bits count, and an object whose low 32
 * bits are negative as an int32 is immortal: Py_IncRef and Py_DecRef leave it alone. */
#ifndef PYHOT_CPYTHON_REFCOUNT_H
#define PYHOT_CPYTHON_REFCOUNT_H

#include <stdbool.h>

#include "object.h"
#include "version.h"

static inline bool refcount_immortal(const PyObject *o)
{
    return cpython_minor() >= 12 && *(const int32_t *)o < 0;
}

static inline Py_ssize_t refcount_of(const PyObject *o)
{
    if (cpython_minor() >= 12)
        return (Py_ssize_t) * (const uint32_t *)o;
    return *(const Py_ssize_t *)o;
}

#endif
