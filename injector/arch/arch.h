/* What a port of the injector must supply; nothing else here knows the machine.
 *
 * 1. this header's functions, in arch/MACHINE.c;
 * 2. stub/MACHINE.S: the two entry points of the code that runs in the target (stub/stub.h);
 * 3. stub_syscall in stub/syscall.h;
 * 4. how the restart of an interrupted system call looks to a tracer.  On aarch64 the kernel has
 *    moved pc back already at the stop, and the number is in the regset NT_ARM_SYSTEM_CALL. */
#ifndef PYHOT_ARCH_H
#define PYHOT_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

struct arch_registers {
    struct user_regs_struct user;
};

/* Vector and floating-point state, in the form that ptrace has it. */
struct arch_vectors {
    size_t size;
    _Alignas(64) unsigned char bytes[16384]; /* far more than all but AMX tiles (arch_unfit) */
};

/* Two places in the target's C library, found by their bytes.  `syscall_return` does a system
 * call and returns; `sigreturn` is the code that a signal handler returns to. */
struct arch_gadgets {
    uint64_t syscall_return, sigreturn;
};
enum { ARCH_SYSCALL_RETURN_SIZE = 3, ARCH_SIGRETURN_SIZE = 9 };

/* Fills in what is still 0 and occurs in these bytes of text, which are at `address`. */
void arch_find_gadgets(struct arch_gadgets *, const void *text, size_t size, uint64_t address);

/* Where the jumps go that these bytes of code may contain.  How many, at most `max`.  Bytes that
 * only look like a jump are taken for one too. */
size_t arch_jump_targets(const void *code, size_t size, uint64_t address, uint64_t *targets,
                         size_t max);

/* 0, or -1 with errno. */
int arch_read_registers(pid_t tid, struct arch_registers *);
int arch_write_registers(pid_t tid, const struct arch_registers *);
int arch_read_vectors(pid_t tid, struct arch_vectors *);
int arch_write_vectors(pid_t tid, const struct arch_vectors *);

uint64_t arch_ip(const struct arch_registers *);
uint64_t arch_sp(const struct arch_registers *);
uint64_t arch_thread_pointer(const struct arch_registers *);

/* For a thread of which only these two are known (/proc/PID/task/TID/syscall). */
void arch_set_ip_sp(struct arch_registers *, uint64_t ip, uint64_t sp);

/* A register by libunwind's number, which is DWARF's.  False if there is none of this number. */
bool arch_unwind_register(const struct arch_registers *, int number, uint64_t *value);

/* The system call that the thread was stopped in, or -1. */
long arch_syscall_number(const struct arch_registers *);
long arch_syscall_result(const struct arch_registers *);
uint64_t arch_syscall_argument(const struct arch_registers *, int index);

/* Makes a call that our stop ended with EINTR one that the kernel restarts, unless it has a
 * signal handler to run. */
void arch_restart_syscall(struct arch_registers *);

/* The opposite: a call that the kernel would restart ends with EINTR.  False: it is not one. */
bool arch_end_syscall(struct arch_registers *);

/* Why the thread must not be borrowed however safe its stack is, for the machine's own reasons
 * (a shadow stack, register state that a signal frame cannot hold); or NULL. */
const char *arch_unfit(pid_t tid);

/* A signal frame that puts a thread back to these registers and vectors, and to `mask` as its
 * blocked signals, when it returns to `gadgets->sigreturn`.  The bytes go to *address, below the
 * stack and its red zone.  malloc'ed; NULL with errno. */
void *arch_signal_frame(const struct arch_registers *, const struct arch_vectors *, uint64_t mask,
                        const struct arch_gadgets *, uint64_t *address, size_t *size);

/* The state of nobody, for a frame into which the thread saves its own (MACHINE.S, STUB_LENDS).  0,
 * or -1 with errno: this machine cannot save it so. */
int arch_empty_vectors(struct arch_vectors *);

/* In the frame at `frame`: where that state is, and where the thread goes on. */
uint64_t arch_frame_vectors(const void *frame);
uint64_t arch_frame_ip(const void *frame);

/* Changes a copy of a signal frame's first ARCH_FRAME_HEAD bytes into one that goes on with these
 * registers, all signals blocked.  It may lie anywhere; it refers to the vector state of the
 * frame that it was copied from.  A frame's address plus or minus ARCH_FRAME_STEP is aligned. */
enum { ARCH_FRAME_HEAD = 440, ARCH_FRAME_STEP = 448 };
void arch_redirect_frame(void *frame, const struct arch_registers *);

/* Registers for one call that ends in the signal frame at `sp`. */
void arch_aim_syscall(struct arch_registers *, const struct arch_gadgets *, uint64_t sp,
                      long number, const uint64_t arguments[6]);
void arch_aim_call(struct arch_registers *, uint64_t sp, uint64_t function, uint64_t argument);

/* At the exit of a system call made at `syscall_return`? */
bool arch_left_gadget(const struct arch_registers *, const struct arch_gadgets *);
/* The word that stub/MACHINE.S keeps its result in. */
int arch_stub_result(const struct arch_registers *);

#endif
