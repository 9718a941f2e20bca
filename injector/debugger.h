/* A debugger that holds the target, and works for us: only one tracer can hold a process, so
 * what inject.c does by ptrace elsewhere it is asked to do (scripts/pyhot-gdb.py).
 *
 * One line each way: a request of ours, its answer.
 *
 *     registers TID                the words of struct arch_registers in hex, in their order;
 *                                  or "running" or "gone"
 *     call TID FUNCTION ARGUMENT... what the function returned in that thread, no other running,
 *                                  in hex; "failed WHY": the thread is as before the call
 *     advance TID ADDRESS WHY      let all run until the thread is at ADDRESS; WHY is for people.
 *                                  "there", or "failed WHY"
 *     run ADDRESS                  let all run until a thread is at ADDRESS, where our thread
 *                                  ends; no answer
 *     exit STATUS                  the last line: we end; no answer
 *
 * Memory and descriptors of the target we reach ourselves. */
#ifndef PYHOT_DEBUGGER_H
#define PYHOT_DEBUGGER_H

#include <stdio.h>

#include "python.h"
#include "safepoint.h"
#include "stub/stub.h"

struct debugger {
    FILE *requests, *answers;
    pid_t selected; /* thread that its user looks at, the first to be tried */
};

/* Takes "--debugger REQUESTS,ANSWERS,TID" (two descriptors), if it is the first argument, off the
 * command line; from then on our exit status is told.  False: it is not there. */
bool debugger_open(struct debugger *, int *argc, char ***argv);

/* What our thread in process `pid` can know of its debugger. */
enum stub_debugger debugger_visible(pid_t pid);

/* A thread that is stopped at a safe place.  If there is none, the debugger is asked to let one
 * get there. */
struct error *debugger_find_thread(struct debugger *, struct safepoint *, pid_t *tid)
    __attribute__((warn_unused_result));

/* Maps the stub at `region` and starts our thread, by calls in thread `tid`; then everything runs.
 * On error nothing is left. */
struct error *debugger_start_thread(struct debugger *, const struct target *, pid_t tid,
                                    const struct python *, const struct stub_params *,
                                    uint64_t region) __attribute__((warn_unused_result));

#endif
