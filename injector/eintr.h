/* System calls that a stop by ptrace ends with EINTR, where others are restarted by the kernel:
 * signal(7), "Interruption of system calls and library functions by stop signals". */
#ifndef PYHOT_EINTR_H
#define PYHOT_EINTR_H

#include <stdbool.h>
#include <stdint.h>

/* Is it one of them?  *endless: it has no time limit, so making it again changes nothing. */
bool eintr_on_stop(long syscall_number, const uint64_t arguments[6], bool *endless);

#endif
