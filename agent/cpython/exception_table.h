/* co_exceptiontable (3.11+): which instructions an exception leads away from, and where to.
 *
 * GIL held. */
#ifndef PYHOT_CPYTHON_EXCEPTION_TABLE_H
#define PYHOT_CPYTHON_EXCEPTION_TABLE_H

#include "bytecode.h"

/* Do the same instructions of two codes, by their index, have the same handlers?  Up to 3.10 the
 * instructions say it.  1, 0, or -1 with an exception. */
int exceptions_same(const struct bytecode *a, const struct bytecode *b);

/* Can the code return without having executed the instruction: by a jump, or by an exception that
 * is handled?  Conditions are not evaluated.  1, 0, or -1 with an exception. */
int code_may_skip(const struct bytecode *code, size_t index);

#endif
