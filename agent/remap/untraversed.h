/* References that objects have but do not show to the collector. */
#ifndef PYHOT_REMAP_UNTRAVERSED_H
#define PYHOT_REMAP_UNTRAVERSED_H

#include "engine.h"

/* A reference to the key: in `field`, or (NULL) it is only named.  0, or -1 with an exception. */
typedef int untraversed_visit(struct remap *, uint32_t key, PyObject **field, const char *where);

/* In the objects themselves, of those that can be reached. */
int untraversed_objects(struct remap *, untraversed_visit *);

/* In memory that objects of a few types lead to. */
int untraversed_memory(struct remap *, untraversed_visit *);

#endif
