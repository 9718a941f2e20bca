/* One thread of the target, held by ptrace.
 *
 * Attached by PTRACE_SEIZE, which queues no signal; released by PTRACE_DETACH, or by the kernel
 * when this thread of pyhot ends.  Signals that arrive for the thread meanwhile are passed on
 * with their siginfo; a group-stop stays one. */
#ifndef PYHOT_TRACEE_H
#define PYHOT_TRACEE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

enum tracee_state {
    TRACEE_DETACHED = 0,
    TRACEE_RUNNING,
    TRACEE_INTERRUPTED,   /* in the stop that PTRACE_INTERRUPT asked for */
    TRACEE_SYSCALL_STOP,  /* at the entry or the exit of a system call */
    TRACEE_GROUP_STOPPED, /* stopped with its process, by SIGSTOP or the like */
    TRACEE_GONE,          /* ended or replaced by execve */
};

struct tracee {
    pid_t pid, tid;
    enum tracee_state state;
    uint64_t stopped_at; /* CLOCK_MONOTONIC ns of the interrupt; 0 while it runs */
    uint64_t stop_ns;    /* how long it was stopped, all attachments added */
};

uint64_t monotonic_ns(void);

enum tracee_attach_result {
    TRACEE_ATTACHED,
    TRACEE_THREAD_ENDED, /* this thread is gone; the process may live */
    TRACEE_BUSY,         /* traced by another process just now */
};

/* Attaches to `tid`; it runs on.  SIGRTMIN and a timer are used. */
struct error *tracee_seize(struct tracee *, pid_t pid, pid_t tid, uint64_t deadline_ns,
                           enum tracee_attach_result *) __attribute__((warn_unused_result));

/* Stops it.  Afterwards the state is INTERRUPTED, GROUP_STOPPED or GONE. */
struct error *tracee_interrupt(struct tracee *, uint64_t deadline_ns)
    __attribute__((warn_unused_result));

/* Lets it run to its next system call stop.  Afterwards the state is SYSCALL_STOP or GONE; an
 * error if neither is reached in time: it is then still running. */
struct error *tracee_run_to_syscall(struct tracee *, uint64_t deadline_ns)
    __attribute__((warn_unused_result));

/* Lets it go on for good.  A running tracee is interrupted first. */
void tracee_release(struct tracee *);

/* All of `size` bytes or -1 with errno: ESRCH if the process is gone, EFAULT if not mapped. */
int tracee_read(const struct tracee *, uint64_t address, void *buffer, size_t size);
int tracee_write(const struct tracee *, uint64_t address, const void *buffer, size_t size);

/* Writes also where the target itself may not: its own copy of private, read-only pages. */
int tracee_poke(const struct tracee *, uint64_t address, const void *buffer, size_t size);

/* Makes the stack of the main thread reach down to `address`, if it may be as large, as an access
 * by the thread would.  Others see nothing of it but its size. */
void tracee_grow_stack(const struct tracee *, uint64_t address);

/* "the process ended while pyhot was attaching", or an explained errno of ptrace. */
struct error *tracee_error(const struct tracee *, int errnum, const char *what)
    __attribute__((warn_unused_result));

#endif
