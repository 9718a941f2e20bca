/* The conversation with the debugger (debugger.h).
 *
 * The debugger's own calls of functions differ from borrow.c's in two ways.  A signal that its
 * user wants to see ends the call; hence STUB_CALLED blocks them all.  And they return to a trap
 * on the stack, which is not executable: to SIGSEGV, which the kernel delivers at the price of
 * the signal's handler where it is blocked or ignored (force_sig_info in kernel/signal.c); hence
 * such a thread is not taken. */
#include "debugger.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel.h"
#include "cleanup.h"
#include "procfs.h"
#include "unwinder.h"

enum { MAX_ADVANCES = 20 };

/* gdb waits for any child, ours included: whoever started us may not learn it otherwise. */
static void tell_exit_status(int status, void *requests)
{
    fprintf(requests, "exit %d\n", status);
    fflush(requests);
}

bool debugger_open(struct debugger *debugger, int *argc, char ***argv)
{
    int requests, answers, tid, end = 0;

    if (*argc < 3 || strcmp((*argv)[1], "--debugger") ||
        sscanf((*argv)[2], "%d,%d,%d%n", &requests, &answers, &tid, &end) != 3)
        return false;
    *debugger = (struct debugger){.requests = fdopen(requests, "w"),
                                  .answers = fdopen(answers, "r"),
                                  .selected = tid,
                                  .here = !strcmp((*argv)[2] + end, ",here")};
    if (debugger->requests)
        on_exit(tell_exit_status, debugger->requests);
    (*argv)[2] = (*argv)[0];
    *argc -= 2;
    *argv += 2;
    return true;
}

static struct error *no_debugger(void)
{
    return error_new(EXIT_CANNOT_ATTACH, "no-debugger", "the debugger does not answer");
}

/* Sends a line and, if `answer` is not NULL, reads one into it. */
struct error *debugger_ask(struct debugger *debugger, char *answer, const char *format, ...)
{
    va_list arguments;

    if (channel_interrupted)
        return error_new(EXIT_DEADLINE, "interrupted", "interrupted; nothing was changed");
    if (!debugger->requests || !debugger->answers)
        return no_debugger();
    va_start(arguments, format);
    vfprintf(debugger->requests, format, arguments);
    va_end(arguments);
    fputc('\n', debugger->requests);
    if (fflush(debugger->requests))
        return no_debugger();
    if (!answer)
        return NULL;
    if (!fgets(answer, DEBUGGER_ANSWER, debugger->answers))
        return no_debugger();
    answer[strcspn(answer, "\n")] = '\0';
    return NULL;
}

/* ---- A safe place ---- */

static bool parse_registers(const char *text, struct arch_registers *registers)
{
    uint64_t words[sizeof *registers / sizeof(uint64_t)];
    const size_t n = sizeof words / sizeof *words;
    char *end;

    for (size_t i = 0; i < n; i++, text = end) {
        words[i] = strtoull(text, &end, 16);
        if (end == text)
            return false;
    }
    memcpy(registers, words, sizeof words);
    return true;
}

struct error *debugger_registers(struct debugger *debugger, pid_t tid,
                                 struct arch_registers *registers, bool *stopped)
{
    char answer[DEBUGGER_ANSWER];
    struct error *error = debugger_ask(debugger, answer, "registers %d", (int)tid);

    *stopped = !error && parse_registers(answer, registers);
    return error;
}

/* What only a tracer could ask the kernel for, arch_unfit, is told by /proc as far as a call by a
 * debugger needs it. */
static const char *unfit(pid_t pid, pid_t tid)
{
    const uint64_t traps = 1ull << (SIGSEGV - 1) | 1ull << (SIGTRAP - 1);
    _cleanup_free_ char *status = NULL;
    char name[48];

    snprintf(name, sizeof name, "task/%d/status", (int)tid);
    status = proc_read(pid, name, NULL);
    if (!status)
        return "it ended";
    const char *blocked = strstr(status, "\nSigBlk:"), *ignored = strstr(status, "\nSigIgn:");
    if (!blocked || !ignored)
        return "its signals are not known";
    if ((strtoull(blocked + 8, NULL, 16) | strtoull(ignored + 8, NULL, 16)) & traps)
        return "it blocks or ignores SIGSEGV or SIGTRAP, which a debugger's call needs";
    return strstr(status, "shstk") ? "it uses a shadow stack" : NULL;
}

