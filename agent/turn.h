/* One job at a time in a process, whichever agent does it: two attaches at once may have loaded
 * the agent twice, and two builds of it may be loaded. */
#ifndef PYHOT_TURN_H
#define PYHOT_TURN_H

#include <stdbool.h>
#include <stdint.h>

/* Waits at most `timeout_ms` until no other job is at work, or until `give_up` says so.
 * GIL held; it is released while waiting.  1; 0: it is not our turn; -1: MemoryError. */
int turn_take(uint32_t timeout_ms, bool (*give_up)(void *), void *arg);

/* The turn is over.  GIL held. */
void turn_end(void);

#endif
