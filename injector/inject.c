/* The sequence (inject.h).  In the borrowed thread only three things happen: two pages are mapped,
 * made usable, and a thread is started; all else is that thread's doing (stub/).
 *
 * What a pyhot that is killed leaves behind: nothing.  Until the thread is started the borrowed
 * one unmaps the pages on its way back; from then on our thread waits for us until it sees that we
 * are dead, at most STUB_PATIENCE_MS, then closes and unmaps everything and ends. */
#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "borrow.h"
#include "channel.h"
#include "cleanup.h"
#include "debugger.h"
#include "fault.h"
#include "gil_loan.h"
#include "loaded_agent.h"
#include "noted_signal.h"
#include "safepoint.h"
#include "stub/stub.h"

#ifndef MFD_NOEXEC_SEAL /* Linux 6.3 */
#define MFD_NOEXEC_SEAL 8u
#endif

enum { PAGE = 4096, POLL_NS = 100000 };

#ifdef PYHOT_FAULTS /* beyond every test: there our death has to be noticed */
enum { STUB_PATIENCE_MS = 600000 };
#else
enum { STUB_PATIENCE_MS = 3000 };
#endif

static struct error *ended(const struct target *target)
{
    struct error *error = target_check(target);
    return error ? error
                 : error_new(EXIT_CANNOT_ATTACH, "no-agent",
                             "the thread that pyhot started in process %d ended before the agent "
                             "could run",
                             (int)target->pid);
}

static struct error *late(const struct target *target, const char *what)
{
    if (channel_interrupted)
        return error_new(EXIT_DEADLINE, "interrupted", "interrupted; process %d is unchanged",
                         (int)target->pid);
    return error_hint(
        error_new(EXIT_DEADLINE, "deadline", "process %d: %s", (int)target->pid, what),
        "nothing was changed; try again with a longer --timeout");
}

static bool is_over(uint64_t deadline_ns)
{
    return channel_interrupted || monotonic_ns() >= deadline_ns;
}

static int read_target(const struct target *target, uint64_t address, void *buffer, size_t size)
{
    struct tracee reader = {.pid = target->pid};
    return tracee_read(&reader, address, buffer, size);
}

/* ---- The stub ---- */

unsigned inject_memfd_flags(void)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    _cleanup_close_ int probe = memfd_create("pyhot", flags | MFD_NOEXEC_SEAL);
    return probe >= 0 ? flags | MFD_NOEXEC_SEAL : flags;
}

static pid_t our_pid_there(const struct target *target)
{
    char path[64];
    struct stat ours, theirs;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)target->pid);
    return !stat("/proc/self/ns/pid", &ours) && !stat(path, &theirs) && ours.st_ino == theirs.st_ino
               ? getpid()
               : 0;
}

static size_t shared_size(const struct pyhot_request *request)
{
    size_t size = offsetof(struct stub_shared, request) + request->size;
    return (size + PAGE - 1) / PAGE * PAGE;
}

static struct stub_params stub_params(const struct target *target, const struct python *python,
                                      const struct arch_gadgets *gadgets,
                                      const struct pyhot_request *request)
{
    /* The C library's own two signals stay open: setuid() in another thread waits for them. */
    const uint64_t c_library_signals = 1ull << (32 - 1) | 1ull << (33 - 1);
    /* With it a debugger stops what runs, and where the GIL is lent only our thread does. */
    const uint64_t interrupt = 1ull << (SIGINT - 1);
    bool lent = target->debugger && target->debugger->here;
    struct stub_params params = {
        .pthread_create = python->pthread_create,
        .munmap = python->munmap,
        .syscall_return = gadgets->syscall_return,
        .pthread_self = python->pthread_self,
        .pthread_detach = python->pthread_detach,
        .dlopen = python->dlopen,
        .dlsym = python->dlsym,
        .dlerror = python->dlerror,
        .loaded_agent = python->loaded_agent,
        .signal_mask = ~(c_library_signals | (lent ? interrupt : 0)),
        .memfd_flags = inject_memfd_flags(),
        .shared_size = (uint32_t)shared_size(request),
        .patience_ms = STUB_PATIENCE_MS,
        .pyhot = our_pid_there(target),
        .save_thread = lent ? python->save_thread : 0,
        .restore_thread = python->restore_thread,
        .debugger = target->debugger ? debugger_visible(target->pid) : STUB_NO_DEBUGGER,
        .status = "/proc/thread-self/status",
        .untraced = "TracerPid:\t0\n",
        .shared_name = "pyhot",
        .agent_name = AGENT_MEMFD_NAME,
    };
    return params;
}

