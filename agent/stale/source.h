/* The two codes of a module that list-stale compares: what its source compiles to, and what it
 * was made by.  Nothing that the running program could see is changed.
 *
 * GIL held; runs no Python code but that of a loader that is not CPython's own. */
#ifndef PYHOT_STALE_SOURCE_H
#define PYHOT_STALE_SOURCE_H

#include "source/source.h"

struct codes {
    PyObject *disk;   /* new reference; NULL with the exception of the compilation */
    PyObject *memory; /* new reference, `disk` itself if nothing changed; NULL: not known */
};

/* Sets `disk`.  -1 with the exception that says why the source does not compile.  Not compiled if
 * the cached byte code is that of the source; no warning of the compiler is shown. */
int codes_read_disk(PyObject *module, const struct source *source, struct codes *);

/* Sets `memory`, after `disk`.  0, or -1 with an exception; without `disk`, if that is why. */
int codes_read_memory(PyObject *module, const struct source *source, struct codes *);
void codes_clear(struct codes *);

#endif
