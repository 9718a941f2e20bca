/* Our thread in the target, from its first instruction until it unmaps itself (stub.h).
 *
 * Linked alone and without a C library (Makefile), position independent, no data: whatever it
 * needs is in its arguments.  It calls the target's own functions by address. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

#include "stub.h"
#include "syscall.h"

_Static_assert(offsetof(struct stub_params, pthread_create) == STUB_PTHREAD_CREATE - STUB_PARAMS &&
                   offsetof(struct stub_params, munmap) == STUB_MUNMAP - STUB_PARAMS &&
                   offsetof(struct stub_params, syscall_return) ==
                       STUB_SYSCALL_RETURN - STUB_PARAMS &&
                   offsetof(struct stub_params, save_thread) == STUB_SAVE_THREAD - STUB_PARAMS &&
                   offsetof(struct stub_params, restore_thread) ==
                       STUB_RESTORE_THREAD - STUB_PARAMS &&
                   offsetof(struct stub_private, thread) == STUB_THREAD - STUB_PAGE &&
                   offsetof(struct stub_private, left) == STUB_LEFT - STUB_PAGE &&
                   offsetof(struct stub_private, done) == STUB_DONE - STUB_PAGE,
               "stub.h has these for MACHINE.S");
_Static_assert(STUB_PARAMS + sizeof(struct stub_params) <= STUB_PAGE, "one page");

typedef void *(*dlopen_function)(const char *, int);
typedef void *(*dlsym_function)(void *, const char *);
typedef char *(*dlerror_function)(void);
typedef unsigned long (*pthread_self_function)(void);
typedef int (*pthread_detach_function)(unsigned long);
typedef void (*agent_function)(struct pyhot_request *);

enum { LAZY = 1, NOW = 2, NOLOAD = 4, GLOBAL = 0x100 }; /* dlfcn.h: RTLD_* of glibc */

static uint64_t word(const volatile void *pointer)
{
    return (uint64_t)(uintptr_t)pointer;
}

static void close_fd(int32_t *fd)
{
    if (*fd >= 0)
        stub_syscall(SYS_close, (uint64_t)*fd, 0, 0, 0, 0, 0);
    *fd = -1;
}

/* Returns when *futex may differ from `value`, or after `timeout_ms`. */
static long wait_on(_Atomic uint32_t *futex, int private, uint32_t value, uint32_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, (long)(timeout_ms % 1000) * 1000000};
    return stub_syscall(SYS_futex, word(futex), (uint64_t)(FUTEX_WAIT | private), value,
                        word(&timeout), 0, 0);
}

