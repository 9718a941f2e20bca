/* Hashes that CPython computes from pointers and from other hashes: what they will be
 * after a remap can be told without calling any __hash__. */
#ifndef PYHOT_CPYTHON_HASH_H
#define PYHOT_CPYTHON_HASH_H

#include <stdbool.h>

#include "api.h"

/* Do the formulas below hold in this interpreter?  Tried once.  GIL held. */
bool hash_formulas_known(void);

/* _Py_HashPointer (Python/pyhash.c; Py_HashPointer from 3.13). */
Py_hash_t hash_pointer(const void *p);

/* A tuple's, from those of its items: Objects/tupleobject.c, 3.8 to 3.15. */
Py_hash_t hash_tuple(const Py_hash_t *items, size_t n);

/* The one item's hash that makes a tuple's hash `whole`: each step can be undone.
 * items[unknown] is not read. */
Py_hash_t hash_tuple_item(const Py_hash_t *items, size_t n, size_t unknown, Py_hash_t whole);

/* A frozenset's, from those of its members: Objects/setobject.c, 3.8 to 3.15. */
Py_hash_t hash_frozenset(const Py_hash_t *members, size_t n);

/* Is it hashed by its address?  True for functions, most classes, plain instances. */
static inline bool hashed_by_address(const PyObject *o)
{
    return type_of(o)->tp_hash == PyBaseObject_Type.tp_hash;
}

/* From 3.14 a tuple remembers its hash (-1: not yet) before its first item. */
bool tuple_caches_hash(void);
Py_hash_t *tuple_cached_hash(PyObject *tuple);

/* The hash of an object whose type computes it in C from its address, or from what it contains
 * as int, str, bytes and float do (members of IntEnum too).  False: the type may run Python. */
bool hash_without_python(PyObject *, Py_hash_t *);

#endif
