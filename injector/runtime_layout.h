/* Where things are in _PyRuntime, read from outside.  tests/unit/layout compares this with the
 * headers of every interpreter on the machine. */
#ifndef PYHOT_RUNTIME_LAYOUT_H
#define PYHOT_RUNTIME_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

/* The head of _Py_DebugOffsets, with which _PyRuntime begins from 3.13 on:
 * Include/internal/pycore_runtime.h (3.13), pycore_debug_offsets.h (3.14).  What follows
 * these members differs between minor versions. */
struct debug_offsets {
    char cookie[8];
    uint64_t version; /* PY_VERSION_HEX */
    uint64_t free_threaded;
    struct {
        uint64_t size, finalizing, interpreters_head;
    } runtime_state;
};

/* Members of _Py_DebugOffsets behind that, in units of bytes: what remote-exec needs (3.14).
 * Each is the place of a uint64_t that tells an offset or a size in the target. */
struct remote_layout {
    int minor;
    unsigned interpreter_size, interpreter_id, interpreter_next, threads_main;
    unsigned thread_size, thread_interpreter, native_thread_id;
    unsigned debugger_support; /* struct debugger_support */
};

struct debugger_support {
    uint64_t eval_breaker, remote_debugger_support, remote_debugging_enabled;
    uint64_t pending_call, script_path, script_path_size;
};

static inline const struct remote_layout *remote_layout(int minor)
{
    static const struct remote_layout layouts[] = {
        {14, 48, 56, 64, 80, 176, 200, 224, 712},
        {15, 48, 56, 64, 80, 176, 200, 248, 840},
    };

    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        if (layouts[i].minor == minor)
            return &layouts[i];
    return NULL;
}

/* There `int initialized` is the last of five before the pointer `_finalizing`. */
#define INITIALIZED_TO_FINALIZING 8

/* _PyRuntimeState of the versions before: Include/internal/pycore_runtime.h (pycore_pystate.h
 * in 3.8), the same in all micro versions. */
struct runtime_layout {
    int last_minor;
    unsigned initialized; /* int */
    unsigned finalizing;  /* PyThreadState * */
};

static inline const struct runtime_layout *runtime_layout(int minor)
{
    static const struct runtime_layout layouts[] = {{10, 12, 16}, {12, 16, 24}};

    for (size_t i = 0; i < sizeof(layouts) / sizeof(*layouts); i++)
        if (minor <= layouts[i].last_minor)
            return &layouts[i];
    return NULL;
}

/* The main interpreter's dict of modules, from the pointer in _PyRuntime on, and where the text of
 * an ASCII str is; the same in all micro versions. */
struct modules_layout {
    unsigned main;    /* _PyRuntime.interpreters.main */
    unsigned modules; /* PyInterpreterState.modules, from 3.12 on .imports.modules */
    unsigned text;    /* sizeof(PyASCIIObject) */
};

static inline const struct modules_layout *modules_layout(int minor)
{
    static const struct modules_layout layouts[] = {
        [8] = {40, 56, 48},     [9] = {40, 856, 48},    [10] = {40, 856, 48},
        [11] = {48, 888, 48},   [12] = {48, 944, 40},   [13] = {640, 7656, 40},
        [14] = {816, 7688, 40}, [15] = {944, 7592, 40},
    };

    return minor >= 8 && minor <= 15 ? &layouts[minor] : NULL;
}

/* Of an int in _PyRuntime that is not 0 while a signal's Python handler is still to be run by the
 * main thread: ceval.signals_pending (pycore_ceval.h, pycore_runtime.h), from 3.12 on
 * signals.is_tripped (pycore_signal.h).  0: not known. */
static inline unsigned runtime_signal_noted_offset(int minor)
{
    static const unsigned offsets[] = {[8] = 1144,  [9] = 344,   [10] = 344,  [11] = 352,
                                       [12] = 1512, [13] = 2128, [14] = 2304, [15] = 2432};
    return minor >= 8 && minor <= 15 ? offsets[minor] : 0;
}

#endif
