#include "version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api.h"
#include "frame.h"
#include "probes.h"
#include "statics.h"

/* Asked for each object of a heap; Py_GetVersion formats its text anew each time. */
int cpython_minor(void)
{
    static int minor = -1;
    const char *version;

    if (minor < 0) {
        version = Py_GetVersion();
        minor = strncmp(version, "3.", 2) == 0 ? atoi(version + 2) : 0;
    }
    return minor;
}

void cpython_version(char *text, size_t size)
{
    const char *version = Py_GetVersion();

    snprintf(text, size, "%.*s", (int)strcspn(version, " "), version);
}

/* Of its own files only free-threaded builds say "free-threading build" in sys.version
 * (Python/getversion.c, 3.13). */
static bool free_threaded(void)
{
    return strstr(Py_GetVersion(), "free-threading") != NULL;
}

/* With Py_TRACE_REFS an object starts with two links (3.8 to 3.12; _PyObject_HEAD_EXTRA of
 * Include/object.h), so all fields that object.h declares are 16 bytes off: what should be the
 * size of a digit of int is a pointer then. */
static bool trace_refs(void)
{
    return PyLong_Type.tp_itemsize != 4 && PyLong_Type.tp_itemsize != 2;
}

/* A filter may forbid the safe reading that the probes need. */
static bool probes_work(void)
{
    int word = 1, read = 0;

    return read_safely(&word, &read, sizeof read) && read == word;
}

bool cpython_supported(char *why, size_t size)
{
    char version[32];
    int minor = cpython_minor();
    const char *failed = NULL;

    cpython_version(version, sizeof version);
    if (minor < CPYTHON_OLDEST)
        snprintf(why, size, "process %d runs Python %s; known are 3.%d to 3.%d", (int)getpid(),
                 version, CPYTHON_OLDEST, CPYTHON_NEWEST);
    else if (free_threaded())
        snprintf(why, size, "process %d runs a free-threaded Python %s, which has no GIL",
                 (int)getpid(), version);
    else if (trace_refs())
        snprintf(why, size, "process %d runs a Python %s built with Py_TRACE_REFS", (int)getpid(),
                 version);
    else if (!probes_work() && minor > CPYTHON_NEWEST)
        snprintf(why, size,
                 "process %d runs Python %s, newer than 3.%d, and nothing about it can be tried: "
                 "it may not read its own memory safely",
                 (int)getpid(), version, CPYTHON_NEWEST);
    else if (probes_work() && (failed = probes_failed()) && frame_look_prevented())
        snprintf(why, size,
                 "process %d (Python %s) did not run a line of pyhot's own: an audit hook refuses "
                 "code, or memory is short",
                 (int)getpid(), version);
    else if (probes_work() && failed)
        snprintf(why, size, "process %d runs a Python %s in which %s is not as pyhot knows it",
                 (int)getpid(), version, failed);
    else
        return true;
    return false;
}

bool cpython_finalizing(void)
{
    if (&Py_IsFinalizing)
        return Py_IsFinalizing();
    return &_Py_IsFinalizing && _Py_IsFinalizing();
}
