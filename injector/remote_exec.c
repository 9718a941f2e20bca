/* PEP 768 from outside (remote_exec.h), as sys.remote_exec does it (send_exec_to_proc_handle in
 * Python/remote_debugging.c, 3.14), except for three things:
 *
 * The interpreter is the main one, which is not always the first of the list.  Its main thread's
 * state is never freed while the process lives, so what is written always hits it.
 *
 * Of the eval breaker one byte is written, its event bits.  They change while we look, and what
 * was read must not simply be written back: a signal would be forgotten; and GIL_DROP_REQUEST set
 * while nobody waits makes the thread wait for a switch that never comes (drop_gil,
 * Python/ceval_gil.c).  So those bits are set whose work is found to be nothing when there is
 * none, and GIL_DROP_REQUEST is not: who wants the GIL asks again after the switch interval.
 *
 * A script that somebody else wants to be run is waited for. */
#include "remote_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "channel.h"
#include "cleanup.h"
#include "fault.h"
#include "loaded_agent.h"
#include "procfs.h"
#include "remote_files.h"
#include "runtime_layout.h"
#include "seccomp.h"
#include "tracee.h"

enum {
    /* _PY_..._BIT of Include/internal/pycore_ceval.h, 3.14 */
    SIGNALS_PENDING = 1 << 1,
    CALLS_TO_DO = 1 << 2,
    ASYNC_EXCEPTION = 1 << 3,
    GC_SCHEDULED = 1 << 4,
    PLEASE_STOP = 1 << 5,
    JIT_INVALIDATE_COLD = 1 << 7,

    POLL_MS = 5,
    LAST_LOOK_MS = 200,
    STOPPED_MS = 500,
    MAX_OFFSET = 1 << 20,
    MAX_INTERPRETERS = 10000,
};

/* Addresses in the target. */
struct hook {
    uint64_t eval_breaker, pending, path;
    size_t path_size;
    int enabled;
};

/* ---- Where to write ---- */

static struct error *unknown_layout(const struct target *target, const struct python *python,
                                    const char *what)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "unknown-layout",
                                "remote-exec: the CPython %s in process %d is not laid out as "
                                "pyhot knows it: %s",
                                python->version, (int)target->pid, what),
                      "attach with --via=ptrace");
}

static struct error *read_word(const struct target *target, uint64_t address, uint64_t *word)
{
    return target_read(target, address, word, sizeof *word);
}

static uint64_t word_at(const char *table, size_t offset)
{
    uint64_t word;
    memcpy(&word, table + offset, sizeof word);
    return word;
}

/* The main interpreter: the one with the id 0. */
static struct error *find_main_interpreter(const struct target *target, uint64_t first,
                                           uint64_t id_offset, uint64_t next_offset,
                                           uint64_t *interpreter)
{
    uint64_t id = 1;
    struct error *error = NULL;

    *interpreter = first;
    for (int i = 0; *interpreter && i < MAX_INTERPRETERS; i++) {
        if ((error = read_word(target, *interpreter + id_offset, &id)) || !id)
            return error;
        if ((error = read_word(target, *interpreter + next_offset, interpreter)))
            return error;
    }
    *interpreter = 0;
    return NULL;
}

/* The main thread's number as the target itself has it. */
static long own_pid(const struct target *target)
{
    _cleanup_free_ char *status = proc_read(target->pid, "status", NULL);
    const char *line = status ? strstr(status, "\nNSpid:") : NULL;
    const char *last = line ? line + strlen("\nNSpid:") : NULL;
    char *end;
    long pid = 0;

    while (last && (*last == '\t' || *last == ' ')) {
        pid = strtol(last, &end, 10);
        last = end;
    }
    return pid;
}

