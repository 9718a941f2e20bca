/* Code objects of one module: which do the same, and which definition is which.  Line numbers
 * and positions never make a difference.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_STALE_CODE_H
#define PYHOT_STALE_CODE_H

#include <stdbool.h>

#include "cpython/api.h"

/* The definitions in a module's code, down to nested functions and classes: name -> list of
 * code objects in the order of the source.  by_name has lambdas and comprehensions too. */
struct definitions {
    PyObject *by_qualname, *by_name;
};

/* 0, or -1 with an exception; definitions_clear in either case. */
int definitions_init(struct definitions *);
int definitions_of(PyObject *module_code, struct definitions *);
void definitions_clear(struct definitions *);

/* Adds the definition `qualname` that runs `code`, and those within it. */
int definitions_add(struct definitions *, PyObject *qualname, PyObject *code);

/* The name of what holds the definition: C for "C.m", f for "f.<locals>.g".  New reference;
 * NULL without an exception: the module. */
PyObject *definition_holder(PyObject *qualname);

/* Is what holds the definition `qualname` among `definitions`, or the module itself?  Where it is
 * not, only the holder is worth a line. */
bool definitions_hold(const struct definitions *, PyObject *qualname);

/* "function", "method" or "class". */
const char *definitions_kind(const struct definitions *, PyObject *qualname, PyObject *code);

/* 1 if both codes do the same; nested definitions that have a name of their own are not
 * compared.  `moved` is set if the lines differ.  0, or -1 with an exception. */
int stale_same_code(PyObject *old, PyObject *new_, bool *moved);

/* 1 for the code of a function, 0 for a class body; -1 with an exception. */
int stale_is_function(PyObject *code);

/* co_name; new reference. */
PyObject *stale_code_name(PyObject *code);

/* Is it a name that only the compiler gives: <lambda>, <listcomp>, __annotate__ (3.14+), ...? */
bool stale_is_anonymous(PyObject *name);

#endif
