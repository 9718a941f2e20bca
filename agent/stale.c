/* list-stale: which modules differ from their source (stale.h).
 *
 * Reading goes through the module's own loader and nothing is kept: neither linecache nor the
 * module learns of it. */
#include "stale.h"

#include <stdbool.h>
#include <string.h>

#include "agent.h"
#include "emit.h"
#include "request.h"
#include "stale_code.h"

enum module_state { FRESH, STALE, NO_SOURCE, UNREADABLE };

static const char *const state_names[] = {"fresh", "stale", "no-source", "unreadable"};

struct module_report {
    PyObject *file; /* str or None */
    enum module_state state;
    struct comparison comparison;
};

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), n = strlen(end);
    return length >= n && strcmp(text + length - n, end) == 0;
}

/* The path of the module's source, or None.  New reference. */
static PyObject *source_file(PyObject *dict)
{
    PyObject *file = PyDict_GetItemString(dict, "__file__");
    const char *path = file && is_str(file) ? PyUnicode_AsUTF8(file) : NULL;

    if (!path)
        PyErr_Clear();
    file = path && ends_with(path, ".py") ? file : Py_None;
    Py_IncRef(file);
    return file;
}

/* A frozen module may name a file, but that is not what it was loaded from. */
static PyObject *reader(PyObject *dict)
{
    PyObject *loader = PyDict_GetItemString(dict, "__loader__");
    PyObject *get_data = loader ? PyObject_GetAttrString(loader, "get_data") : NULL;

    if (!get_data)
        PyErr_Clear();
    return get_data;
}

/* What the source compiles to; NULL without an exception if it cannot be read or compiled. */
static PyObject *compile_source(PyObject *get_data, PyObject *file)
{
    PyObject *bytes = PyObject_CallFunctionObjArgs(get_data, file, NULL);
    PyObject *code = NULL;

    if (bytes && type_of(bytes) == &PyBytes_Type) {
        const char *text = PyBytes_AsString(bytes);
        if (strlen(text) == (size_t)PyBytes_Size(bytes))
            code = Py_CompileStringObject(text, file, Py_file_input, NULL, -1);
    }
    Py_DecRef(bytes);
    if (!code && PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear();
    return code;
}

static int inspect(PyObject *module, struct module_report *report)
{
    PyObject *dict = PyModule_GetDict(module);

    report->file = source_file(dict);
    report->state = NO_SOURCE;
    report->comparison.changes = PyList_New(0);
    if (!report->comparison.changes)
        return -1;
    PyObject *get_data = report->file == Py_None ? NULL : reader(dict);
    if (!get_data)
        return 0;

    PyObject *code = compile_source(get_data, report->file);
    int result = 0;
    if (!code) {
        report->state = UNREADABLE;
        result = PyErr_Occurred() ? -1 : 0;
    } else {
        result = stale_compare_live(dict, code, &report->comparison);
        report->state = PyList_Size(report->comparison.changes) ? STALE : FRESH;
    }
    Py_DecRef(code);
    Py_DecRef(get_data);
    return result;
}

static void report_clear(struct module_report *report)
{
    Py_DecRef(report->file);
    Py_DecRef(report->comparison.changes);
}

/* The loaded modules as a list of (name, module), in the order of sys.modules. */
static PyObject *all_modules(void)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *list = PyList_New(0), *name, *module;
    Py_ssize_t position = 0;

    while (list && PyDict_Next(modules, &position, &name, &module)) {
        if (!is_str(name) || !PyType_IsSubtype(type_of(module), &PyModule_Type))
            continue;
        PyObject *pair = PyTuple_Pack(2, name, module);
        if (!pair || PyList_Append(list, pair) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(pair);
    }
    return list;
}

static PyObject *named_modules(PyObject *names)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *module = PyDict_GetItemWithError(modules, name);
        if (!module || !PyType_IsSubtype(type_of(module), &PyModule_Type)) {
            const char *text = PyUnicode_AsUTF8(name);
            if (!PyErr_Occurred())
                job_fail("not-loaded", 3, "list-stale without names shows all modules",
                         "no module %s is loaded", text ? text : "of that name");
            Py_DecRef(list);
            return NULL;
        }
        PyObject *pair = PyTuple_Pack(2, name, module);
        if (!pair || PyList_Append(list, pair) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(pair);
    }
    return list;
}

static PyObject *describe(PyObject *name, const struct module_report *report)
{
    return Py_BuildValue("{s:O,s:O,s:s,s:N,s:O}", "name", name, "file", report->file, "state",
                         state_names[report->state], "lines_moved",
                         PyBool_FromLong(report->comparison.lines_moved), "changes",
                         report->comparison.changes);
}

/* Appends a description of the module (with `names_only`: the name of a stale one). */
static int inspect_into(PyObject *list, PyObject *pair, bool names_only)
{
    struct module_report report = {0};
    PyObject *name = PyTuple_GetItem(pair, 0);
    int result = inspect(PyTuple_GetItem(pair, 1), &report);

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

    for (Py_ssize_t i = 0; list && i < n; i++) {
        int result = inspect_into(list, PyList_GetItem(modules, i), names_only);
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
    Py_DecRef(modules);
    return list;
}

PyObject *stale_list(PyObject *names, uint32_t flags)
{
    PyObject *modules = PyList_Size(names) ? named_modules(names) : all_modules();
    PyObject *list = inspect_all(modules, false);

    (void)flags;
    return list ? Py_BuildValue("{s:N,s:[],s:i}", "modules", list, "objects", "exit", 0) : NULL;
}

PyObject *stale_modules(void)
{
    return inspect_all(all_modules(), true);
}
