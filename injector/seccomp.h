/* Would the target's seccomp filters let us work?  A filter can kill the process at a call that
 * the program itself never makes, so they are asked about each of ours before the first.
 *
 * Filters belong to threads, and pass to the threads and processes that a thread starts.  Only a
 * tracer with CAP_SYS_ADMIN in the first user namespace, and under no filter itself, may read them
 * (PTRACE_SECCOMP_GET_FILTER). */
#ifndef PYHOT_SECCOMP_H
#define PYHOT_SECCOMP_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target.h"

/* A system call, of which some arguments are known. */
struct seccomp_call {
    const char *name;
    int number;
    enum seccomp_need {
        SECCOMP_NEEDED,   /* without it the agent cannot be brought in */
        SECCOMP_FALLBACK, /* an ENOSYS is answered by another call; any other error is not */
        SECCOMP_MAY_FAIL, /* an error is borne, or told by the agent */
    } need;
    struct {
        unsigned char index; /* 1..6; 0: none */
        uint64_t value;
    } arguments[2];
};

/* Every call that the borrowed thread, the stub, the loader and the agent make in the target;
 * ended by a name of NULL. */
extern const struct seccomp_call seccomp_calls[];

/* What a filter of n instructions answers to the call: SECCOMP_RET_* with its data.  Where that
 * hangs on an argument that is not known, or on the address of the call, the worst of what it may
 * be. */
uint32_t seccomp_evaluate(const struct sock_filter *, size_t n, const struct seccomp_call *);

/* Our own filters, for targets whose filters may not be read. */
struct seccomp {
    int filters;   /* how many; 0: none, or not known (before Linux 5.9) */
    bool harmless; /* a process of ours that made the calls lived */
};

/* Looks at `target` and at ourselves; if both are under filters a child of ours tries the calls. */
void seccomp_open(struct seccomp *, const struct target *);

/* Is a thread under a filter, or in strict mode?  False too if it has ended. */
bool seccomp_is_on(pid_t tid);

/* For a thread of the target, stopped by us as its tracer if its filters are to be read: NULL, or
 * why nothing may be done on it.  Only looks. */
struct error *seccomp_check(const struct seccomp *, const struct target *, pid_t tid)
    __attribute__((warn_unused_result));

#endif
