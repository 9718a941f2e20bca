/* The calls, the judgement, and what stands in for it where filters may not be read (seccomp.h). */
#include "seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "procfs.h"

enum {
    THREAD_FLAGS = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                   CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
    ANONYMOUS = MAP_PRIVATE | MAP_ANONYMOUS,
    DENYWRITE = 0x800, /* the loader still says it */
};

#define CALL(name) #name, SYS_##name

/* Kept true by tests/test_seccomp.py, whose targets are killed at any other call. */
const struct seccomp_call seccomp_calls[] = {
    /* The borrowed thread (inject.c, stub/MACHINE.S), with pthread_create. */
    {CALL(mmap),
     SECCOMP_NEEDED,
     {{3, PROT_READ | PROT_EXEC}, {4, ANONYMOUS | MAP_FIXED_NOREPLACE}}},
    {CALL(munmap), SECCOMP_NEEDED, {}},
    {CALL(rt_sigreturn), SECCOMP_NEEDED, {}},
    {CALL(mprotect), SECCOMP_NEEDED, {{3, PROT_READ | PROT_WRITE}}},
    {CALL(mmap), SECCOMP_NEEDED, {{3, PROT_NONE}, {4, ANONYMOUS | MAP_STACK}}},
    {CALL(rt_sigaction), SECCOMP_NEEDED, {}},
    {CALL(rt_sigprocmask), SECCOMP_NEEDED, {}},
    {CALL(clone3), SECCOMP_FALLBACK, {}},
    {CALL(clone), SECCOMP_NEEDED, {{1, THREAD_FLAGS}}},
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAKE_OP_PRIVATE}}},
    /* Our thread from its start to its end, in the C library (a heap of its own too) and in the
     * stub. */
    {CALL(set_robust_list), SECCOMP_MAY_FAIL, {}},
    {CALL(rseq), SECCOMP_MAY_FAIL, {}},
    {CALL(gettid), SECCOMP_NEEDED, {}},
    {CALL(memfd_create), SECCOMP_NEEDED, {}},
    {CALL(ftruncate), SECCOMP_NEEDED, {}},
    {CALL(mmap), SECCOMP_NEEDED, {{3, PROT_READ | PROT_WRITE}, {4, MAP_SHARED}}},
    {CALL(pipe2), SECCOMP_NEEDED, {{2, O_CLOEXEC | O_NONBLOCK}}},
    {CALL(poll), SECCOMP_NEEDED, {}},
    {CALL(kill), SECCOMP_MAY_FAIL, {{2, 0}}}, /* is pyhot alive? */
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAIT}}},
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAKE}}},
    {CALL(close), SECCOMP_NEEDED, {}},
    {CALL(mmap), SECCOMP_NEEDED, {{3, PROT_READ | PROT_WRITE}, {4, ANONYMOUS}}},
    {CALL(mmap), SECCOMP_MAY_FAIL, {{3, PROT_NONE}, {4, ANONYMOUS | MAP_NORESERVE}}},
    {CALL(brk), SECCOMP_MAY_FAIL, {}},
    {CALL(mremap), SECCOMP_MAY_FAIL, {}},
    {CALL(getrandom), SECCOMP_MAY_FAIL, {}},
    {CALL(sched_getaffinity), SECCOMP_MAY_FAIL, {}}, /* how many heaps it may have */
    {CALL(madvise), SECCOMP_MAY_FAIL, {}},
    {CALL(exit), SECCOMP_NEEDED, {}},
    /* The loader. */
    {CALL(openat), SECCOMP_NEEDED, {{1, (uint64_t)AT_FDCWD}, {3, O_RDONLY | O_CLOEXEC}}},
    {CALL(read), SECCOMP_NEEDED, {}},
    {CALL(newfstatat), SECCOMP_MAY_FAIL, {}}, /* this or that, by its version */
    {CALL(fstat), SECCOMP_MAY_FAIL, {}},
    {CALL(getcwd), SECCOMP_MAY_FAIL, {}},
    {CALL(mmap), SECCOMP_NEEDED, {{3, PROT_READ}, {4, MAP_PRIVATE | DENYWRITE}}},
    {CALL(mmap),
     SECCOMP_NEEDED,
     {{3, PROT_READ | PROT_EXEC}, {4, MAP_PRIVATE | MAP_FIXED | DENYWRITE}}},
    {CALL(mprotect), SECCOMP_NEEDED, {{3, PROT_READ}}},
    /* The agent, with the interpreter in it. */
    {CALL(prctl), SECCOMP_MAY_FAIL, {{1, 21 /* PR_GET_SECCOMP */}}},
    {CALL(write), SECCOMP_NEEDED, {}},
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAIT_PRIVATE}}},
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAKE_PRIVATE}}},
    {CALL(futex), SECCOMP_NEEDED, {{2, FUTEX_WAIT_BITSET_PRIVATE}}}, /* monotonic clock */
    {CALL(futex),
     SECCOMP_NEEDED,
     {{2, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME}}}, /* pthread_join; sem_timedwait */
    {CALL(clock_nanosleep), SECCOMP_MAY_FAIL, {}},
    {CALL(clock_gettime), SECCOMP_MAY_FAIL, {}}, /* where the vDSO cannot */
    {CALL(getpid), SECCOMP_MAY_FAIL, {}},
    {CALL(openat),
     SECCOMP_MAY_FAIL,
     {{1, (uint64_t)AT_FDCWD}, {3, O_RDONLY | O_CLOEXEC | O_NONBLOCK}}},
    {CALL(pread64), SECCOMP_MAY_FAIL, {}},
    {CALL(lseek), SECCOMP_MAY_FAIL, {}},
    {CALL(ioctl), SECCOMP_MAY_FAIL, {}}, /* is that file a terminal? */
    {CALL(fcntl), SECCOMP_MAY_FAIL, {}},
    {CALL(getdents64), SECCOMP_MAY_FAIL, {}}, /* an import */
    {CALL(stat), SECCOMP_MAY_FAIL, {}},       /* as fstat */
    {CALL(lstat), SECCOMP_MAY_FAIL, {}},
    {CALL(access), SECCOMP_MAY_FAIL, {}},
    {CALL(readlink), SECCOMP_MAY_FAIL, {}},
    {NULL, 0, 0, {}},
};