/* ---- The borrowed thread ---- */

static struct error *find_gadgets(struct arch_gadgets *gadgets, const struct codemap *map)
{
    *gadgets = (struct arch_gadgets){0, 0};
    for (size_t i = 0; i < map->n_images; i++) {
        const struct code_image *image = &map->images[i];
        size_t size = image->end - image->start;
        _cleanup_free_ char *text = image->kind == CODE_C_LIBRARY ? malloc(size) : NULL;
        if (image->kind == CODE_C_LIBRARY && !text)
            return error_errno(EXIT_CANNOT_ATTACH, "out-of-memory", ENOMEM, "pyhot cannot go on");
        if (text && !read_target(&map->view, image->start, text, size))
            arch_find_gadgets(gadgets, text, size, image->start);
    }
    if (gadgets->syscall_return && gadgets->sigreturn)
        return NULL;
    return error_new(EXIT_CANNOT_ATTACH, "no-gadgets",
                     "the C library of process %d has no signal return code that pyhot knows; "
                     "its threads cannot be borrowed safely",
                     (int)map->view.pid);
}

/* The program may have called execve since it was looked at: is all that we are going to use
 * still where it was?  The tracee is stopped, so it stays there. */
static bool still_valid(const struct codemap *map, const struct arch_gadgets *gadgets,
                        const struct python *python)
{
    char code[ARCH_SYSCALL_RETURN_SIZE + ARCH_SIGRETURN_SIZE];
    struct arch_gadgets found = {0, 0};

    if (read_target(&map->view, gadgets->syscall_return, code, ARCH_SYSCALL_RETURN_SIZE) ||
        read_target(&map->view, gadgets->sigreturn, code + ARCH_SYSCALL_RETURN_SIZE,
                    ARCH_SIGRETURN_SIZE))
        return false;
    arch_find_gadgets(&found, code, sizeof code, 1);
    if (!found.syscall_return || !found.sigreturn || !codemap_find(map, python->pthread_create))
        return false;
    if (!python->loaded_agent)
        return true;
    const struct mapping *agent = target_mapping_at(&map->view, python->loaded_agent);
    return agent && strstr(agent->path, AGENT_MEMFD_NAME);
}

/* An address for the region, in the middle of the widest gap between the target's mappings.  We
 * choose it because then the undoing munmap is known before the mmap is made; it is random in so
 * wide a gap that no other thread will be given the same one meanwhile. */
static uint64_t choose_address(const struct target *view)
{
    uint64_t start = 0, width = 0, random = 0;
    for (size_t i = 0; i + 1 < view->n_maps; i++) {
        uint64_t gap = view->maps[i + 1].start - view->maps[i].end;
        /* [vsyscall] is beyond the addresses that a process can map. */
        if (gap > width && (int64_t)view->maps[i + 1].start > 0) {
            start = view->maps[i].end;
            width = gap;
        }
    }
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
        random = monotonic_ns() * 0x9e3779b97f4a7c15u;
    return (start + width / 4 + random % (width / 2 + 1)) / PAGE * PAGE;
}

