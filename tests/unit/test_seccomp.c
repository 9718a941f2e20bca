/* seccomp_filter.c: what filters of all shapes answer, and where an argument is not known. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "../../injector/seccomp.h"
#include "unit.h"

#define NR     offsetof(struct seccomp_data, nr)
#define ARCH   offsetof(struct seccomp_data, arch)
#define ARG(i) (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (i))

#define ALLOW                  BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define KILL                   BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define LOAD(offset)           BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)
#define IF(op, value, yes, no) BPF_JUMP(BPF_JMP | BPF_##op | BPF_K, value, yes, no)

#define ANSWER(filter, call) seccomp_evaluate(filter, sizeof(filter) / sizeof *(filter), call)

static const struct seccomp_call map = {
    "mmap", SYS_mmap, SECCOMP_NEEDED, {{3, 5}, {4, 0x1234567800000022}}};

static void test_number_and_machine(void **state)
{
    struct sock_filter filter[] = {
        LOAD(ARCH),
        IF(JEQ, AUDIT_ARCH_X86_64, 1, 0),
        KILL,
        LOAD(NR),
        IF(JEQ, SYS_mmap, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        ALLOW,
    };
    const struct seccomp_call other = {"read", SYS_read, SECCOMP_NEEDED, {}};

    (void)state;
    assert_int_equal(ANSWER(filter, &map), SECCOMP_RET_ERRNO | EPERM);
    assert_int_equal(ANSWER(filter, &other), SECCOMP_RET_ALLOW);
}

static void test_known_arguments_are_compared(void **state)
{
    struct sock_filter executable[] = {LOAD(ARG(2)), IF(JSET, 4, 1, 0), ALLOW, KILL};
    struct sock_filter writable[] = {LOAD(ARG(2)), IF(JSET, 2, 1, 0), ALLOW, KILL};
    struct sock_filter low[] = {LOAD(ARG(3)), IF(JEQ, 0x22, 0, 1), ALLOW, KILL};
    struct sock_filter high[] = {LOAD(ARG(3) + 4), IF(JEQ, 0x12345678, 0, 1), ALLOW, KILL};

    (void)state;
    assert_int_equal(ANSWER(executable, &map), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ANSWER(writable, &map), SECCOMP_RET_ALLOW);
    assert_int_equal(ANSWER(low, &map), SECCOMP_RET_ALLOW);
    assert_int_equal(ANSWER(high, &map), SECCOMP_RET_ALLOW);
}

static void test_an_unknown_argument_is_taken_at_its_worst(void **state)
{
    struct sock_filter zero[] = {LOAD(ARG(0)), IF(JEQ, 0, 0, 1), ALLOW, KILL};
    struct sock_filter stored[] = {
        LOAD(ARG(1)),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 3),
        BPF_STMT(BPF_ST, 7),
        BPF_STMT(BPF_LDX | BPF_MEM, 7),
        BPF_STMT(BPF_LD | BPF_IMM, 9),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        ALLOW,
    };
    struct sock_filter masked[] = {LOAD(ARG(0)), BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0),
                                   IF(JEQ, 0, 0, 1), ALLOW, KILL};
    struct sock_filter either[] = {LOAD(ARG(0)), IF(JGE, 7, 1, 1), KILL, ALLOW};
    struct sock_filter given[] = {LOAD(ARG(0)), BPF_STMT(BPF_RET | BPF_A, 0)};

    (void)state;
    assert_int_equal(ANSWER(zero, &map), SECCOMP_RET_KILL_PROCESS);
    assert_int_equal(ANSWER(stored, &map), SECCOMP_RET_ERRNO | ENOSYS);
    assert_int_equal(ANSWER(masked, &map), SECCOMP_RET_ALLOW);
    assert_int_equal(ANSWER(either, &map), SECCOMP_RET_ALLOW);
    assert_int_equal(ANSWER(given, &map), SECCOMP_RET_KILL_PROCESS);
}

static void test_arithmetic(void **state)
{
    static const struct {
        uint16_t operation;
        uint32_t k, result;
    } cases[] = {
        {BPF_ADD, 3, 8}, {BPF_SUB, 6, 0xffffffff}, {BPF_MUL, 4, 20}, {BPF_DIV, 2, 2},
        {BPF_OR, 2, 7},  {BPF_AND, 4, 4},          {BPF_XOR, 1, 4},  {BPF_LSH, 28, 0x50000000},
        {BPF_RSH, 1, 2}, {BPF_NEG, 0, 0xfffffffb},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sock_filter filter[] = {
            LOAD(ARG(2)),
            BPF_STMT(BPF_ALU | BPF_K, cases[i].k),
            BPF_STMT(BPF_MISC | BPF_TAX, 0),
            BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
            BPF_STMT(BPF_MISC | BPF_TXA, 0),
            BPF_STMT(BPF_JMP | BPF_JA, 1),
            KILL,
            IF(JEQ, cases[i].result, 0, 1),
            ALLOW,
            KILL,
        };
        filter[1].code |= cases[i].operation;
        assert_int_equal(ANSWER(filter, &map), SECCOMP_RET_ALLOW);
    }
}

static void test_too_many_branches_are_not_judged(void **state)
{
    struct sock_filter filter[101];

    (void)state;
    for (int i = 0; i < 98; i += 2) {
        filter[i] = (struct sock_filter)LOAD(ARG(0));
        filter[i + 1] = (struct sock_filter)IF(JEQ, (uint32_t)i, 0, 1);
    }
    for (int i = 98; i < 101; i++)
        filter[i] = (struct sock_filter)ALLOW;
    assert_int_equal(ANSWER(filter, &map), SECCOMP_RET_KILL_PROCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_number_and_machine),
        cmocka_unit_test(test_known_arguments_are_compared),
        cmocka_unit_test(test_an_unknown_argument_is_taken_at_its_worst),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_too_many_branches_are_not_judged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
