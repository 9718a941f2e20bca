/* --here: the thread that the debugger has stopped lends its GIL to ours, which then runs alone.
 *
 * The thread is sent into the stub (STUB_LENDS): there it starts ours, calls PyEval_SaveThread,
 * waits for the end of the job, calls PyEval_RestoreThread, and comes back by a signal frame, even
 * if the debugger is gone by then.  Every other thread stays stopped.  So nothing may run into what
 * they hold: each of them must sleep in the kernel at a safe place, and none may wait for the GIL,
 * as who lets it go waits until one that has asked for it has taken it (drop_gil,
 * Python/ceval_gil.c). */
#ifndef PYHOT_GIL_LOAN_H
#define PYHOT_GIL_LOAN_H

#include "debugger.h"

/* May the selected thread lend the GIL?  NULL, or why not; nothing was changed. */
struct error *gil_loan_check(struct debugger *, struct safepoint *, const struct python *)
    __attribute__((warn_unused_result));

/* Lets it, and has our thread run.  On error the process is as it was, or gets there by itself when
 * it is continued. */
struct error *gil_loan_start(struct debugger *, const struct target *, const struct python *,
                             const struct arch_gadgets *, const struct stub_params *,
                             uint64_t region) __attribute__((warn_unused_result));

#endif
