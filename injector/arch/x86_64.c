/* x86_64 Linux.  The signal frame is the kernel's struct rt_sigframe (arch/x86/include/asm/
 * sigframe.h) followed by an XSAVE image in the standard format, as arch/x86/kernel/fpu/signal.c
 * checks it on rt_sigreturn. */
#include "arch.h"

#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* What the kernel returns inside, to have a call restarted (include/linux/errno.h). */
enum { ERESTARTSYS = 512, ERESTARTNOINTR = 513, ERESTARTNOHAND = 514, ERESTART_RESTARTBLOCK = 516 };

enum {
    RED_ZONE = 128,
    SYSCALL_SIZE = 2,        /* bytes of the instruction */
    XSAVE_LEGACY_SIZE = 576, /* FXSAVE area and XSAVE header */
    XSAVE_SW_RESERVED = 464, /* struct _fpx_sw_bytes in the FXSAVE area */
    XSAVE_HEADER = 512,      /* its first word tells which components are in use */
    XFEATURES_AMX = 3 << 17, /* tile configuration and data */
    XSTATE_MAGIC1 = 0x46505853,
    XSTATE_MAGIC2 = 0x46505845,
    SHADOW_STACK_REGSET = 0x204, /* NT_X86_SHSTK, Linux 6.6 */
};

struct fpx_sw_bytes {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size, padding[7];
};

struct signal_frame {
    uint64_t return_address;
    uint64_t uc_flags, uc_link;
    struct {
        uint64_t sp;
        int32_t flags, padding;
        uint64_t size;
    } uc_stack;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
    uint64_t mask;
    char siginfo[128];
};
_Static_assert(offsetof(struct signal_frame, r8) == 48, "struct ucontext of asm/ucontext.h");
_Static_assert(sizeof(struct signal_frame) == ARCH_FRAME_HEAD, "struct rt_sigframe");

enum { UC_FP_XSTATE = 1, UC_SIGCONTEXT_SS = 2, UC_STRICT_RESTORE_SS = 4 };

/* Not a mode that sigaltstack(2) knows.  rt_sigreturn tries to restore the alternate stack from
 * the frame and ignores that it cannot (restore_altstack in kernel/signal.c), so the thread's own
 * setting, which a tracer cannot read, stays. */
enum { NO_SUCH_STACK_MODE = 4 };

static const uint8_t syscall_code[ARCH_SYSCALL_RETURN_SIZE] = {0x0f, 0x05, 0xc3};
/* mov $SYS_rt_sigreturn, %rax; syscall: the same bytes in glibc and musl; gdb and libgcc rely on
 * them too. */
static const uint8_t sigreturn_code[ARCH_SIGRETURN_SIZE] = {
    0x48, 0xc7, 0xc0, SYS_rt_sigreturn, 0, 0, 0, 0x0f, 0x05};

static void find_bytes(uint64_t *found, const void *wanted, size_t length, const void *text,
                       size_t size, uint64_t address)
{
    const char *at = *found ? NULL : memmem(text, size, wanted, length);
    if (at)
        *found = address + (uint64_t)(at - (const char *)text);
}

void arch_find_gadgets(struct arch_gadgets *gadgets, const void *text, size_t size,
                       uint64_t address)
{
    find_bytes(&gadgets->syscall_return, syscall_code, sizeof syscall_code, text, size, address);
    find_bytes(&gadgets->sigreturn, sigreturn_code, sizeof sigreturn_code, text, size, address);
}

size_t arch_jump_targets(const void *code, size_t size, uint64_t address, uint64_t *targets,
                         size_t max)
{
    enum { JMP_REL32 = 0xe9, JMP_SIZE = 5, JCC_PREFIX = 0x0f, JCC_REL32 = 0x80, JCC_SIZE = 6 };
    const uint8_t *bytes = code;
    size_t n = 0;
    for (size_t i = 0; i + JMP_SIZE <= size && n < max; i++) {
        size_t length = bytes[i] == JMP_REL32 ? JMP_SIZE : 0;
        if (i + JCC_SIZE <= size && bytes[i] == JCC_PREFIX && (bytes[i + 1] & 0xf0) == JCC_REL32)
            length = JCC_SIZE;
        if (!length)
            continue;
        int32_t distance;
        memcpy(&distance, bytes + i + length - sizeof distance, sizeof distance);
        targets[n++] = address + i + length + (uint64_t)(int64_t)distance;
    }
    return n;
}

int arch_read_registers(pid_t tid, struct arch_registers *registers)
{
    return (int)ptrace(PTRACE_GETREGS, tid, 0, &registers->user);
}

int arch_write_registers(pid_t tid, const struct arch_registers *registers)
{
    return (int)ptrace(PTRACE_SETREGS, tid, 0, &registers->user);
}

int arch_read_vectors(pid_t tid, struct arch_vectors *vectors)
{
    struct iovec regset = {vectors->bytes, sizeof vectors->bytes};
    int status = (int)ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &regset);
    vectors->size = regset.iov_len;
    return status;
}

