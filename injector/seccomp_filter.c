/* Classic BPF as seccomp has it (seccomp_check_filter in kernel/seccomp.c): a program that only
 * jumps forward, on struct seccomp_data.  A word that is not known stays so through arithmetic; a
 * branch on it is taken both ways. */
#include <linux/audit.h>
#include <linux/seccomp.h>

#include "seccomp.h"

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

enum { MAX_STEPS = 1 << 16 }; /* of all branches; a filter has 4096 instructions at most */

struct word {
    uint32_t value;
    bool known;
};

struct machine {
    struct word a, x, memory[BPF_MEMWORDS];
};

struct evaluation {
    const struct sock_filter *filter;
    size_t n;
    const struct seccomp_call *call;
    unsigned steps;
};

/* How bad an answer is for us; the kernel's own order of them is another. */
static int severity(uint32_t answer)
{
    switch (answer & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
    case SECCOMP_RET_LOG:
        return 0;
    case SECCOMP_RET_ERRNO:
        return 1;
    case SECCOMP_RET_TRACE:
        return 2;
    case SECCOMP_RET_USER_NOTIF:
        return 3;
    case SECCOMP_RET_TRAP:
        return 4;
    default: /* as an unknown action, these kill */
        return 5;
    }
}

/* struct seccomp_data at `offset`. */
static struct word load(const struct seccomp_call *call, uint32_t offset)
{
    const uint32_t first = offsetof(struct seccomp_data, args);

    if (offset == offsetof(struct seccomp_data, nr))
        return (struct word){(uint32_t)call->number, true};
    if (offset == offsetof(struct seccomp_data, arch))
        return (struct word){OUR_ARCH, true};
    for (int i = 0; i < 2 && offset >= first; i++)
        if (call->arguments[i].index == (offset - first) / 8 + 1)
            return (struct word){(uint32_t)(call->arguments[i].value >> (offset - first) % 8 * 8),
                                 true};
    return (struct word){0, false};
}

static struct word compute(uint16_t operation, struct word a, struct word b)
{
    struct word result = {0, a.known && (b.known || operation == BPF_NEG)};

    switch (operation) {
    case BPF_ADD:
        result.value = a.value + b.value;
        break;
    case BPF_SUB:
        result.value = a.value - b.value;
        break;
    case BPF_MUL:
        result.value = a.value * b.value;
        break;
    case BPF_DIV: /* by 0 the kernel ends the filter with 0, which kills: never in one that runs */
        result.value = b.value ? a.value / b.value : 0;
        break;
    case BPF_OR:
        result.value = a.value | b.value;
        break;
    case BPF_AND:
        result.value = a.value & b.value;
        /* A mask of 0 hides what is not known. */
        result.known |= (a.known && !a.value) || (b.known && !b.value);
        break;
    case BPF_XOR:
        result.value = a.value ^ b.value;
        break;
    case BPF_LSH:
        result.value = b.value < 32 ? a.value << b.value : 0;
        break;
    case BPF_RSH:
        result.value = b.value < 32 ? a.value >> b.value : 0;
        break;
    case BPF_NEG:
        result.value = -a.value;
        break;
    default:
        result.known = false;
    }
    return result;
}

static bool holds(uint16_t condition, uint32_t a, uint32_t b)
{
    switch (condition) {
    case BPF_JEQ:
        return a == b;
    case BPF_JGT:
        return a > b;
    case BPF_JGE:
        return a >= b;
    default: /* BPF_JSET */
        return a & b;
    }
}

/* Loads, stores and arithmetic. */
static void execute(struct machine *m, const struct sock_filter *instruction,
                    const struct seccomp_call *call)
{
    const struct word k = {instruction->k, true};
    const uint32_t size = sizeof(struct seccomp_data);

    switch (instruction->code) {
    case BPF_LD | BPF_W | BPF_ABS:
        m->a = load(call, k.value);
        return;
    case BPF_LD | BPF_W | BPF_LEN:
        m->a = (struct word){size, true};
        return;
    case BPF_LDX | BPF_W | BPF_LEN:
        m->x = (struct word){size, true};
        return;
    case BPF_LD | BPF_IMM:
        m->a = k;
        return;
    case BPF_LDX | BPF_IMM:
        m->x = k;
        return;
    case BPF_LD | BPF_MEM:
        m->a = m->memory[k.value % BPF_MEMWORDS];
        return;
    case BPF_LDX | BPF_MEM:
        m->x = m->memory[k.value % BPF_MEMWORDS];
        return;
    case BPF_ST:
        m->memory[k.value % BPF_MEMWORDS] = m->a;
        return;
    case BPF_STX:
        m->memory[k.value % BPF_MEMWORDS] = m->x;
        return;
    case BPF_MISC | BPF_TAX:
        m->x = m->a;
        return;
    case BPF_MISC | BPF_TXA:
        m->a = m->x;
        return;
    default:
        m->a = BPF_CLASS(instruction->code) == BPF_ALU
                   ? compute(BPF_OP(instruction->code), m->a,
                             BPF_SRC(instruction->code) == BPF_X ? m->x : k)
                   : (struct word){0, false};
    }
}

/* From instruction `at` on.  `m` is this branch's own copy. */
static uint32_t run(struct evaluation *evaluation, size_t at, struct machine m)
{
    while (at < evaluation->n && evaluation->steps++ < MAX_STEPS) {
        const struct sock_filter *instruction = &evaluation->filter[at++];
        const struct word operand =
            BPF_SRC(instruction->code) == BPF_X ? m.x : (struct word){instruction->k, true};

        if (BPF_CLASS(instruction->code) == BPF_RET) {
            if (BPF_RVAL(instruction->code) != BPF_A)
                return instruction->k;
            return m.a.known ? m.a.value : SECCOMP_RET_KILL_PROCESS;
        }
        if (BPF_CLASS(instruction->code) != BPF_JMP) {
            execute(&m, instruction, evaluation->call);
        } else if (BPF_OP(instruction->code) == BPF_JA) {
            at += instruction->k;
        } else if (instruction->jt == instruction->jf) {
            at += instruction->jt;
        } else if (m.a.known && operand.known) {
            at += holds(BPF_OP(instruction->code), m.a.value, operand.value) ? instruction->jt
                                                                             : instruction->jf;
        } else {
            uint32_t yes = run(evaluation, at + instruction->jt, m);
            uint32_t no = run(evaluation, at + instruction->jf, m);
            return severity(yes) >= severity(no) ? yes : no;
        }
    }
    return SECCOMP_RET_KILL_PROCESS; /* not to be judged */
}

uint32_t seccomp_evaluate(const struct sock_filter *filter, size_t n,
                          const struct seccomp_call *call)
{
    struct evaluation evaluation = {filter, n, call, 0};
    /* The registers and the memory of a program begin as 0. */
    struct machine machine = {{0, true}, {0, true}, {{0, false}}};

    return run(&evaluation, 0, machine);
}
