/* What is known of single system calls and EINTR. */
#ifndef PYHOT_EINTR_H
#define PYHOT_EINTR_H

#include <stdbool.h>
#include <stdint.h>

/* Is it one that a stop by ptrace ends with EINTR, where others are restarted by the kernel:
 * signal(7), "Interruption of system calls and library functions by stop signals"?  *endless: it
 * has no time limit, so making it again changes nothing. */
bool eintr_on_stop(long syscall_number, const uint64_t arguments[6], bool *endless);

/* Is it one that CPython makes again by itself when it ends with EINTR, after a look whether a
 * signal's handler is to run (PEP 475)?  Not so pause and sigsuspend, ioctl and connect. */
bool eintr_is_retried(long syscall_number);

/* Is it one that nothing but a signal ends? */
bool eintr_awaits_signal(long syscall_number);

#endif
