/* Exceptions as text (failure.h).
 *
 * Frames are printed by CPython itself (PyTraceBack_Print), into an io.StringIO; what comes after
 * them is as Lib/traceback.py has it.  That module is not asked: from 3.12 on it imports others
 * for its suggestions, and it fills linecache. */
#include "failure.h"
#include "cpython/introspect.h"

#include <stdbool.h>
#include <stdlib.h>

enum { MAX_CHAIN = 16 };

static PyObject *imported(const char *module)
{
    return dict_get(PyImport_GetModuleDict(), module);
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

/* exception.name as a number, or `otherwise`. */
static long number(PyObject *exception, const char *name, long otherwise)
{
    PyObject *value = PyObject_GetAttrString(exception, name);
    long result = value && is_int(value) ? PyLong_AsLong(value) : otherwise;

    PyErr_Clear();
    Py_DecRef(value);
    return result;
}

/* Columns of the error in `shown`, which is the source line without what stands before its first
 * `indent` characters; counted from 0, the end past the last.  False: none to be marked. */
static bool error_columns(PyObject *value, long indent, long length, long *begin, long *end)
{
    long line = number(value, "lineno", 0);

    *begin = number(value, "offset", 0) - 1;
    *end = number(value, "end_offset", 0) - 1;
    if (*begin < 0)
        return false;
    if (number(value, "end_lineno", line) != line)
        *end = indent + length;
    *begin = *begin < indent ? 0 : *begin - indent;
    *end -= indent;
    if (*begin > length)
        *begin = length;
    if (*end <= *begin)
        *end = *begin + 1;
    return true;
}

/* The line with the carets.  New reference. */
static PyObject *carets(PyObject *value, PyObject *shown, long indent)
{
    long length = PyUnicode_GetLength(shown), begin, end, n = 0;
    char *line;
    PyObject *text;

    if (!error_columns(value, indent, length, &begin, &end))
        return PyUnicode_FromString("");
    line = malloc((size_t)end + 2);
    if (!line)
        return PyErr_NoMemory();
    /* A tab before the error stays one. */
    for (; n < begin; n++)
        line[n] = PyUnicode_FindChar(shown, '\t', n, n + 1, 1) == n ? '\t' : ' ';
    for (; n < end; n++)
        line[n] = '^';
    line[n] = '\0';
    text = PyUnicode_FromFormat("    %s\n", line);
    free(line);
    return text;
}

/* The source line that a SyntaxError quotes, with the carets.  New reference. */
static PyObject *quoted_line(PyObject *value, PyObject *source)
{
    PyObject *right = PyObject_CallMethod(source, "rstrip", "s", "\n");
    PyObject *shown = right ? PyObject_CallMethod(right, "lstrip", "s", " \n\f") : NULL;
    PyObject *marks = NULL, *both = NULL;

    if (shown)
        marks = carets(value, shown, PyUnicode_GetLength(right) - PyUnicode_GetLength(shown));
    if (marks)
        both = PyUnicode_FromFormat("    %U\n%U", shown, marks);
    Py_DecRef(marks);
    Py_DecRef(shown);
    Py_DecRef(right);
    return both;
}

/* The place that a SyntaxError names, and the line there.  New reference; empty if none. */
static PyObject *syntax_place(PyObject *value)
{
    PyObject *file = PyObject_GetAttrString(value, "filename");
    PyObject *source = file ? PyObject_GetAttrString(value, "text") : NULL;
    PyObject *place = NULL, *quoted = NULL, *both = NULL;

    if (source && file != Py_None)
        place = PyUnicode_FromFormat("  File \"%S\", line %ld\n", file, number(value, "lineno", 0));
    if (place && is_str(source))
        quoted = quoted_line(value, source);
    if (quoted)
        both = PyUnicode_FromFormat("%U%U", place, quoted);
    PyErr_Clear();
    Py_DecRef(quoted);
    Py_DecRef(source);
    Py_DecRef(file);
    if (!both)
        return place ? place : PyUnicode_FromString("");
    Py_DecRef(place);
    return both;
}

/* What stands after the frames.  New reference. */
static PyObject *last_lines(PyObject *value)
{
    PyObject *name = type_name(value), *message, *place, *lines = NULL;

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