static struct error *find_hook(struct hook *hook, const struct target *target,
                               const struct python *python)
{
    const struct remote_layout *layout = remote_layout(python->minor);
    char table[1024];
    struct debug_offsets head;
    struct debugger_support support;
    uint64_t interpreter = 0, thread = 0, owner, number;
    struct error *error;

    if (python->minor < 14)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-remote-exec",
                                    "process %d runs CPython %s, and remote-exec is of 3.14",
                                    (int)target->pid, python->version),
                          "attach with --via=ptrace");
    if (!layout)
        return unknown_layout(target, python, "the version is newer than this pyhot");
    if ((error = target_read(target, python->runtime, table, sizeof table)))
        return error;
    memcpy(&head, table, sizeof head);
    memcpy(&support, table + layout->debugger_support, sizeof support);
    uint64_t interpreter_size = word_at(table, layout->interpreter_size);
    uint64_t thread_size = word_at(table, layout->thread_size);
    if (head.runtime_state.interpreters_head > head.runtime_state.size ||
        interpreter_size > MAX_OFFSET || thread_size > interpreter_size ||
        word_at(table, layout->interpreter_id) >= interpreter_size ||
        word_at(table, layout->interpreter_next) >= interpreter_size ||
        word_at(table, layout->threads_main) >= interpreter_size ||
        word_at(table, layout->thread_interpreter) >= thread_size ||
        word_at(table, layout->native_thread_id) >= thread_size ||
        support.remote_debugging_enabled >= interpreter_size ||
        support.eval_breaker >= thread_size || support.script_path_size > thread_size ||
        support.remote_debugger_support + support.script_path + support.script_path_size >
            thread_size ||
        support.remote_debugger_support + support.pending_call >= thread_size)
        return unknown_layout(target, python, "its table of offsets is impossible");

    if ((error = read_word(target, python->runtime + head.runtime_state.interpreters_head,
                           &interpreter)) ||
        (error = find_main_interpreter(target, interpreter, word_at(table, layout->interpreter_id),
                                       word_at(table, layout->interpreter_next), &interpreter)))
        return error;
    if (!interpreter)
        return unknown_layout(target, python, "it has no main interpreter");
    if ((error = read_word(target, interpreter + word_at(table, layout->threads_main), &thread)))
        return error;
    if (!thread)
        return unknown_layout(target, python, "it has no main thread");
    if ((error = read_word(target, thread + word_at(table, layout->thread_interpreter), &owner)) ||
        (error = read_word(target, thread + word_at(table, layout->native_thread_id), &number)) ||
        (error = target_read(target, interpreter + support.remote_debugging_enabled, &hook->enabled,
                             sizeof hook->enabled)))
        return error;
    if (owner != interpreter || (long)number != own_pid(target) || (unsigned)hook->enabled > 1)
        return unknown_layout(target, python, "its main thread is not where it should be");
    hook->eval_breaker = thread + support.eval_breaker;
    hook->pending = thread + support.remote_debugger_support + support.pending_call;
    hook->path = thread + support.remote_debugger_support + support.script_path;
    hook->path_size = support.script_path_size;
    return NULL;
}

/* gdb sets a breakpoint into the dynamic loader.  If it takes the target's for one of its own root
 * directory, that is somewhere else in it, and the next dlopen ends the process. */
static struct error *check_gdb(const struct target *target)
{
    struct proc_status status;
    struct proc_stat tracer;
    struct stat theirs, ours;
    char path[64];

    if (proc_status(target->pid, &status) || !status.tracer || proc_stat(status.tracer, &tracer) ||
        strncmp(tracer.command, "gdb", 3))
        return NULL;
    snprintf(path, sizeof path, "/proc/%d/root", target->pid);
    if (stat(path, &theirs))
        return target_check(target);
    snprintf(path, sizeof path, "/proc/%d/root", status.tracer);
    if (!stat(path, &ours) && ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev)
        return NULL;
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "gdb-root",
                                "process %d (%s) has another root directory than the gdb that "
                                "traces it (%d), which would kill it when the agent is loaded",
                                (int)target->pid, target->command, (int)status.tracer),
                      "detach that gdb");
}

/* The main thread runs the script (so it is not in strict mode), and ours inherits its filters.
 * They can be read by its tracer only, which we are not. */
static struct error *check_seccomp(const struct target *target)
{
    struct seccomp ours;
    struct error *error;

    seccomp_open(&ours, target);
    error = seccomp_check(&ours, target, target->pid);
    return error ? error_hint(error, "attach with --via=ptrace, as root outside of all containers "
                                     "and with no other tracer: that reads the filter")
                 : NULL;
}

static bool is_over(uint64_t deadline_ns)
{
    return channel_interrupted || monotonic_ns() >= deadline_ns;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){0, POLL_MS * 1000000}, NULL);
}

