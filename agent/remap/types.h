/* What a remap of classes needs to know about the types of this process. */
#ifndef PYHOT_REMAP_TYPES_H
#define PYHOT_REMAP_TYPES_H

#include "engine.h"

enum type_part { PART_NONE, PART_DICT, PART_BASES, PART_MRO };

/* Collects all types once a remap.  0, or -1 with MemoryError. */
int types_open(struct remap *);

/* Which part of which type is `o`?  *owner is borrowed.  After types_open. */
enum type_part types_part(const struct remap *, const PyObject *o, PyTypeObject **owner);

/* Calls `visit` for each type. */
void types_each(struct remap *, void (*visit)(struct remap *, PyTypeObject *, void *), void *arg);

/* The map's entry if `o` is a class that is replaced, else NULL. */
struct key *types_replaced(const struct remap *, const PyObject *o);

/* Was `type` made by a class statement (or type()), not in C? */
bool type_is_python(const PyTypeObject *type);

/* Have their instances the same layout: the same base in C, and the same slots at the same
 * offsets? */
bool type_layout_equal(PyTypeObject *a, PyTypeObject *b);

/* ... and will CPython see that, in the setters of `__class__` and `__bases__`?  It does not
 * compare all layouts that are equal.  Never true where it refuses (compatible_for_assignment
 * and same_slots_added, Objects/typeobject.c). */
bool type_assignable(PyTypeObject *a, PyTypeObject *b);

#endif
