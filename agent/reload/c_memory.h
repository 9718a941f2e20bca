/* What C code may have the address of, without a reference: callbacks and buffers of ctypes.  The
 * new source may have given them to a library, whether it failed or not, and those that do not
 * become the modules' own would be freed.  They are held for ever.
 *
 * GIL held; no Python code runs.  Functions return 0, or -1 with MemoryError. */
#ifndef PYHOT_C_MEMORY_H
#define PYHOT_C_MEMORY_H

#include "cpython/introspect.h"
#include "execute.h"

/* All callbacks of the process.  The collector is paused. */
int c_memory_keep_callbacks(void);

/* The buffers that the executed modules' names have or had: borrowed, added to the set.  To be
 * held only when no reference to them is counted any more, and before they are let go. */
int c_memory_note_buffers(const struct execution *, struct pointer_set *);
int c_memory_keep_buffers(const struct pointer_set *);

/* Of an execution that failed: what its modules' own classes made is told of if it stays, and is
 * not held. */
int c_memory_keep_of_failed(const struct execution *);

#endif
