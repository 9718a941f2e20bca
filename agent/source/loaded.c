/* Which module code is loaded (loaded.h). */
#include "loaded.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache_path.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "cpython/version.h"
#include "file.h"

/* --- code objects */

/* The table of line numbers: co_linetable from 3.10, co_lnotab before.  New reference. */
static PyObject *line_table(PyObject *code)
{
    return PyObject_GetAttrString(code, cpython_minor() >= 10 ? "co_linetable" : "co_lnotab");
}

static int same_lines(PyObject *a, PyObject *b)
{
    PyObject *x = line_table(a), *y = line_table(b);
    int same = x && y ? PyObject_RichCompareBool(x, y, Py_EQ) : -1;

    Py_DecRef(x);
    Py_DecRef(y);
    return same;
}

/* `a == b` holds, so their constants correspond one to one. */
static int same_nested_lines(PyObject *a, PyObject *b)
{
    PyObject *x, *y;
    int same = same_lines(a, b);

    if (same != 1)
        return same;
    x = PyObject_GetAttrString(a, "co_consts");
    y = PyObject_GetAttrString(b, "co_consts");
    if (!x || !y)
        same = -1;
    for (Py_ssize_t i = 0; same == 1 && i < PyTuple_Size(x); i++) {
        PyObject *p = PyTuple_GetItem(x, i), *q = PyTuple_GetItem(y, i);

        if (type_of(p) == &PyCode_Type && type_of(q) == &PyCode_Type)
            same = same_nested_lines(p, q);
    }
    Py_DecRef(x);
    Py_DecRef(y);
    return same;
}

int code_same(PyObject *a, PyObject *b)
{
    int same = PyObject_RichCompareBool(a, b, Py_EQ);

    return same == 1 ? same_nested_lines(a, b) : same;
}

/* What `code` is in a set of codes: itself, or with `identical` its address.  New reference. */
static PyObject *key_of(PyObject *code, bool identical)
{
    if (identical)
        return PyLong_FromVoidPtr(code);
    Py_IncRef(code);
    return code;
}

/* Adds a module's code and all within it to a set. */
static int collect_codes(PyObject *codes, PyObject *code, bool identical)
{
    PyObject *key = key_of(code, identical);
    PyObject *constants = PyObject_GetAttrString(code, "co_consts");
    int status = key && constants ? PySet_Add(codes, key) : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(constants); i++) {
        PyObject *constant = PyTuple_GetItem(constants, i);

        if (type_of(constant) == &PyCode_Type)
            status = collect_codes(codes, constant, identical);
    }
    Py_DecRef(key);
    Py_DecRef(constants);
    return status;
}

PyObject *code_set(PyObject *code)
{
    PyObject *codes = PySet_New(NULL);

    if (codes && collect_codes(codes, code, false) == 0)
        return codes;
    Py_DecRef(codes);
    return NULL;
}

static int contains(PyObject *codes, PyObject *code, bool identical)
{
    PyObject *key = key_of(code, identical);
    int found = key ? PySet_Contains(codes, key) : -1;

    Py_DecRef(key);
    return found;
}

/* --- do the living functions agree? */

enum { MAX_NESTING = 8 };

struct agreement {
    PyObject *codes; /* set */
    PyObject *dict;  /* the module's */
    const struct source *source;
    bool identical;
};

static bool is_file_of(const struct source *source, PyObject *file)
{
    return (source->file && PyUnicode_Compare(file, source->file) == 0) ||
           (source->loaded_file && PyUnicode_Compare(file, source->loaded_file) == 0);
}

/* A function is a witness if its code comes from the module's file and runs in its dict. */
static int function_agrees(const struct agreement *a, PyObject *function)
{
    PyObject *code = PyFunction_GetCode(function), *file;
    int agrees = 1;

    if (PyFunction_GetGlobals(function) != a->dict)
        return 1;
    file = PyObject_GetAttrString(code, "co_filename");
    if (!file)
        return -1;
    if (is_file_of(a->source, file))
        agrees = contains(a->codes, code, a->identical);
    Py_DecRef(file);
    return agrees;
}

static int dict_agrees(const struct agreement *a, PyObject *dict, int depth);

static int class_agrees(const struct agreement *a, PyObject *class, int depth)
{
    PyTypeObject *type = (PyTypeObject *)class;
    PyObject *module;

    if (depth >= MAX_NESTING || !type_has(type, Py_TPFLAGS_HEAPTYPE) || !type->tp_dict)
        return 1;
    module = dict_get(type->tp_dict, "__module__");
    if (!module || !is_str(module) || PyUnicode_Compare(module, a->source->name) != 0)
        return 1;
    return dict_agrees(a, type->tp_dict, depth + 1);
}

