/* The state of a tracee is moved by wait_for_event and by the requests that resume it, and by
 * nothing else.  Every wait has a deadline: SIGCHLD is blocked and taken by sigtimedwait. */
#include "tracee.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arch/arch.h"
#include "cleanup.h"
#include "eintr.h"
#include "fault.h"

enum { SYSCALL_TRAP = SIGTRAP | 0x80 }; /* PTRACE_O_TRACESYSGOOD */

/* What PTRACE_SEIZE is given also when the deadline is as near as that, or past. */
#define MIN_SEIZE_NS 20000000

/* A SIGCHLD can be lost to a queue that holds one of each; never sleep longer than this. */
#define MAX_SLEEP_NS 5000000
#define SPIN_NS      50000

uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void set_running(struct tracee *tracee, enum tracee_state state)
{
    tracee->state = state;
    if (tracee->stopped_at)
        tracee->stop_ns += monotonic_ns() - tracee->stopped_at;
    tracee->stopped_at = 0;
}

struct error *tracee_error(const struct tracee *tracee, int errnum, const char *what)
{
    if (tracee->state == TRACEE_GONE || errnum == ESRCH)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "target-ended",
                                    "process %d ended while pyhot was attaching to it",
                                    (int)tracee->pid),
                          "start it again, or look for its new pid with `pyhot ps`");
    return error_errno(EXIT_CANNOT_ATTACH, "ptrace", errnum, "cannot %s thread %d of process %d",
                       what, (int)tracee->tid, (int)tracee->pid);
}

/* 0: it has none.  *state is a letter of proc(5), 'X' for one that is gone. */
static pid_t tracer_of(pid_t tid, char *state)
{
    char path[64], line[128];
    snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    int tracer = 0;
    *state = 'X';
    while (file && fgets(line, sizeof line, file) && sscanf(line, "TracerPid: %d", &tracer) != 1)
        (void)sscanf(line, "State: %c", state);
    return tracer;
}

/* Why may a thread not be traced that was allowed to be?  False: for neither reason. */
static bool explain_eperm(pid_t tid, enum tracee_attach_result *result)
{
    char state;
    pid_t tracer = tracer_of(tid, &state);
    bool ended = state == 'X' || state == 'Z';
    *result = ended ? TRACEE_THREAD_ENDED : TRACEE_BUSY;
    return ended || tracer;
}

static sigjmp_buf seize_expired;

/* Not for one that somebody has sent: it may come before the jump is set, as one does that was
 * waiting when we were started. */
static void expire_seize(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    if (info->si_code == SI_TIMER)
        siglongjmp(seize_expired, 1);
}

/* PTRACE_SEIZE waits for an execve of the target to get past the end of its threads
 * (cred_guard_mutex, kernel/ptrace.c), which another tracer can hold up for good.  A signal has the
 * kernel begin it anew, so the handler jumps out of it.  0, or -1 with errno; ETIMEDOUT. */
static int seize(pid_t tid, long options, uint64_t deadline_ns)
{
    struct sigaction expire = {.sa_sigaction = expire_seize, .sa_flags = SA_SIGINFO}, before;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    uint64_t least_ns = monotonic_ns() + MIN_SEIZE_NS;
    uint64_t end_ns = deadline_ns > least_ns ? deadline_ns : least_ns;
    struct itimerspec end = {
        .it_value = {(time_t)(end_ns / 1000000000), (long)(end_ns % 1000000000)}};
    volatile int errnum = ETIMEDOUT;
    sigset_t expiry, mask;
    timer_t timer;
    char state;

    /* Not ITIMER_REAL: that is of who started us, alarm(2) stays over an execve.  A user with a
     * low RLIMIT_SIGPENDING may have no timer left: then without a deadline here. */
    bool timed = !timer_create(CLOCK_MONOTONIC, &event, &timer);
    sigemptyset(&expiry);
    sigaddset(&expiry, SIGRTMIN);
    sigaction(SIGRTMIN, &expire, &before);
    sigprocmask(SIG_UNBLOCK, &expiry, &mask);
    if (!sigsetjmp(seize_expired, 0)) {
        if (timed)
            timer_settime(timer, TIMER_ABSTIME, &end, NULL);
        errnum = ptrace(PTRACE_SEIZE, tid, 0, options) ? errno : 0;
    }
    if (timed)
        timer_delete(timer);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    sigaction(SIGRTMIN, &before, NULL);
    /* The time may have passed when the kernel was done. */
    if (errnum == ETIMEDOUT && tracer_of(tid, &state) == getpid())
        errnum = 0;
    errno = errnum;
    return errnum ? -1 : 0;
}

