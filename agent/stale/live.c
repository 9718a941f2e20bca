/* Finding the functions that a module's names lead to; live.h.
 *
 * Breadth first from the module's dict, through what definitions are made of (functions, their
 * closures and attributes, the dicts of the module's own classes) and, for whatever a decorator
 * may have made instead, through tp_traverse.  A module that keeps a million objects in a table
 * is not walked through for the sake of it: depth and number of the other objects are bounded. */
#include "live.h"
#include "big.h"
#include "cpython/introspect.h"

#include <stdbool.h>
#include <string.h>

/* A decorator's object is rarely deeper: instance, its dict, a partial, a tuple, the function. */
enum { MAX_DEPTH = 8, MAX_OTHERS = 20000 };

struct walk {
    PyObject *dict, *name; /* of the module; name may be NULL */
    PyObject *functions;   /* list: the result */
    PyObject **queue;      /* borrowed; GIL held, nothing is freed meanwhile */
    size_t head, tail, capacity;
    PyObject **seen; /* open-addressed, a power of two */
    size_t n_seen, seen_size;
    size_t others;
    bool out_of_memory;
};

static size_t slot_of(const PyObject *object, size_t size)
{
    return ((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15u >> 20 & (size - 1);
}

static bool grow_seen(struct walk *walk)
{
    size_t size = walk->seen_size ? walk->seen_size * 2 : 1024;
    PyObject **seen = big_realloc(NULL, size * sizeof *seen);

    if (!seen)
        return false;
    for (size_t i = 0; i < walk->seen_size; i++) {
        if (!walk->seen[i])
            continue;
        size_t slot = slot_of(walk->seen[i], size);
        while (seen[slot])
            slot = (slot + 1) & (size - 1);
        seen[slot] = walk->seen[i];
    }
    big_free(walk->seen);
    walk->seen = seen;
    walk->seen_size = size;
    return true;
}

/* Adds `object` to those seen.  False if it was there, or without memory. */
static bool first_time(struct walk *walk, PyObject *object)
{
    if (walk->n_seen * 2 >= walk->seen_size && !grow_seen(walk)) {
        walk->out_of_memory = true;
        return false;
    }
    size_t slot = slot_of(object, walk->seen_size);
    while (walk->seen[slot]) {
        if (walk->seen[slot] == object)
            return false;
        slot = (slot + 1) & (walk->seen_size - 1);
    }
    walk->seen[slot] = object;
    walk->n_seen++;
    return true;
}

static bool is_collected(PyObject *object)
{
    PyTypeObject *type = type_of(object);
    int (*is_gc)(PyObject *) = (int (*)(PyObject *))type->tp_is_gc;

    return type_has(type, Py_TPFLAGS_HAVE_GC) && type->tp_traverse && (!is_gc || is_gc(object));
}

static int push(PyObject *object, void *arg)
{
    struct walk *walk = arg;

    if (!object || !is_collected(object) || !first_time(walk, object))
        return 0;
    if (big_reserve(&walk->queue, walk->tail, &walk->capacity, sizeof *walk->queue))
        walk->queue[walk->tail++] = object;
    else
        walk->out_of_memory = true;
    return 0;
}

static void push_values(struct walk *walk, PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (dict && PyDict_Next(dict, &position, &key, &value))
        push(value, walk);
}

static int enter_function(struct walk *walk, PyObject *function)
{
    PyObject **attributes = _PyObject_GetDictPtr(function);

    if (PyFunction_GetGlobals(function) == walk->dict &&
        PyList_Append(walk->functions, function) < 0)
        return -1;
    push(PyFunction_GetClosure(function), walk);
    if (attributes && *attributes)
        push(*attributes, walk);
    return 0;
}

/* Classes of other modules lead to other modules' definitions. */
static void enter_class(struct walk *walk, PyObject *class)
{
    PyObject *dict = ((PyTypeObject *)class)->tp_dict;
    PyObject *module = dict ? dict_get(dict, "__module__") : NULL;

    if (module && walk->name && is_str(module) && is_str(walk->name) &&
        PyUnicode_Compare(module, walk->name) == 0)
        push_values(walk, dict);
}

/* What leads away from definitions: other modules' names, running code. */
static bool leads_away(PyObject *object)
{
    PyTypeObject *type = type_of(object);

    if (is_dict(object))
        return dict_get(object, "__builtins__") != NULL;
    return PyType_IsSubtype(type, &PyModule_Type) || type == &PyFrame_Type ||
           type == &PyTraceBack_Type || type == &PyGen_Type || type == &PyCoro_Type ||
           type == &PyAsyncGen_Type;
}

static int enter(struct walk *walk, PyObject *object)
{
    if (type_of(object) == &PyFunction_Type)
        return enter_function(walk, object);
    if (is_type(object)) {
        enter_class(walk, object);
    } else if (!leads_away(object) && walk->others < MAX_OTHERS) {
        walk->others++;
        type_of(object)->tp_traverse(object, push, walk);
    }
    return 0;
}

static int walk_levels(struct walk *walk)
{
    for (int depth = 0; depth < MAX_DEPTH && walk->head < walk->tail; depth++) {
        size_t level = walk->tail;
        while (walk->head < level) {
            if (enter(walk, walk->queue[walk->head++]) < 0)
                return -1;
        }
    }
    if (walk->out_of_memory) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

PyObject *live_functions(PyObject *dict)
{
    struct walk walk = {
        .dict = dict,
        .name = dict_get(dict, "__name__"),
        .functions = PyList_New(0),
    };

    if (walk.functions) {
        push_values(&walk, dict);
        if (walk_levels(&walk) < 0) {
            Py_DecRef(walk.functions);
            walk.functions = NULL;
        }
    }
    big_free(walk.queue);
    big_free(walk.seen);
    return walk.functions;
}
