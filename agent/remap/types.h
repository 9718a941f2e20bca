/* What a remap of classes needs to know about the types of this process. */
#ifndef PYHOT_REMAP_TYPES_H
#define PYHOT_REMAP_TYPES_H

#include "engine.h"

enum type_part { PART_NONE, PART_DICT, PART_BASES, PART_MRO };

/* Collects all types once a remap.  0, or -1 with MemoryError. */
int types_open(struct remap *);

/* Which part of which type is `o`?  *owner is borrowed.  After types_open. */
enum type_part types_part(const struct remap *, const PyObject *o, PyTypeObject **owner);

/* The class that has the referrer as its bases or MRO, or is the referrer and has keys[e->key].old
 * as its base; or NULL.  Borrowed.  After types_open. */
PyTypeObject *types_subclass(const struct remap *, const struct edge *);

/* Calls `visit` for each type. */
void types_each(struct remap *, void (*visit)(struct remap *, PyTypeObject *, void *), void *arg);

/* The map's entry if `o` is a class that is replaced, else NULL. */
struct key *types_replaced(const struct remap *, const PyObject *o);

#endif
