/* What differs between the code that is loaded and the code that the source compiles to,
 * definition by definition.  Line numbers and positions never make a difference.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_STALE_CODE_H
#define PYHOT_STALE_CODE_H

#include <stdbool.h>

#include "cpython/api.h"

struct comparison {
    PyObject *changes; /* list of {"name","change","kind"}, appended to; the caller's */
    bool lines_moved;  /* equal code on other lines was found */
};

/* The definitions in a module's code, down to nested functions and classes: name -> list of
 * code objects in the order of the source.  by_name has lambdas and comprehensions too. */
struct definitions {
    PyObject *by_qualname, *by_name;
};

/* 0, or -1 with an exception; definitions_clear in either case. */
int definitions_of(PyObject *module_code, struct definitions *);
void definitions_clear(struct definitions *);

/* 1 if both codes do the same; nested definitions that have a name of their own are not
 * compared.  `moved` is set if the lines differ.  0, or -1 with an exception. */
int stale_same_code(PyObject *old, PyObject *new_, bool *moved);

/* Compares the live definitions of the module whose dict is `dict` with `disk`, the module
 * code that its source compiles to.  0, or -1 with an exception. */
int stale_compare_live(PyObject *dict, PyObject *disk, struct comparison *);

#endif
