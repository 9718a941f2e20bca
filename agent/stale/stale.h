/* What is stale (DESIGN.md 4.4): modules whose source on disk compiles to something
 * else than what is loaded, and objects of old generations with their holders. */
#ifndef PYHOT_STALE_H
#define PYHOT_STALE_H

#include <stdint.h>

#include "cpython/api.h"

/* `names`: list of str, empty: every module with source.  `flags`: PYHOT_OBJECTS,
 * PYHOT_GRAPH.  New reference to the `list-stale` object of DESIGN.md section 5
 * without "pid"; NULL after job_fail() or with an exception.  GIL held; nothing of the
 * target changes. */
PyObject *stale_list(PyObject *names, uint32_t flags);

/* The names of the modules whose code on disk differs: new reference to a list of str. */
PyObject *stale_modules(void);

#endif
