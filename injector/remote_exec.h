/* The other way in, from CPython 3.14 on: without ptrace, at the interpreter's own safe point
 * (PEP 768).  A path of a script is written into the state of the target's main thread; that
 * thread reads and runs it between two instructions of byte code.  The script loads the agent and
 * starts it in a thread of its own; from there on all is as inject.h has it.
 *
 * It works where a debugger holds the process, as long as it lets the main thread run.  It does
 * not where that thread is blocked: nothing of the interpreter runs then. */
#ifndef PYHOT_REMOTE_EXEC_H
#define PYHOT_REMOTE_EXEC_H

#include "inject.h"

/* Can it work?  An error if not: an older CPython, one that was told not to allow it, a main
 * thread that a tracer has stopped.  Only looks. */
struct error *remote_exec_check(const struct target *, const struct python *)
    __attribute__((warn_unused_result));

/* As inject_start; injection->stop_ns and attempts are 0.  On error nothing is left in the target:
 * what was asked is withdrawn. */
struct error *remote_exec_start(struct injection *, const struct target *, const struct python *,
                                const struct pyhot_request *request, uint64_t deadline_ns)
    __attribute__((warn_unused_result));
void remote_exec_end(struct injection *);

#endif
