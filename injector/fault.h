/* Named places at which a test may kill or stop pyhot (make FAULTS=1 only).
 *
 * PYHOT_FAULT=list           print each place, and when, to stderr as it is passed
 * PYHOT_FAULT=name           SIGKILL at the first pass of `name`
 * PYHOT_FAULT=name:n         ... at the n-th
 * PYHOT_FAULT=name:n:signal  another signal, by number */
#ifndef PYHOT_FAULT_H
#define PYHOT_FAULT_H

#ifdef PYHOT_FAULTS
void fault_point(const char *name);
#else
#define fault_point(name) ((void)0)
#endif

#endif
