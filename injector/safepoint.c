/* The rule, an allow-list (research: a stripped C library names its static functions wrongly):
 *
 * 1. The stack unwinds to its base without an error, and the base is where the C library starts
 *    a program or a thread.
 * 2. No frame is in the loader or in an allocator, or in code that we know nothing of.
 * 3. Frames in the C library, but for the base, are the innermost ones only; the outermost of
 *    those is exactly an exported function that only sleeps in the kernel; and the thread is in
 *    a system call, none that changes memory or threads.
 *
 * Interpreters and extension modules may be anywhere: pthread_create needs no lock of theirs. */
#include "safepoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>

#include "cleanup.h"
#include "eintr.h"
#include "fault.h"
#include "threads.h"
#include "unwinder.h"

enum {
    MAX_FRAMES = 20000,
    MAX_IMAGES = 16,     /* images on one stack whose identity is checked */
    THREADS_A_ROUND = 8, /* tried before the list is made anew */
    PAUSE_NS = 700000,
    SPARED_ROUNDS = 40, /* without a stop that ends a call with EINTR, if there are other threads */
    STACK_ROOM = 32 * 1024, /* what pthread_create, with a lazy binding on its way, may need */
    BASE_FRAMES = 2,        /* start_thread and clone; __libc_start_call_main and its caller */
};

struct error *safepoint_open(struct safepoint *safepoint, struct codemap *map)
{
    *safepoint = (struct safepoint){.map = map, .unwinder = unwinder_new(map)};
    seccomp_open(&safepoint->seccomp, &map->view);
    if (!safepoint->unwinder)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "pyhot is out of memory");
    if (!map->program_start)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-c-library",
                                    "process %d has no C library that pyhot knows: its functions "
                                    "cannot be found",
                                    (int)map->view.pid),
                          "a program linked statically cannot load the agent; use a dynamically "
                          "linked Python");
    return NULL;
}

void safepoint_close(struct safepoint *safepoint)
{
    unwinder_free(safepoint->unwinder);
    safepoint->unwinder = NULL;
    error_free(safepoint->forbidden);
    safepoint->forbidden = NULL;
}

__attribute__((format(printf, 2, 3))) static bool unsafe(struct safepoint *safepoint,
                                                         const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(safepoint->obstacle, sizeof safepoint->obstacle, format, arguments);
    va_end(arguments);
    return false;
}

/* A run of frames that are all in the C library, from inside to outside. */
struct libc_run {
    unsigned first, length; /* index of its innermost frame */
    uint64_t outermost;     /* start of its outermost function, or 0 */
    uint64_t outermost_ip;
    const struct code_image *image;
};

struct walk {
    struct libc_run run; /* the latest; length 0: none yet */
    unsigned frames;
    long syscall;                    /* that the thread is in, or -1 */
    const struct code_image *caller; /* of the function that it sleeps in; NULL: none known */
    struct safepoint_place place;
    const struct code_image *images[MAX_IMAGES];
    size_t n_images;
};

static bool remember_image(struct walk *walk, const struct code_image *image)
{
    for (size_t i = 0; i < walk->n_images; i++)
        if (walk->images[i] == image)
            return true;
    if (walk->n_images == MAX_IMAGES)
        return false;
    walk->images[walk->n_images++] = image;
    return true;
}

/* Calls that malloc, the loader and pthread_create make with a lock held. */
static bool is_harmless_syscall(long number)
{
    static const long harmful[] = {SYS_brk,     SYS_mmap,  SYS_munmap, SYS_mremap, SYS_mprotect,
                                   SYS_madvise, SYS_clone, SYS_clone3, SYS_execve, SYS_exit};
    for (size_t i = 0; i < sizeof harmful / sizeof *harmful; i++)
        if (number == harmful[i])
            return false;
    return number >= 0;
}

/* The run that has just ended inwards of an ordinary frame: may it be there? */
static bool judge_inner_run(struct safepoint *safepoint, struct walk *walk)
{
    const struct libc_run *run = &walk->run;
    if (!run->length)
        return true;
    if (run->first == 0 && is_harmless_syscall(walk->syscall) &&
        codemap_is_sleeper(safepoint->map, run->outermost)) {
        walk->place.sleeps_in = run->outermost;
        return true;
    }
    return unsafe(safepoint, "%s+0x%llx", run->image->name,
                  (unsigned long long)(run->outermost_ip - run->image->bias));
}

