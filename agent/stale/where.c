/* The threads and their frames (where.h).  The frames are read at one moment; whether their code is
 * old is found out afterwards, from what its name leads to now (old_code.h). */
#include "where.h"

#include "cpython/audit.h"
#include "frames.h"
#include "old_code.h"

/* {"function","file","line","old"}: `old` is the qualified name of the function that has other code
 * now, or None.  New reference. */
static PyObject *describe(const struct running_frame *frame, PyObject *sources)
{
    PyObject *name = NULL, *entry = NULL;

    if (old_code_name(frame->code, frame->globals, sources, &name) >= 0)
        entry = Py_BuildValue("{s:O,s:O,s:l,s:O}", "function", frame->function, "file", frame->file,
                              "line", frame->line, "old", name ? name : Py_None);
    Py_DecRef(name);
    return entry;
}

/* Appends an entry for the thread; its "frames" is a new reference. */
static PyObject *begin_thread(PyObject *threads, const struct running_frame *frame)
{
    PyObject *frames = PyList_New(0);
    PyObject *entry = frames ? Py_BuildValue("{s:O,s:l,s:O}", "name", frame->thread, "tid",
                                             frame->tid, "frames", frames)
                             : NULL;

    if (!entry || PyList_Append(threads, entry) < 0) {
        Py_DecRef(frames);
        frames = NULL;
    }
    Py_DecRef(entry);
    return frames;
}

static int add_threads(PyObject *threads, const struct running_frames *running)
{
    PyObject *sources = PyDict_New(), *frames = NULL;
    int result = sources ? 0 : -1;

    for (size_t i = 0; result == 0 && i < running->n; i++) {
        const struct running_frame *frame = &running->items[i];

        if (frame->innermost) {
            Py_DecRef(frames);
            frames = begin_thread(threads, frame);
        }
        PyObject *entry = frames ? describe(frame, sources) : NULL;
        result = entry ? PyList_Append(frames, entry) : -1;
        Py_DecRef(entry);
    }
    Py_DecRef(frames);
    Py_DecRef(sources);
    return result;
}

PyObject *stale_where(void)
{
    struct running_frames running;
    PyObject *threads = PyList_New(0), *result = NULL;

    audit_look();
    if (running_frames_read(&running) == 0 && threads && add_threads(threads, &running) == 0)
        result = Py_BuildValue("{s:O,s:i}", "threads", threads, "exit", 0);
    running_frames_clear(&running);
    Py_DecRef(threads);
    return result;
}