static struct error *in_execve(const struct tracee *tracee)
{
    return error_hint(error_new(EXIT_DEADLINE, "in-execve",
                                "thread %d of process %d could not be traced in time: an execve of "
                                "the process does not come to its end",
                                (int)tracee->tid, (int)tracee->pid),
                      "nothing was changed; a thread of it that another program traces "
                      "(TracerPid in /proc/%d/task/*/status) may hold it up",
                      (int)tracee->pid);
}

struct error *tracee_seize(struct tracee *tracee, pid_t pid, pid_t tid, uint64_t deadline_ns,
                           enum tracee_attach_result *result)
{
    enum { TRIES = 8 };
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC;
    int errnum = 0;
    bool late = false;

    tracee->pid = pid;
    tracee->tid = tid;
    fault_point("seizing");
    for (int i = 0; i < TRIES; i++) {
        if (!seize(tid, options, deadline_ns)) {
            tracee->state = TRACEE_RUNNING;
            *result = TRACEE_ATTACHED;
            fault_point("seized");
            return NULL;
        }
        errnum = errno;
        if (errnum == ETIMEDOUT &&
            late) /* once may be ourselves: stopped, or without a processor */
            return in_execve(tracee);
        late = errnum == ETIMEDOUT;
        if (late)
            continue;
        if (errnum == ESRCH) {
            *result = TRACEE_THREAD_ENDED;
            return NULL;
        }
        if (errnum != EPERM)
            break;
        if (explain_eperm(tid, result))
            return NULL;
        /* The tracer that forbade it may have let go before its number was read: try again. */
    }
    return tracee_error(tracee, errnum, "trace");
}

/* Threads that did not stop to be let go (state D).  They would stop when they wake, and stay so
 * for as long as we live, which `pyhot watch` does. */
static volatile pid_t unreleased[8];

static void release_late(int signal)
{
    int status, errnum = errno;

    (void)signal;
    for (size_t i = 0; i < sizeof unreleased / sizeof *unreleased; i++) {
        if (!unreleased[i] || !waitpid(unreleased[i], &status, __WALL | WNOHANG))
            continue;
        int stop = status >> 16 || WSTOPSIG(status) == SYSCALL_TRAP ? 0 : WSTOPSIG(status);
        ptrace(PTRACE_DETACH, unreleased[i], 0, (long)stop);
        unreleased[i] = 0;
    }
    errno = errnum;
}

static void release_when_it_stops(pid_t tid)
{
    struct sigaction action = {.sa_handler = release_late, .sa_flags = SA_RESTART};

    for (size_t i = 0; i < sizeof unreleased / sizeof *unreleased; i++) {
        if (unreleased[i])
            continue;
        unreleased[i] = tid;
        break;
    }
    sigaction(SIGCHLD, &action, NULL);
}

/* Sleeps until something may have happened to a tracee, or until `deadline_ns`.  Not in
 * the first SPIN_NS: a system call of the tracee is over sooner than a sleep. */
static void sleep_until_event(uint64_t begin_ns, uint64_t deadline_ns)
{
    uint64_t now = monotonic_ns();
    if (now - begin_ns < SPIN_NS)
        return;
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec timeout = {0, left < MAX_SLEEP_NS ? (long)left : MAX_SLEEP_NS};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigtimedwait(&set, NULL, &timeout);
    release_late(SIGCHLD); /* that SIGCHLD may have been for one of those */
}

/* One status of waitpid becomes a state.  True if the tracee is now at a stop that callers know;
 * false if it has to be resumed with *signal, which was about to be delivered to it. */
static bool enter_state(struct tracee *tracee, int status, int *signal)
{
    *signal = 0;
    if (!WIFSTOPPED(status)) {
        set_running(tracee, TRACEE_GONE);
        return true;
    }
    int event = status >> 16;
    if (event == PTRACE_EVENT_EXEC) {
        /* What runs now is another program; nothing of ours is in it. */
        ptrace(PTRACE_DETACH, tracee->tid, 0, 0);
        set_running(tracee, TRACEE_GONE);
        return true;
    }
    if (event == PTRACE_EVENT_STOP) {
        tracee->state = WSTOPSIG(status) == SIGTRAP ? TRACEE_INTERRUPTED : TRACEE_GROUP_STOPPED;
        return true;
    }
    if (WSTOPSIG(status) == SYSCALL_TRAP) {
        tracee->state = TRACEE_SYSCALL_STOP;
        return true;
    }
    *signal = WSTOPSIG(status);
    return false;
}

