/* Giving up on new source that does not come to its end. */
#ifndef PYHOT_INTERRUPT_H
#define PYHOT_INTERRUPT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct interrupter {
    pthread_t thread;     /* the one that watches */
    unsigned long target; /* the one that executes, as Python names it */
    bool started;
    uint32_t stop; /* a futex; changed under the GIL */
};

/* Until interrupter_stop, a job that is cancelled raises KeyboardInterrupt in the calling
 * thread, again and again: Python code ends soon, a blocking call when it returns.  GIL held.
 * If no thread can be made, or none but this one runs, nobody is interrupted. */
void interrupter_start(struct interrupter *);

/* Nothing is raised any more when this returns.  GIL held; released while it waits. */
void interrupter_stop(struct interrupter *);

#endif