/* The base of the stack: the run that starts a thread, or a program and its entry point. */
static bool judge_base(struct safepoint *safepoint, const struct walk *walk)
{
    const struct libc_run *run = &walk->run;
    unsigned outside = walk->frames - run->first - run->length;
    bool thread = outside == 0;
    bool program = outside == 1 && run->outermost == safepoint->map->program_start;
    if (run->length && run->length <= BASE_FRAMES && run->first > 0 && (thread || program))
        return true;
    return unsafe(safepoint, "a stack whose base pyhot does not know, %u frames deep",
                  walk->frames);
}

/* One frame, from inside to outside. */
static bool judge_frame(struct safepoint *safepoint, struct walk *walk, uint64_t ip)
{
    /* A return address may be the byte behind its function. */
    uint64_t inside = walk->frames ? ip - 1 : ip;
    const struct code_image *image = codemap_find(safepoint->map, inside);

    if (!image)
        return unsafe(safepoint, "code outside of any file, at 0x%llx", (unsigned long long)ip);
    if (image->kind == CODE_LOADER || image->kind == CODE_ALLOCATOR)
        return unsafe(safepoint, "the %s, %s",
                      image->kind == CODE_LOADER ? "dynamic loader" : "memory allocator",
                      image->name);
    if (image->kind != CODE_C_LIBRARY && !walk->place.code)
        walk->place.code = image;
    if (!remember_image(walk, image))
        return unsafe(safepoint, "more than %d files on one stack", MAX_IMAGES);
    if (image->kind == CODE_C_LIBRARY) {
        bool joined = walk->run.length && walk->run.first + walk->run.length == walk->frames;
        if (!joined) {
            if (!judge_inner_run(safepoint, walk))
                return false;
            walk->run = (struct libc_run){.first = walk->frames, .image = image};
        }
        walk->run.length++;
        walk->run.outermost_ip = inside;
        walk->run.outermost = codemap_function_start(safepoint->map, image, inside);
    } else if (walk->frames > 0 && walk->run.length == walk->frames &&
               codemap_is_sleeper(safepoint->map, walk->run.outermost)) {
        walk->caller = image;
    }
    walk->frames++;
    return true;
}

/* Are the frames of a thread with these registers such that it can be borrowed? */
static bool judge_stack(struct safepoint *safepoint, const struct arch_registers *registers,
                        struct walk *walk)
{
    *walk = (struct walk){.syscall = arch_syscall_number(registers)};
    if (unwinder_begin(safepoint->unwinder, registers))
        return unsafe(safepoint, "registers that libunwind does not accept");
    for (;;) {
        uint64_t ip = unwinder_ip(safepoint->unwinder);
        if (!judge_frame(safepoint, walk, ip))
            return false;
        int status = unwinder_step(safepoint->unwinder);
        if (status == 0)
            return judge_base(safepoint, walk);
        if (status < 0)
            return unsafe(safepoint, "code without unwinding information, at 0x%llx",
                          (unsigned long long)ip);
        if (walk->frames == MAX_FRAMES)
            return unsafe(safepoint, "a stack of more than %d frames", MAX_FRAMES);
    }
}

/* In a restartable sequence (rseq(2)) the thread must not be moved: the kernel would forget it. */
static bool in_rseq(const struct tracee *tracee, uint64_t ip)
{
    struct __ptrace_rseq_configuration rseq = {0};
    struct {
        uint32_t version, flags;
        uint64_t start, length, abort;
    } section;
    uint64_t at;
    enum { RSEQ_CS = 8 }; /* offset of rseq_cs in struct rseq */

    return ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tracee->tid, sizeof rseq, &rseq) > 0 &&
           rseq.rseq_abi_pointer &&
           !tracee_read(tracee, rseq.rseq_abi_pointer + RSEQ_CS, &at, sizeof at) && at &&
           !tracee_read(tracee, at, &section, sizeof section) &&
           ip - section.start < section.length;
}

/* Is all between these two writable memory? */
static bool is_writable(const struct target *view, uint64_t low, uint64_t high)
{
    for (uint64_t at = high;;) {
        const struct mapping *mapping = target_mapping_at(view, at);
        if (!mapping || mapping->perms[1] != 'w')
            return false;
        if (mapping->start <= low)
            return true;
        at = mapping->start - 1;
    }
}

/* A stack that its program chose (pthread_attr_setstack) may have anything below it: glibc keeps
 * its lowest address and size side by side somewhere in struct pthread, to which the thread pointer
 * points (nptl/descr.h). */
