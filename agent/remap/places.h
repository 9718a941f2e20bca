/* Instances whose class finds their contents by place: named tuples, and what ctypes makes. */
#ifndef PYHOT_REMAP_PLACES_H
#define PYHOT_REMAP_PLACES_H

#include "engine.h"

/* Would an instance of `old` that became one of `new_` have something at another place, or less
 * memory than its class?  1, 0, or -1 with MemoryError. */
int places_move(PyTypeObject *old, PyTypeObject *new_);

/* Is the edge one from a type of ctypes' that was laid out for the old class, and that is so? */
int places_refused(const struct remap *, const struct edge *);

#endif