static bool judge(struct safepoint *safepoint, pid_t tid, const struct arch_registers *registers,
                  struct safepoint_place *place)
{
    struct tracee tracee = {.pid = safepoint->map->view.pid, .tid = tid};
    const char *why;

    safepoint->attempts++;
    if (!safepoint_judge(safepoint, &tracee, registers, place))
        return false;
    why = unfit(tracee.pid, tid);
    if (why)
        snprintf(safepoint->obstacle, sizeof safepoint->obstacle, "thread %d: %s", (int)tid, why);
    return !why;
}

struct error *debugger_judge(struct debugger *debugger, struct safepoint *safepoint, pid_t tid,
                             struct safepoint_place *place, bool *safe)
{
    struct arch_registers registers;
    bool stopped;
    struct error *error = debugger_registers(debugger, tid, &registers, &stopped);

    if (!error && !stopped)
        snprintf(safepoint->obstacle, sizeof safepoint->obstacle,
                 "a place that is not known: it "
                 "is not stopped");
    *safe = !error && stopped && judge(safepoint, tid, &registers, place);
    return error;
}

/* The thread that will be at a safe place soonest, as far as one can tell. */
struct way_out {
    pid_t tid;
    uint64_t address;
    char obstacle[256];
};

static struct error *try_thread(struct debugger *debugger, struct safepoint *safepoint, pid_t tid,
                                bool *safe, struct way_out *way)
{
    struct arch_registers registers;
    struct safepoint_place place;
    bool stopped;
    struct error *error = debugger_registers(debugger, tid, &registers, &stopped);

    *safe = !error && stopped && judge(safepoint, tid, &registers, &place);
    if (error || !stopped || *safe || way->address)
        return error;
    way->address = safepoint_way_out(safepoint, &registers);
    way->tid = tid;
    memcpy(way->obstacle, safepoint->obstacle, sizeof way->obstacle);
    return NULL;
}

static struct error *try_threads(struct debugger *debugger, struct safepoint *safepoint, pid_t *tid,
                                 bool *safe, struct way_out *way)
{
    _cleanup_free_ pid_t *tids = NULL;
    size_t n = 0;
    bool changed;
    struct error *error = codemap_refresh(safepoint->map, &changed);

    if (!error && changed)
        unwinder_forget(safepoint->unwinder);
    if (!error)
        error = target_threads(&safepoint->map->view, &tids, &n);
    *tid = debugger->selected;
    if (!error)
        error = try_thread(debugger, safepoint, *tid, safe, way);
    for (size_t i = 0; !error && !*safe && i < n; i++) {
        *tid = tids[i];
        if (*tid != debugger->selected)
            error = try_thread(debugger, safepoint, *tid, safe, way);
    }
    return error;
}

struct error *debugger_find_thread(struct debugger *debugger, struct safepoint *safepoint,
                                   pid_t *tid)
{
    for (int i = 0; i < MAX_ADVANCES; i++) {
        struct way_out way = {0};
        char answer[DEBUGGER_ANSWER];
        bool safe = false;
        struct error *error = try_threads(debugger, safepoint, tid, &safe, &way);

        if (error || safe)
            return error;
        if (!way.address)
            break;
        error = debugger_ask(debugger, answer, "advance %d 0x%" PRIx64 " %s", (int)way.tid,
                             way.address, way.obstacle);
        if (error)
            return error;
        if (strcmp(answer, "there"))
            return error_hint(error_new(EXIT_DEADLINE, "no-safe-place",
                                        "no thread of process %d came to a safe place: %s",
                                        (int)safepoint->map->view.pid, answer),
                              "nothing was changed; continue a little and try again");
    }
    return error_hint(error_new(EXIT_DEADLINE, "no-safe-place",
                                "no thread of process %d is at a place where it can be borrowed; "
                                "in the way: %s",
                                (int)safepoint->map->view.pid, safepoint->obstacle),
                      "nothing was changed; continue a little and try again");
}

/* ---- Our thread ---- */

static struct error *call_failed(const struct target *target, const char *what, const char *answer)
{
    return error_new(EXIT_CANNOT_ATTACH, "call-failed", "%s in process %d: %.900s", what,
                     (int)target->pid, answer);
}

