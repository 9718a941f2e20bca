/* Calls made in a stopped thread of the target that undo themselves.
 *
 * At a stack proven safe the thread is aimed at a call that returns into the C library's
 * sigreturn code, on a signal frame that holds all it had: registers, vector state, blocked
 * signals.  If pyhot dies at any instant, the kernel lets the thread go, and it puts itself back.
 * No byte of the target's code is written.
 *
 * Only calls that do not sleep: a sleep would overwrite the restart state of the call that the
 * thread was stopped in. */
#ifndef PYHOT_BORROW_H
#define PYHOT_BORROW_H

#include "arch/arch.h"
#include "tracee.h"

struct borrow {
    struct tracee *tracee;
    const struct arch_gadgets *gadgets;
    struct arch_registers saved;
    struct arch_vectors saved_vectors;
    uint64_t saved_mask;
    uint64_t frame; /* address of the signal frame */
    unsigned char frame_head[ARCH_FRAME_HEAD];
    bool masked;
};

/* `tracee` is INTERRUPTED.  Nothing of it is changed but memory below its stack. */
struct error *borrow_begin(struct borrow *, struct tracee *, const struct arch_gadgets *)
    __attribute__((warn_unused_result));

struct borrow_syscall {
    long number;
    uint64_t arguments[6];
};

/* One system call; *result is what the kernel returned, -errno too.  `undo`, if not NULL, is the
 * call that the thread makes after it, on its own way back, if we are not there any more. */
struct error *borrow_syscall(struct borrow *, const struct borrow_syscall *,
                             const struct borrow_syscall *undo, uint64_t deadline_ns, long *result)
    __attribute__((warn_unused_result));

/* Calls the stub at `function`, which ends in a system call at gadgets->syscall_return
 * (stub/stub.h).  *result: the stub's, 0 or an errno. */
struct error *borrow_call_stub(struct borrow *, uint64_t function, uint64_t argument,
                               uint64_t deadline_ns, int *result)
    __attribute__((warn_unused_result));

/* Puts the thread back as it was, the restart of its system call included, if it is stopped; if
 * it is not (a deadline passed in a call), it does so itself.  Then tracee_release. */
void borrow_end(struct borrow *);

#endif
