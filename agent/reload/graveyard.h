/* Dicts that code still runs in after they were replaced.
 *
 * From 3.11 on a frame's f_globals is a borrowed pointer that no traversal visits: it counts on
 * the frame's function to own the dict.  Once that function's __globals__ is the live dict, the
 * dict it was started in must be kept, and kept filled, for as long as the frame lives. */
#ifndef PYHOT_GRAVEYARD_H
#define PYHOT_GRAVEYARD_H

#include <stddef.h>

#include "cpython/api.h"
#include "remap/remap.h"

/* Holds for ever those of the `n` dicts that a running frame of any thread, a suspended
 * generator or coroutine, or a frame kept by a traceback runs in; all of them if memory is too
 * short to know.  `verified`: a map after remap_verify, with nothing freed since, which spares a
 * walk; or NULL.  GIL held; automatic collection off. */
void graveyard_keep_globals(struct remap *verified, PyObject *const *dicts, size_t n);

#endif
