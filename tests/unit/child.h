/* A child process to look at: started, waited for until it is what the test wants, killed. */
#ifndef PYHOT_TESTS_CHILD_H
#define PYHOT_TESTS_CHILD_H

#include <sys/types.h>

/* A child that runs `body` in a copy of this process and then sleeps for ever; returns when
 * `body` has ended. */
pid_t child_start(void (*body)(void));

/* A child that runs a program; returns when that has written a byte to its stdout. */
pid_t child_exec(char *const argv[]);

/* Waits until /proc/PID/stat shows this state; fails the test after 20 seconds. */
void child_wait_state(pid_t, char state);

void child_end(pid_t);

#endif
