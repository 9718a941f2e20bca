/* The trace that the JIT of 3.15 is recording in a thread: it holds the objects it has met. */
#ifndef PYHOT_CPYTHON_JIT_H
#define PYHOT_CPYTHON_JIT_H

#include "api.h"

/* Visits each word of it that may be a reference; nothing if no trace is being recorded.  Until
 * `visit` returns non-zero, which is then returned.  GIL held. */
int jit_recorded_words(PyThreadState *thread, int (*visit)(uintptr_t word, void *arg), void *arg);

#endif