static bool is_within_stack(const struct tracee *tracee, uint64_t low, uint64_t sp,
                            uint64_t thread_pointer)
{
    enum { WORDS = 256 };
    const uint64_t max_size = 1ull << 40;
    uint64_t words[WORDS];

    if (tracee_read(tracee, thread_pointer, words, sizeof words))
        return true;
    for (size_t i = 0; i + 1 < WORDS; i++) {
        uint64_t start = words[i], size = words[i + 1];
        if (size < max_size && sp - start < size && thread_pointer - start < size && low < start)
            return false;
    }
    return true;
}

static bool has_stack_room(struct safepoint *safepoint, const struct tracee *tracee,
                           const struct arch_registers *registers)
{
    struct target *view = &safepoint->map->view;
    uint64_t sp = arch_sp(registers), low = sp - STACK_ROOM;
    const struct mapping *stack = target_mapping_at(view, sp);

    if (!stack || (stack->start > low && !strcmp(stack->path, "[stack]"))) {
        tracee_grow_stack(tracee, low);
        error_free(target_read_maps(view));
    }
    return is_writable(view, low, sp) &&
           is_within_stack(tracee, low, sp, arch_thread_pointer(registers));
}

bool safepoint_judge(struct safepoint *safepoint, const struct tracee *tracee,
                     const struct arch_registers *registers, struct safepoint_place *place)
{
    struct walk walk;

    if (!judge_stack(safepoint, registers, &walk))
        return false;
    *place = walk.place;
    for (size_t i = 0; i < walk.n_images; i++)
        if (!codemap_unchanged(safepoint->map, walk.images[i]))
            return unsafe(safepoint, "%s, which is being replaced", walk.images[i]->name);
    return has_stack_room(safepoint, tracee, registers) ||
           unsafe(safepoint, "a stack that is almost full");
}

uint64_t safepoint_way_out(struct safepoint *safepoint, const struct arch_registers *registers)
{
    if (unwinder_begin(safepoint->unwinder, registers))
        return 0;
    for (unsigned frames = 0; frames < MAX_FRAMES; frames++) {
        uint64_t ip = unwinder_ip(safepoint->unwinder);
        const struct code_image *image = codemap_find(safepoint->map, ip);
        if (frames > 0 && image && image->kind == CODE_ORDINARY)
            return ip;
        if (unwinder_step(safepoint->unwinder) <= 0)
            return 0;
    }
    return 0;
}

/* Of a stopped thread. */
static bool is_safe(struct safepoint *safepoint, const struct tracee *tracee)
{
    struct arch_registers registers;

    if (arch_read_registers(tracee->tid, &registers))
        return unsafe(safepoint, "a thread that ended");
    struct safepoint_place place;
    if (!safepoint_judge(safepoint, tracee, &registers, &place))
        return false;
    if (in_rseq(tracee, arch_ip(&registers)))
        return unsafe(safepoint, "a restartable sequence");
    const char *unfit = arch_unfit(tracee->tid);
    return unfit ? unsafe(safepoint, "thread %d: %s", (int)tracee->tid, unfit) : true;
}

/* Of a thread that is safe otherwise. */
static bool is_permitted(struct safepoint *safepoint, const struct tracee *tracee)
{
    error_free(safepoint->forbidden);
    safepoint->forbidden = seccomp_check(&safepoint->seccomp, &safepoint->map->view, tracee->tid);
    return !safepoint->forbidden;
}

/* Fills the caches before anything is stopped: most of a stop would be reading the target's
 * unwinding tables.  Only ip and sp are known, so this may end early; no matter. */
static void rehearse(struct safepoint *safepoint, const struct thread *thread)
{
    struct arch_registers registers;
    struct walk walk;

    if (!thread->ip)
        return;
    memset(&registers, 0, sizeof registers);
    arch_set_ip_sp(&registers, thread->ip, thread->sp);
    (void)judge_stack(safepoint, &registers, &walk);
    safepoint->obstacle[0] = '\0'; /* it was no try */
}

static struct error *stopped_target(const struct tracee *tracee)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "stopped",
                                "process %d is stopped (T): it cannot run the reload",
                                (int)tracee->pid),
                      "continue it first: kill -CONT %d", (int)tracee->pid);
}

/* One thread: *found if it is now stopped at a safe place; else it runs as before. */
static struct error *try_thread(struct safepoint *safepoint, const struct thread *thread,
                                struct tracee *tracee, uint64_t deadline_ns, bool *found)
{
    enum tracee_attach_result result;
    bool changed;
    pid_t pid = safepoint->map->view.pid;
    struct error *error = tracee_seize(tracee, pid, thread->tid, deadline_ns, &result);

