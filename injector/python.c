/* The CPython inside a process (python.h). */
#include "python.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image.h"
#include "loaded_agent.h"
#include "runtime.h"

enum {
    GIL_ENSURE,
    GET_VERSION,
    RUNTIME,
    VERSION,
    TRACE_REFS,
    SAVE_THREAD,
    RESTORE_THREAD,
    THIS_STATE,
    CURRENT_STATE,
    CURRENT_STATE_3_13,
    N_PYTHON
};

static const struct symbol python_symbols[N_PYTHON] = {
    [GIL_ENSURE] = {.name = "PyGILState_Ensure"},
    [GET_VERSION] = {.name = "Py_GetVersion"},
    [RUNTIME] = {.name = "_PyRuntime"},
    [VERSION] = {.name = "Py_Version"}, /* from 3.11 */
    /* In a Py_TRACE_REFS build PyModule_Create2 has this name; Include/modsupport.h. */
    [TRACE_REFS] = {.name = "PyModule_Create2TraceRefs"},
    [SAVE_THREAD] = {.name = "PyEval_SaveThread"},
    [RESTORE_THREAD] = {.name = "PyEval_RestoreThread"},
    [THIS_STATE] = {.name = "PyGILState_GetThisThreadState"},
    [CURRENT_STATE] = {.name = "_PyThreadState_UncheckedGet"}, /* to 3.12 */
    [CURRENT_STATE_3_13] = {.name = "PyThreadState_GetUnchecked"},
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static bool is_image(const struct mapping *mapping)
{
    return mapping->perms[2] == 'x' && mapping->inode && mapping->path[0] == '/';
}

static bool starts_with(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

/* Whether a CPython is expected there: the program itself, or a library of that name. */
static bool is_likely_python(const struct mapping *mapping, ino_t program)
{
    return mapping->inode == program || starts_with(base_name(mapping->path), "libpython");
}

static ino_t program_inode(const struct target *target)
{
    char path[64];
    struct stat program;

    snprintf(path, sizeof(path), "/proc/%d/exe", target->pid);
    return stat(path, &program) ? 0 : program.st_ino;
}

/* libpython as the target's loader knows it: dlopen compares DT_SONAME with what is loaded
 * before it looks for a file (_dl_map_object), so this also works when the file is gone. */
static struct error *name_library(struct python *python, const struct image *image, ino_t program)
{
    if (image->mapping->inode == program)
        return NULL;
    python->library = image_soname(image);
    if (!python->library)
        python->library = strdup(image->mapping->path);
    return python->library ? NULL : error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
}

static struct error *error_unreadable(const struct target *target, const struct mapping *mapping,
                                      int errnum)
{
    struct error *error = error_errno(EXIT_CANNOT_ATTACH, "unreadable-file", errnum,
                                      "cannot read %s as process %d (%s) has it mapped",
                                      mapping->path, target->pid, target->command);

    switch (errnum) {
    case ESTALE:
    case ENOENT:
        return error_hint(error, "the file was replaced or deleted: run pyhot as root (sudo)");
    case EACCES:
    case EPERM:
        return error_hint(error, "run pyhot as root (sudo)");
    default:
        return error;
    }
}

/* Reads the CPython that `image` is, if it is one: *found. */
static struct error *examine_image(struct python *python, const struct target *target,
                                   const struct image *image, ino_t program, bool *found)
{
    struct symbol symbols[N_PYTHON];
    struct error *error;

    memcpy(symbols, python_symbols, sizeof(symbols));
    if (image_find_symbols(image, symbols, N_PYTHON))
        return error_unreadable(target, image->mapping, errno);
    *found = symbols[GIL_ENSURE].address && symbols[GET_VERSION].address;
    if (!*found)
        return NULL;
    python->runtime = symbols[RUNTIME].address;
    python->save_thread = symbols[SAVE_THREAD].address;
    python->restore_thread = symbols[RESTORE_THREAD].address;
    python->this_state = symbols[THIS_STATE].address;
    python->current_state = symbols[CURRENT_STATE].address ? symbols[CURRENT_STATE].address
                                                           : symbols[CURRENT_STATE_3_13].address;
    if ((error = name_library(python, image, program)) ||
        (error = runtime_version(python, target, image, symbols[VERSION].address)))
        return error;
    if (symbols[TRACE_REFS].address)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "trace-refs",
                                    "process %d (%s) runs a Py_TRACE_REFS build of CPython %s",
                                    target->pid, target->command, python->version),
                          "run the program with an ordinary build");
    return runtime_ready(python, target);
}

/* Looks through the images that are likely (or the others) for a CPython that is ready.
 * A process may have mapped two (one through ctypes), so what is wrong with one counts only
 * if there is no better. */
