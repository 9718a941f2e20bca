/* The signal mask while the target's own code runs in a thread of ours. */
#ifndef PYHOT_SIGNAL_MASK_H
#define PYHOT_SIGNAL_MASK_H

#include <signal.h>

/* The agent's thread has all signals blocked, and what is started in it inherits that: a child
 * process would not hear SIGTERM.  Gives the calling thread the main thread's mask; *old is for
 * signal_mask_restore.  Without /proc nothing changes; where only this thread runs,
 * nothing is blocked. */
void signal_mask_of_main(sigset_t *old);
void signal_mask_restore(const sigset_t *old);

#endif
