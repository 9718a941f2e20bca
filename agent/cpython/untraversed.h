/* Counted references of C objects that no traverse function shows, because their types are
 * unknown to the collector or kept memory of their own.  GIL held; nothing of the target runs. */
#ifndef PYHOT_CPYTHON_UNTRAVERSED_H
#define PYHOT_CPYTHON_UNTRAVERSED_H

#include <stdbool.h>

#include "api.h"

enum untraversed {
    UNTRAVERSED_UNKNOWN, /* may be anything */
    UNTRAVERSED_NONE,    /* what was left in memory that is not in use */
    UNTRAVERSED_COUNTED, /* a counted reference: it may be rewritten like one */
};

/* The word at `offset` of `o`, inside its type's tp_basicsize, is `value`. */
enum untraversed untraversed_field(PyObject *o, size_t offset, PyObject *value);

/* What the objects of this type keep in memory of their own ("callback"); NULL: nothing known. */
const char *untraversed_keeps(const PyTypeObject *type);

/* A word in memory that `o`, of such a type, leads to, and where its block begins, 0 if that is not
 * known. */
enum untraversed untraversed_in_memory(PyObject *o, const uintptr_t *word, uintptr_t low);

#endif
