/* Running a part of the job in the target's main thread. */
#ifndef PYHOT_MAIN_THREAD_H
#define PYHOT_MAIN_THREAD_H

#include <stdbool.h>

#include "cpython/api.h"

/* Is the current exception that of code which only works in the main thread (signal.signal,
 * signal.set_wakeup_fd, asyncio.get_event_loop)?  The exception stays set. */
bool main_thread_wanted(void);

/* Has the main thread call function(arg) as a pending call: between two of its bytecodes, as a
 * signal handler.  Waits until it did, without the GIL, but only so long for it to begin: a
 * thread that is blocked runs no bytecode.
 *
 * *begun false: it did not, and never will.  Else the function's result, with its exception.
 * GIL held. */
int main_thread_call(int (*function)(void *), void *arg, bool *begun);

#endif
