/* The order of the steps matters at each of them (borrow.h).  Registers are pointed at the call
 * before signals are blocked: from then on the frame restores the mask.  At the end signals are
 * unblocked before the registers are put back: in between the thread is still on its way to the
 * frame.  The end is by PTRACE_SETREGS, not by the frame: rt_sigreturn makes the kernel forget
 * how to go on with an interrupted sleep. */
#include "borrow.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#include "cleanup.h"
#include "fault.h"
#include "stub/stub.h"

enum { KERNEL_MASK_SIZE = 8 };

struct error *borrow_begin(struct borrow *borrow, struct tracee *tracee,
                           const struct arch_gadgets *gadgets)
{
    borrow->tracee = tracee;
    borrow->gadgets = gadgets;
    borrow->masked = false;
    borrow->saved_mask = 0;
    if (arch_read_registers(tracee->tid, &borrow->saved) ||
        arch_read_vectors(tracee->tid, &borrow->saved_vectors) ||
        ptrace(PTRACE_GETSIGMASK, tracee->tid, KERNEL_MASK_SIZE, &borrow->saved_mask))
        return tracee_error(tracee, errno, "read the registers of");

    size_t size;
    _cleanup_free_ void *frame = arch_signal_frame(
        &borrow->saved, &borrow->saved_vectors, borrow->saved_mask, gadgets, &borrow->frame, &size);
    if (!frame)
        return tracee_error(tracee, errno, "make a signal frame for");
    memcpy(borrow->frame_head, frame, sizeof borrow->frame_head);
    if (tracee_write(tracee, borrow->frame, frame, size))
        return tracee_error(tracee, errno, "write below the stack of");
    fault_point("frame-written");
    return NULL;
}

static struct error *aim(struct borrow *borrow, const struct arch_registers *registers)
{
    const struct tracee *tracee = borrow->tracee;
    uint64_t all = ~0ull;

    if (arch_write_registers(tracee->tid, registers))
        return tracee_error(tracee, errno, "write the registers of");
    fault_point("aimed");
    if (borrow->masked)
        return NULL;
    if (ptrace(PTRACE_SETSIGMASK, tracee->tid, KERNEL_MASK_SIZE, &all))
        return tracee_error(tracee, errno, "block the signals of");
    borrow->masked = true;
    fault_point("masked");
    return NULL;
}

/* Runs to the next system call stop and reads the registers there. */
static struct error *run_to_stop(struct borrow *borrow, uint64_t deadline_ns,
                                 struct arch_registers *registers)
{
    struct tracee *tracee = borrow->tracee;
    struct error *error = tracee_run_to_syscall(tracee, deadline_ns);
    if (error)
        return error;
    fault_point("syscall-stop");
    if (tracee->state == TRACEE_GONE || arch_read_registers(tracee->tid, registers))
        return tracee_error(tracee, ESRCH, "run");
    return NULL;
}

/* A second frame, inside of the first: returning to it makes the call, which returns to the first.
 * Its address is *sp. */
static struct error *write_undo(struct borrow *borrow, const struct borrow_syscall *undo,
                                uint64_t *sp)
{
    unsigned char frame[ARCH_FRAME_HEAD];
    struct arch_registers registers = borrow->saved;

    arch_aim_syscall(&registers, borrow->gadgets, borrow->frame, undo->number, undo->arguments);
    memcpy(frame, borrow->frame_head, sizeof frame);
    arch_redirect_frame(frame, &registers);
    *sp = borrow->frame - ARCH_FRAME_STEP;
    if (tracee_write(borrow->tracee, *sp, frame, sizeof frame))
        return tracee_error(borrow->tracee, errno, "write below the stack of");
    return NULL;
}

struct error *borrow_syscall(struct borrow *borrow, const struct borrow_syscall *call,
                             const struct borrow_syscall *undo, uint64_t deadline_ns, long *result)
{
    struct arch_registers registers = borrow->saved;
    uint64_t sp = borrow->frame;
    struct error *error = undo ? write_undo(borrow, undo, &sp) : NULL;

    arch_aim_syscall(&registers, borrow->gadgets, sp, call->number, call->arguments);
    if (!error)
        error = aim(borrow, &registers);
    if (!error)
        error = run_to_stop(borrow, deadline_ns, &registers); /* its entry */
    if (!error)
        error = run_to_stop(borrow, deadline_ns, &registers); /* its exit */
    if (!error)
        *result = arch_syscall_result(&registers);
    return error;
}

struct error *borrow_call_stub(struct borrow *borrow, uint64_t function, uint64_t argument,
                               uint64_t deadline_ns, int *result)
{
    struct arch_registers registers = borrow->saved;
    arch_aim_call(&registers, borrow->frame, function, argument);
    struct error *error = aim(borrow, &registers);
    /* pthread_create makes system calls of its own, each with an entry and an exit.  The last one
     * is made at the gadget, as some of those may be, but it alone is about the region. */
    while (!error) {
        error = run_to_stop(borrow, deadline_ns, &registers);
        if (!error)
            error = run_to_stop(borrow, deadline_ns, &registers);
        if (!error && arch_left_gadget(&registers, borrow->gadgets) &&
            arch_syscall_argument(&registers, 0) - argument < STUB_REGION_SIZE)
            break;
    }
    if (!error)
        *result = arch_stub_result(&registers);
    return error;
}

void borrow_end(struct borrow *borrow)
{
    const struct tracee *tracee = borrow->tracee;
    if (tracee->state != TRACEE_INTERRUPTED && tracee->state != TRACEE_SYSCALL_STOP)
        return;
    if (borrow->masked)
        ptrace(PTRACE_SETSIGMASK, tracee->tid, KERNEL_MASK_SIZE, &borrow->saved_mask);
    fault_point("unmasked");
    arch_write_vectors(tracee->tid, &borrow->saved_vectors);
    arch_write_registers(tracee->tid, &borrow->saved);
    fault_point("restored");
}