static int dict_agrees(const struct agreement *a, PyObject *dict, int depth)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int agrees = 1;

    while (agrees == 1 && PyDict_Next(dict, &position, &key, &value)) {
        if (type_of(value) == &PyFunction_Type)
            agrees = function_agrees(a, value);
        else if (is_type(value))
            agrees = class_agrees(a, value, depth);
    }
    return agrees;
}

/* 1: every function of the module that is alive runs code that is in `code`. */
static int agrees_with_module(PyObject *module, const struct source *source, PyObject *code,
                              bool identical)
{
    struct agreement agreement = {
        .codes = PySet_New(NULL),
        .dict = PyModule_GetDict(module),
        .source = source,
        .identical = identical,
    };
    int result = agreement.codes ? collect_codes(agreement.codes, code, identical) : -1;

    if (result == 0)
        result = dict_agrees(&agreement, agreement.dict, 0);
    Py_DecRef(agreement.codes);
    return result;
}

/* --- what earlier reloads executed */

static struct memory {
    PyObject *name, *code;
} * memories;
static size_t n_memories, cap_memories;

static struct memory *find_memory(PyObject *name)
{
    for (size_t i = 0; i < n_memories; i++) {
        if (PyUnicode_Compare(memories[i].name, name) == 0)
            return &memories[i];
    }
    return NULL;
}

int loaded_remember(PyObject *name, PyObject *code)
{
    struct memory *memory = find_memory(name);
    PyObject *old = NULL;

    if (!memory && n_memories == cap_memories) {
        size_t cap = cap_memories ? 2 * cap_memories : 32;
        struct memory *bigger = realloc(memories, cap * sizeof *bigger);

        if (!bigger) {
            PyErr_NoMemory();
            return -1;
        }
        memories = bigger;
        cap_memories = cap;
    }
    if (memory) {
        old = memory->code;
    } else {
        memory = &memories[n_memories++];
        memory->name = name;
        Py_IncRef(name);
    }
    memory->code = code;
    Py_IncRef(code);
    Py_DecRef(old);
    return 0;
}

/* --- is the file older than the process? */

struct process {
    long parent;
    unsigned long long start; /* in clock ticks since boot */
    unsigned long stack;      /* where the stack begins; of no use if it may not be seen: 0 */
};

/* Fields 4, 22 and 28 of /proc/PID/stat (proc_pid_stat(5)). */
static bool read_stat(long pid, struct process *process)
{
    char path[64], line[1024];
    char *after_name;
    size_t n;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    n = fread(line, 1, sizeof line - 1, file);
    fclose(file);
    line[n] = '\0';
    after_name = strrchr(line, ')');
    return after_name &&
           sscanf(after_name + 1,
                  " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d "
                  "%llu %*u %*d %*u %*u %*u %lu",
                  &process->parent, &process->start, &process->stack) == 3;
}

static bool same_executable(long pid)
{
    char path[64];
    struct stat self, other;

    snprintf(path, sizeof path, "/proc/%ld/exe", pid);
    return stat("/proc/self/exe", &self) == 0 && stat(path, &other) == 0 &&
           self.st_dev == other.st_dev && self.st_ino == other.st_ino;
}

/* Was `child` forked from `parent` and is the same program still?  A program that was executed
 * has its stack elsewhere.  In doubt it is. */
static bool is_fork(const struct process *child, const struct process *parent, long parent_pid)
{
    if (child->stack && parent->stack && child->stack != parent->stack)
        return false;
    return same_executable(parent_pid);
}

/* When the program began: the start of this process, or of the ancestor that it was forked
 * from (modules may have been imported there).  In ticks since boot; 0: unknown. */
static unsigned long long program_start(void)
{
    static unsigned long long start;
    static pid_t known; /* whose it is: a child forked since has another parent */
    struct process process, parent;

    if (known == getpid())
        return start;
    if (!read_stat(getpid(), &process))
        return 0;
    while (process.parent > 1 && read_stat(process.parent, &parent) &&
           is_fork(&process, &parent, process.parent))
        process = parent;
    start = process.start;
    known = getpid();
    return start;
}

static bool same_release(const struct source *source)
{
    return !source->file || !source->loaded_file ||
           PyUnicode_Compare(source->file, source->loaded_file) == 0;
}

/* Was the source the same all the time since the process began?  The change time of an inode
 * cannot be set back.  An interpreter needs more than one clock tick before its first import,
 * which covers the rounding of the start time. */
