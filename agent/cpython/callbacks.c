#include "callbacks.h"

#include "introspect.h"
#include "statics.h"

enum { INTERPRETER = 1 << 20 }; /* bytes: PyInterpreterState is smaller in all versions */

/* --- signal handlers */

static PyObject *loaded_function(const char *module_name, const char *name)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), module_name);

    /* Only the C function itself: the name may have been patched. */
    PyObject *function = module && type_of(module) == &PyModule_Type
                             ? dict_get(PyModule_GetDict(module), name)
                             : NULL;
    return function && type_of(function) == &PyCFunction_Type ? function : NULL;
}

PyObject *signal_handler(int number)
{
    PyObject *getsignal = loaded_function("_signal", "getsignal");
    PyObject *handler = getsignal ? PyObject_CallFunction(getsignal, "i", number) : NULL;

    PyErr_Clear();
    return handler;
}

/* Modules/signalmodule.c `Handlers` (3.8 to 3.11), _PyRuntime.signals.handlers (from 3.12,
 * Include/internal/pycore_signal.h). */
struct handler {
    int tripped;
    PyObject *function;
};

struct handlers {
    int number;
    PyObject *expected[SIGNALS + 1];
    PyObject **field;
    size_t found;
};

static int compare_handlers(const struct static_word *word, void *arg)
{
    struct handlers *h = arg;
    struct handler array[SIGNALS + 1];
    const struct handler *start =
        (struct handler *)((char *)word->address - offsetof(struct handler, function)) - h->number;

    if (word->value != (uintptr_t)h->expected[h->number] ||
        !read_safely(start, array, sizeof array))
        return 0;
    for (int i = 1; i <= SIGNALS; i++) {
        PyObject *there = array[i].function ? array[i].function : Py_None;

        if (there != h->expected[i] || (array[i].tripped & ~1))
            return 0;
    }
    h->field = (PyObject **)word->address;
    h->found++;
    return 0;
}

PyObject **signal_handler_field(int number)
{
    struct handlers h = {.number = number};

    for (int i = 1; i <= SIGNALS; i++) {
        h.expected[i] = signal_handler(i);
        if (!h.expected[i])
            return NULL;
        Py_DecRef(h.expected[i]); /* the interpreter's is enough: the GIL is held */
    }
    return static_words(compare_handlers, &h) == 0 && h.found == 1 ? h.field : NULL;
}

/* --- atexit */

static PyObject *seen;
static Py_ssize_t doomed = -1;

/* `a == b` with our probe as one of them: notes the other, and says yes to the doomed one. */
static PyObject *note_other(PyObject *a, PyObject *b, int op)
{
    PyObject *other = type_of(a)->tp_richcompare == (void *)note_other ? b : a;

    (void)op;
    if (seen && PyList_Append(seen, other) < 0)
        return NULL;
    return PyBool_FromLong(seen && PyList_Size(seen) - 1 == doomed);
}

static PyObject *make_probe(void)
{
    enum { TP_RICHCOMPARE = 67 }; /* Include/typeslots.h */
    PyType_Slot slots[] = {{TP_RICHCOMPARE, note_other}, {0, NULL}};
    PyType_Spec spec = {"pyhot.probe", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT, slots};
    PyObject *type = PyType_FromSpec(&spec);
    PyObject *probe = type ? PyType_GenericAlloc((PyTypeObject *)type, 0) : NULL;

    if (type)
        Py_DecRef(type);
    return probe;
}

PyObject *atexit_functions(void)
{
    PyObject *unregister = loaded_function("atexit", "unregister");
    PyObject *probe = unregister ? make_probe() : NULL, *done, *functions;

    if (!probe || !(seen = PyList_New(0))) {
        PyErr_Clear();
        if (probe)
            Py_DecRef(probe);
        return NULL;
    }
    done = PyObject_CallFunctionObjArgs(unregister, probe, NULL);
    functions = seen;
    seen = NULL;
    PyErr_Clear();
    Py_DecRef(probe);
    if (!done) {
        Py_DecRef(functions);
        return NULL;
    }
    Py_DecRef(done);
    return functions;
}

void atexit_remove(Py_ssize_t n)
{
    PyObject *functions;

    doomed = n;
    functions = atexit_functions();
    doomed = -1;
    if (functions)
        Py_DecRef(functions);
}

/* struct atexit_state, Include/internal/pycore_interp.h (3.10), pycore_atexit.h (3.11 to
 * 3.13): an array of pointers to {func, args, kwargs}, their number, the room for them. */
struct atexit_state {
    PyObject ***callbacks;
    int n, room;
};

/* The place of the n-th function if this is the array, else NULL. */
static PyObject **compare_callbacks(const struct atexit_state *state, PyObject *functions,
                                    Py_ssize_t n)
{
    PyObject **place = NULL;
    Py_ssize_t at = 0;

    if (state->n < PyList_Size(functions) || state->room < state->n || state->n > 1 << 20 ||
        (uintptr_t)state->callbacks < 4096 || (uintptr_t)state->callbacks % 8)
        return NULL;
    for (int i = 0; i < state->n; i++) {
        PyObject **callback, *function;

        if (!read_safely(state->callbacks + i, &callback, sizeof callback))
            return NULL;
        if (!callback)
            continue; /* unregistered */
        if (at >= PyList_Size(functions) || !read_safely(callback, &function, sizeof function) ||
            function != PyList_GetItem(functions, at))
            return NULL;
        if (at++ == n)
            place = callback;
    }
    return at == PyList_Size(functions) ? place : NULL;
}

PyObject **atexit_field(PyObject *functions, Py_ssize_t n)
{
    enum { WORDS = 512 };
    const uintptr_t *interpreter = (const uintptr_t *)PyInterpreterState_Main();
    uintptr_t chunk[WORDS + 1];
    PyObject **place = NULL;

    for (size_t at = 0; at < INTERPRETER / 8; at += WORDS) {
        if (!read_safely(interpreter + at, chunk, sizeof chunk))
            break;
        for (size_t i = 0; i < WORDS; i++) {
            PyObject **found = compare_callbacks((struct atexit_state *)(chunk + i), functions, n);

            if (found && place && found != place)
                return NULL;
            if (found)
                place = found;
        }
    }
    return place;
}

/* --- sys.monitoring */

static bool tool_used(PyObject *monitoring, int tool)
{
    PyObject *name = PyObject_CallMethod(monitoring, "get_tool", "i", tool);
    bool used = name && name != Py_None;

    PyErr_Clear();
    if (name)
        Py_DecRef(name);
    return used;
}

static PyObject *exchange(PyObject *monitoring, int tool, int event, PyObject *callback)
{
    return PyObject_CallMethod(monitoring, "register_callback", "iiO", tool, 1 << event, callback);
}

PyObject *monitoring_callback(int tool, int event)
{
    PyObject *monitoring = PySys_GetObject("monitoring"), *callback, *none;

    if (!monitoring || type_of(monitoring) != &PyModule_Type || !tool_used(monitoring, tool))
        return NULL;
    callback = exchange(monitoring, tool, event, Py_None);
    none = callback ? exchange(monitoring, tool, event, callback) : NULL;
    PyErr_Clear(); /* no such event in this version */
    if (none)
        Py_DecRef(none);
    if (callback)
        Py_DecRef(callback);
    return callback == Py_None ? NULL : callback;
}

/* --- lazy imports */

PyObject *lazy_imports_filter(void)
{
    PyObject *filter = PyImport_GetLazyImportsFilter ? PyImport_GetLazyImportsFilter() : NULL;

    if (filter)
        Py_DecRef(filter);
    return filter == Py_None ? NULL : filter;
}
