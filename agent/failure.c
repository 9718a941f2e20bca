/* Exceptions as text (failure.h).
 *
 * Frames are printed by CPython itself (PyTraceBack_Print), into an io.StringIO.  The line with
 * type and message comes from the target's `traceback` if it has imported that, as only it knows
 * the carets of a SyntaxError and the notes; else from here. */
#include "failure.h"

#include <stdbool.h>

enum { MAX_CHAIN = 16 };

static PyObject *imported(const char *module)
{
    return PyDict_GetItemString(PyImport_GetModuleDict(), module);
}

static int write(PyObject *out, PyObject *text)
{
    PyObject *done = text ? PyObject_CallMethod(out, "write", "O", text) : NULL;

    Py_DecRef(done);
    return done ? 0 : -1;
}

static int write_string(PyObject *out, const char *string)
{
    PyObject *text = PyUnicode_FromString(string);
    int status = write(out, text);

    Py_DecRef(text);
    return status;
}

/* str(object); the exception's own __str__ may raise: then its place is marked. */
static PyObject *text_of(PyObject *object)
{
    PyObject *text = object ? PyObject_Str(object) : PyUnicode_FromString("");

    if (text)
        return text;
    PyErr_Clear();
    return PyUnicode_FromString("<exception str() failed>");
}

/* The type as tracebacks name it: with its module, unless that is builtins or __main__. */
static PyObject *type_name(PyObject *value)
{
    PyObject *type = (PyObject *)type_of(value);
    PyObject *module = PyObject_GetAttrString(type, "__module__");
    PyObject *name = PyObject_GetAttrString(type, "__qualname__");
    PyObject *full = name;

    if (!name)
        full = PyUnicode_FromString(type_of(value)->tp_name);
    else if (module && is_str(module) &&
             PyUnicode_CompareWithASCIIString(module, "builtins") != 0 &&
             PyUnicode_CompareWithASCIIString(module, "__main__") != 0)
        full = PyUnicode_FromFormat("%U.%U", module, name);
    else
        Py_IncRef(full);
    PyErr_Clear();
    Py_DecRef(module);
    Py_DecRef(name);
    return full;
}

/* The lines after the frames as `traceback` has them; NULL without an exception if it cannot
 * be asked. */
static PyObject *last_lines_by_module(PyObject *value)
{
    PyObject *traceback = imported("traceback");
    PyObject *lines = NULL, *empty = NULL, *text = NULL;

    if (traceback)
        lines = PyObject_CallMethod(traceback, "format_exception_only", "OO",
                                    (PyObject *)type_of(value), value);
    if (lines)
        empty = PyUnicode_FromString("");
    if (empty)
        text = PyUnicode_Join(empty, lines);
    PyErr_Clear();
    Py_DecRef(empty);
    Py_DecRef(lines);
    return text;
}

/* The place that a SyntaxError names. */
static PyObject *syntax_place(PyObject *value)
{
    PyObject *file = PyObject_GetAttrString(value, "filename");
    PyObject *line = file ? PyObject_GetAttrString(value, "lineno") : NULL;
    PyObject *source = line ? PyObject_GetAttrString(value, "text") : NULL;
    PyObject *place = NULL;

    if (source && file != Py_None)
        place = PyUnicode_FromFormat("  File \"%S\", line %S\n", file, line);
    if (place && is_str(source)) {
        PyObject *shown = PyObject_CallMethod(source, "strip", NULL);
        PyObject *both = shown ? PyUnicode_FromFormat("%U    %S\n", place, shown) : NULL;

        Py_DecRef(shown);
        Py_DecRef(place);
        place = both;
    }
    PyErr_Clear();
    Py_DecRef(source);
    Py_DecRef(line);
    Py_DecRef(file);
    return place ? place : PyUnicode_FromString("");
}

static PyObject *last_lines(PyObject *value)
{
    PyObject *lines = last_lines_by_module(value);
    PyObject *name, *message, *place;

    if (lines)
        return lines;
    name = type_name(value);
    if (PyObject_IsInstance(value, PyExc_SyntaxError) == 1) {
        message = PyObject_GetAttrString(value, "msg");
        place = syntax_place(value);
    } else {
        message = text_of(value);
        place = PyUnicode_FromString("");
    }
    PyErr_Clear();
    if (name && place && message && PyObject_IsTrue(message) == 1)
        lines = PyUnicode_FromFormat("%U%U: %S\n", place, name, message);
    else if (name && place)
        lines = PyUnicode_FromFormat("%U%U\n", place, name);
    Py_DecRef(name);
    Py_DecRef(message);
    Py_DecRef(place);
    return lines;
}

/* value.__cause__, or its __context__ if that is shown; new reference or NULL. */
static PyObject *earlier(PyObject *value, const char **how)
{
    PyObject *cause = PyObject_GetAttrString(value, "__cause__");
    PyObject *context = PyObject_GetAttrString(value, "__context__");
    PyObject *suppress = PyObject_GetAttrString(value, "__suppress_context__");
    PyObject *found = NULL;

    if (cause && cause != Py_None) {
        found = cause;
        *how = "\nThe above exception was the direct cause of the following exception:\n\n";
    } else if (context && context != Py_None && suppress && PyObject_IsTrue(suppress) == 0) {
        found = context;
        *how = "\nDuring handling of the above exception, another exception occurred:\n\n";
    }
    PyErr_Clear();
    Py_IncRef(found);
    Py_DecRef(cause);
    Py_DecRef(context);
    Py_DecRef(suppress);
    return found;
}

static int write_exception(PyObject *out, PyObject *value, int depth)
{
    const char *how = NULL;
    PyObject *before = depth < MAX_CHAIN ? earlier(value, &how) : NULL;
    PyObject *traceback, *lines;
    int status = 0;

    if (before)
        status = write_exception(out, before, depth + 1) < 0 || write_string(out, how) < 0 ? -1 : 0;
    Py_DecRef(before);
    if (status < 0)
        return -1;
    traceback = PyException_GetTraceback(value);
    if (traceback)
        status = PyTraceBack_Print(traceback, out);
    Py_DecRef(traceback);
    if (status < 0)
        return -1;
    lines = last_lines(value);
    status = write(out, lines);
    Py_DecRef(lines);
    return status;
}

/* New reference to a str; as much as could be written. */
static PyObject *format(PyObject *value)
{
    PyObject *io = imported("_io");
    PyObject *out = io ? PyObject_CallMethod(io, "StringIO", NULL) : NULL;
    PyObject *text = NULL;

    if (out) {
        if (write_exception(out, value, 0) < 0)
            PyErr_Clear();
        text = PyObject_CallMethod(out, "getvalue", NULL);
    }
    PyErr_Clear();
    Py_DecRef(out);
    return text ? text : last_lines(value);
}

PyObject *failure_take(void)
{
    PyObject *type, *value, *traceback;
    PyObject *result = NULL, *name = NULL, *message = NULL, *text = NULL;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value && traceback)
        PyException_SetTraceback(value, traceback);
    if (value) {
        name = type_name(value);
        message = text_of(value);
        text = format(value);
    }
    if (name && message && text)
        result = Py_BuildValue("{sOsOsO}", "type", name, "message", message, "traceback", text);
    if (!result && !PyErr_Occurred())
        PyErr_NoMemory();
    Py_DecRef(name);
    Py_DecRef(message);
    Py_DecRef(text);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
    return result;
}