static void wake(_Atomic uint32_t *futex)
{
    stub_syscall(SYS_futex, word(futex), FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

enum { STANDARD = 3 };

/* A daemon may have closed these and write to them still.  While ours are made the free ones are
 * taken by a file that cannot be written to, as the closed one could not. */
static void hold_standard(const struct stub_params *params, int32_t held[STANDARD])
{
    for (uint64_t fd = 0; fd < STANDARD; fd++) {
        held[fd] = -1;
        if (stub_syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0) != -EBADF)
            continue;
        held[fd] = (int32_t)stub_syscall(SYS_openat, (uint64_t)AT_FDCWD, word(params->status),
                                         O_RDONLY | O_CLOEXEC, 0, 0, 0);
    }
}

/* The shared memory; sets own->shared_fd.  Or a negative errno. */
static long make_shared(const struct stub_params *params, struct stub_private *own)
{
    long fd =
        stub_syscall(SYS_memfd_create, word(params->shared_name), params->memfd_flags, 0, 0, 0, 0);
    own->shared_fd = fd < 0 ? -1 : (int32_t)fd;
    if (fd < 0)
        return fd;
    long status = stub_syscall(SYS_ftruncate, (uint64_t)fd, params->shared_size, 0, 0, 0, 0);
    if (status < 0)
        return status;
    return stub_syscall(SYS_mmap, 0, params->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                        (uint64_t)fd, 0);
}

static long make_descriptors(const struct stub_params *params, struct stub_private *own)
{
    if (!params->loaded_agent) {
        long fd = stub_syscall(SYS_memfd_create, word(params->agent_name), params->memfd_flags, 0,
                               0, 0, 0);
        if (fd < 0)
            return fd;
        own->agent_fd = (int32_t)fd;
    }
    long status = stub_syscall(SYS_pipe2, word(own->channel), O_CLOEXEC | O_NONBLOCK, 0, 0, 0, 0);
    if (status < 0)
        own->channel[0] = own->channel[1] = -1;
    return status;
}

/* A dead pyhot has closed its end of the pipe; before it had taken that, its number is free, if
 * nobody else has been given it.  What is not known to be dead is waited for. */
static int is_pyhot_dead(const struct stub_params *params, const struct stub_private *own)
{
    struct pollfd end = {.fd = own->channel[1], .events = 0};

    if (own->channel[0] < 0)
        return stub_syscall(SYS_poll, word(&end), 1, 0, 0, 0, 0) == 1 && end.revents & POLLERR;
    return params->pyhot &&
           stub_syscall(SYS_kill, (uint64_t)params->pyhot, 0, 0, 0, 0, 0) == -ESRCH;
}

/* True when pyhot has filled the shared memory and the agent's file; false when it is dead, or so
 * slow that it must count as dead.  It learns of that: one of the two is first. */
static int wait_for_go(const struct stub_params *params, struct stub_private *own,
                       struct stub_shared *shared)
{
    enum { LOOK_MS = 20 };
    uint32_t go, waited_ms = 0;

    while ((go = atomic_load(&shared->go)) == STUB_WAIT || go == STUB_TAKEN) {
        if (wait_on(&shared->go, 0, go, LOOK_MS) != -ETIMEDOUT)
            continue;
        waited_ms += LOOK_MS;
        if (go == STUB_TAKEN)
            close_fd(&own->channel[0]);
        if (waited_ms >= params->patience_ms || is_pyhot_dead(params, own))
            atomic_compare_exchange_strong(&shared->go, &go, STUB_GAVE_UP);
    }
    return go == STUB_GO;
}

static void *load_agent(const struct stub_params *params, struct stub_shared *shared)
{
    dlopen_function dlopen = (dlopen_function)params->dlopen;
    dlsym_function dlsym = (dlsym_function)params->dlsym;

    /* A libpython that was itself loaded by dlopen (an embedding program) may be in no scope that
     * the agent is searched in. */
    if (shared->library[0])
        dlopen(shared->library, LAZY | NOLOAD | GLOBAL);
    void *agent = dlopen(shared->agent_path, NOW);
    void *entry = agent ? dlsym(agent, shared->entry) : (void *)0;
    if (!entry) {
        const char *message = ((dlerror_function)params->dlerror)();
        for (size_t i = 0; message && message[i] && i + 1 < sizeof shared->error; i++)
            ((volatile char *)shared->error)[i] = message[i]; /* else it becomes strcpy */
    }
    return entry;
}

static void run_agent(const struct stub_params *params, struct stub_private *own,
                      struct stub_shared *shared)
{
    void *entry = (void *)params->loaded_agent;
    int cancelled = atomic_load(&shared->request.state) == PYHOT_CANCELLED;

    if (!entry && !cancelled)
        entry = load_agent(params, shared);
    close_fd(&own->agent_fd);
    atomic_store(&shared->outcome, entry ? STUB_ENTERED : STUB_NOT_LOADED);
    wake(&shared->outcome);
    if (!entry)
        return;
    own->channel[1] = -1; /* the agent's from here on */
    ((agent_function)entry)(&shared->request);
}

static int begins_with(const char *text, const char *prefix)
{
    while (*prefix && *text == *prefix)
        text++, prefix++;
    return !*prefix;
}

/* Is a debugger there that waits for us at STUB_END? */
static int is_awaited(const struct stub_params *params)
{
    char text[1024];

    if (params->debugger != STUB_LOOK_FOR_DEBUGGER)
        return params->debugger == STUB_DEBUGGER;
    long fd = stub_syscall(SYS_open, word(params->status), O_RDONLY | O_CLOEXEC, 0, 0, 0, 0);
    if (fd < 0)
        return 1;
    long n = stub_syscall(SYS_read, (uint64_t)fd, word(text), sizeof text - 1, 0, 0, 0);
    stub_syscall(SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
    text[n < 0 ? 0 : n] = 0;
    for (const char *at = text; *at; at++)
        if (*at == '\n' && begins_with(at + 1, params->untraced))
            return 0;
    return 1;
}

int stub_thread(const struct stub_params *params, struct stub_private *own);
void stub_wait_until_left(struct stub_private *own);

/* True when it is to go by STUB_END. */
int stub_thread(const struct stub_params *params, struct stub_private *own)
{
    enum { SET_MASK = 2, MASK_SIZE = 8, REPORT_MS = 500 };
    int32_t held[STANDARD];

    stub_syscall(SYS_rt_sigprocmask, SET_MASK, word(&params->signal_mask), 0, MASK_SIZE, 0, 0);
    ((pthread_detach_function)params->pthread_detach)(
        ((pthread_self_function)params->pthread_self)());

    own->tid = (int32_t)stub_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
    own->stack = word(held);
    own->agent_fd = own->channel[0] = own->channel[1] = -1;
    hold_standard(params, held);
    long at = make_shared(params, own);
    int mapped = !(at < 0 && at > -STUB_PAGE);
    long status = mapped ? make_descriptors(params, own) : at;
    for (int i = 0; i < STANDARD; i++)
        close_fd(&held[i]);
    if (status < 0) {
        own->errnum = (int32_t)-status;
        atomic_store(&own->stage, STUB_FAILED);
        /* pyhot reads the reason from this memory; give it the time to. */
        wait_on(&own->stage, FUTEX_PRIVATE_FLAG, STUB_FAILED, REPORT_MS);
    } else {
        struct stub_shared *shared = (struct stub_shared *)at;
        atomic_store(&own->stage, STUB_READY);
        int go = wait_for_go(params, own, shared);
        close_fd(&own->shared_fd);
        close_fd(&own->channel[0]);
        if (go)
            run_agent(params, own, shared);
    }
    close_fd(&own->shared_fd);
    close_fd(&own->agent_fd);
    close_fd(&own->channel[0]);
    close_fd(&own->channel[1]);
    if (mapped)
        stub_syscall(SYS_munmap, (uint64_t)at, params->shared_size, 0, 0, 0, 0);
    atomic_store(&own->done, 1);
    stub_syscall(SYS_futex, word(&own->done), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0, 0, 0);
    return is_awaited(params);
}

/* Until the thread that started ours has left the region. */
void stub_wait_until_left(struct stub_private *own)
{
    while (!atomic_load(&own->left))
        wait_on(&own->left, FUTEX_PRIVATE_FLAG, 0, 1000);
}
