/* Which classes have the same layout of instances.  The setters of `__class__` and `__bases__` ask
 * less precisely (compatible_for_assignment of Objects/typeobject.c, 3.8 to 3.15).  GIL held; no
 * exception is set. */
#ifndef PYHOT_CPYTHON_TYPE_LAYOUT_H
#define PYHOT_CPYTHON_TYPE_LAYOUT_H

#include <stdbool.h>

#include "api.h"

/* Was `type` made by a class statement (or type()), not in C? */
bool type_is_python(const PyTypeObject *type);

/* Have their instances the same layout: the same base in C, and the same slots at the same
 * offsets? */
bool type_layout_equal(PyTypeObject *a, PyTypeObject *b);

#endif