/* ---- Reading the filters of a thread ---- */

static uint32_t action_of(uint32_t answer)
{
    return answer & SECCOMP_RET_ACTION_FULL;
}

static bool is_error(uint32_t answer)
{
    /* Nobody traces it for such events (we do not): then the kernel answers ENOSYS. */
    return action_of(answer) == SECCOMP_RET_ERRNO || action_of(answer) == SECCOMP_RET_TRACE;
}

static int errno_of(uint32_t answer)
{
    return action_of(answer) == SECCOMP_RET_TRACE ? ENOSYS : (int)(answer & SECCOMP_RET_DATA);
}

static bool is_allowed(uint32_t answer)
{
    return action_of(answer) == SECCOMP_RET_ALLOW || action_of(answer) == SECCOMP_RET_LOG;
}

static bool will_do(const struct seccomp_call *call, uint32_t answer)
{
    if (is_allowed(answer))
        return true;
    if (!is_error(answer) || call->need == SECCOMP_NEEDED)
        return false;
    return call->need == SECCOMP_MAY_FAIL || errno_of(answer) == ENOSYS;
}

static struct error *refuse(const struct target *target, const struct seccomp_call *call,
                            uint32_t answer)
{
    char does[128];

    if (is_error(answer))
        snprintf(does, sizeof does, "answers %s with \"%s\"", call->name,
                 strerror(errno_of(answer)));
    else if (action_of(answer) == SECCOMP_RET_USER_NOTIF)
        snprintf(does, sizeof does, "hands %s to another process", call->name);
    else
        snprintf(does, sizeof does, "%s it at %s",
                 action_of(answer) == SECCOMP_RET_TRAP ? "signals" : "kills", call->name);
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "seccomp",
                                "process %d (%s) is under a seccomp filter that %s, which pyhot "
                                "would call there",
                                (int)target->pid, target->command, does),
                      "allow %s where the filter is made (systemd: SystemCallFilter=, containers: "
                      "--security-opt seccomp=) and start the process again",
                      call->name);
}

static struct error *check_filter(const struct target *target, const struct sock_filter *filter,
                                  size_t n)
{
    for (const struct seccomp_call *call = seccomp_calls; call->name; call++) {
        uint32_t answer = seccomp_evaluate(filter, n, call);
        if (!will_do(call, answer))
            return refuse(target, call, answer);
    }
    return NULL;
}

/* All filters of a thread that we have stopped.  *readable is false if the kernel does not show
 * them.  They are judged one by one: the kernel takes the strictest answer, and an error of one
 * cannot soften the kill of another. */
