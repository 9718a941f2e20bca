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
 *     enter TID FUNCTION SP ARGUMENT ARGUMENT PLACE  point the thread at FUNCTION with SP as its
 *                                  stack, and let it run alone until it is at PLACE: "there", or
 *                                  "failed WHY"
 *     back TID BACK                let it run alone until it is at BACK; no answer
 *     alone ADDRESS TID BACK       let the newest thread run alone until it is at ADDRESS, then
 *                                  TID until it is at BACK, then the newest until it has ended;
 *                                  no answer
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
    bool here;      /* that thread is to lend its GIL, and no other is to run (gil_loan.h) */
};

/* Takes "--debugger REQUESTS,ANSWERS,TID[,here]" (two descriptors), if it is the first argument,
 * off the command line; from then on our exit status is told.  False: it is not there. */
bool debugger_open(struct debugger *, int *argc, char ***argv);

enum { DEBUGGER_ANSWER = 4096 };

/* Sends a line and, if `answer` is not NULL, reads one into it, of DEBUGGER_ANSWER bytes. */
struct error *debugger_ask(struct debugger *, char *answer, const char *format, ...)
    __attribute__((format(printf, 3, 4), warn_unused_result));

/* *stopped: they were read. */
struct error *debugger_registers(struct debugger *, pid_t tid, struct arch_registers *,
                                 bool *stopped) __attribute__((warn_unused_result));

/* What our thread in process `pid` can know of its debugger. */
enum stub_debugger debugger_visible(pid_t pid);

/* A thread that is stopped at a safe place.  If there is none, the debugger is asked to let one
 * get there. */
struct error *debugger_find_thread(struct debugger *, struct safepoint *, pid_t *tid)
    __attribute__((warn_unused_result));

/* Is the thread at a safe place, and which?  If not, the safepoint's obstacle says why. */
struct error *debugger_judge(struct debugger *, struct safepoint *, pid_t tid,
                             struct safepoint_place *, bool *safe)
    __attribute__((warn_unused_result));

/* Calls a function without arguments in that thread. */
struct error *debugger_call(struct debugger *, pid_t tid, uint64_t function, uint64_t *result)
    __attribute__((warn_unused_result));

/* Maps the stub at `region`, by calls in thread `tid`.  On error nothing is left. */
struct error *debugger_map_stub(struct debugger *, const struct target *, pid_t tid,
                                const struct python *, const struct stub_params *params,
                                uint64_t region) __attribute__((warn_unused_result));
struct error *debugger_unmap_stub(struct debugger *, const struct python *, pid_t tid,
                                  uint64_t region) __attribute__((warn_unused_result));
struct error *debugger_no_thread(const struct target *, int errnum);

/* Maps the stub at `region` and starts our thread, by calls in thread `tid`; then everything runs.
 * On error nothing is left. */
struct error *debugger_start_thread(struct debugger *, const struct target *, pid_t tid,
                                    const struct python *, const struct stub_params *,
                                    uint64_t region) __attribute__((warn_unused_result));

#endif
