/* Reading a reference count: Include/object.h.  Its low 32 bits in every version; an
 * immortal object (from 3.12) has a huge one. */
#ifndef PYHOT_CPYTHON_REFS_H
#define PYHOT_CPYTHON_REFS_H

#include <stdbool.h>

#include "object.h"

static inline uint32_t reference_count(const PyObject *o)
{
    return *(const uint32_t *)o;
}

static inline bool only_reference(const PyObject *o)
{
    return reference_count(o) == 1;
}

#endif
