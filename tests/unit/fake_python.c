/* A program that looks from outside like a CPython, in whatever state a test asks for:
 *
 *     fake-python VERSION-HEX FREE-THREADED INITIALIZED FINALIZING
 *
 * It exports what python.c and runtime.c read, fills it in, and stops changing: pause(). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../injector/runtime_layout.h"

unsigned long Py_Version;
char _PyRuntime[1024];

const char *Py_GetVersion(void);
int PyGILState_Ensure(void);

const char *Py_GetVersion(void)
{
    return "";
}

int PyGILState_Ensure(void)
{
    return 0;
}

#ifdef TRACE_REFS
void PyModule_Create2TraceRefs(void);
void PyModule_Create2TraceRefs(void)
{
}
#endif

static void put(size_t offset, const void *value, size_t size)
{
    memcpy(_PyRuntime + offset, value, size);
}

int main(int argc, char **argv)
{
    unsigned long hex = strtoul(argv[1], NULL, 16);
    int minor = hex >> 16 & 0xff, initialized;
    const struct runtime_layout *layout = runtime_layout(minor);
    uint64_t finalizing;

    if (argc != 5)
        return 2;
    initialized = atoi(argv[3]);
    finalizing = atoi(argv[4]);
    if (layout) {
        put(layout->initialized, &initialized, sizeof(initialized));
        put(layout->finalizing, &finalizing, sizeof(finalizing));
    } else {
        struct debug_offsets offsets = {.version = hex, .free_threaded = atoi(argv[2])};

        memcpy(offsets.cookie, "xdebugpy", 8);
        offsets.runtime_state.finalizing = 600;
        put(0, &offsets, sizeof(offsets));
        put(600 - INITIALIZED_TO_FINALIZING, &initialized, sizeof(initialized));
        put(600, &finalizing, sizeof(finalizing));
    }
    Py_Version = hex;
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    for (;;)
        pause();
}
