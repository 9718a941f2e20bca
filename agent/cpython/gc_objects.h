/* All objects that the cyclic collector knows. */
#ifndef PYHOT_CPYTHON_GC_OBJECTS_H
#define PYHOT_CPYTHON_GC_OBJECTS_H

#include <stdbool.h>

#include "api.h"

/* A collection is under way, in a finalizer that let the GIL go: some objects are in no list.  No
 * exception is set. */
enum { GC_COLLECTING = -2 };

/* Every tracked object, the permanent generation (gc.freeze) included, one by one.  `take` must
 * not change what is tracked.  GIL held.  0; GC_COLLECTING; or -1: what `take` returned, or
 * MemoryError, or RuntimeError if the lists are not laid out as known. */
int gc_each(int (*take)(PyObject *o, void *arg), void *arg);

/* Does the type's header precede the object?  PyObject_IS_GC of Include/objimpl.h. */
static inline bool gc_has_head(PyObject *o)
{
    const PyTypeObject *type = type_of(o);

    return type_has(type, Py_TPFLAGS_HAVE_GC) &&
           (!type->tp_is_gc || ((int (*)(PyObject *))type->tp_is_gc)(o));
}

/* Is a collection under way?  False where that cannot be
 * known: in the micro versions of 3.14 with an incremental collector.  GIL held. */
bool gc_collecting(void);

/* Of an object with a header: is it in the collector's lists?  _PyObject_GC_IS_TRACKED:
 * _gc_next, two words before the object, is not 0 (GIL builds of 3.8 to 3.15). */
static inline bool gc_is_tracked(const PyObject *o)
{
    return ((const uintptr_t *)o)[-2] != 0;
}

/* Where the memory of an object with a header begins: the header is two words; before it
 * are two more for a dict and a weakref list if the type says so (_PyType_PreHeaderSize of
 * Include/internal/pycore_object.h, 3.12 to 3.15; the same offsets in 3.11).
 * Py_TPFLAGS_MANAGED_DICT is bit 4 from 3.11, Py_TPFLAGS_MANAGED_WEAKREF bit 3 from 3.12;
 * unused before. */
static inline uintptr_t gc_start_of(const PyObject *o)
{
    uintptr_t head = (uintptr_t)o - 2 * sizeof(uintptr_t);

    return type_has(type_of(o), 1UL << 3 | 1UL << 4) ? head - 2 * sizeof(uintptr_t) : head;
}

/* At least this many bytes from the object on are its own.  tp_itemsize says nothing about
 * others than tuples and classes: a generator (from 3.11) has it and no ob_size. */
static inline size_t object_size(const PyObject *o)
{
    const PyTypeObject *type = type_of(o);
    size_t size = (size_t)type->tp_basicsize;

    if (is_tuple(o) || is_type(o))
        size += (size_t)((const PyVarObject *)o)->ob_size * (size_t)type->tp_itemsize;
    return size;
}

#endif
