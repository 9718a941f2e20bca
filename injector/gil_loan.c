/* Which thread may lend the GIL, and beside which others (gil_loan.h). */
#include "gil_loan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "procfs.h"
#include "unwinder.h"

static struct error *not_here(const struct safepoint *safepoint, pid_t tid, const char *why,
                              const char *remedy)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "not-here",
                                "the job cannot run in process %d as it is stopped: thread %d %s",
                                (int)safepoint->map->view.pid, (int)tid, why),
                      "nothing was changed; %s", remedy);
}

/* The file that has CPython's own functions: the program, or libpython. */
static bool is_cpython(const struct safepoint *safepoint, const struct code_image *image,
                       const struct python *python)
{
    return image && image == codemap_find(safepoint->map, python->save_thread);
}

/* Where lock and condition of the GIL are waited for: COND_TIMED_WAIT and COND_WAIT of
 * Python/ceval_gil.h (3.8 to 3.11) and ceval_gil.c.  CPython's other waits are by semaphores
 * (Python/thread_pthread.h, parking_lot.c). */
static bool waits_for_gil(struct safepoint *safepoint, const struct safepoint_place *place,
                          const struct python *python)
{
    static const char *const waits[] = {"pthread_cond_wait", "pthread_cond_timedwait",
                                        "pthread_cond_clockwait", "pthread_mutex_lock"};
    const struct code_image *libc = codemap_find(safepoint->map, place->sleeps_in);

    if (!libc || !is_cpython(safepoint, place->code, python))
        return false;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        if (codemap_exports(safepoint->map, libc, waits[i], place->sleeps_in))
            return true;
    return false;
}

static struct error *check_other(struct debugger *debugger, struct safepoint *safepoint,
                                 const struct python *python, pid_t tid)
{
    static const char remedy[] = "leave --here out, and the other threads run too";
    struct safepoint_place place;
    char why[300];
    bool safe;
    struct error *error = debugger_judge(debugger, safepoint, tid, &place, &safe);

    if (error)
        return error;
    if (!safe) {
        snprintf(why, sizeof why, "may hold a lock that it needs: it is in %s",
                 safepoint->obstacle);
        return not_here(safepoint, tid, why, remedy);
    }
    if (!place.sleeps_in)
        return not_here(safepoint, tid, "may hold what it needs: it does not sleep", remedy);
    if (waits_for_gil(safepoint, &place, python))
        return not_here(safepoint, tid, "waits for the GIL, and would be given it first", remedy);
    return NULL;
}

/* Calls of the selected thread that read a variable each. */
static struct error *check_gil(struct debugger *debugger, const struct safepoint *safepoint,
                               const struct python *python)
{
    uint64_t own = 0, current = 0;
    struct error *error = debugger_call(debugger, debugger->selected, python->this_state, &own);

    if (!error)
        error = debugger_call(debugger, debugger->selected, python->current_state, &current);
    if (error || (own && own == current))
        return error;
    return not_here(safepoint, debugger->selected, "does not hold the GIL",
                    "select one that is stopped in an extension function, or leave --here out");
}

static struct error *check_lender(struct debugger *debugger, struct safepoint *safepoint,
                                  const struct python *python)
{
    static const char remedy[] = "let it go on to an extension function, or leave --here out";
    struct safepoint_place place;
    char why[300];
    bool safe;
    pid_t tid = debugger->selected;
    struct error *error = debugger_judge(debugger, safepoint, tid, &place, &safe);

    if (error)
        return error;
    if (!safe) {
        snprintf(why, sizeof why, "is in %s", safepoint->obstacle);
        return not_here(safepoint, tid, why, remedy);
    }
    if (is_cpython(safepoint, place.code, python))
        return not_here(safepoint, tid, "is in CPython itself, perhaps in the middle of a change",
                        remedy);
    return check_gil(debugger, safepoint, python);
}

struct error *gil_loan_check(struct debugger *debugger, struct safepoint *safepoint,
                             const struct python *python)
{
    _cleanup_free_ pid_t *tids = NULL;
    size_t n = 0;
    bool changed;
    struct error *error = codemap_refresh(safepoint->map, &changed);

    if (!error && changed)
        unwinder_forget(safepoint->unwinder);
    if (!error && !(python->save_thread && python->restore_thread && python->this_state &&
                    python->current_state))
        error = not_here(safepoint, debugger->selected,
                         "has a CPython without the functions for it", "leave --here out");
    if (!error)
        error = target_threads(&safepoint->map->view, &tids, &n);
    for (size_t i = 0; !error && i < n; i++)
        if (tids[i] != debugger->selected)
            error = check_other(debugger, safepoint, python, tids[i]);
    return error ? error : check_lender(debugger, safepoint, python);
}

