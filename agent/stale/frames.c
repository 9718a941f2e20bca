/* Reading the frames of all threads (frames.h). */
#include "frames.h"

#include <string.h>

#include "big.h"
#include "cpython/collector.h"
#include "cpython/frame.h"
#include "cpython/introspect.h"
#include "cpython/version.h"

/* An attribute of the Thread with this identifier (Lib/threading.py, 3.8 to 3.15), past any
 * property of a subclass.  New reference, or NULL without an exception. */
static PyObject *thread_attribute(PyObject *identifier, const char *name)
{
    PyObject *active = loaded_attribute("threading", "_active");
    PyObject *thread = active && is_dict(active) ? dict_lookup(active, identifier) : NULL;
    PyObject *key = PyUnicode_InternFromString(name), *value = NULL;

    if (thread && key && !_PyType_Lookup(type_of(thread), key))
        value = PyObject_GenericGetAttr(thread, key);
    PyErr_Clear();
    Py_DecRef(key);
    return value;
}

PyObject *thread_name(PyObject *identifier)
{
    PyObject *name = thread_attribute(identifier, "_name");

    if (name && is_str(name))
        return str_printable(name);
    Py_DecRef(name);
    return PyUnicode_FromFormat("thread %S", identifier);
}

static long native_id(PyObject *identifier)
{
    PyObject *id = thread_attribute(identifier, "_native_id");
    long number = id && is_int(id) ? PyLong_AsLong(id) : 0;

    PyErr_Clear();
    Py_DecRef(id);
    return number;
}

static long line_of(PyObject *frame)
{
    PyObject *line = builtin_attribute(frame, &PyFrame_Type, "f_lineno");
    long number = line && is_int(line) ? PyLong_AsLong(line) : 0;

    Py_DecRef(line);
    return number;
}

static void drop(struct running_frame *frame)
{
    Py_DecRef(frame->frame);
    Py_DecRef(frame->code);
    Py_DecRef(frame->globals);
    Py_DecRef(frame->thread);
    Py_DecRef(frame->function);
    Py_DecRef(frame->file);
}

/* Adds `frame`, a new reference that is taken.  0, or -1 with an exception. */
static int add_frame(struct running_frames *frames, PyObject *frame, PyObject *thread, long tid,
                     bool innermost)
{
    if (!big_reserve(&frames->items, frames->n, &frames->cap, sizeof *frames->items)) {
        Py_DecRef(frame);
        PyErr_NoMemory();
        return -1;
    }
    struct running_frame *added = &frames->items[frames->n++];
    PyObject *code = builtin_attribute(frame, &PyFrame_Type, "f_code");
    Py_IncRef(thread);
    *added = (struct running_frame){
        .frame = frame,
        .code = code,
        .globals = builtin_attribute(frame, &PyFrame_Type, "f_globals"),
        .thread = thread,
        .tid = tid,
        .function = code ? PyObject_GetAttrString(code, "co_name") : NULL,
        .file = code ? PyObject_GetAttrString(code, "co_filename") : NULL,
        .line = line_of(frame),
        .innermost = innermost,
    };
    if (added->globals && added->function && added->file)
        return 0;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_RuntimeError, "pyhot: a frame without code");
    return -1;
}

static int add_thread(struct running_frames *frames, PyObject *identifier, PyObject *top)
{
    PyObject *thread = thread_name(identifier), *frame = top;
    long tid = native_id(identifier);
    int result = thread ? 0 : -1;

    Py_IncRef(frame);
    while (result == 0 && frame && frame != Py_None) {
        PyObject *back = builtin_attribute(frame, &PyFrame_Type, "f_back");
        result = add_frame(frames, frame, thread, tid, frame == top);
        frame = back;
    }
    Py_DecRef(frame);
    Py_DecRef(thread);
    return result;
}

static int read_all(struct running_frames *frames)
{
    PyObject *threads = _PyThread_CurrentFrames(), *identifier, *frame;
    Py_ssize_t position = 0;
    int result = threads ? 0 : -1;

    while (result == 0 && PyDict_Next(threads, &position, &identifier, &frame))
        result = add_thread(frames, identifier, frame);
    Py_DecRef(threads);
    return result;
}

int running_frames_read(struct running_frames *frames)
{
    bool was_on;
    int result;

    memset(frames, 0, sizeof *frames);
    frame_layout_known(); /* now, as it runs code to find out */
    if (collector_hush(&was_on) < 0)
        return -1;
    result = read_all(frames);
    collector_resume(was_on);
    return result;
}

void running_frames_clear(struct running_frames *frames)
{
    for (size_t i = 0; i < frames->n; i++)
        drop(&frames->items[i]);
    big_free(frames->items);
    memset(frames, 0, sizeof *frames);
}

PyObject *frame_title(const struct running_frame *frame)
{
    return PyUnicode_FromFormat("frame of %U in %U() line %ld", frame->thread, frame->function,
                                frame->line);
}

/* The names of the places in frame_fields.locals, in their order: from 3.11 on a cell variable
 * that is an argument has one place, not two (Objects/codeobject.c).  New reference. */
static PyObject *names_of_locals(PyObject *code)
{
    PyObject *variables = PyObject_GetAttrString(code, "co_varnames");
    PyObject *cells = PyObject_GetAttrString(code, "co_cellvars");
    PyObject *outer = PyObject_GetAttrString(code, "co_freevars");
    PyObject *names = variables ? PySequence_List(variables) : NULL;
    int result = names && cells && outer ? 0 : -1;

    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_Size(cells); i++) {
        PyObject *name = PyTuple_GetItem(cells, i);
        int shared = cpython_minor() >= 11 ? PySequence_Contains(variables, name) : 0;
        result = shared ? (shared < 0 ? -1 : 0) : PyList_Append(names, name);
    }
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_Size(outer); i++)
        result = PyList_Append(names, PyTuple_GetItem(outer, i));
    Py_DecRef(variables);
    Py_DecRef(cells);
    Py_DecRef(outer);
    if (result == 0)
        return names;
    Py_DecRef(names);
    return NULL;
}

/* The value of the variable in this place: a new reference, or NULL. */
static PyObject *value_in(PyObject *place)
{
    if (place && type_of(place) == &PyCell_Type)
        return PyCell_Get(place);
    Py_IncRef(place);
    return place;
}

int frame_locals(const struct running_frame *frame,
                 int (*visit)(PyObject *name, PyObject *value, void *arg), void *arg)
{
    PyObject *names = names_of_locals(frame->code);
    struct frame_fields fields;
    bool known = frame_layout_known();
    int result = !names || (known && !frame_open(frame->frame, &fields)) ? -1 : 0;
    size_t n = result == 0 ? (size_t)PyList_Size(names) : 0;

    if (known && n > fields.n_locals)
        n = fields.n_locals;
    for (size_t i = 0; result == 0 && i < n; i++) {
        PyObject *name = PyList_GetItem(names, (Py_ssize_t)i), *value = NULL;
        if (known)
            value = value_in(fields.locals[i]);
        else if (PyFrame_GetVar)
            value = PyFrame_GetVar((PyFrameObject *)frame->frame, name);
        PyErr_Clear(); /* not bound */
        result = value ? visit(name, value, arg) : 0;
        Py_DecRef(value);
    }
    Py_DecRef(names);
    return result;
}
