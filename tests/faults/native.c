/* The part of the victims that is C: calls that block and take any error as a fault, registers
 * that must not change, signals that are counted.  Loaded with ctypes.CDLL, so that every function
 * here runs without the GIL.  They return 0, or an errno, or a negative number of their own. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { WRONG_RESULT = -1, TOO_EARLY = -2, REGISTER_CHANGED = -3, ERRNO_CHANGED = -4 };

/* ---- Waits that end by time.  *late_us: how much later than asked it ended, but for the time
 * for which the thread could have run and other work had the processors. */

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct timespec milliseconds(int ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
}

static int64_t waited_for_processor_ns(void)
{
    long long runs, waits = 0;
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    if (file && fscanf(file, "%lld %lld", &runs, &waits) != 2)
        waits = 0;
    if (file)
        fclose(file);
    return waits;
}

struct start {
    int64_t waited_ns, at_ns;
};

static struct start started(void)
{
    int64_t waited = waited_for_processor_ns();
    return (struct start){waited, now_ns()};
}

static int ended(int result, int expected, struct start start, int ms, int64_t *late_us)
{
    int error = errno;
    int64_t over_us = (now_ns() - start.at_ns) / 1000 - ms * 1000LL;
    *late_us = over_us - (waited_for_processor_ns() - start.waited_ns) / 1000;
    if (result != expected)
        return result < 0 ? error : WRONG_RESULT;
    /* Timers of poll and epoll_wait count in jiffies of a clock that may lag a little. */
    return over_us < -2000 ? TOO_EARLY : 0;
}

int wait_nanosleep(int ms, int64_t *late_us)
{
    struct timespec length = milliseconds(ms);
    struct start start = started();
    return ended(nanosleep(&length, NULL), 0, start, ms, late_us);
}

int wait_clock_nanosleep(int ms, int64_t *late_us)
{
    struct timespec end;
    struct start start = started();
    int64_t end_ns = start.at_ns + ms * 1000000LL;
    end.tv_sec = end_ns / 1000000000;
    end.tv_nsec = end_ns % 1000000000;
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
    return ended(errno ? -1 : 0, 0, start, ms, late_us);
}

int wait_select(int ms, int64_t *late_us)
{
    struct timeval length = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    struct start start = started();
    return ended(select(0, NULL, NULL, NULL, &length), 0, start, ms, late_us);
}

int wait_poll(int ms, int64_t *late_us)
{
    struct start start = started();
    return ended(poll(NULL, 0, ms), 0, start, ms, late_us);
}

int wait_epoll(int ms, int64_t *late_us)
{
    static int epoll = -1;
    struct epoll_event event;
    if (epoll < 0)
        epoll = epoll_create1(EPOLL_CLOEXEC);
    struct start start = started();
    return ended(epoll_wait(epoll, &event, 1, ms), 0, start, ms, late_us);
}

int wait_sigtimedwait(int ms, int64_t *late_us)
{
    struct timespec length = milliseconds(ms);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    struct start start = started();
    int result = sigtimedwait(&set, NULL, &length);
    if (result < 0 && errno == EAGAIN)
        result = 0;
    return ended(result, 0, start, ms, late_us);
}

int wait_semaphore(int ms, int64_t *late_us)
{
    sem_t semaphore;
    struct timespec end;
    sem_init(&semaphore, 0, 0);
    struct start start = started();
    clock_gettime(CLOCK_REALTIME, &end);
    int64_t end_ns = end.tv_sec * 1000000000LL + end.tv_nsec + ms * 1000000LL;
    end.tv_sec = end_ns / 1000000000;
    end.tv_nsec = end_ns % 1000000000;
    int result = sem_timedwait(&semaphore, &end);
    if (result < 0 && errno == ETIMEDOUT)
        result = 0;
    return ended(result, 0, start, ms, late_us);
}

/* ---- Waits that another thread ends. */

static sem_t gate;

int gate_init(void)
{
    return sem_init(&gate, 0, 0) ? errno : 0;
}

int gate_open(void)
{
    return sem_post(&gate) ? errno : 0;
}

int wait_gate(void)
{
    return sem_wait(&gate) ? errno : 0;
}

int wait_accept(int listener)
{
    int connection = accept(listener, NULL, NULL);
    if (connection < 0)
        return errno;
    close(connection);
    return 0;
}

/* A pipe, a socket, a terminal. */
int wait_read(int descriptor)
{
    char byte;
    ssize_t n = read(descriptor, &byte, 1);
    return n < 0 ? errno : n == 1 && byte == 'x' ? 0 : WRONG_RESULT;
}

int wait_child(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        return errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? 0 : WRONG_RESULT;
}

int wait_signal(void)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    errno = sigwait(&set, &number);
    return errno ? errno : number == SIGUSR2 ? 0 : WRONG_RESULT;
}

static atomic_int usr1_seen;

static void on_usr1(int number)
{
    (void)number;
    atomic_fetch_add(&usr1_seen, 1);
}

/* pause() ends by a handler only: EINTR without one having run is a fault. */
int wait_pause(void)
{
    struct sigaction action = {.sa_handler = on_usr1};
    sigaction(SIGUSR1, &action, NULL);
    int before = atomic_load(&usr1_seen);
    pause();
    return atomic_load(&usr1_seen) == before + 1 ? 0 : WRONG_RESULT;
}

/* ---- Signals that are counted: none lost, none twice.  They carry 0, 1, 2, ... */

enum { FLOOD_MOST = 1 << 20 };

static atomic_llong flood_count, flood_twice;
static atomic_uchar flood_got[FLOOD_MOST];

