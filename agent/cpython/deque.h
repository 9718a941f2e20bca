/* The blocks of a collections.deque: Modules/_collectionsmodule.c, 3.8 to 3.15. */
#ifndef PYHOT_CPYTHON_DEQUE_H
#define PYHOT_CPYTHON_DEQUE_H

#include <stdbool.h>

#include "api.h"

/* Is `o` a deque (or of a subclass), and is the layout the one known?  GIL held. */
bool is_deque(const PyObject *o);

/* Calls `visit` with the place of each item, left to right, until it returns non-zero. */
int deque_each(PyObject *deque, int (*visit)(PyObject **item, void *arg), void *arg);

#endif
