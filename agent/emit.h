/* Writing the protocol: JSON, one object a line, on the pipe to the injector.
 *
 * A reader that is slow, stopped or gone must never hold the tracee up: while
 * the GIL is held lines are only queued, and progress lines are dropped when the
 * queue is long.  Without a channel (`import pyhot`) every call is a no-op. */
#ifndef PYHOT_EMIT_H
#define PYHOT_EMIT_H

#include <stddef.h>

#include "cpython/api.h"

struct slice;

/* Use `fd` as the channel; -1: none.  The descriptor stays the caller's. */
void emit_open(int fd);

/* {"type":"progress","phase":...,"done":...,"total":...}; total 0: not known. */
void emit_progress(const char *phase, size_t done, size_t total);

/* {"type":"error","code":...,"message":...,"hint":...,"exit":...}; hint may be NULL. */
void emit_error(const char *code, const char *message, const char *hint, int exit_status);

/* {"type":TYPE,"body":OBJECT}: dicts with str keys, lists, tuples, str, int, float, bool
 * and None, to any depth.  GIL held; with a slice it is shared between the elements of lists.  0,
 * or -1 with a Python exception set. */
int emit_object(const char *type, PyObject *object, struct slice *);

/* Write what is queued, waiting at most `timeout_ms`.  Call without the GIL.
 * 0, or -1 when the reader is gone or too slow; what is left is dropped. */
int emit_flush(int timeout_ms);

#endif
