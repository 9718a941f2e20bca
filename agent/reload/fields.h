/* Fields that a dataclass, a class of attrs or a model of pydantic has gained: instances that
 * were made before get their defaults. GIL held for every call. */
#ifndef PYHOT_FIELDS_H
#define PYHOT_FIELDS_H

#include "cpython/api.h"

/* The names of the fields of `new_class` that `old_class` has not: new list of str, empty unless
 * both have fields; NULL with an exception.  Runs no Python code. */
PyObject *fields_added(PyObject *old_class, PyObject *new_class);

/* After the commit: gives `object`, an instance of `new_class` or of a subclass, those of the
 * fields `names` that it lacks and that have a default; default factories are called.  0, or -1
 * with the exception of the first that failed; the others are set. */
int fields_fill(PyObject *object, PyObject *new_class, PyObject *names);

#endif