/* A thread that calls execve goes on under the number of the process (ptrace(2), "execve under
 * ptrace"): it is ours still, and would stand at PTRACE_EVENT_EXEC for as long as we live. */
static void detach_after_execve(const struct tracee *tracee)
{
    uint64_t begin_ns = monotonic_ns(), deadline_ns = begin_ns + 1000000000u;
    int status;

    if (tracee->tid == tracee->pid)
        return;
    while (!waitpid(tracee->pid, &status, __WALL | WNOHANG) && monotonic_ns() < deadline_ns)
        sleep_until_event(begin_ns, deadline_ns);
    ptrace(PTRACE_DETACH, tracee->pid, 0, 0);
}

/* Waits for a stop in `wanted` (a set of 1 << state) or the end of the tracee.  At any other it
 * is resumed by `resume`.  0, or -1: the deadline passed and it is running. */
static int wait_for_event(struct tracee *tracee, unsigned wanted, enum __ptrace_request resume,
                          uint64_t deadline_ns)
{
    uint64_t begin_ns = monotonic_ns();
    for (;;) {
        int status, signal;
        pid_t tid = waitpid(tracee->tid, &status, __WALL | WNOHANG);
        if (tid < 0 && errno != EINTR) {
            /* ECHILD: another thread called execve, which ended this one without a report; or this
             * one did. */
            detach_after_execve(tracee);
            set_running(tracee, TRACEE_GONE);
            return 0;
        }
        if (tid == tracee->tid) {
            if (enter_state(tracee, status, &signal) &&
                (tracee->state == TRACEE_GONE || (wanted & 1u << tracee->state)))
                return 0;
            /* An ESRCH here is the tracee being killed: the next waitpid tells. */
            ptrace(resume, tracee->tid, 0, (long)signal);
            tracee->state = TRACEE_RUNNING;
            continue;
        }
        if (monotonic_ns() >= deadline_ns)
            return -1;
        sleep_until_event(begin_ns, deadline_ns);
    }
}

/* Our stop must not be seen as an EINTR.  Where the call had no time limit it is restarted; where
 * it had one, how much of it is left is not known, and EINTR is the truthful answer. */
static void undo_eintr(struct tracee *tracee)
{
    struct arch_registers registers;
    uint64_t arguments[6];
    bool endless;

    if (arch_read_registers(tracee->tid, &registers) || arch_syscall_result(&registers) != -EINTR)
        return;
    for (int i = 0; i < 6; i++)
        arguments[i] = arch_syscall_argument(&registers, i);
    if (!eintr_on_stop(arch_syscall_number(&registers), arguments, &endless) || !endless)
        return;
    arch_restart_syscall(&registers);
    arch_write_registers(tracee->tid, &registers);
}

struct error *tracee_interrupt(struct tracee *tracee, uint64_t deadline_ns)
{
    tracee->stopped_at = monotonic_ns();
    if (ptrace(PTRACE_INTERRUPT, tracee->tid, 0, 0)) {
        set_running(tracee, TRACEE_GONE);
        return NULL;
    }
    fault_point("interrupting");
    unsigned wanted = 1u << TRACEE_INTERRUPTED | 1u << TRACEE_GROUP_STOPPED;
    if (wait_for_event(tracee, wanted, PTRACE_CONT, deadline_ns)) {
        tracee->stopped_at = 0;
        return error_hint(error_new(EXIT_DEADLINE, "not-stopped",
                                    "thread %d of process %d did not stop in time",
                                    (int)tracee->tid, (int)tracee->pid),
                          "nothing was changed; if it is in an uninterruptible wait (state D), "
                          "/proc/%d/task/%d/stack tells for what",
                          (int)tracee->pid, (int)tracee->tid);
    }
    if (tracee->state == TRACEE_INTERRUPTED)
        undo_eintr(tracee);
    fault_point("stopped");
    return NULL;
}