/* For longer than strace holds it at a system call, or another pyhot at its stop: by a debugger
 * that waits for a command. */
static bool stays_stopped(const struct target *target)
{
    uint64_t last_look_ns = monotonic_ns() + STOPPED_MS * UINT64_C(1000000);
    struct proc_stat stat;

    while (!proc_stat(target->pid, &stat) && stat.state == 't') {
        if (is_over(last_look_ns))
            return true;
        pause_briefly();
    }
    return false;
}

struct error *remote_exec_check(const struct target *target, const struct python *python)
{
    struct hook hook;
    struct error *error = find_hook(&hook, target, python);

    if (error)
        return error;
    if (!hook.enabled)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-remote-exec",
                                    "process %d (%s) does not allow remote-exec "
                                    "(-X disable-remote-debug or PYTHON_DISABLE_REMOTE_DEBUG)",
                                    (int)target->pid, target->command),
                          "attach with --via=ptrace");
    if (stays_stopped(target))
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "stopped-by-tracer",
                                    "the main thread of process %d (%s) is stopped by its tracer",
                                    (int)target->pid, target->command),
                          "let it continue");
    error = check_seccomp(target);
    return error ? error : check_gdb(target);
}

/* ---- Writing ---- */

static struct error *write_target(const struct target *target, uint64_t address, const void *bytes,
                                  size_t size)
{
    struct iovec local = {(void *)(uintptr_t)bytes, size};
    struct iovec remote = {(void *)(uintptr_t)address, size};
    struct error *error;

    if (process_vm_writev(target->pid, &local, 1, &remote, 1, 0) == (ssize_t)size)
        return NULL;
    if (errno == EPERM)
        return target_explain_eperm(target);
    error = target_check(target);
    return error ? error
                 : error_errno(EXIT_CANNOT_ATTACH, "write-memory", errno,
                               "cannot write to the memory of process %d", (int)target->pid);
}

static struct error *read_pending(const struct target *target, const struct hook *hook,
                                  int32_t *pending)
{
    return target_read(target, hook->pending, pending, sizeof *pending);
}

static struct error *ask_for(const struct target *target, const struct hook *hook, const char *path)
{
    const int32_t pending = 1;
    uint8_t events;
    struct error *error;

    if (strlen(path) >= hook->path_size)
        return error_new(EXIT_CANNOT_ATTACH, "no-files", "the path %s is too long for process %d",
                         path, (int)target->pid);
    if ((error = write_target(target, hook->path, path, strlen(path) + 1)) ||
        (error = write_target(target, hook->pending, &pending, sizeof pending)) ||
        (error = target_read(target, hook->eval_breaker, &events, sizeof events)))
        return error;
    events &= GC_SCHEDULED | JIT_INVALIDATE_COLD;
    events |= SIGNALS_PENDING | CALLS_TO_DO | ASYNC_EXCEPTION | PLEASE_STOP;
    return write_target(target, hook->eval_breaker, &events, sizeof events);
}

/* ---- The script ---- */

/* It runs in names of its own, which are gone when it ends; nothing in it may refer to itself, or
 * they would stay until the next garbage collection.  Signals are blocked first, even before the
 * rest is compiled: an exception that a handler raises in the script would be lost.  The start() of
 * agent/remote.c unblocks them. Two descriptors of the channel: while one can read, writing never
 * is SIGPIPE.  None of ours becomes one of the standard ones, which a daemon may have closed and
 * write to still. */
