/* What differs between what is loaded and what the source compiles to, as a list of
 * definitions changed, added and removed.
 *
 * GIL held; runs no Python code of the target. */
#ifndef PYHOT_STALE_DIFF_H
#define PYHOT_STALE_DIFF_H

#include <stdbool.h>

#include "cpython/api.h"

struct binding;

struct comparison {
    PyObject *changes; /* list of {"name","change","kind"}, in the order found */
    PyObject *names;   /* dict: True for their names, False for what holds them only */
    bool lines_moved;  /* equal code on other lines was found */
};

/* 0, or -1 with an exception; comparison_clear in either case. */
int comparison_init(struct comparison *);
void comparison_clear(struct comparison *);

/* Compares `loaded`, the module code that the module was made by, with `disk`, the module code
 * that its source compiles to.  0, or -1 with an exception. */
int stale_compare_code(PyObject *loaded, PyObject *disk, struct comparison *);

/* The same where `loaded` is not known: from the live functions, classes and constants of the
 * module.  What cannot be told so is not reported: a changed default value,
 * a statement that binds no name, a definition under a condition. */
int stale_compare_live(PyObject *module, PyObject *disk, struct comparison *);

/* Appends a change, unless the name is in the list already.  0, or -1 with an exception. */
int changes_add(struct comparison *, PyObject *name, const char *change, const char *kind);

/* The qualified name of what a body binds; `prefix` is "" or "Class.".  A private name
 * of a class is given as the source has it.  New reference. */
PyObject *binding_qualname(const struct binding *, PyObject *prefix);

#endif
