/* list-stale --objects: what is left of old generations, and who holds it. */
#ifndef PYHOT_STALE_OBJECTS_H
#define PYHOT_STALE_OBJECTS_H

#include "cpython/api.h"

/* New reference to the list "objects" of DESIGN.md section 5; docs/list-stale.md has its fields.
 * With `graph`, *graph becomes a new reference to what is drawn of it.  GIL held, without a break
 * while the heap is searched; runs no Python code, changes nothing.  NULL with an exception. */
PyObject *stale_objects(PyObject **graph);

/* For a reload of `modules` (list of str): a new list old, current, name of the module, old, ... of
 * what is alive of their old generations; on our side nothing else holds them.  As above. */
PyObject *stale_generations(PyObject *modules);

#endif
