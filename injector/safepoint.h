/* Finding a thread that can be borrowed: one whose stack proves that it holds no lock of the C
 * library, of the loader or of an allocator, so that pthread_create may be called on it. */
#ifndef PYHOT_SAFEPOINT_H
#define PYHOT_SAFEPOINT_H

#include "arch/arch.h"
#include "codemap.h"
#include "seccomp.h"
#include "tracee.h"

struct safepoint {
    struct codemap *map;
    struct unwinder *unwinder;
    unsigned attempts;  /* threads stopped so far */
    char obstacle[256]; /* what was in the way at the last one */
    struct seccomp seccomp;
    struct error *forbidden; /* by the filter of a thread that was safe otherwise; owned */
};

struct error *safepoint_open(struct safepoint *, struct codemap *)
    __attribute__((warn_unused_result));
void safepoint_close(struct safepoint *);

/* Returns with one thread stopped at a safe place; tries until the deadline. */
struct error *safepoint_find(struct safepoint *, struct tracee *, uint64_t deadline_ns)
    __attribute__((warn_unused_result));

/* If the thread sleeps in a call that code of CPython's own has made, ends it with EINTR. */
struct error *safepoint_end_wait(struct safepoint *, pid_t tid, uint64_t deadline_ns)
    __attribute__((warn_unused_result));

/* Where a safe thread is. */
struct safepoint_place {
    const struct code_image *code; /* innermost that is not the C library's; NULL: none */
    uint64_t sleeps_in; /* function of the C library, if it is in the kernel for that; or 0 */
};

/* For a thread that a debugger stopped, with these registers (debugger.c).  False: it is not at a
 * safe place, obstacle says why. */
bool safepoint_judge(struct safepoint *, const struct tracee *, const struct arch_registers *,
                     struct safepoint_place *);

/* Where that thread comes back to code that is neither of the C library, of the loader nor of an
 * allocator: a return address on its stack; 0: not known. */
uint64_t safepoint_way_out(struct safepoint *, const struct arch_registers *);

#endif
