/* Finding suspended generators; suspended.h.
 *
 * A program may have very many of few functions, so each code object is asked about once. */
#include "suspended.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "old_code.h"
#include "remap/remap.h"

const char *suspended_prefix(PyObject *object)
{
    PyTypeObject *type = type_of(object);

    return type == &PyGen_Type        ? "gi"
           : type == &PyCoro_Type     ? "cr"
           : type == &PyAsyncGen_Type ? "ag"
                                      : NULL;
}

/* gi_code and the like.  New reference, or NULL without an exception. */
static PyObject *attribute(PyObject *generator, const char *name)
{
    const char *prefix = suspended_prefix(generator);
    char whole[24];
    PyObject *value;

    if (!prefix)
        return NULL;
    snprintf(whole, sizeof whole, "%s_%s", prefix, name);
    value = builtin_attribute(generator, type_of(generator), whole);
    PyErr_Clear();
    if (value != Py_None)
        return value;
    Py_DecRef(value);
    return NULL;
}

PyObject *suspended_frame(PyObject *generator)
{
    return attribute(generator, "frame");
}

/* --- globals, without a frame object where CPython has none yet */

struct globals_search {
    PyObject *code, *found;
};

static int look_for_globals(PyObject *object, void *arg)
{
    struct globals_search *search = arg;

    if (object && type_of(object) == &PyFunction_Type && PyFunction_GetCode(object) == search->code)
        search->found = PyFunction_GetGlobals(object);
    return search->found != NULL;
}

/* From 3.11 on the frame in the generator refers to its function (gen_traverse of
 * Objects/genobject.c visits it), before there is a frame object always.  New reference, or NULL
 * without an exception. */
static PyObject *globals_of(PyObject *generator, PyObject *code)
{
    struct globals_search search = {.code = code};
    PyObject *frame, *globals;

    type_of(generator)->tp_traverse(generator, look_for_globals, &search);
    Py_IncRef(search.found);
    if (search.found)
        return search.found;
    frame = suspended_frame(generator);
    globals = frame ? builtin_attribute(frame, &PyFrame_Type, "f_globals") : NULL;
    PyErr_Clear();
    Py_DecRef(frame);
    return globals;
}

/* --- all of them */

struct generators {
    PyObject **items; /* borrowed */
    size_t n, cap;
};

static int note_generator(PyObject *object, void *arg)
{
    struct generators *all = arg;

    if (!suspended_prefix(object))
        return 0;
    if (!big_reserve(&all->items, all->n, &all->cap, sizeof *all->items))
        return -1;
    all->items[all->n++] = object;
    return 0;
}

/* Valid while the GIL is held.  0, or -1 with an exception; `items` is the caller's to free. */
static int read_generators(struct generators *all)
{
    int result = heap_visit(note_generator, all);

    if (result < 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    return result;
}

/* --- which code is old */

/* Adds code -> (code, globals), unless it is there.  0, or -1 with an exception. */
static int note_code(PyObject *codes, PyObject *generator)
{
    PyObject *code = attribute(generator, "code");
    PyObject *key = code ? PyLong_FromVoidPtr(code) : NULL, *globals, *pair;
    int result = code && !key ? -1 : 0;

    if (key && !dict_lookup(codes, key) && (globals = globals_of(generator, code))) {
        pair = PyTuple_Pack(2, code, globals);
        result = pair ? PyDict_SetItem(codes, key, pair) : -1;
        Py_DecRef(pair);
        Py_DecRef(globals);
    }
    Py_DecRef(key);
    Py_DecRef(code);
    return result;
}

/* New reference to {address: (code, globals)} of all generators. */
static PyObject *read_codes(void)
{
    struct generators all = {0};
    PyObject *codes = PyDict_New();
    bool was_on;
    int result = codes ? collector_pause(&was_on) : -1;

    if (result == 0) {
        result = read_generators(&all);
        for (size_t i = 0; result == 0 && i < all.n; i++)
            result = note_code(codes, all.items[i]);
        collector_resume(was_on);
    }
    big_free(all.items);
    if (result == 0)
        return codes;
    Py_DecRef(codes);
    return NULL;
}

static int judge(PyObject *old, PyObject *sources, PyObject *key, PyObject *pair)
{
    PyObject *code = PyTuple_GetItem(pair, 0), *globals = PyTuple_GetItem(pair, 1);
    PyObject *module = dict_get(globals, "__name__"), *name = NULL, *found = NULL;
    int result = module ? old_code_name(code, globals, sources, &name) : 0;

    if (result == 1) {
        found = PyTuple_Pack(3, name, module, code);
        result = found ? PyDict_SetItem(old, key, found) : -1;
    }
    Py_DecRef(name);
    Py_DecRef(found);
    return result;
}

PyObject *suspended_codes(void)
{
    PyObject *codes = read_codes(), *old = codes ? PyDict_New() : NULL;
    PyObject *sources = old ? PyDict_New() : NULL, *key, *pair;
    Py_ssize_t position = 0;
    int result = sources ? 0 : -1;

    while (result == 0 && PyDict_Next(codes, &position, &key, &pair))
        result = judge(old, sources, key, pair);
    Py_DecRef(sources);
    Py_DecRef(codes);
    if (result == 0)
        return old;
    Py_DecRef(old);
    return NULL;
}

/* --- who is in it */

static bool is_running(PyObject *generator)
{
    PyObject *running = attribute(generator, "running");

    Py_DecRef(running);
    return running == Py_True;
}

/* Has it a frame?  One that has ended has none, and refers to no function. */
static bool has_frame(PyObject *generator, PyObject *code)
{
    PyObject *globals = globals_of(generator, code);

    Py_DecRef(globals);
    return globals;
}

static int add_if_old(struct suspended_list *list, PyObject *old, PyObject *generator)
{
    PyObject *code = attribute(generator, "code");
    PyObject *key = code ? PyLong_FromVoidPtr(code) : NULL;
    PyObject *found = key ? dict_lookup(old, key) : NULL;
    int result = code && !key ? -1 : 0;

    if (found && !is_running(generator) && has_frame(generator, code)) {
        Py_IncRef(generator);
        list->items[list->n++] =
            (struct suspended){generator, PyTuple_GetItem(found, 0), PyTuple_GetItem(found, 1)};
    }
    Py_DecRef(key);
    Py_DecRef(code);
    return result;
}

static int by_name(const void *a, const void *b)
{
    return PyUnicode_Compare(((const struct suspended *)a)->name,
                             ((const struct suspended *)b)->name);
}

static int find(struct suspended_list *list, PyObject *old)
{
    struct generators all = {0};
    int result = read_generators(&all);

    list->items = result == 0 && all.n ? big_realloc(NULL, all.n * sizeof *list->items) : NULL;
    if (result == 0 && all.n && !list->items) {
        PyErr_NoMemory();
        result = -1;
    }
    for (size_t i = 0; result == 0 && i < all.n; i++)
        result = add_if_old(list, old, all.items[i]);
    if (list->n)
        qsort(list->items, list->n, sizeof *list->items, by_name);
    big_free(all.items);
    return result;
}

int suspended_find(struct suspended_list *list, PyObject *old)
{
    bool was_on;
    int result;

    memset(list, 0, sizeof *list);
    if (!PyDict_Size(old))
        return 0;
    if (collector_pause(&was_on) < 0)
        return -1;
    result = find(list, old);
    collector_resume(was_on);
    return result;
}

void suspended_clear(struct suspended_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        Py_DecRef(list->items[i].generator);
    big_free(list->items);
    memset(list, 0, sizeof *list);
}
