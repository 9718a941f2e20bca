/* Old generations: functions and classes whose qualified name leads to another one now, left by
 * an earlier reload, whoever did it.
 *
 * Not old are: what a decorator, a property or a subclass of the same name still stands on,
 * copies that run the same code, what another source defines by the same name, and what a name
 * that the source defines more than once had before. */
#ifndef PYHOT_STALE_GENERATIONS_H
#define PYHOT_STALE_GENERATIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "cpython/api.h"

struct generation {
    PyObject *old, *current; /* strong references: two functions or two classes */
    PyObject *name;          /* "shop.cart.Cart.total"; strong */
    PyObject *module;        /* str; strong */
    bool alive;              /* something that is not garbage leads to it; for objects.c */
};

struct generations {
    struct generation *items;
    size_t n, cap;
};

/* All of the process, or with `modules` (a list of str, else NULL) those of some modules, sorted by
 * name.  GIL held; it is released while source is read; runs no Python code.  0, or -1 with an
 * exception; generations_clear in either case. */
int generations_find(struct generations *, PyObject *modules);
void generations_clear(struct generations *);

#endif