static const char script_format[] =
    "import _signal\n"
    "before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())\n"
    "exec(r'''\n"
    "guard = channel = None\n"
    "opened = []\n"
    "try:\n"
    "    import _imp, posix\n"
    "    from _frozen_importlib import ModuleSpec\n"
    "    while not opened or opened[-1] < 3:\n"
    "        opened.append(posix.open('%7$s', posix.O_RDONLY | posix.O_CLOEXEC))\n"
    "    channel = posix.open('%1$s', posix.O_WRONLY | posix.O_NONBLOCK | posix.O_CLOEXEC)\n"
    "    opened.append(posix.open('%1$s', posix.O_RDWR | posix.O_NONBLOCK | posix.O_CLOEXEC))\n"
    "    request = posix.open('%2$s', posix.O_RDWR | posix.O_CLOEXEC)\n"
    "    opened.append(request)\n"
    "    agent = posix.open('%3$s', posix.O_RDONLY | posix.O_CLOEXEC)\n"
    "    opened.append(agent)\n"
    "    memory = posix.memfd_create('" AGENT_MEMFD_NAME "', %4$u)\n"
    "    opened.append(memory)\n"
    "    while posix.sendfile(memory, agent, None, 1 << 30):\n"
    "        pass\n"
    "    mask = 0\n"
    "    for number in before:\n"
    "        mask |= 1 << number - 1\n"
    "    path = '/proc/self/task/%%d/fd/%5$s%%d' %% (posix.getpid(), memory)\n"
    "    module = _imp.create_dynamic(ModuleSpec('" PYHOT_REMOTE "', None, origin=path))\n"
    "    guard = module.start(request, channel, mask)\n"
    "    channel = None\n"
    "except BaseException as error:\n"
    "    if channel is not None:\n"
    "        text = ascii(str(error)).replace('\\\\', '/').replace('\"', '\\'').strip('\\'')\n"
    "        text = '{\"type\": \"error\", \"code\": \"agent-not-loaded\", \"exit\": 3, "
    "\"message\": \"process %6$d could not load the agent: %%s\"}\\n' %% text\n"
    "        posix.write(channel, text.encode())\n"
    "finally:\n"
    "    if channel is not None:\n"
    "        opened.append(channel)\n"
    "    for fd in opened:\n"
    "        posix.close(fd)\n"
    "    for path in '%1$s', '%2$s', '%3$s', '%7$s', '%8$s':\n"
    "        try:\n"
    "            (posix.rmdir if path == '%8$s' else posix.unlink)(path)\n"
    "        except OSError:\n"
    "            pass  # pyhot was first, or it is memory of pyhot's\n"
    "    if guard is None:\n"
    "        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)\n"
    "''')\n";

static struct error *write_script(const struct remote_files *files, const struct target *target)
{
    char digits[INJECT_DIGITS_SIZE];
    _cleanup_free_ char *script = NULL;
    int length;

    inject_agent_digits(digits);
    length =
        asprintf(&script, script_format, files->paths[REMOTE_CHANNEL], files->paths[REMOTE_REQUEST],
                 files->paths[REMOTE_AGENT], inject_memfd_flags(), digits, (int)target->pid,
                 files->paths[REMOTE_SCRIPT], files->folder_path);
    if (length < 0) {
        script = NULL;
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    }
    if (remote_files_write(files->fds[REMOTE_SCRIPT], script, (size_t)length))
        return error_errno(EXIT_CANNOT_ATTACH, "no-files", errno,
                           "cannot write the script for process %d", (int)target->pid);
    return NULL;
}

/* ---- Waiting ---- */

static struct error *interrupted(const struct target *target)
{
    return error_new(EXIT_DEADLINE, "interrupted", "interrupted; process %d is unchanged",
                     (int)target->pid);
}

/* One pyhot at a time, and none while another program's script is still to be run. */
static struct error *wait_for_turn(const struct target *target, const struct hook *hook, int lock,
                                   uint64_t deadline_ns)
{
    int32_t pending = 1;
    bool locked = false;

    for (;;) {
        struct error *error = target_check(target);

        if (!locked)
            locked = !flock(lock, LOCK_EX | LOCK_NB);
        if (!error && locked)
            error = read_pending(target, hook, &pending);
        if (error || (locked && !pending))
            return error;
        if (is_over(deadline_ns))
            return channel_interrupted
                       ? interrupted(target)
                       : error_hint(error_new(EXIT_DEADLINE, "busy",
                                              "another program has a script to be run in process "
                                              "%d, and its main thread has not run it yet",
                                              (int)target->pid),
                                    "attach with --via=ptrace");
        pause_briefly();
    }
}

static struct error *blocked(const struct target *target)
{
    if (channel_interrupted)
        return interrupted(target);
    return error_hint(
        error_new(EXIT_DEADLINE, "main-thread-blocked",
                  "the main thread of process %d (%s) ran no Python code in time: it waits in a "
                  "call or is stopped; the request was withdrawn and nothing was changed",
                  (int)target->pid, target->command),
        "attach with --via=ptrace, or try again when it is at work");
}

