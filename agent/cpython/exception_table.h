/* co_exceptiontable (3.11+): which instructions an exception leads away from, and where to.
 *
 * GIL held. */
#ifndef PYHOT_CPYTHON_EXCEPTION_TABLE_H
#define PYHOT_CPYTHON_EXCEPTION_TABLE_H

#include "bytecode.h"

/* Do the same instructions of two codes, by their index, have the same handlers?  Up to 3.10 the
 * instructions say it.  1, 0, or -1 with an exception. */
int exceptions_same(const struct bytecode *a, const struct bytecode *b);

#endif
