/* Instances that become other objects. */
#ifndef PYHOT_REMAP_MIGRATION_H
#define PYHOT_REMAP_MIGRATION_H

#include "engine.h"

/* `old` becomes an object of the class `type`, which is made now, without attributes, and is a
 * key's value from then on.  0, or -1 with MemoryError. */
int migration_add(struct remap *, PyObject *old, PyTypeObject *type);

#endif
