/* A module's code on disk and in memory (source.h). */
#include "source.h"

#include <string.h>

#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "source/loaded.h"
#include "source/main_guard.h"

/* --- on disk */

/* The list of filters that the compiler's warnings go through (Python/_warnings.c looks at the
 * attribute of `warnings`, or at that of `_warnings` until `warnings` is imported): borrowed. */
static PyObject *warning_filters(void)
{
    PyObject *filters = loaded_attribute("warnings", "filters");

    if (!filters)
        filters = loaded_attribute("_warnings", "filters");
    return filters && type_of(filters) == &PyList_Type ? filters : NULL;
}

/* Does the compiler stay in C?  A source in another encoding is decoded by Python code. */
static bool is_compiled_in_c(const struct source *source)
{
    PyObject *compile = dict_get(PyEval_GetBuiltins(), "compile");
    const char *text, *end;
    bool utf8 = true;

    if (source_has_compiler(source) || !compile || type_of(compile) != &PyCFunction_Type)
        return false;
    if (type_of(source->text) != &PyBytes_Type)
        return true;
    text = PyBytes_AsString(source->text);
    for (int line = 0; line < 2 && *text; line++) {
        end = text + strcspn(text, "\r\n");
        if (*text == '#' && memmem(text, (size_t)(end - text), "coding", 6))
            utf8 = memmem(text, (size_t)(end - text), "utf-8", 5);
        text = *end ? end + 1 : end;
    }
    return utf8;
}

/* With what the guard of __main__ protects, which source_compile leaves out. */
static PyObject *compile_all(const struct source *source)
{
    return compile_exec(source->text, source->file ? source->file : source->name, 0);
}

static void remove_item(PyObject *list, PyObject *item)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (PyList_GetItem(list, i) == item) {
            PyList_SetSlice(list, i, i + 1, NULL);
            break;
        }
    }
    PyErr_Restore(type, value, traceback);
}

/* A warning shown would write to the target's stderr and fill linecache; for the time of the
 * compilation a filter stands in front of the others. */
static PyObject *compile_quietly(const struct source *source,
                                 PyObject *(*compile)(const struct source *))
{
    PyObject *filters = warning_filters(), *code;
    PyObject *ignore = Py_BuildValue("(sOOOi)", "ignore", Py_None, PyExc_Warning, Py_None, 0);
    bool quiet = filters && is_compiled_in_c(source), was_on;

    if (!ignore || (filters && PyList_Insert(filters, 0, ignore) < 0)) {
        Py_DecRef(ignore);
        return NULL;
    }
    Py_IncRef(filters);
    quiet = quiet && collector_hush(&was_on) == 0;
    code = PyErr_Occurred() ? NULL : compile(source);
    if (quiet)
        collector_resume(was_on);
    if (filters)
        remove_item(filters, ignore);
    Py_DecRef(filters);
    Py_DecRef(ignore);
    return code;
}

/* --- in memory */

/* 1 if the frame executes the body of the module whose dict is `dict`. */
static int executes_module(PyObject *frame, PyObject *code, PyObject *dict)
{
    PyObject *globals = builtin_attribute(frame, &PyFrame_Type, "f_globals");
    PyObject *name = PyObject_GetAttrString(code, "co_name");
    int result = globals && name ? globals == dict && str_is(name, "<module>") : -1;

    Py_DecRef(globals);
    Py_DecRef(name);
    return result;
}

/* The code of the thread's frame that executes the module's body.  New reference, or NULL. */
static PyObject *find_module_frame(PyObject *frame, PyObject *dict)
{
    PyObject *found = NULL;

    Py_IncRef(frame);
    while (frame && frame != Py_None && !found) {
        PyObject *code = builtin_attribute(frame, &PyFrame_Type, "f_code");
        PyObject *back = builtin_attribute(frame, &PyFrame_Type, "f_back");
        if (code && executes_module(frame, code, dict) == 1) {
            Py_IncRef(code);
            found = code;
        }
        Py_DecRef(code);
        Py_DecRef(frame);
        frame = back;
    }
    Py_DecRef(frame);
    PyErr_Clear();
    return found;
}

/* While a script runs, its code is in the outermost frame of its main thread. */
static PyObject *running_code(PyObject *module)
{
    PyObject *frames, *thread, *frame, *found = NULL;
    Py_ssize_t position = 0;
    bool was_on;

    if (collector_hush(&was_on) < 0)
        return NULL;
    frames = _PyThread_CurrentFrames();
    while (frames && !found && PyDict_Next(frames, &position, &thread, &frame))
        found = find_module_frame(frame, PyModule_GetDict(module));
    Py_DecRef(frames);
    PyErr_Clear();
    collector_resume(was_on);
    return found;
}

int codes_read_disk(PyObject *module, const struct source *source, struct codes *codes)
{
    codes->memory = NULL;
    codes->disk = cached_current_code(module, source);
    if (!codes->disk && !PyErr_Occurred())
        codes->disk = compile_quietly(source, source_compile);
    return codes->disk ? 0 : -1;
}

int codes_read_memory(PyObject *module, const struct source *source, struct codes *codes)
{
    codes->memory = loaded_code(module, source, codes->disk);
    if (!codes->memory && !PyErr_Occurred() && str_is(source->name, "__main__")) {
        codes->memory = running_code(module);
        if (codes->memory) {
            Py_DecRef(codes->disk);
            codes->disk = compile_quietly(source, compile_all);
        }
    }
    return PyErr_Occurred() ? -1 : 0;
}

void codes_clear(struct codes *codes)
{
    Py_DecRef(codes->disk);
    Py_DecRef(codes->memory);
}
