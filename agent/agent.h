/* The job in hand: what was asked, and how to give it up.
 *
 * One job runs at a time in a process.  When the agent was not started by the
 * injector but imported (`import pyhot`), there is no request: nothing can cancel
 * and every question here answers "go on". */
#ifndef PYHOT_AGENT_H
#define PYHOT_AGENT_H

#include <stdbool.h>

/* Is there an injector?  It gives up at its deadline. */
bool job_has_injector(void);

/* Does no thread run but this one, as a debugger holds the others (PYHOT_LENT)? */
bool job_runs_alone(void);

/* Did the injector give up?  Cheap; ask it between phases and in long loops. */
bool job_cancelled(void);

/* The last call before the tracee is changed.  False: the injector gave up first,
 * change nothing.  True: from here on the injector will wait for the end. */
bool job_begin_commit(void);

/* What the job failed with, if not with a Python exception: one line for people.
 * `code` is a word for scripts ("not-loaded"), `exit_status` one of DESIGN.md 5.
 * The strings are copied; what is said last holds. */
void job_fail(const char *code, int exit_status, const char *hint, const char *message, ...)
    __attribute__((format(printf, 4, 5)));

/* What job_fail said, and forget it: for callers that are no job (`import pyhot`).  NULL if it
 * was not called.  The text is valid until the next job_fail. */
const char *job_take_failure(void);

#endif
