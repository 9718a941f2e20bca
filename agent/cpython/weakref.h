/* struct _PyWeakReference, public (Include/cpython/weakrefobject.h; to 3.8
 * Include/weakrefobject.h) and the same up to wr_next in 3.8 to 3.15. */
#ifndef PYHOT_CPYTHON_WEAKREF_H
#define PYHOT_CPYTHON_WEAKREF_H

#include <stdbool.h>

#include "api.h"

struct weak_reference {
    PyObject ob_base;
    PyObject *object;   /* borrowed; None: dead */
    PyObject *callback; /* or NULL */
    Py_hash_t hash;     /* -1: not asked for yet */
    struct weak_reference *prev, *next;
};

static inline bool is_weakref(const PyObject *o)
{
    return PyType_IsSubtype(type_of(o), &_PyWeakref_RefType);
}

/* Hashed as weakref.ref is: by the hash of its object, remembered. */
static inline bool is_weakref_hash(const PyObject *o)
{
    return is_weakref(o) && type_of(o)->tp_hash == _PyWeakref_RefType.tp_hash;
}

/* Where `o` keeps the head of its list of weak references; NULL: it cannot have any. */
static inline struct weak_reference **weakref_list(PyObject *o)
{
    Py_ssize_t offset = type_of(o)->tp_weaklistoffset;

    return offset ? (struct weak_reference **)((char *)o + offset) : NULL;
}

#endif