static bool older_than_program(const struct source *source)
{
    unsigned long long ticks = program_start();
    long hz = sysconf(_SC_CLK_TCK);
    struct timespec boot, real;
    double age, start;

    if (!source->on_disk || !same_release(source) || !ticks || hz <= 0 ||
        clock_gettime(CLOCK_BOOTTIME, &boot) < 0 || clock_gettime(CLOCK_REALTIME, &real) < 0)
        return false;
    age = (double)boot.tv_sec + boot.tv_nsec / 1e9 - ((double)ticks + 1) / hz;
    start = (double)real.tv_sec + real.tv_nsec / 1e9 - age;
    return (double)source->changed.tv_sec + source->changed.tv_nsec / 1e9 < start;
}

/* --- cached byte code: PEP 552, Lib/importlib/_bootstrap_external.py */

enum { PYC_HEADER = 16, PYC_HASH_BASED = 1 };

static uint32_t little_endian(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

/* False: there is none that can be read. */
static bool read_cached(PyObject *module, struct file_bytes *file)
{
    PyObject *path = cache_path(module);
    int status = -1;

    if (path && !file_read_before(PyBytes_AsString(path), file, &status))
        status = file_read(PyBytes_AsString(path), file);
    if (path && status < 0 && errno == ENOMEM) {
        PyErr_NoMemory();
        drop_error();
    }
    Py_DecRef(path);
    return status == 0;
}

static bool earlier(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

static bool is_of_current_source(const struct file_bytes *file, const struct source *source)
{
    const unsigned char *header = (const unsigned char *)file->text;

    return file->length > PYC_HEADER && !(little_endian(header + 4) & PYC_HASH_BASED) &&
           source->on_disk && little_endian(header + 8) == (uint32_t)source->modified.tv_sec &&
           little_endian(header + 12) == (uint32_t)source->size;
}

static PyObject *unmarshal(const struct file_bytes *file)
{
    PyObject *code;
    bool was_on;

    if (file->length <= PYC_HEADER ||
        little_endian((const unsigned char *)file->text) != (uint32_t)PyImport_GetMagicNumber() ||
        collector_hush(&was_on) < 0)
        return NULL;
    code = PyMarshal_ReadObjectFromString(file->text + PYC_HEADER,
                                          (Py_ssize_t)(file->length - PYC_HEADER));
    collector_resume(was_on);
    if (!code || type_of(code) != &PyCode_Type) {
        drop_error();
        Py_DecRef(code);
        return NULL;
    }
    return code;
}

/* Byte code of the source as it is on disk now (`current`), or of an older one.  The header
 * has whole seconds: an edit within the second after the source was compiled shows only in the
 * file's own time. */
static PyObject *cached_code(PyObject *module, const struct source *source, bool current)
{
    PyObject *code = NULL;
    struct file_bytes file;

    if (!read_cached(module, &file))
        return NULL;
    if (is_of_current_source(&file, source) == current &&
        (!current || earlier(source->modified, file.modified)))
        code = unmarshal(&file);
    free(file.text);
    return code;
}

PyObject *cached_current_code(PyObject *module, const struct source *source)
{
    return cached_code(module, source, true);
}

PyObject *loaded_guess(PyObject *name, PyObject *module)
{
    struct memory *memory = find_memory(name);
    PyObject *code = NULL;
    struct file_bytes file;

    if (memory) {
        Py_IncRef(memory->code);
        return memory->code;
    }
    if (read_cached(module, &file)) {
        code = unmarshal(&file);
        free(file.text);
    }
    return code;
}

/* --- the answer */

/* `code` if the module agrees with it; takes the reference. */
static PyObject *believe(PyObject *module, const struct source *source, PyObject *code,
                         bool identical)
{
    if (code && agrees_with_module(module, source, code, identical) == 1)
        return code;
    Py_DecRef(code);
    return NULL;
}

PyObject *loaded_code(PyObject *module, const struct source *source, PyObject *new_code)
{
    struct memory *memory = find_memory(source->name);
    PyObject *code = NULL;

    if (memory) {
        Py_IncRef(memory->code);
        code = believe(module, source, memory->code, true);
    }
    if (!code && !PyErr_Occurred() && older_than_program(source)) {
        Py_IncRef(new_code);
        code = believe(module, source, new_code, false);
    }
    /* Byte code of the source as it is now says nothing about what is loaded: somebody else
     * may have compiled it since. */
    if (!code && !PyErr_Occurred())
        code = believe(module, source, cached_code(module, source, false), false);
    return code;
}