static struct error *check_filters(const struct target *target, pid_t tid, bool *readable)
{
    *readable = true;
    for (unsigned long i = 0;; i++) {
        struct sock_filter filter[BPF_MAXINSNS];
        long n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, NULL);
        if (n > 0 && n <= BPF_MAXINSNS)
            n = ptrace(PTRACE_SECCOMP_GET_FILTER, tid, i, filter);
        if (n < 0 && errno == ENOENT && i > 0)
            return NULL;
        if (n <= 0 || n > BPF_MAXINSNS) {
            *readable = false;
            return NULL;
        }
        struct error *error = check_filter(target, filter, (size_t)n);
        if (error)
            return error;
    }
}

/* ---- Where they may not be read ---- */

/* Containers: each process that is started in one gets the same filter.  If it kills at a call of
 * ours, it kills a child of ours too. */

static void *do_nothing(void *argument)
{
    return argument;
}

/* Only whether it lives is of interest: with ~0 for what is not known all of these fail, or do
 * nothing.  Those that would not come back are left to the C library. */
static void make_all_calls(void)
{
    pthread_t thread;

    for (const struct seccomp_call *call = seccomp_calls; call->name; call++) {
        uint64_t a[6] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
        if (call->number == SYS_rt_sigreturn || call->number == SYS_exit ||
            call->number == SYS_clone)
            continue;
        for (int i = 0; i < 2; i++)
            if (call->arguments[i].index)
                a[call->arguments[i].index - 1] = call->arguments[i].value;
        syscall(call->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
    if (!pthread_create(&thread, NULL, do_nothing, NULL))
        pthread_join(thread, NULL);
}

/* True if a process that makes the calls lives. */
static bool child_lives(void)
{
    enum { LONGEST_S = 2 };
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        sigset_t none;
        sigemptyset(&none);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGALRM, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        alarm(LONGEST_S); /* who gets a call handed to it may never answer */
        make_all_calls();
        _exit(0);
    }
    while (child > 0 && waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return child > 0 && WIFEXITED(status);
}

static ino_t mount_namespace(pid_t tid)
{
    char path[64];
    struct stat stat_;

    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int)tid);
    return stat(path, &stat_) ? 0 : stat_.st_ino;
}

static bool is_like_ours(const struct seccomp *ours, const struct proc_status *status, pid_t tid)
{
    return ours->filters > 0 && ours->filters == status->seccomp_filters &&
           mount_namespace(tid) == mount_namespace(getpid());
}

/* ---- */

void seccomp_open(struct seccomp *ours, const struct target *target)
{
    struct proc_status us, them;

    *ours = (struct seccomp){.filters = 0};
    if (proc_status(0, &us) || proc_status(target->pid, &them) ||
        us.seccomp != SECCOMP_MODE_FILTER || them.seccomp != SECCOMP_MODE_FILTER)
        return;
    ours->filters = us.seccomp_filters;
    if (is_like_ours(ours, &them, target->pid))
        ours->harmless = child_lives();
}

static struct error *not_readable(const struct seccomp *ours, const struct target *target,
                                  const struct proc_status *status, pid_t tid)
{
    if (is_like_ours(ours, status, tid) && ours->harmless)
        return NULL;
    struct error *error = error_new(
        EXIT_CANNOT_ATTACH, "seccomp",
        is_like_ours(ours, status, tid)
            ? "process %d (%s) is under a seccomp filter like that of pyhot, and that kills at a "
              "call which pyhot would make there"
            : "process %d (%s) is under a seccomp filter that pyhot may not read; it might kill "
              "the process at a call which pyhot would make there",
        (int)target->pid, target->command);
    if (target->debugger)
        return error_hint(error, "detach the debugger and run pyhot attach as root");
    return error_hint(error, "run pyhot as root outside of all containers, or in the container "
                             "of that process");
}

bool seccomp_is_on(pid_t tid)
{
    struct proc_status status;
    return !proc_status(tid, &status) && status.seccomp != SECCOMP_MODE_DISABLED;
}

struct error *seccomp_check(const struct seccomp *ours, const struct target *target, pid_t tid)
{
    struct proc_status status;
    bool readable;

    if (proc_status(tid, &status) || status.seccomp == SECCOMP_MODE_DISABLED)
        return NULL; /* ended: whoever uses it next will learn that */
    if (status.seccomp == SECCOMP_MODE_STRICT)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "seccomp",
                                    "process %d (%s) is in seccomp's strict mode, which kills it "
                                    "at any call but read and write",
                                    (int)target->pid, target->command),
                          "start it again without: prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)");
    struct error *error = check_filters(target, tid, &readable);
    return error || readable ? error : not_readable(ours, target, &status, tid);
}
