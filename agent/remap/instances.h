/* Instances of replaced classes. */
#ifndef PYHOT_REMAP_INSTANCES_H
#define PYHOT_REMAP_INSTANCES_H

#include "engine.h"

/* 1: `o` is an instance of a replaced class and goes with it: a key itself, or migrated to
 * a new object (decided, and the key added, at the first call for `o`).  0: it is not.
 * -1: MemoryError. */
int instance_dies(struct remap *, PyObject *o);

/* 1 if the edge is that of an instance to its class and the class cannot be changed. */
ptrdiff_t instance_refused(struct remap *, struct edge *);

#endif
