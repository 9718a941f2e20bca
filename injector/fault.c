/* See fault.h.  Empty unless built with FAULTS=1. */
#include "fault.h"

#ifdef PYHOT_FAULTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracee.h"

void fault_point(const char *name)
{
    static unsigned passed;
    const char *wanted = getenv("PYHOT_FAULT");
    if (!wanted)
        return;
    if (!strcmp(wanted, "list")) {
        fprintf(stderr, "fault-point %s %llu us\n", name,
                (unsigned long long)monotonic_ns() / 1000);
        return;
    }
    size_t length = strcspn(wanted, ":");
    if (strlen(name) != length || strncmp(wanted, name, length))
        return;
    unsigned count = 1;
    int sig = SIGKILL;
    sscanf(wanted + length, ":%u:%d", &count, &sig);
    if (++passed == count)
        kill(getpid(), sig);
}

#else

typedef int fault_points_are_not_compiled_in;

#endif
