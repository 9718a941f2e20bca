/* Which globals dicts are still run in (graveyard.h). */
#include "graveyard.h"

#include <stdbool.h>

#include "big.h"

/* Strong references in C memory. */
struct refs {
    PyObject **items;
    size_t n, cap;
};

static int push(struct refs *refs, PyObject *object)
{
    if (big_reserve_or_raise(&refs->items, refs->n, &refs->cap, sizeof *refs->items) < 0)
        return -1;
    refs->items[refs->n++] = object;
    Py_IncRef(object);
    return 0;
}

static void drop(struct refs *refs)
{
    for (size_t i = 0; i < refs->n; i++)
        Py_DecRef(refs->items[i]);
    big_free(refs->items);
}

static struct refs kept;

static bool is_kept(PyObject *dict)
{
    for (size_t i = 0; i < kept.n; i++) {
        if (kept.items[i] == dict)
            return true;
    }
    return false;
}

static int note_frame(PyObject *object, void *refs)
{
    PyTypeObject *type = type_of(object);

    if (type != &PyFrame_Type && type != &PyGen_Type && type != &PyCoro_Type &&
        type != &PyAsyncGen_Type)
        return 0;
    return push(refs, object);
}

/* The frame of a suspended generator, coroutine or asynchronous generator, or the object itself
 * if it is a frame.  New reference; Py_None: finished; NULL with an exception. */
static PyObject *frame_of(PyObject *object)
{
    PyTypeObject *type = type_of(object);

    if (type == &PyGen_Type)
        return PyObject_GetAttrString(object, "gi_frame");
    if (type == &PyCoro_Type)
        return PyObject_GetAttrString(object, "cr_frame");
    if (type == &PyAsyncGen_Type)
        return PyObject_GetAttrString(object, "ag_frame");
    Py_IncRef(object);
    return object;
}

/* Keeps the dict that the frame runs in, if it is one of those in question. */
static int check_frame(PyObject *frame, PyObject *const *dicts, size_t n)
{
    PyObject *globals = PyObject_GetAttrString(frame, "f_globals");
    int status = globals ? 0 : -1;

    for (size_t i = 0; status == 0 && i < n; i++) {
        if (globals == dicts[i] && !is_kept(globals))
            status = push(&kept, globals);
    }
    Py_DecRef(globals);
    return status;
}

static int check_objects(const struct refs *refs, PyObject *const *dicts, size_t n)
{
    int status = 0;

    for (size_t i = 0; status == 0 && i < refs->n; i++) {
        PyObject *frame = frame_of(refs->items[i]);

        if (!frame)
            return -1;
        if (frame != Py_None)
            status = check_frame(frame, dicts, n);
        Py_DecRef(frame);
    }
    return status;
}

/* `frame` and its callers; takes the reference. */
static int check_stack(PyObject *frame, PyObject *const *dicts, size_t n)
{
    int status = 0;

    while (status == 0 && frame && frame != Py_None) {
        PyObject *caller = PyObject_GetAttrString(frame, "f_back");

        status = caller ? check_frame(frame, dicts, n) : -1;
        Py_DecRef(frame);
        frame = caller;
    }
    Py_DecRef(frame);
    return status;
}

static int check_threads(PyObject *const *dicts, size_t n)
{
    PyObject *function = PySys_GetObject("_current_frames");
    PyObject *frames = function ? PyObject_CallObject(function, NULL) : NULL;
    PyObject *thread, *frame;
    Py_ssize_t position = 0;
    int status = frames ? 0 : -1;

    if (!frames && !PyErr_Occurred()) /* to 3.9 PySys_GetObject clears it */
        PyErr_NoMemory();
    while (status == 0 && PyDict_Next(frames, &position, &thread, &frame)) {
        Py_IncRef(frame);
        status = check_stack(frame, dicts, n);
    }
    Py_DecRef(frames);
    return status;
}

void graveyard_keep_globals(struct remap *verified, PyObject *const *dicts, size_t n)
{
    struct refs refs = {0};
    int status = verified ? remap_each_suspended(verified, note_frame, &refs)
                          : heap_visit(note_frame, &refs);

    if (status == 0)
        status = check_objects(&refs, dicts, n);
    if (status == 0)
        status = check_threads(dicts, n);
    drop(&refs);
    if (status == 0)
        return;
    PyErr_Clear();
    for (size_t i = 0; i < n; i++)
        Py_IncRef(dicts[i]);
}