int arch_write_vectors(pid_t tid, const struct arch_vectors *vectors)
{
    struct iovec regset = {(void *)(uintptr_t)vectors->bytes, vectors->size};
    return (int)ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &regset);
}

uint64_t arch_ip(const struct arch_registers *registers)
{
    return registers->user.rip;
}

uint64_t arch_sp(const struct arch_registers *registers)
{
    return registers->user.rsp;
}

uint64_t arch_thread_pointer(const struct arch_registers *registers)
{
    return registers->user.fs_base;
}

void arch_set_ip_sp(struct arch_registers *registers, uint64_t ip, uint64_t sp)
{
    registers->user.rip = ip;
    registers->user.rsp = sp;
}

bool arch_unwind_register(const struct arch_registers *registers, int number, uint64_t *value)
{
    const struct user_regs_struct *r = &registers->user;
    const unsigned long long values[] = {r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi,
                                         r->rbp, r->rsp, r->r8,  r->r9,  r->r10, r->r11,
                                         r->r12, r->r13, r->r14, r->r15, r->rip};
    if (number < 0 || (size_t)number >= sizeof values / sizeof *values)
        return false;
    *value = values[number];
    return true;
}

long arch_syscall_number(const struct arch_registers *registers)
{
    long number = (long)registers->user.orig_rax;
    return number >= 0 ? number : -1;
}

long arch_syscall_result(const struct arch_registers *registers)
{
    return (long)registers->user.rax;
}

uint64_t arch_syscall_argument(const struct arch_registers *registers, int index)
{
    const struct user_regs_struct *r = &registers->user;
    const unsigned long long arguments[6] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
    return arguments[index];
}

void arch_restart_syscall(struct arch_registers *registers)
{
    registers->user.rax = (unsigned long long)-(long long)ERESTARTNOHAND;
}

bool arch_end_syscall(struct arch_registers *registers)
{
    long result = arch_syscall_result(registers);
    if (arch_syscall_number(registers) < 0 ||
        (result != -ERESTARTSYS && result != -ERESTARTNOINTR && result != -ERESTARTNOHAND &&
         result != -ERESTART_RESTARTBLOCK))
        return false;
    registers->user.rax = (unsigned long long)-(long long)EINTR;
    return true;
}

const char *arch_unfit(pid_t tid)
{
    uint64_t shadow_sp, in_use = 0;
    struct iovec regset = {&shadow_sp, sizeof shadow_sp};
    if (!ptrace(PTRACE_GETREGSET, tid, SHADOW_STACK_REGSET, &regset))
        return "it uses a shadow stack";
    char image[XSAVE_LEGACY_SIZE];
    regset = (struct iovec){image, sizeof image};
    if (!ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &regset))
        memcpy(&in_use, image + XSAVE_HEADER, sizeof in_use);
    if (in_use & XFEATURES_AMX)
        return "its AMX tile registers are in use";
    return NULL;
}

/* Bytes of the standard format with these components. */
static size_t xsave_size(uint64_t features)
{
    size_t size = XSAVE_LEGACY_SIZE;
    for (unsigned component = 2; component < 63; component++) {
        unsigned length = 0, offset = 0, c, d;
        if (features >> component & 1)
            __cpuid_count(0xd, component, length, offset, c, d);
        if (length && offset + length > size)
            size = offset + length;
    }
    return size;
}

/* Makes a copy of the vector state what rt_sigreturn accepts.  Its size; 0 with errno. */
static size_t xsave_image(const struct arch_vectors *vectors, unsigned char *image)
{
    struct fpx_sw_bytes software = {.magic1 = XSTATE_MAGIC1};
    const uint32_t magic2 = XSTATE_MAGIC2;

    memcpy(image, vectors->bytes, vectors->size);
    /* The kernel leaves the enabled components (XCR0) in the space it keeps for software. */
    memcpy(&software.xfeatures, image + XSAVE_SW_RESERVED, sizeof software.xfeatures);
    software.xfeatures &= ~(uint64_t)XFEATURES_AMX;
    size_t size = xsave_size(software.xfeatures);
    if (size + sizeof magic2 > sizeof vectors->bytes) {
        errno = ENOTSUP;
        return 0;
    }
    software.xstate_size = (uint32_t)size;
    software.extended_size = (uint32_t)(size + sizeof magic2);
    memcpy(image + XSAVE_SW_RESERVED, &software, sizeof software);
    memcpy(image + size, &magic2, sizeof magic2);
    return size + sizeof magic2;
}

/* rt_sigreturn does not restart an interrupted call, as the kernel would have: a call that can
 * simply be made again is, and one with a time to go (ERESTART_RESTARTBLOCK) returns EINTR. */
static void prepare_restart(struct signal_frame *frame, const struct user_regs_struct *r)
{
    if ((long)r->orig_rax < 0)
        return;
    switch (-(long)r->rax) {
    case ERESTARTSYS:
    case ERESTARTNOINTR:
    case ERESTARTNOHAND:
        frame->ax = r->orig_rax;
        frame->ip -= SYSCALL_SIZE;
        break;
    case ERESTART_RESTARTBLOCK:
        frame->ax = (uint64_t) - (int64_t)EINTR;
        break;
    }
}

