/* list-stale: which modules differ from their source (stale.h). */
#include "stale.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "cpython/audit.h"
#include "cpython/interpreters.h"
#include "cpython/introspect.h"
#include "diff.h"
#include "emit.h"
#include "objects.h"
#include "request.h"
#include "slice.h"
#include "source.h"
#include "source/loaded.h"
#include "source/source.h"

enum { AHEAD = 256 }; /* modules */

enum module_state { FRESH, STALE, NO_SOURCE, UNREADABLE };

static const char *const state_names[] = {"fresh", "stale", "no-source", "unreadable"};

struct module_report {
    PyObject *file; /* str or NULL */
    enum module_state state;
    char why[256]; /* NO_SOURCE, UNREADABLE: "is built into the interpreter" */
    bool known;    /* what was loaded is known as code, not only by the live objects */
    struct comparison comparison;
};

/* The exception of the compilation becomes the reason; up to 3.8 MemoryError may mean that the
 * source is nested too deeply. */
static void take_reason(struct module_report *report)
{
    PyObject *type, *value, *traceback, *text;
    const char *utf8;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    text = value ? PyObject_Str(value) : NULL;
    utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    snprintf(report->why, sizeof report->why, "does not compile: %s: %s",
             ((PyTypeObject *)type)->tp_name, utf8 ? utf8 : "");
    PyErr_Clear();
    Py_DecRef(text);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
}

/* Has the module a name that no source can bind?  Then its loader rewrote the syntax tree: pytest
 * imports what its asserts need as "@pytest_ar" (_pytest/assertion/rewrite.py, 3.0 to 8). */
static bool is_rewritten(PyObject *module)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(PyModule_GetDict(module), &position, &key, &value)) {
        if (is_str(key) && PyUnicode_FindChar(key, '@', 0, 1, 1) == 0)
            return true;
    }
    return false;
}

static int compare(PyObject *module, const struct source *source, struct module_report *report,
                   struct slice *slice)
{
    struct codes codes;
    int result = codes_read_disk(module, source, &codes);

    if (result == 0) {
        slice_share(slice);
        result = codes_read_memory(module, source, &codes);
    }
    if (!codes.disk) {
        report->state = UNREADABLE;
        take_reason(report);
        result = 0;
    } else if (result == 0 && !codes.memory && is_rewritten(module)) {
        report->state = NO_SOURCE;
        snprintf(report->why, sizeof report->why, "%s",
                 "was rewritten by its loader before it was compiled, as pytest does with tests");
    } else if (result == 0) {
        report->known = codes.memory != NULL;
        result = codes.memory ? stale_compare_code(codes.memory, codes.disk, &report->comparison)
                              : stale_compare_live(module, codes.disk, &report->comparison);
        report->state = PyList_Size(report->comparison.changes) ? STALE : FRESH;
    }
    codes_clear(&codes);
    return result;
}

static int inspect(PyObject *name, PyObject *module, struct module_report *report,
                   struct slice *slice)
{
    struct source source = {0};
    int result = source_read(&source, name, module);

    if (comparison_init(&report->comparison) == 0 && result == 0) {
        report->file = source.file;
        Py_IncRef(report->file);
        snprintf(report->why, sizeof report->why, "%s", source.why);
        if (source.state == SOURCE_READ)
            result = compare(module, &source, report, slice);
        else
            report->state = source.state == SOURCE_NONE ? NO_SOURCE : UNREADABLE;
    } else {
        result = -1;
    }
    source_clear(&source);
    return result;
}

static void report_clear(struct module_report *report)
{
    Py_DecRef(report->file);
    comparison_clear(&report->comparison);
}

/* Is the name in sys.modules only another one for a module that is there under its own, as
 * os.path and __mp_main__ are? */
static bool is_alias(PyObject *name, PyObject *module)
{
    PyObject *own = dict_get(PyModule_GetDict(module), "__name__");

    return own && is_str(own) && PyUnicode_Compare(own, name) != 0 &&
           dict_lookup(PyImport_GetModuleDict(), own) == module;
}

/* Appends (name, module). */
static int append_module(PyObject *list, PyObject *name, PyObject *module)
{
    PyObject *pair = PyTuple_Pack(2, name, module);
    int result = pair ? PyList_Append(list, pair) : -1;

    Py_DecRef(pair);
    return result;
}