static void on_flood(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    atomic_fetch_add(&flood_count, 1);
    if (atomic_exchange(&flood_got[info->si_value.sival_int % FLOOD_MOST], 1))
        atomic_fetch_add(&flood_twice, 1);
}

int flood_begin(void)
{
    struct sigaction action = {.sa_sigaction = on_flood, .sa_flags = SA_SIGINFO | SA_RESTART};
    return sigaction(SIGRTMIN + 3, &action, NULL) ? errno : 0;
}

int flood_signal(void)
{
    return SIGRTMIN + 3;
}

long long flood_seen(void)
{
    return atomic_load(&flood_count);
}

long long flood_seen_twice(void)
{
    return atomic_load(&flood_twice);
}

/* ---- Own handlers for SIGSEGV and SIGTRAP, on an alternate stack. */

static sigjmp_buf after_fault;
static char own_stack[65536];
static volatile int on_own_stack;
static int *volatile nowhere; /* NULL */

static void on_fault(int number)
{
    char here;
    on_own_stack = &here >= own_stack && &here < own_stack + sizeof own_stack;
    siglongjmp(after_fault, number);
}

static int one_fault(int expected)
{
    on_own_stack = 0;
    int number = sigsetjmp(after_fault, 1);
    if (number == 0) {
        if (expected == SIGSEGV)
            *nowhere = 1;
        else
            __asm__ volatile("int3");
    }
    return number == expected && on_own_stack ? 0 : WRONG_RESULT;
}

/* `rounds` times a real fault and a real breakpoint, caught by handlers of our own.  For one
 * thread only. */
int fault_and_recover(int rounds)
{
    stack_t stack = {.ss_sp = own_stack, .ss_size = sizeof own_stack}, old_stack, found;
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK}, old_segv, old_trap;
    int result = 0;
    sigaltstack(&stack, &old_stack);
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGTRAP, &action, &old_trap);
    for (int i = 0; i < rounds && result == 0; i++) {
        struct timespec length = {.tv_nsec = 200000};
        result = one_fault(SIGSEGV);
        if (result == 0)
            result = one_fault(SIGTRAP);
        if (result == 0 && nanosleep(&length, NULL))
            result = errno;
    }
    sigaltstack(NULL, &found);
    if (result == 0 && (found.ss_sp != stack.ss_sp || found.ss_size != stack.ss_size))
        result = WRONG_RESULT;
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGTRAP, &old_trap, NULL);
    sigaltstack(&old_stack, NULL);
    return result;
}

/* ---- Registers that live across a system call. */

#define REGISTERS 16
#define WIDTH 32

__attribute__((target("avx"))) static int sleep_with_full_registers(const unsigned char *in,
                                                                      unsigned char *out)
{
    struct timespec length = {.tv_nsec = 300000};
    register struct timespec *request __asm__("rdi") = &length;
    register void *remaining __asm__("rsi") = NULL;
    long result = SYS_nanosleep;
    __asm__ volatile(
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "vmovdqu 32*\\n(%[in]), %%ymm\\n\n\t"
        ".endr\n\t"
        "syscall\n\t"
        ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
        "vmovdqu %%ymm\\n, 32*\\n(%[out])\n\t"
        ".endr\n\t"
        "vzeroupper"
        : "+a"(result)
        : [in] "r"(in), [out] "r"(out), "r"(request), "r"(remaining)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
    return (int)-result;
}

int has_wide_registers(void)
{
    return __builtin_cpu_supports("avx") != 0;
}

/* The thread is to be found in the sleep, with a pattern in every vector register and in errno. */
int registers_survive(int rounds)
{
    unsigned char in[REGISTERS * WIDTH], out[REGISTERS * WIDTH];
    for (int i = 0; i < rounds; i++) {
        for (size_t j = 0; j < sizeof in; j++)
            in[j] = (unsigned char)(i * 7 + j * 13 + 1);
        memset(out, 0, sizeof out);
        errno = 1000 + i % 100;
        int result = sleep_with_full_registers(in, out);
        if (result)
            return result;
        if (errno != 1000 + i % 100)
            return ERRNO_CHANGED;
        if (memcmp(in, out, sizeof in))
            return REGISTER_CHANGED;
    }
    return 0;
}

/* ---- malloc and free without pause; the contents are checked. */

int allocation_storm(int rounds, unsigned seed)
{
    enum { SLOTS = 64 };
    unsigned char *block[SLOTS] = {NULL};
    size_t size[SLOTS] = {0};
    int result = 0;
    for (int i = 0; i < rounds && result == 0; i++) {
        int slot = rand_r(&seed) % SLOTS;
        unsigned char mark = (unsigned char)(slot + 1);
        if (block[slot] && (block[slot][0] != mark || block[slot][size[slot] - 1] != mark))
            result = WRONG_RESULT;
        free(block[slot]);
        size[slot] = 1 + rand_r(&seed) % (i % 100 ? 4000 : 300000);
        block[slot] = malloc(size[slot]);
        memset(block[slot], mark, size[slot]);
    }
    for (int slot = 0; slot < SLOTS; slot++)
        free(block[slot]);
    return result;
}

static void *say(void *argument)
{
    return argument;
}

int create_and_join(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        pthread_t thread;
        void *said;
        int error = pthread_create(&thread, NULL, say, (void *)(intptr_t)i);
        if (error)
            return error;
        error = pthread_join(thread, &said);
        if (error)
            return error;
        if (said != (void *)(intptr_t)i)
            return WRONG_RESULT;
    }
    return 0;
}
