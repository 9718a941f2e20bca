/* The threads of the target in the order in which it is best to try to borrow them. */
#ifndef PYHOT_THREADS_H
#define PYHOT_THREADS_H

#include "target.h"

/* How little a stop disturbs the thread. */
enum thread_rank {
    THREAD_SLEEPS = 0,     /* in a call that the kernel restarts as if nothing had happened */
    THREAD_WAITS,          /* on a futex: a lock of Python's or the C library's own */
    THREAD_AWAITS_SIGNAL,  /* the main thread in pause: one that came meanwhile would not wake it */
    THREAD_SLEEPS_BRIEFLY, /* in a call with a time limit that a stop ends with EINTR */
    THREAD_RUNS,
    THREAD_UNSTOPPABLE, /* uninterruptible: cannot be stopped soon */
};

struct thread {
    pid_t tid;
    enum thread_rank rank;
    uint64_t ip, sp; /* where it sleeps; 0 if it runs */
};

/* Best first.  *threads is malloc'ed. */
struct error *threads_list(const struct target *, struct thread **threads, size_t *n)
    __attribute__((warn_unused_result));

#endif