static struct error *map_region(struct borrow *borrow, uint64_t address, uint64_t deadline_ns)
{
    const struct borrow_syscall map = {
        SYS_mmap,
        {address, STUB_REGION_SIZE, PROT_READ | PROT_EXEC,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~0ull, 0},
    };
    const struct borrow_syscall unmap = {SYS_munmap, {address, STUB_REGION_SIZE}};
    long result = 0, status;
    struct error *error = borrow_syscall(borrow, &map, &unmap, deadline_ns, &result);
    if (error || (uint64_t)result == address)
        return error;
    int errnum = (int)-result;
    if (result > 0 || result < -PAGE) {
        /* A kernel before 4.17 takes the address for a wish, and it was not free. */
        const struct borrow_syscall undo = {SYS_munmap, {(uint64_t)result, STUB_REGION_SIZE}};
        error = borrow_syscall(borrow, &undo, NULL, deadline_ns, &status);
        errnum = EEXIST;
    }
    return error ? error
                 : error_errno(EXIT_CANNOT_ATTACH, "no-memory", errnum,
                               "process %d may not map memory for code", (int)borrow->tracee->pid);
}

/* Maps the region at `region` and starts our thread in it. */
static struct error *start_thread(struct borrow *borrow, const struct stub_params *params,
                                  uint64_t region, uint64_t deadline_ns)
{
    const struct tracee *tracee = borrow->tracee;
    struct error *error = map_region(borrow, region, deadline_ns);
    if (error)
        return error;
    fault_point("mapped");
    if (tracee_poke(tracee, region, stub_blob, (size_t)(stub_blob_end - stub_blob)) ||
        tracee_poke(tracee, region + STUB_PARAMS, params, sizeof *params)) {
        const struct borrow_syscall unmap = {SYS_munmap, {region, STUB_REGION_SIZE}};
        long status;
        error = tracee_error(tracee, errno, "write to the new pages of");
        error_free(borrow_syscall(borrow, &unmap, NULL, deadline_ns, &status));
        return error;
    }
    fault_point("code-written");

    int errnum = 0;
    error = borrow_call_stub(borrow, region, region, deadline_ns, &errnum);
    if (!error && errnum)
        error = error_hint(error_errno(EXIT_CANNOT_ATTACH, "no-thread", errnum,
                                       "process %d may not start a thread", (int)tracee->pid),
                           "see its limits: /proc/%d/limits and pids.max of its cgroup",
                           (int)tracee->pid);
    return error;
}

static struct error *another_program(const struct target *target)
{
    return error_new(EXIT_CANNOT_ATTACH, "target-ended",
                     "process %d became another program while pyhot was attaching to it",
                     (int)target->pid);
}

/* Of a process that is ending or is in execve, calls fail for reasons that are not the reason. */
static struct error *or_its_end(struct error *error, const struct target *target)
{
    struct error *end = error ? target_check(target) : NULL;
    if (!end)
        return error;
    error_free(error);
    return end;
}

/* From finding a thread to letting it go. */
static struct error *borrow_a_thread(struct injection *injection, const struct target *target,
                                     const struct python *python,
                                     const struct pyhot_request *request, uint64_t deadline_ns,
                                     uint64_t *region)
{
    struct codemap map;
    struct safepoint safepoint = {.map = &map};
    struct tracee tracee = {.state = TRACEE_DETACHED};
    struct arch_gadgets gadgets;
    struct borrow borrow;

    struct error *error = codemap_open(&map, target);
    if (!error && !codemap_find(&map, python->pthread_create))
        error = another_program(target);
    if (!error)
        error = safepoint_open(&safepoint, &map);
    if (!error)
        error = find_gadgets(&gadgets, &map);
    if (!error) {
        struct stub_params params = stub_params(target, python, &gadgets, request);
        error = safepoint_find(&safepoint, &tracee, deadline_ns);
        if (!error && !still_valid(&map, &gadgets, python))
            error = another_program(target);
        if (!error)
            error = borrow_begin(&borrow, &tracee, &gadgets);
        if (!error) {
            *region = choose_address(&map.view);
            error = start_thread(&borrow, &params, *region, deadline_ns);
            borrow_end(&borrow);
        }
        tracee_release(&tracee);
    }
    injection->stop_ns = tracee.stop_ns;
    injection->attempts = safepoint.attempts;
    safepoint_close(&safepoint);
    codemap_close(&map);
    noted_signal_let_see(target, python);
    return or_its_end(error, target);
}