static struct error *not_started(const struct target *target)
{
    if (channel_interrupted)
        return interrupted(target);
    return error_hint(error_new(EXIT_DEADLINE, "script-not-run",
                                "process %d (%s) did not run the script that loads the agent; "
                                "nothing was changed",
                                (int)target->pid, target->command),
                      "an audit hook may forbid it: see its standard error");
}

static bool is_entered(struct injection *injection)
{
    return atomic_load(&injection->request->entered);
}

/* Whether the script has said something, or has ended. */
static bool is_heard(const struct injection *injection)
{
    struct pollfd event = {.fd = injection->channel, .events = POLLIN};
    return poll(&event, 1, POLL_MS) > 0;
}

/* Nobody asked the target any more: but the main thread may have begun this very moment. */
static struct error *withdraw(struct injection *injection, const struct target *target,
                              const struct hook *hook)
{
    uint32_t waiting = PYHOT_WAITING;
    int32_t pending = 0;
    uint64_t last_look_ns = monotonic_ns() + LAST_LOOK_MS * UINT64_C(1000000);
    struct error *error = read_pending(target, hook, &pending);

    atomic_compare_exchange_strong(&injection->request->state, &waiting, PYHOT_CANCELLED);
    if (!error && pending) {
        pending = 0;
        error = write_target(target, hook->pending, &pending, sizeof pending);
        return error ? error : blocked(target);
    }
    while (!error && !is_entered(injection) && !is_heard(injection) &&
           monotonic_ns() < last_look_ns)
        error = target_check(target);
    return error ? error : not_started(target);
}

/* Until the agent's thread was started, or the script said why not. */
static struct error *wait_until_entered(struct injection *injection, const struct target *target,
                                        const struct hook *hook, uint64_t deadline_ns)
{
    while (!is_entered(injection) && !is_heard(injection)) {
        struct error *error = target_check(target);

        if (error)
            return error;
        if (is_over(deadline_ns))
            return withdraw(injection, target, hook);
    }
    return NULL;
}

/* ---- */

static struct error *take_over(struct injection *injection, struct remote_files *files,
                               const struct target *target)
{
    void *memory = mmap(NULL, injection->request_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                        files->fds[REMOTE_REQUEST], 0);

    if (memory == MAP_FAILED)
        return error_errno(EXIT_CANNOT_ATTACH, "no-memory", errno,
                           "cannot share memory with process %d", (int)target->pid);
    injection->request = memory;
    injection->channel = files->fds[REMOTE_CHANNEL];
    files->fds[REMOTE_CHANNEL] = -1;
    return NULL;
}

static struct error *run_script(struct injection *injection, const struct target *target,
                                const struct hook *hook, const struct pyhot_request *request,
                                uint64_t deadline_ns)
{
    struct remote_files files;
    struct error *error = remote_files_make(&files, target, request);

    if (error)
        return error;
    error = write_script(&files, target);
    if (!error)
        error = take_over(injection, &files, target);
    fault_point("files-made");
    if (!error)
        error = ask_for(target, hook, files.paths[REMOTE_SCRIPT]);
    fault_point("asked");
    if (!error)
        error = wait_until_entered(injection, target, hook, deadline_ns);
    fault_point("entered");
    remote_files_remove(&files);
    return error;
}

struct error *remote_exec_start(struct injection *injection, const struct target *target,
                                const struct python *python, const struct pyhot_request *request,
                                uint64_t deadline_ns)
{
    struct hook hook;
    char path[64];
    _cleanup_close_ int lock = -1;
    struct error *error;

    *injection = (struct injection){.channel = -1, .request_size = request->size};
    if ((error = remote_exec_check(target, python)) || (error = find_hook(&hook, target, python)))
        return error;
    snprintf(path, sizeof path, "/proc/%d", target->pid);
    lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = wait_for_turn(target, &hook, lock, deadline_ns);
    if (!error)
        error = run_script(injection, target, &hook, request, deadline_ns);
    if (error)
        remote_exec_end(injection);
    return error;
}

void remote_exec_end(struct injection *injection)
{
    if (injection->request)
        munmap(injection->request, injection->request_size);
    if (injection->channel >= 0)
        close(injection->channel);
    injection->request = NULL;
    injection->channel = -1;
}
