/* Names and meanings are those of Lib/threading.py, 3.8 to 3.15.  From 3.13 on MainThread gets
 * its identity from the runtime, whoever imports (_get_main_thread_ident). */
#include "threads.h"
#include "cpython/introspect.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

static PyObject *this_thread(void)
{
    return PyLong_FromUnsignedLong((unsigned long)pthread_self());
}

/* threading._active, a dict by identity; new reference or NULL without an exception. */
static PyObject *active_threads(PyObject *threading)
{
    PyObject *active = threading ? PyObject_GetAttrString(threading, "_active") : NULL;

    PyErr_Clear();
    if (active && type_of(active) == &PyDict_Type)
        return active;
    Py_DecRef(active);
    return NULL;
}

static PyObject *threading_module(void)
{
    return dict_get(PyImport_GetModuleDict(), "threading");
}

struct threads_before threads_look(void)
{
    PyObject *threading = threading_module();
    PyObject *active = active_threads(threading);
    PyObject *self = this_thread();
    struct threads_before before = {
        .imported = threading != NULL,
        .known = active && self && PyDict_Contains(active, self) == 1,
    };

    PyErr_Clear();
    Py_DecRef(self);
    Py_DecRef(active);
    return before;
}

static void forget_dummy(PyObject *active, PyObject *self)
{
    PyObject *thread = PyDict_GetItemWithError(active, self);

    if (thread && strcmp(type_of(thread)->tp_name, "_DummyThread") == 0)
        PyDict_DelItem(active, self);
}

/* Does the thread's stack begin with the program?  1, 0, -1. */
static int is_main_stack(PyObject *frame)
{
    PyObject *main = dict_get(PyImport_GetModuleDict(), "__main__");
    PyObject *outer = frame, *globals;
    int is_main;

    Py_IncRef(outer);
    for (;;) {
        PyObject *caller = PyObject_GetAttrString(outer, "f_back");

        if (!caller || caller == Py_None) {
            Py_DecRef(caller);
            break;
        }
        Py_DecRef(outer);
        outer = caller;
    }
    globals = PyObject_GetAttrString(outer, "f_globals");
    is_main = main && globals == PyModule_GetDict(main);
    Py_DecRef(globals);
    Py_DecRef(outer);
    return PyErr_Occurred() ? -1 : is_main;
}

/* The main thread's identity: the only other thread that runs Python, or the one whose stack
 * begins in __main__.  New reference or NULL. */
static PyObject *main_identity(PyObject *self)
{
    PyObject *function = PySys_GetObject("_current_frames");
    PyObject *frames = function ? PyObject_CallObject(function, NULL) : NULL;
    PyObject *identity, *frame, *found = NULL;
    Py_ssize_t position = 0, others = 0;

    while (frames && PyDict_Next(frames, &position, &identity, &frame)) {
        if (PyObject_RichCompareBool(identity, self, Py_EQ))
            continue;
        if (++others == 1 || is_main_stack(frame) == 1)
            found = identity;
    }
    Py_IncRef(found);
    PyErr_Clear();
    Py_DecRef(frames);
    return found;
}

/* A lock that is held, as the main thread's state lock is until the program ends. */
static PyObject *held_lock(void)
{
    PyObject *module = PyImport_ImportModule("_thread");
    PyObject *lock = module ? PyObject_CallMethod(module, "allocate_lock", NULL) : NULL;
    PyObject *taken = lock ? PyObject_CallMethod(lock, "acquire", NULL) : NULL;

    Py_DecRef(taken);
    Py_DecRef(module);
    return lock;
}

static void give_main_its_identity(PyObject *threading, PyObject *active, PyObject *self)
{
    PyObject *thread = PyObject_GetAttrString(threading, "_main_thread");
    PyObject *identity = thread ? main_identity(self) : NULL;
    PyObject *process = PyLong_FromLong(getpid());
    PyObject *lock = NULL;

    if (identity && PyDict_GetItemWithError(active, self) == thread) {
        PyDict_DelItem(active, self);
        PyDict_SetItem(active, identity, thread);
        PyObject_SetAttrString(thread, "_ident", identity);
        PyObject_SetAttrString(thread, "_native_id", process);
        /* The lock that it has is released when the importing thread ends, and threading
         * asserts at exit that it is held. */
        lock = held_lock();
        if (lock)
            PyObject_SetAttrString(thread, "_tstate_lock", lock);
    }
    PyErr_Clear();
    Py_DecRef(lock);
    Py_DecRef(process);
    Py_DecRef(identity);
    Py_DecRef(thread);
}

void threads_tidy(const struct threads_before *before)
{
    PyObject *threading = threading_module();
    PyObject *active = active_threads(threading);
    PyObject *self = this_thread();

    if (active && self && !before->known) {
        forget_dummy(active, self);
        if (!before->imported)
            give_main_its_identity(threading, active, self);
    }
    PyErr_Clear();
    Py_DecRef(self);
    Py_DecRef(active);
}
