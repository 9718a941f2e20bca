/* Generators, coroutines and asynchronous generators that are suspended, or were never begun, in
 * code that was replaced: they go on in it. */
#ifndef PYHOT_STALE_SUSPENDED_H
#define PYHOT_STALE_SUSPENDED_H

#include <stddef.h>

#include "cpython/api.h"

struct suspended {
    PyObject *generator;     /* strong reference */
    PyObject *name, *module; /* str, borrowed: of the function that has other code now */
};

struct suspended_list {
    struct suspended *items;
    size_t n;
};

/* The old code of all generators, for suspended_find.  GIL held; it is released while source is
 * read; runs no Python code.  New reference to a dict, or NULL with an exception. */
PyObject *suspended_codes(void);

/* Who is in that code, sorted by name.  The GIL is held from here to suspended_clear, or the last
 * reference to a generator could be ours, which would end it in our thread.  `codes` must live as
 * long.  0, or -1 with an exception; suspended_clear in either case. */
int suspended_find(struct suspended_list *, PyObject *codes);
void suspended_clear(struct suspended_list *);

/* "gi", "cr" or "ag", as in gi_frame; NULL: it is no generator. */
const char *suspended_prefix(PyObject *);

/* The frame; from 3.11 on CPython makes a frame object for it, which the generator keeps to its
 * end.  New reference, or NULL without an exception: it has ended, or is no generator. */
PyObject *suspended_frame(PyObject *generator);

#endif