static void set_registers(struct signal_frame *frame, const struct user_regs_struct *r)
{
    frame->r8 = r->r8, frame->r9 = r->r9, frame->r10 = r->r10, frame->r11 = r->r11;
    frame->r12 = r->r12, frame->r13 = r->r13, frame->r14 = r->r14, frame->r15 = r->r15;
    frame->di = r->rdi, frame->si = r->rsi, frame->bp = r->rbp, frame->bx = r->rbx;
    frame->dx = r->rdx, frame->ax = r->rax, frame->cx = r->rcx, frame->sp = r->rsp;
    frame->ip = r->rip, frame->flags = r->eflags;
    frame->cs = (uint16_t)r->cs, frame->ss = (uint16_t)r->ss;
}

void arch_redirect_frame(void *frame, const struct arch_registers *registers)
{
    struct signal_frame head;
    memcpy(&head, frame, sizeof head);
    set_registers(&head, &registers->user);
    head.mask = ~0ull;
    memcpy(frame, &head, sizeof head);
}

void *arch_signal_frame(const struct arch_registers *registers, const struct arch_vectors *vectors,
                        uint64_t mask, const struct arch_gadgets *gadgets, uint64_t *address,
                        size_t *size)
{
    const struct user_regs_struct *r = &registers->user;
    unsigned char *xsave = calloc(1, sizeof vectors->bytes);
    size_t xsave_size = xsave ? xsave_image(vectors, xsave) : 0;
    if (!xsave_size) {
        free(xsave);
        return NULL;
    }
    /* Alignment as at a function's entry: XSAVE wants 64, the frame 16 less the return address. */
    uint64_t fpstate = (r->rsp - RED_ZONE - xsave_size) & ~63ull;
    uint64_t at = ((fpstate - sizeof(struct signal_frame)) & ~15ull) - 8;
    struct signal_frame frame = {
        .return_address = gadgets->sigreturn,
        .uc_flags = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
        .uc_stack = {.flags = NO_SUCH_STACK_MODE},
        .fpstate = fpstate,
        .mask = mask,
    };
    set_registers(&frame, r);
    prepare_restart(&frame, r);

    *address = at;
    *size = fpstate - at + xsave_size;
    char *bytes = calloc(1, *size);
    if (bytes) {
        memcpy(bytes, &frame, sizeof frame);
        memcpy(bytes + (fpstate - at), xsave, xsave_size);
    }
    free(xsave);
    return bytes;
}

int arch_empty_vectors(struct arch_vectors *vectors)
{
    enum { OSXSAVE = 1 << 27 }; /* in ecx of leaf 1: the kernel has enabled XSAVE */
    uint32_t low, high, a, b, c, d;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & OSXSAVE)) {
        errno = ENOTSUP;
        return -1;
    }
    memset(vectors, 0, sizeof *vectors);
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    memcpy(vectors->bytes + XSAVE_SW_RESERVED, &(uint64_t){(uint64_t)high << 32 | low},
           sizeof(uint64_t));
    vectors->size = xsave_size(((uint64_t)high << 32 | low) & ~(uint64_t)XFEATURES_AMX);
    return 0;
}

uint64_t arch_frame_vectors(const void *frame)
{
    struct signal_frame head;
    memcpy(&head, frame, sizeof head);
    return head.fpstate;
}

uint64_t arch_frame_ip(const void *frame)
{
    struct signal_frame head;
    memcpy(&head, frame, sizeof head);
    return head.ip;
}

void arch_aim_syscall(struct arch_registers *registers, const struct arch_gadgets *gadgets,
                      uint64_t sp, long number, const uint64_t arguments[6])
{
    struct user_regs_struct *r = &registers->user;
    r->rip = gadgets->syscall_return;
    r->rsp = sp;
    r->rax = (unsigned long long)number;
    r->orig_rax = -1ull; /* nothing to restart */
    r->rdi = arguments[0];
    r->rsi = arguments[1];
    r->rdx = arguments[2];
    r->r10 = arguments[3];
    r->r8 = arguments[4];
    r->r9 = arguments[5];
}

void arch_aim_call(struct arch_registers *registers, uint64_t sp, uint64_t function,
                   uint64_t argument)
{
    enum { DIRECTION_FLAG = 1 << 10 };
    struct user_regs_struct *r = &registers->user;
    r->rip = function;
    r->rsp = sp;
    r->rax = 0;
    r->orig_rax = -1ull;
    r->rdi = argument;
    r->eflags &= ~(unsigned long long)DIRECTION_FLAG; /* the ABI's state at a call */
}

bool arch_left_gadget(const struct arch_registers *registers, const struct arch_gadgets *gadgets)
{
    return registers->user.rip == gadgets->syscall_return + SYSCALL_SIZE;
}

int arch_stub_result(const struct arch_registers *registers)
{
    return (int)registers->user.rbp;
}
