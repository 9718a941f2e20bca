/* What can be told from outside about a CPython (runtime.h). */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "runtime_layout.h"

#define FIRST_MINOR 8

void runtime_decode_version(struct python *python, uint32_t hex)
{
    static const char *const levels[16] = {[0xa] = "a", [0xb] = "b", [0xc] = "rc"};
    const char *level = levels[hex >> 4 & 0xf];

    python->major = hex >> 24;
    python->minor = hex >> 16 & 0xff;
    python->micro = hex >> 8 & 0xff;
    if (level)
        snprintf(python->version, sizeof(python->version), "%d.%d.%d%s%u", python->major,
                 python->minor, python->micro, level, hex & 0xf);
    else
        snprintf(python->version, sizeof(python->version), "%d.%d.%d", python->major, python->minor,
                 python->micro);
}

bool runtime_parse_version(struct python *python, const char *text)
{
    const char *space = strchr(text, ' ');
    size_t length = space ? (size_t)(space - text) : 0;
    int major, minor, micro, used = 0;

    if (!space || space[1] != '(' || length >= sizeof(python->version))
        return false;
    if (!strstr(space, ") [") && !strstr(space, ") \n[")) /* a newline up to 3.9 */
        return false;
    if (sscanf(text, "%2d.%3d.%3d%n", &major, &minor, &micro, &used) != 3 || used == 0 ||
        strspn(text + used, "0123456789abcr+") != length - used)
        return false;
    python->major = major;
    python->minor = minor;
    python->micro = micro;
    memcpy(python->version, text, length);
    python->version[length] = 0;
    return true;
}

static struct error *error_not_initialised(const struct target *target)
{
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "not-initialised",
                                "the Python in process %d (%s) is not initialised yet, or no more",
                                target->pid, target->command),
                      "try again when it runs Python code");
}

/* Before 3.11 nothing exported tells the version; but Py_GetVersion (Python/getversion.c) keeps
 * sys.version in a static buffer, written when sys is set up. */
static struct error *scan_for_version(struct python *python, const struct target *target,
                                      const struct image *image)
{
    uint64_t start, size;
    _cleanup_free_ char *data = NULL;
    struct error *error;

    if (!image_writable_segment(image, &start, &size) || size > 64 << 20)
        return error_not_initialised(target);
    data = malloc(size + 1);
    if (!data)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    data[size] = 0;
    if ((error = target_read(target, start, data, size)))
        return error;
    for (uint64_t at = -start & 7; at + 16 < size; at += 8) /* arrays of 16 and more are aligned */
        if (data[at] >= '2' && data[at] <= '9' && data[at + 1] == '.' &&
            runtime_parse_version(python, data + at))
            return NULL;
    return error_not_initialised(target);
}

/* Reads the head of _Py_DebugOffsets; cookie[0] is 0 if this version has none. */
static struct error *read_debug_offsets(const struct python *python, const struct target *target,
                                        struct debug_offsets *offsets)
{
    struct error *error = NULL;

    if (python->runtime)
        error = target_read(target, python->runtime, offsets, sizeof(*offsets));
    if (error || !python->runtime || memcmp(offsets->cookie, "xdebugpy", 8))
        memset(offsets, 0, sizeof(*offsets));
    return error;
}

static struct error *check_served(const struct python *python, const struct target *target,
                                  const struct debug_offsets *offsets)
{
    /* A newer one is for the agent to judge, which can try what it believes. */
    if (python->major != 3 || python->minor < FIRST_MINOR)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "unknown-version",
                                    "process %d (%s) runs CPython %s, which this pyhot does not "
                                    "know",
                                    target->pid, target->command, python->version),
                          "known: 3.%d and later", FIRST_MINOR);
    if (offsets->free_threaded)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "free-threaded",
                                    "process %d (%s) runs the free-threaded build of CPython %s",
                                    target->pid, target->command, python->version),
                          "run the program with the build that has the GIL");
    if (!python->runtime || (python->minor >= 13 && !offsets->cookie[0]))
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-runtime",
                                    "the CPython %s in process %d (%s) does not show its runtime "
                                    "state (_PyRuntime)",
                                    python->version, target->pid, target->command),
                          "it is not a build of CPython as released");
    return NULL;
}

struct error *runtime_version(struct python *python, const struct target *target,
                              const struct image *image, uint64_t py_version)
{
    struct debug_offsets offsets;
    struct error *error = read_debug_offsets(python, target, &offsets);
    unsigned long hex = 0;

    if (!error && py_version)
        error = target_read(target, py_version, &hex, sizeof(hex));
    if (error)
        return error;
    if (offsets.cookie[0])
        hex = offsets.version;
    if (hex)
        runtime_decode_version(python, hex);
    else if ((error = scan_for_version(python, target, image)))
        return error;
    return check_served(python, target, &offsets);
}

/* The addresses of _PyRuntime.initialized and ._finalizing; the version is a known one. */
static void locate_fields(const struct python *python, const struct debug_offsets *offsets,
                          uint64_t *initialized, uint64_t *finalizing)
{
    const struct runtime_layout *layout = runtime_layout(python->minor);

    if (offsets->cookie[0] || !layout) {
        *finalizing = python->runtime + offsets->runtime_state.finalizing;
        *initialized = *finalizing - INITIALIZED_TO_FINALIZING;
        return;
    }
    *finalizing = python->runtime + layout->finalizing;
    *initialized = python->runtime + layout->initialized;
}

struct error *runtime_ready(const struct python *python, const struct target *target)
{
    struct debug_offsets offsets;
    uint64_t initialized_at, finalizing_at, finalizing = 0;
    int initialized = 0;
    struct error *error = read_debug_offsets(python, target, &offsets);

    if (error)
        return error;
    locate_fields(python, &offsets, &initialized_at, &finalizing_at);
    if ((error = target_read(target, initialized_at, &initialized, sizeof(initialized))) ||
        (error = target_read(target, finalizing_at, &finalizing, sizeof(finalizing))))
        return error;
    if (finalizing)
        return error_hint(
            error_new(EXIT_CANNOT_ATTACH, "finalizing",
                      "the Python %s in process %d (%s) is finalizing: it is shutting "
                      "down",
                      python->version, target->pid, target->command),
            "it takes no new code");
    if (initialized != 1)
        return error_not_initialised(target);
    return NULL;
}

bool runtime_signal_noted(const struct python *python, const struct target *target)
{
    unsigned offset = runtime_signal_noted_offset(python->minor);
    int noted = 0;

    if (offset)
        error_free(target_read(target, python->runtime + offset, &noted, sizeof(noted)));
    return noted == 1;
}