struct error *debugger_call(struct debugger *debugger, pid_t tid, uint64_t function,
                            uint64_t *result)
{
    char answer[DEBUGGER_ANSWER];
    struct error *error = debugger_ask(debugger, answer, "call %d 0x%" PRIx64, (int)tid, function);

    if (!error && !strncmp(answer, "failed", 6))
        return error_new(EXIT_CANNOT_ATTACH, "call-failed", "a call in thread %d: %.900s", (int)tid,
                         answer);
    *result = error ? 0 : strtoull(answer, NULL, 16);
    return error;
}

struct error *debugger_no_thread(const struct target *target, int errnum)
{
    return error_errno(EXIT_CANNOT_ATTACH, "no-thread", errnum, "process %d may not start a thread",
                       (int)target->pid);
}

struct error *debugger_unmap_stub(struct debugger *debugger, const struct python *python, pid_t tid,
                                  uint64_t region)
{
    char answer[DEBUGGER_ANSWER];
    return debugger_ask(debugger, answer, "call %d 0x%" PRIx64 " 0x%" PRIx64 " %d", (int)tid,
                        python->munmap, region, STUB_REGION_SIZE);
}

static struct error *map_region(struct debugger *debugger, const struct target *target, pid_t tid,
                                const struct python *python, uint64_t region)
{
    char answer[DEBUGGER_ANSWER];
    struct error *error =
        debugger_ask(debugger, answer, "call %d 0x%" PRIx64 " 0x%" PRIx64 " %d %d %d -1 0",
                     (int)tid, python->mmap, region, STUB_REGION_SIZE, PROT_READ | PROT_EXEC,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE);
    if (error || strtoull(answer, NULL, 16) == region)
        return error;
    return call_failed(target, "mmap", answer);
}

static ino_t pid_namespace(pid_t pid)
{
    char path[64];
    struct stat stat_;

    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    return stat(path, &stat_) ? 0 : stat_.st_ino;
}

enum stub_debugger debugger_visible(pid_t pid)
{
    return pid_namespace(pid) == pid_namespace(getpid()) ? STUB_LOOK_FOR_DEBUGGER : STUB_DEBUGGER;
}

/* The call did not return by itself.  Had it got as far as to make the thread?  Then that is told
 * that the other has left the stub. */
static bool thread_was_made(const struct tracee *tracee, uint64_t region)
{
    struct stub_private stub;
    uint32_t left = 1;

    return !tracee_read(tracee, region + STUB_PAGE, &stub, sizeof stub) && stub.thread &&
           !tracee_write(tracee, region + STUB_LEFT, &left, sizeof left);
}

struct error *debugger_map_stub(struct debugger *debugger, const struct target *target, pid_t tid,
                                const struct python *python, const struct stub_params *params,
                                uint64_t region)
{
    const struct tracee tracee = {.pid = target->pid, .tid = tid};
    struct error *error = map_region(debugger, target, tid, python, region);

    if (error)
        return error;
    if (!tracee_poke(&tracee, region, stub_blob, (size_t)(stub_blob_end - stub_blob)) &&
        !tracee_poke(&tracee, region + STUB_PARAMS, params, sizeof *params))
        return NULL;
    error = tracee_error(&tracee, errno, "write to the new pages of");
    error_free(debugger_unmap_stub(debugger, python, tid, region));
    return error;
}

struct error *debugger_start_thread(struct debugger *debugger, const struct target *target,
                                    pid_t tid, const struct python *python,
                                    const struct stub_params *params, uint64_t region)
{
    const struct tracee tracee = {.pid = target->pid, .tid = tid};
    char answer[DEBUGGER_ANSWER] = "";
    struct error *error = debugger_map_stub(debugger, target, tid, python, params, region);

    if (error)
        return error;
    error = debugger_ask(debugger, answer, "call %d 0x%" PRIx64 " 0x%" PRIx64, (int)tid,
                         region + STUB_CALLED, region);
    if (!error && !strncmp(answer, "failed", 6) && !thread_was_made(&tracee, region))
        error = call_failed(target, "the call that starts a thread", answer);
    else if (!error && (int64_t)strtoull(answer, NULL, 16) < 0)
        error = debugger_no_thread(target, (int)-strtoull(answer, NULL, 16));
    if (error) {
        error_free(debugger_unmap_stub(debugger, python, tid, region));
        return error;
    }
    return debugger_ask(debugger, NULL, "run 0x%" PRIx64, region + STUB_END);
}