/* The same where a debugger holds the threads and makes the calls. */
static struct error *borrow_from_debugger(struct injection *injection, const struct target *target,
                                          const struct python *python,
                                          const struct pyhot_request *request, uint64_t *region)
{
    struct codemap map;
    struct safepoint safepoint = {.map = &map};
    struct arch_gadgets gadgets;
    pid_t tid = 0;

    struct error *error = codemap_open(&map, target);
    if (!error)
        error = safepoint_open(&safepoint, &map);
    if (!error)
        error = find_gadgets(&gadgets, &map);
    if (!error)
        error = target->debugger->here ? gil_loan_check(target->debugger, &safepoint, python)
                                       : debugger_find_thread(target->debugger, &safepoint, &tid);
    if (!error && target->debugger->here)
        tid = target->debugger->selected;
    if (!error)
        error = seccomp_check(&safepoint.seccomp, target, tid);
    if (!error) {
        struct stub_params params = stub_params(target, python, &gadgets, request);
        *region = choose_address(&map.view);
        error =
            target->debugger->here
                ? gil_loan_start(target->debugger, target, python, &gadgets, &params, *region)
                : debugger_start_thread(target->debugger, target, tid, python, &params, *region);
    }
    injection->attempts = safepoint.attempts;
    safepoint_close(&safepoint);
    codemap_close(&map);
    return error;
}

/* ---- Meeting our thread ---- */

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){0, POLL_NS}, NULL);
}

/* Until it has made the descriptors. */
static struct error *wait_until_ready(const struct target *target, uint64_t region,
                                      uint64_t deadline_ns, struct stub_private *stub)
{
    while (!read_target(target, region + STUB_PAGE, stub, sizeof *stub)) {
        if (stub->stage == STUB_READY)
            return NULL;
        if (stub->stage == STUB_FAILED)
            return error_errno(EXIT_CANNOT_ATTACH, "no-descriptors", stub->errnum,
                               "process %d may not create the memory and the pipe that the agent "
                               "needs",
                               (int)target->pid);
        if (is_over(deadline_ns))
            return late(target, "the thread that pyhot started in it has not come to run");
        pause_briefly();
    }
    return ended(target);
}

/* It has the size that the program has set for all (RLIMIT_STACK at its start, or
 * pthread_setattr_default_np).  The loader, a compiler and the module itself are to run on it. */
static struct error *check_stack(const struct target *target, const struct stub_private *stub)
{
    enum { NEEDED_KB = 100 };
    struct target view = *target;
    view.maps = NULL;
    view.n_maps = 0;
    struct error *error = target_read_maps(&view);
    const struct mapping *stack = error ? NULL : target_mapping_at(&view, stub->stack);
    uint64_t room = stack ? (stub->stack - stack->start) / 1024 : NEEDED_KB;
    if (room < NEEDED_KB)
        error = error_hint(error_new(EXIT_CANNOT_ATTACH, "small-stack",
                                     "a new thread in process %d has a stack of %u KB only, too "
                                     "small to reload anything on it",
                                     (int)target->pid, (unsigned)room),
                           "start the program with a larger ulimit -s, or have it set a larger "
                           "default");
    target_free_maps(&view);
    return error;
}

static int copy_fd(const struct target *target, int fd, int flags)
{
    char path[64];
    int copy = target->pidfd >= 0 ? (int)syscall(SYS_pidfd_getfd, target->pidfd, fd, 0) : -1;
    if (copy >= 0)
        return copy;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)target->pid, fd);
    return open(path, flags | O_NONBLOCK | O_CLOEXEC);
}

