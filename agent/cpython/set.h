/* The hash table inside a set or frozenset: the public PySetObject of
 * Include/cpython/setobject.h (3.8 to 3.15) and the probing of Objects/setobject.c. */
#ifndef PYHOT_CPYTHON_SET_H
#define PYHOT_CPYTHON_SET_H

#include <stdbool.h>

#include "api.h"

struct set_entry {
    PyObject *key;
    Py_hash_t hash; /* -1: deleted */
};

struct set_object {
    PyObject ob_base;
    Py_ssize_t fill, used, mask;
    struct set_entry *table;
    Py_hash_t hash; /* of a frozenset, or -1 */
    Py_ssize_t finger;
};

static inline bool is_set(const PyObject *o)
{
    return PyType_IsSubtype(type_of(o), &PySet_Type) ||
           PyType_IsSubtype(type_of(o), &PyFrozenSet_Type);
}

static inline bool set_entry_live(const struct set_entry *e)
{
    return e->key && e->hash != -1;
}

/* Does the layout hold in this interpreter?  Tried once.  GIL held. */
bool set_layout_known(void);

/* Empty the table and insert `n` entries; where `same` holds for one already there, the
 * entry is dropped and its reference goes to `dropped`. */
void set_rebuild(struct set_object *set, const struct set_entry *entries, size_t n,
                 bool (*same)(PyObject *, PyObject *, void *), void *arg,
                 void (*dropped)(PyObject *owned, void *arg));

#endif