    *found = false;
    if (error)
        return error;
    if (result == TRACEE_BUSY)
        (void)unsafe(safepoint, "another tracer of thread %d", (int)thread->tid);
    if (result != TRACEE_ATTACHED)
        return NULL;
    /* From here on an execve of the target is noticed, so these mappings are of the program
     * that will be stopped. */
    error = codemap_refresh(safepoint->map, &changed);
    if (!error && changed)
        unwinder_forget(safepoint->unwinder);
    if (!error)
        error = tracee_interrupt(tracee, deadline_ns);
    if (!error && tracee->state == TRACEE_GROUP_STOPPED)
        error = stopped_target(tracee);
    if (!error && tracee->state == TRACEE_INTERRUPTED) {
        safepoint->attempts++;
        *found = is_safe(safepoint, tracee) && is_permitted(safepoint, tracee);
        fault_point("unwound");
    }
    if (!*found)
        tracee_release(tracee);
    return error;
}

static struct error *not_in_time(const struct safepoint *safepoint)
{
    return error_hint(
        error_new(EXIT_DEADLINE, "no-safe-place",
                  "no thread of process %d came to a place where it can be borrowed "
                  "(%u tries); in the way: %s",
                  (int)safepoint->map->view.pid, safepoint->attempts,
                  safepoint->obstacle[0] ? safepoint->obstacle : "no thread could be stopped"),
        "nothing was changed; try again with a longer --timeout");
}

/* A round over the threads that are the most promising now, another part of them each time.  When
 * the filter of one forbids it, only those without a filter are worth another try. */
static struct error *try_round(struct safepoint *safepoint, unsigned round, struct tracee *tracee,
                               uint64_t deadline_ns, bool *found)
{
    _cleanup_free_ struct thread *threads = NULL;
    size_t n, tried = 0;
    struct error *error = threads_list(&safepoint->map->view, &threads, &n);

    if (!error && round == 0 && n)
        rehearse(safepoint, &threads[0]);
    size_t skip = n > THREADS_A_ROUND ? round * (THREADS_A_ROUND / 2) % n : 0;
    for (size_t i = 0; !error && !*found && i < n && i < THREADS_A_ROUND; i++) {
        const struct thread *thread = &threads[(skip + i) % n];
        if (monotonic_ns() >= deadline_ns)
            break;
        if (thread->rank == THREAD_UNSTOPPABLE && !safepoint->obstacle[0])
            (void)unsafe(safepoint,
                         "an uninterruptible wait (state D: a disk, a vfork, a frozen "
                         "cgroup) of thread %d",
                         (int)thread->tid);
        if (thread->rank == THREAD_UNSTOPPABLE ||
            (safepoint->forbidden && seccomp_is_on(thread->tid)))
            continue;
        tried++;
        if (thread->rank != THREAD_SLEEPS_BRIEFLY || n == 1 || round >= SPARED_ROUNDS)
            error = try_thread(safepoint, thread, tracee, deadline_ns, found);
    }
    if (!error && safepoint->forbidden && !tried) {
        error = safepoint->forbidden;
        safepoint->forbidden = NULL;
    }
    return error;
}

struct error *safepoint_find(struct safepoint *safepoint, struct tracee *tracee,
                             uint64_t deadline_ns)
{
    bool found = false;
    for (unsigned round = 0; monotonic_ns() < deadline_ns; round++) {
        struct error *error = try_round(safepoint, round, tracee, deadline_ns, &found);
        if (error || found)
            return error;
        error = target_check(&safepoint->map->view);
        if (error)
            return error;
        nanosleep(&(struct timespec){0, PAUSE_NS}, NULL);
    }
    return not_in_time(safepoint);
}

struct error *safepoint_end_wait(struct safepoint *safepoint, pid_t tid, uint64_t deadline_ns)
{
    struct tracee tracee = {.state = TRACEE_DETACHED};
    enum tracee_attach_result result;
    struct arch_registers registers;
    struct walk walk;
    struct error *error =
        tracee_seize(&tracee, safepoint->map->view.pid, tid, deadline_ns, &result);

    if (error || result != TRACEE_ATTACHED)
        return error;
    error = tracee_interrupt(&tracee, deadline_ns);
    if (!error && tracee.state == TRACEE_INTERRUPTED && !arch_read_registers(tid, &registers)) {
        (void)judge_stack(safepoint, &registers, &walk);
        if (walk.caller && walk.caller->retries_eintr &&
            eintr_is_retried(arch_syscall_number(&registers)) && arch_end_syscall(&registers))
            (void)arch_write_registers(tid, &registers);
    }
    tracee_release(&tracee);
    return error;
}