static bool search_images(struct python *python, const struct target *target, ino_t program,
                          bool likely, struct error **error)
{
    for (size_t i = 0; i < target->n_maps; i++) {
        const struct mapping *mapping = &target->maps[i];
        struct error *problem;
        struct image image;
        bool found = false;

        if (!is_image(mapping) || is_likely_python(mapping, program) != likely)
            continue;
        if (image_open(&image, target, mapping)) {
            if (likely && !*error)
                *error = error_unreadable(target, mapping, errno);
            continue;
        }
        problem = examine_image(python, target, &image, program, &found);
        image_close(&image);
        if (found && !problem)
            return true;
        python_clear(python);
        if (problem && !*error)
            *error = problem;
        else
            error_free(problem);
    }
    return false;
}

static struct error *error_no_python(const struct target *target)
{
    for (size_t i = 0; i < target->n_maps; i++)
        if (is_image(&target->maps[i]) && strstr(base_name(target->maps[i].path), "pypy"))
            return error_hint(error_new(EXIT_CANNOT_ATTACH, "pypy",
                                        "process %d (%s) runs PyPy, not CPython", target->pid,
                                        target->command),
                              "pyhot serves CPython from 3.8 on");
    return error_hint(error_new(EXIT_CANNOT_ATTACH, "not-python",
                                "process %d (%s) is not a CPython: nothing mapped in it exports "
                                "Python's C API",
                                target->pid, target->command),
                      "find Python processes with: pyhot ps");
}

static struct error *find_interpreter(struct python *python, const struct target *target)
{
    ino_t program = program_inode(target);
    struct error *error = NULL;

    if (search_images(python, target, program, true, &error) ||
        (!error && search_images(python, target, program, false, &error))) {
        error_free(error);
        return NULL;
    }
    return error ? error : error_no_python(target);
}

/* The files that may hold the C library's functions.  Before glibc 2.34 dlopen is in libdl and
 * pthread_create in libpthread, so those come first; musl is all in its loader. */
static const char *const libc_files[] = {"libpthread", "libdl",    "libc.so",
                                         "libc-",      "ld-musl-", "libc.musl-"};

static const struct mapping *mapping_of_file(const struct target *target, const char *prefix)
{
    for (size_t i = 0; i < target->n_maps; i++)
        if (is_image(&target->maps[i]) && starts_with(base_name(target->maps[i].path), prefix))
            return &target->maps[i];
    return NULL;
}

static struct error *find_libc(struct python *python, const struct target *target)
{
    struct symbol symbols[] = {
        {.name = "dlopen"},
        {.name = "dlsym"},
        {.name = "dlerror"},
        {.name = "munmap"},
        {.name = "pthread_create"},
        {.name = "pthread_detach"},
        {.name = "pthread_self"},
        {.name = "close"},
        {.name = "mmap"},
        {.name = "gnu_get_libc_version"}, /* the last: only glibc has it */
    };
    uint64_t *const addresses[] = {
        &python->dlopen,       &python->dlsym,          &python->dlerror,
        &python->munmap,       &python->pthread_create, &python->pthread_detach,
        &python->pthread_self, &python->close,          &python->mmap,
    };
    const size_t n = sizeof(symbols) / sizeof(*symbols), needed = n - 1;

    for (size_t i = 0; i < sizeof(libc_files) / sizeof(*libc_files); i++) {
        const struct mapping *mapping = mapping_of_file(target, libc_files[i]);
        struct error *error = NULL;
        struct image image;

        if (!mapping)
            continue;
        if (image_open(&image, target, mapping))
            return error_unreadable(target, mapping, errno);
        if (image_find_symbols(&image, symbols, n))
            error = error_unreadable(target, mapping, errno);
        image_close(&image);
        if (error)
            return error;
    }
    for (size_t i = 0; i < needed; i++) {
        if (!symbols[i].address)
            return error_hint(error_new(EXIT_CANNOT_ATTACH, "no-loader",
                                        "the Python in process %d (%s) is linked statically: it "
                                        "has no %s, so nothing can be loaded into it",
                                        target->pid, target->command, symbols[i].name),
                              "run the program with a dynamically linked Python");
        *addresses[i] = symbols[i].address;
    }
    if (!symbols[needed].address)
        return error_hint(error_new(EXIT_CANNOT_ATTACH, "other-libc",
                                    "process %d (%s) runs on another C library than glibc (musl, "
                                    "as in Alpine Linux), which pyhot does not know",
                                    target->pid, target->command),
                          "run the program in an image with glibc, such as python:3-slim");
    return NULL;
}

struct error *python_find(struct python *python, const struct target *target)
{
    struct error *error;

    *python = (struct python){0};
    if ((error = find_interpreter(python, target)) || (error = find_libc(python, target)) ||
        (error = loaded_agent_find(&python->loaded_agent, target)))
        python_clear(python);
    return error;
}

void python_clear(struct python *python)
{
    free(python->library);
    *python = (struct python){0};
}