/* The loaded modules as a list of (name, module), in the order of sys.modules. */
static PyObject *all_modules(void)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *list = PyList_New(0), *name, *module;
    Py_ssize_t position = 0;

    while (list && PyDict_Next(modules, &position, &name, &module)) {
        if (!is_str(name) || !is_module(module) || is_alias(name, module))
            continue;
        if (append_module(list, name, module) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
    }
    return list;
}

static void fail_not_loaded(PyObject *name)
{
    const char *text = PyUnicode_AsUTF8(name);
    int64_t other = interpreter_with_module(name);

    if (other >= 0)
        job_fail("other-interpreter", 3, "pyhot serves the main interpreter only",
                 "module %s is loaded in interpreter %" PRId64 ", not in the main one",
                 text ? text : "of that name", other);
    else if (!PyErr_Occurred())
        job_fail("not-loaded", 3, "list-stale without names shows all modules",
                 "no module %s is loaded", text ? text : "of that name");
}

static PyObject *named_modules(PyObject *names)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *module = PyDict_GetItemWithError(modules, name);
        bool loaded = module && is_module(module);
        if (!loaded)
            fail_not_loaded(name);
        if (!loaded || append_module(list, name, module) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
    }
    return list;
}

static PyObject *describe(PyObject *name, const struct module_report *report)
{
    return Py_BuildValue("{s:O,s:O,s:s,s:z,s:s,s:N,s:O}", "name", name, "file",
                         report->file ? report->file : Py_None, "state", state_names[report->state],
                         "why", *report->why ? report->why : NULL, "compared_with",
                         report->known ? "code" : "objects", "lines_moved",
                         PyBool_FromLong(report->comparison.lines_moved), "changes",
                         report->comparison.changes);
}

/* Appends a description of the module (with `names_only`: the name of a stale one). */
static int inspect_into(PyObject *list, PyObject *pair, bool names_only, struct slice *slice)
{
    struct module_report report = {0};
    PyObject *name = PyTuple_GetItem(pair, 0);
    int result = inspect(name, PyTuple_GetItem(pair, 1), &report, slice);

    if (result == 0 && names_only) {
        result = report.state == STALE ? PyList_Append(list, name) : 0;
    } else if (result == 0) {
        PyObject *entry = describe(name, &report);
        result = entry ? PyList_Append(list, entry) : -1;
        Py_DecRef(entry);
    }
    report_clear(&report);
    return result;
}

/* Takes the reference to `modules`. */
static PyObject *inspect_all(PyObject *modules, bool names_only)
{
    PyObject *list = modules ? PyList_New(0) : NULL;
    Py_ssize_t n = list ? PyList_Size(modules) : 0;
    struct slice slice = {0};

    for (Py_ssize_t i = 0; list && i < n; i++) {
        if (i % AHEAD == 0) {
            source_read_ahead(modules, i, i + AHEAD < n ? i + AHEAD : n);
            slice_begin(&slice);
        }
        slice_share(&slice);
        int result = inspect_into(list, PyList_GetItem(modules, i), names_only, &slice);
        if (result == 0 && job_cancelled()) {
            job_fail("cancelled", 4, NULL, "given up; nothing was changed");
            result = -1;
        }
        if (result < 0) {
            Py_DecRef(list);
            list = NULL;
        } else {
            emit_progress("compare", (size_t)i + 1, (size_t)n);
        }
    }
    if (n)
        source_read_ahead(modules, n, n);
    Py_DecRef(modules);
    return list;
}

PyObject *stale_list(PyObject *names, uint32_t flags)
{
    audit_look();

    PyObject *modules = PyList_Size(names) ? named_modules(names) : all_modules();
    PyObject *list = inspect_all(modules, false);
    PyObject *objects = NULL, *graph = NULL, *result = NULL;

    if (list)
        objects = flags & PYHOT_OBJECTS ? stale_objects(flags & PYHOT_GRAPH ? &graph : NULL)
                                        : PyList_New(0);
    if (objects)
        result = Py_BuildValue("{s:O,s:O,s:i}", "modules", list, "objects", objects, "exit", 0);
    if (result && graph && PyDict_SetItemString(result, "graph", graph) < 0) {
        Py_DecRef(result);
        result = NULL;
    }
    Py_DecRef(graph);
    Py_DecRef(list);
    Py_DecRef(objects);
    return result;
}

PyObject *stale_modules(void)
{
    audit_look();
    return inspect_all(all_modules(), true);
}