struct error *tracee_run_to_syscall(struct tracee *tracee, uint64_t deadline_ns)
{
    if (ptrace(PTRACE_SYSCALL, tracee->tid, 0, 0) && errno != ESRCH)
        return tracee_error(tracee, errno, "resume");
    tracee->state = TRACEE_RUNNING;
    /* A SIGSTOP meanwhile stops the process; this thread alone goes on for the few system calls
     * left, and joins the stop when it is released. */
    if (wait_for_event(tracee, 1u << TRACEE_SYSCALL_STOP, PTRACE_SYSCALL, deadline_ns))
        return error_new(EXIT_DEADLINE, "deadline",
                         "thread %d of process %d did not come back in time; it is unchanged and "
                         "goes on by itself",
                         (int)tracee->tid, (int)tracee->pid);
    return NULL;
}

void tracee_release(struct tracee *tracee)
{
    if (tracee->state == TRACEE_RUNNING) {
        /* Only a stopped thread can be let go.  If it does not stop in a second, it is when it
         * does. The kernel does it, and forgets the interrupt, when we end before. */
        ptrace(PTRACE_INTERRUPT, tracee->tid, 0, 0);
        unsigned any =
            1u << TRACEE_INTERRUPTED | 1u << TRACEE_GROUP_STOPPED | 1u << TRACEE_SYSCALL_STOP;
        if (wait_for_event(tracee, any, PTRACE_CONT, monotonic_ns() + 1000000000u)) {
            release_when_it_stops(tracee->tid);
            return;
        }
    }
    if (tracee->state == TRACEE_DETACHED || tracee->state == TRACEE_GONE)
        return;
    fault_point("detaching");
    if (ptrace(PTRACE_DETACH, tracee->tid, 0, 0)) {
        /* It was killed: by the end of the process, or by an execve of another thread.  Until its
         * tracer has taken its status that execve waits, and with it every PTRACE_SEIZE of a
         * thread of the process (cred_guard_mutex; ptrace(2), "execve under ptrace"). */
        tracee->state = TRACEE_RUNNING;
        (void)wait_for_event(tracee, 0, PTRACE_CONT, monotonic_ns() + 1000000000u);
        return;
    }
    set_running(tracee, TRACEE_DETACHED);
    fault_point("detached");
}

int tracee_read(const struct tracee *tracee, uint64_t address, void *buffer, size_t size)
{
    struct iovec local = {buffer, size}, remote = {(void *)(uintptr_t)address, size};
    ssize_t n = process_vm_readv(tracee->pid, &local, 1, &remote, 1, 0);
    if (n >= 0 && (size_t)n != size)
        errno = EFAULT;
    return n == (ssize_t)size ? 0 : -1;
}

int tracee_write(const struct tracee *tracee, uint64_t address, const void *buffer, size_t size)
{
    struct iovec local = {(void *)(uintptr_t)buffer, size};
    struct iovec remote = {(void *)(uintptr_t)address, size};
    ssize_t n = process_vm_writev(tracee->pid, &local, 1, &remote, 1, 0);
    if (n >= 0 && (size_t)n != size)
        errno = EFAULT;
    return n == (ssize_t)size ? 0 : -1;
}

/* PTRACE_POKEDATA writes a word at a time, more than a microsecond each. */
static int poke_words(const struct tracee *tracee, uint64_t address, const void *buffer,
                      size_t size)
{
    for (size_t done = 0; done < size; done += sizeof(long)) {
        long word = 0;
        size_t left = size - done;
        memcpy(&word, (const char *)buffer + done, left < sizeof word ? left : sizeof word);
        if (ptrace(PTRACE_POKEDATA, tracee->tid, address + done, word))
            return -1;
    }
    return 0;
}

int tracee_poke(const struct tracee *tracee, uint64_t address, const void *buffer, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", (int)tracee->tid);
    _cleanup_close_ int memory = open(path, O_WRONLY | O_CLOEXEC);
    if (memory >= 0 && pwrite(memory, buffer, size, (off_t)address) == (ssize_t)size)
        return 0;
    /* Linux 6.12 can forbid that file to write where the process itself may not
     * (proc_mem.force_override); ptrace still does. */
    return poke_words(tracee, address, buffer, size);
}

/* process_vm_readv does not: mm/gup.c since Linux 6.5; __access_remote_vm in mm/memory.c does. */
void tracee_grow_stack(const struct tracee *tracee, uint64_t address)
{
    char path[64], byte;
    snprintf(path, sizeof path, "/proc/%d/mem", (int)tracee->tid);
    _cleanup_close_ int memory = open(path, O_RDONLY | O_CLOEXEC);
    if (memory >= 0 && pread(memory, &byte, 1, (off_t)address) < 0)
        return; /* it is as large as it may be */
}