/* Its signals that are blocked. */
static bool blocked_signals(pid_t pid, pid_t tid, uint64_t *mask)
{
    char name[48];
    const char *line;

    snprintf(name, sizeof name, "task/%d/status", (int)tid);
    _cleanup_free_ char *status = proc_read(pid, name, NULL);
    line = status ? strstr(status, "\nSigBlk:") : NULL;
    return line && sscanf(line, " SigBlk: %" SCNx64, mask) == 1;
}

/* Puts the frame that brings the thread back below its stack: where, and its first bytes. */
static struct error *write_frame(const struct tracee *tracee,
                                 const struct arch_registers *registers,
                                 const struct arch_gadgets *gadgets, uint64_t *at,
                                 unsigned char head[ARCH_FRAME_HEAD])
{
    struct arch_vectors vectors;
    uint64_t mask;
    size_t size;

    if (arch_empty_vectors(&vectors))
        return tracee_error(tracee, errno, "have a place for the vector registers of");
    if (!blocked_signals(tracee->pid, tracee->tid, &mask))
        return tracee_error(tracee, ESRCH, "read the signals of");
    _cleanup_free_ void *frame = arch_signal_frame(registers, &vectors, mask, gadgets, at, &size);
    if (!frame)
        return tracee_error(tracee, errno, "make a signal frame for");
    memcpy(head, frame, ARCH_FRAME_HEAD);
    if (tracee_write(tracee, *at, frame, size))
        return tracee_error(tracee, errno, "write below the stack of");
    return NULL;
}

static struct error *not_lent(const struct tracee *tracee, const char *answer)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "not-lent",
                                "thread %d of process %d did not come to lend its GIL: %.900s",
                                (int)tracee->tid, (int)tracee->pid, answer),
                      "nothing was changed; it comes back to where it was when you continue");
}

/* The thread is at STUB_LENT: has it started ours? */
static struct error *check_lent(struct debugger *debugger, const struct target *target,
                                const struct tracee *tracee, uint64_t back)
{
    struct arch_registers registers;
    bool stopped;
    struct error *error = debugger_registers(debugger, tracee->tid, &registers, &stopped);

    if (error)
        return error;
    if (!stopped)
        return not_lent(tracee, "it is not stopped");
    if (!arch_stub_result(&registers))
        return NULL;
    error = debugger_no_thread(target, arch_stub_result(&registers));
    error_free(debugger_ask(debugger, NULL, "back %d 0x%" PRIx64, (int)tracee->tid, back));
    return error;
}

struct error *gil_loan_start(struct debugger *debugger, const struct target *target,
                             const struct python *python, const struct arch_gadgets *gadgets,
                             const struct stub_params *params, uint64_t region)
{
    const struct tracee tracee = {.pid = target->pid, .tid = debugger->selected};
    char answer[DEBUGGER_ANSWER];
    unsigned char head[ARCH_FRAME_HEAD];
    struct arch_registers registers;
    bool stopped = false;
    uint64_t at;
    struct error *error = debugger_map_stub(debugger, target, tracee.tid, python, params, region);

    if (error)
        return error;
    error = debugger_registers(debugger, tracee.tid, &registers, &stopped);
    if (!error && !stopped)
        error = not_lent(&tracee, "it is not stopped");
    if (!error)
        error = write_frame(&tracee, &registers, gadgets, &at, head);
    if (error) {
        error_free(debugger_unmap_stub(debugger, python, tracee.tid, region));
        return error;
    }
    error =
        debugger_ask(debugger, answer,
                     "enter %d 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64 " 0x%" PRIx64,
                     (int)tracee.tid, region + STUB_LENDS, at, region, arch_frame_vectors(head),
                     region + STUB_LENT);
    if (!error && strcmp(answer, "there"))
        error = not_lent(&tracee, answer);
    if (!error)
        error = check_lent(debugger, target, &tracee, arch_frame_ip(head));
    if (error)
        return error;
    return debugger_ask(debugger, NULL, "alone 0x%" PRIx64 " %d 0x%" PRIx64, region + STUB_END,
                        (int)tracee.tid, arch_frame_ip(head));
}
