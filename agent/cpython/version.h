/* Which CPython this process runs, asked of the interpreter itself. */
#ifndef PYHOT_CPYTHON_VERSION_H
#define PYHOT_CPYTHON_VERSION_H

#include <stdbool.h>
#include <stddef.h>

#define CPYTHON_OLDEST 8
#define CPYTHON_NEWEST 15

/* The minor version: 11 for 3.11.2.  0 if it is not Python 3. */
int cpython_minor(void);

/* The whole version as text, "3.11.2": up to the first blank of Py_GetVersion(). */
void cpython_version(char *text, size_t size);

/* Is this an interpreter that the agent can serve: 3.8 or later, not free-threaded, no
 * Py_TRACE_REFS, and all that we believe about its insides holds (probes.h)?  If not, `why` says it
 * in one line.  GIL held. */
bool cpython_supported(char *why, size_t size);

/* Is Py_FinalizeEx under way?  May be asked without the GIL. */
bool cpython_finalizing(void);

#endif