/* A descriptor that our thread made becomes one of ours.  An execve closes it, and the new program
 * may have a file of its own under the number: what was taken while our thread's page was still
 * there is ours. */
static int take_fd(const struct target *target, uint64_t region, int fd, int flags)
{
    struct stub_private stub;
    int taken = copy_fd(target, fd, flags);
    if (taken < 0)
        return -1;
    if (!read_target(target, region + STUB_PAGE, &stub, sizeof stub) && stub.stage == STUB_READY)
        return taken;
    close(taken);
    errno = ESRCH;
    return -1;
}

static struct error *fill_agent(const struct target *target, uint64_t region, int fd)
{
    _cleanup_close_ int file = take_fd(target, region, fd, O_RDWR);
    size_t size = (size_t)(agent_blob_end - agent_blob);
    size_t done = 0;
    while (file >= 0 && done < size) {
        ssize_t n = pwrite(file, agent_blob + done, size - done, (off_t)done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (file < 0 || done < size)
        return error_errno(EXIT_CANNOT_ATTACH, "no-agent", errno,
                           "cannot give the agent to process %d", (int)target->pid);
    /* Not essential: nothing but the loader reads it, and it maps it privately. */
    fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return NULL;
}

/* "//" and "/./" are the digits. */
void inject_agent_digits(char digits[INJECT_DIGITS_SIZE])
{
    uint32_t sum = 2166136261u; /* FNV-1a */
    for (const unsigned char *byte = agent_blob; byte < agent_blob_end; byte++)
        sum = (sum ^ *byte) * 16777619u;
    *digits = '\0';
    for (int bit = 0; bit < 32; bit++)
        strcat(digits, sum >> bit & 1 ? "./" : "/");
}

/* The path leads nowhere in any other process and after our thread: a debugger opens what the
 * loader says that it has loaded, and /proc/self/fd/N would be a file of its own, perhaps a pipe.
 */
static void agent_path(char *path, size_t size, int tid, int fd)
{
    char digits[INJECT_DIGITS_SIZE];
    inject_agent_digits(digits);
    snprintf(path, size, "/proc/self/task/%d/fd/%s%d", tid, digits, fd);
}

static struct error *map_shared(struct stub_shared **shared, size_t size,
                                const struct target *target, uint64_t region, int fd)
{
    _cleanup_close_ int file = take_fd(target, region, fd, O_RDWR);
    void *memory =
        file < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
        return error_errno(EXIT_CANNOT_ATTACH, "no-memory", errno,
                           "cannot share memory with process %d", (int)target->pid);
    *shared = memory;
    return NULL;
}

static void fill_shared(struct stub_shared *shared, const struct python *python,
                        const struct stub_private *stub, const struct pyhot_request *request)
{
    memcpy(&shared->request, request, request->size);
    shared->request.state = PYHOT_WAITING;
    shared->request.channel = stub->channel[1];
    snprintf(shared->library, sizeof shared->library, "%s", python->library ? python->library : "");
    snprintf(shared->entry, sizeof shared->entry, "%s", PYHOT_ENTRY);
    agent_path(shared->agent_path, sizeof shared->agent_path, stub->tid, stub->agent_fd);
}

static void wake(_Atomic uint32_t *futex)
{
    syscall(SYS_futex, futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static struct error *not_loaded(const struct target *target, const char *reason)
{
    char path[64];
    struct error *error =
        error_new(EXIT_CANNOT_ATTACH, "agent-not-loaded",
                  "process %d could not load the agent: %.900s", (int)target->pid, reason);

    snprintf(path, sizeof path, "/proc/%d/root/proc/stat", (int)target->pid);
    return access(path, F_OK) ? error_hint(error,
                                           "its root directory has no /proc (chroot); mount one "
                                           "there: mount -t proc proc /proc/%d/root/proc",
                                           (int)target->pid)
                              : error;
}

/* Until the agent has been called.  After the deadline the thread will find the request
 * cancelled. */
static struct error *wait_until_entered(struct stub_shared *shared, const struct target *target,
                                        uint64_t region, uint64_t deadline_ns)
{
    struct stub_private stub;
    bool left = false; /* our thread, before we looked at what it said */

    for (;;) {
        uint32_t outcome = atomic_load(&shared->outcome);
        if (outcome == STUB_ENTERED)
            return NULL;
        if (outcome == STUB_NOT_LOADED)
            return not_loaded(target, shared->error);
        struct error *error = left ? ended(target) : target_check(target);
        if (error)
            return error;
        left = read_target(target, region + STUB_PAGE, &stub, sizeof stub) != 0; /* an execve */
        uint32_t waiting = PYHOT_WAITING;
        if (is_over(deadline_ns) &&
            atomic_compare_exchange_strong(&shared->request.state, &waiting, PYHOT_CANCELLED))
            return late(target, "its dynamic loader has not loaded the agent yet");
        struct timespec timeout = {0, 20000000};
        syscall(SYS_futex, &shared->outcome, FUTEX_WAIT, STUB_LOADING, &timeout, NULL, 0);
    }
}

static struct error *meet(struct injection *injection, const struct target *target,
                          const struct python *python, const struct pyhot_request *request,
                          uint64_t region, uint64_t deadline_ns)
{
    struct stub_private stub;
    struct stub_shared *shared = NULL;
    struct error *error = wait_until_ready(target, region, deadline_ns, &stub);
    if (error)
        return error;
    fault_point("ready");
    error = check_stack(target, &stub);
    if (error)
        return error;
    error = map_shared(&shared, shared_size(request), target, region, stub.shared_fd);
    if (error)
        return error;
    injection->request = &shared->request;
    injection->request_size = shared_size(request);
    injection->channel = take_fd(target, region, stub.channel[0], O_RDONLY);
    if (injection->channel < 0)
        return error_errno(EXIT_CANNOT_ATTACH, "no-channel", errno,
                           "cannot take the pipe from process %d", (int)target->pid);
    uint32_t stage = STUB_WAIT;
    if (atomic_compare_exchange_strong(&shared->go, &stage, STUB_TAKEN))
        stage = STUB_TAKEN;
    fault_point("channel-taken");
    if (!python->loaded_agent)
        error = fill_agent(target, region, stub.agent_fd);
    if (error)
        return error;
    fill_shared(shared, python, &stub, request);
    fault_point("filled");

    if (stage != STUB_TAKEN || !atomic_compare_exchange_strong(&shared->go, &stage, STUB_GO))
        return late(target, "pyhot was too slow, and the thread it had started ended");
    wake(&shared->go);
    fault_point("go");
    return wait_until_entered(shared, target, region, deadline_ns);
}

struct error *inject_start(struct injection *injection, const struct target *target,
                           const struct python *python, const struct pyhot_request *request,
                           uint64_t deadline_ns)
{
    uint64_t region = 0;
    sigset_t held, before;

    *injection = (struct injection){.channel = -1};
    fault_point("looked-at");
    /* SIGCHLD is taken by sigtimedwait in tracee.c.  Ctrl-Z comes when no thread is stopped any
     * more: it would stay so with us. */
    sigemptyset(&held);
    sigaddset(&held, SIGCHLD);
    sigaddset(&held, SIGTSTP);
    sigprocmask(SIG_BLOCK, &held, &before);
    struct error *error =
        target->debugger
            ? borrow_from_debugger(injection, target, python, request, &region)
            : borrow_a_thread(injection, target, python, request, deadline_ns, &region);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (!error)
        error = or_its_end(meet(injection, target, python, request, region, deadline_ns), target);
    if (error)
        inject_end(injection);
    return error;
}

void inject_end(struct injection *injection)
{
    if (injection->request)
        munmap((char *)injection->request - offsetof(struct stub_shared, request),
               injection->request_size);
    if (injection->channel >= 0)
        close(injection->channel);
    injection->request = NULL;
    injection->channel = -1;
}
