/* co_exceptiontable (3.11+): which instructions an exception leads away from, and where to.
 *
 * GIL held. */
#ifndef PYHOT_CPYTHON_EXCEPTION_TABLE_H
#define PYHOT_CPYTHON_EXCEPTION_TABLE_H

#include "bytecode.h"

/* Do the same instructions of two codes, by their index, have the same handlers?  Up to 3.10 the
 * instructions say it.  1, 0, or -1 with an exception. */
int exceptions_same(const struct bytecode *a, const struct bytecode *b);

/* May an exception that is handled lead past the instruction: is it in a `try`, or in the `else` of
 * one?  In doubt it may, as in 3.11 wherever there is a `try`; up to 3.10 the instructions say it,
 * and this is 0.  1, 0, or -1 with an exception. */
int exceptions_may_skip(const struct bytecode *code, size_t index);

#endif
