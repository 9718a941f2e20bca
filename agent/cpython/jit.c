/* Include/internal/pycore_optimizer.h, 3.15: _PyThreadStateImpl.jit_tracer_state points to
 *
 *     struct _PyJitTracerState {
 *         bool is_tracing;
 *         initial_state, prev_state;    code, func, executor, recorded values: counted
 *         translator_state, opt_context;
 *         code_buffer {start, next, end}, out_buffer;
 *         uop_array[];                  what is recorded: {opcode.., operand0, operand1}
 *     };
 *
 * in pages of its own (_PyObject_VirtualAlloc).  A uop that records a value counts a reference in
 * operand0 (_PyJit_FinalizeTracing, Python/optimizer.c).  Where code_buffer is depends on the
 * build; that it points to what follows it tells. */
#include "jit.h"

#include <stdbool.h>
#include <string.h>

#include "statics.h"
#include "version.h"

enum {
    PAGE = 4096,
    THREAD_STATE = 400, /* words of _PyThreadStateImpl to look at */
    STATES = 24,        /* words of initial_state and prev_state, and more */
    PIECE = 512,
    MOST_PIECES = 1024, /* to code_buffer */
    UOP = 3,            /* words; operand0 is the second */
};

struct uops {
    uintptr_t start, next, end;
};

/* The buffer at `words`, whose address is `address`? */
static bool is_buffer(const uintptr_t *words, uintptr_t address, struct uops *uops)
{
    memcpy(uops, words, sizeof *uops);
    return uops->start == address + 2 * sizeof *uops && uops->start <= uops->next &&
           uops->next <= uops->end && uops->end - uops->start < 1 << 20 &&
           (uops->next - uops->start) % (UOP * sizeof(uintptr_t)) == 0;
}

static bool find_buffer(uintptr_t tracer, struct uops *uops)
{
    uintptr_t words[PIECE + 2];

    for (size_t piece = 0; piece < MOST_PIECES; piece++) {
        uintptr_t address = tracer + piece * PIECE * sizeof *words;

        if (!read_safely((void *)address, words, sizeof words))
            return false;
        for (size_t i = 0; i < PIECE; i++)
            if (is_buffer(words + i, address + i * sizeof *words, uops))
                return true;
    }
    return false;
}

static int visit_uops(const struct uops *uops, int (*visit)(uintptr_t, void *), void *arg)
{
    uintptr_t uop[UOP];
    int result = 0;

    for (uintptr_t at = uops->start; at < uops->next && result == 0; at += sizeof uop)
        if (read_safely((void *)at, uop, sizeof uop))
            result = visit(uop[1], arg);
    return result;
}

static int visit_tracer(uintptr_t tracer, int (*visit)(uintptr_t, void *), void *arg)
{
    uintptr_t states[STATES];
    struct uops uops;
    int result = 0;

    /* is_tracing */
    if (!read_safely((void *)tracer, states, sizeof states) || (states[0] & 0xFF) != 1 ||
        !find_buffer(tracer, &uops))
        return 0;
    for (size_t i = 1; i < STATES && result == 0; i++)
        result = visit(states[i], arg);
    return result ? result : visit_uops(&uops, visit, arg);
}

int jit_recorded_words(PyThreadState *thread, int (*visit)(uintptr_t, void *), void *arg)
{
    uintptr_t words[THREAD_STATE];
    int result = 0;

    if (cpython_minor() < 15 || !read_safely(thread, words, sizeof words))
        return 0;
    for (size_t i = 0; i < THREAD_STATE && result == 0; i++)
        if (words[i] >= PAGE && words[i] % PAGE == 0)
            result = visit_tracer(words[i], visit, arg);
    return result;
}
