/* atexit calls what was registered twice twice, so the second execution of
 * `atexit.register(f)` is taken back; the entry that stays is remapped as all references are.
 * From 3.14 on the entries are in an ordinary list, and pair/doubled.c has taken them out. */
#include "exit_functions.h"

#include <stdlib.h>

#include "cpython/callbacks.h"
#include "cpython/introspect.h"
#include "pair/data.h"

enum { MAX_DEPTH = 10 };

static int add_position(PyObject *positions, Py_ssize_t n)
{
    PyObject *position = PyLong_FromSsize_t(n);
    int status = position ? PyList_Append(positions, position) : -1;

    Py_DecRef(position);
    return status;
}

static bool becomes(struct remap *, PyObject *old, PyObject *new_, int depth);

static bool part_becomes(struct remap *remap, PyObject *old, PyObject *new_, const char *part,
                         int depth)
{
    PyObject *a = builtin_attribute(old, partial_type(), part);
    PyObject *b = builtin_attribute(new_, partial_type(), part);
    bool same = a && b && becomes(remap, a, b, depth + 1);

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

static bool items_become(struct remap *remap, PyObject *old, PyObject *new_, int depth)
{
    if (PyTuple_Size(old) != PyTuple_Size(new_))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_Size(old); i++) {
        if (!becomes(remap, PyTuple_GetItem(old, i), PyTuple_GetItem(new_, i), depth + 1))
            return false;
    }
    return true;
}

/* Will the references to both be to one object?  Or to a bound method or partial of such; an
 * instance of the class that replaces the other's is the other's repetition. */
static bool becomes(struct remap *remap, PyObject *old, PyObject *new_, int depth)
{
    if (old == new_ || remap_get(remap, old) == new_ || remap_get(remap, new_) == old ||
        same_value(old, new_) ||
        remap_get(remap, (PyObject *)type_of(old)) == (PyObject *)type_of(new_))
        return true;
    if (depth == MAX_DEPTH || type_of(old) != type_of(new_))
        return false;
    if (type_of(old) == &PyMethod_Type)
        return becomes(remap, PyMethod_Function(old), PyMethod_Function(new_), depth + 1) &&
               becomes(remap, PyMethod_Self(old), PyMethod_Self(new_), depth + 1);
    if (is_partial(old))
        return part_becomes(remap, old, new_, "func", depth) &&
               part_becomes(remap, old, new_, "args", depth);
    return type_of(old) == &PyTuple_Type && items_become(remap, old, new_, depth);
}

/* The first unmatched entry before index `n` that the `n`-th replaces, or -1. */
static Py_ssize_t replaced(struct remap *remap, PyObject *functions, Py_ssize_t n,
                           const char *matched)
{
    PyObject *new_ = PyList_GetItem(functions, n);

    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *old = PyList_GetItem(functions, i);

        if (!matched[i] && old != new_ && becomes(remap, old, new_, 0))
            return i;
    }
    return -1;
}

static int find_doubled(struct remap *remap, PyObject *functions, PyObject *positions)
{
    char *matched = calloc((size_t)PyList_Size(functions) + 1, 1);
    int status = 0;

    if (!matched) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(functions); i++) {
        Py_ssize_t old = replaced(remap, functions, i, matched);

        if (old < 0)
            continue;
        matched[old] = matched[i] = 1;
        status = add_position(positions, i);
    }
    free(matched);
    return status;
}

PyObject *exit_functions_doubled(struct remap *remap)
{
    PyObject *functions = atexit_functions(), *positions = PyList_New(0);
    int status = positions ? add_position(positions, functions ? PyList_Size(functions) : 0) : -1;

    if (functions && status == 0)
        status = find_doubled(remap, functions, positions);
    if (functions)
        Py_DecRef(functions);
    if (status == 0)
        return positions;
    Py_DecRef(positions);
    return NULL;
}

void exit_functions_remove(PyObject *doubled)
{
    PyObject *functions = atexit_functions();
    Py_ssize_t n = functions ? PyList_Size(functions) : 0;

    if (functions)
        Py_DecRef(functions);
    if (n != PyLong_AsSsize_t(PyList_GetItem(doubled, 0)))
        return;
    for (Py_ssize_t i = PyList_Size(doubled) - 1; i > 0; i--)
        atexit_remove(PyLong_AsSsize_t(PyList_GetItem(doubled, i)));
}

static bool is_of(const struct execution *e, PyObject *function)
{
    if (type_of(function) == &PyMethod_Type)
        return is_of(e, PyMethod_Function(function));
    if (is_partial(function)) {
        PyObject *inner = builtin_attribute(function, partial_type(), "func");
        bool is = inner && is_of(e, inner);

        Py_DecRef(inner);
        return is;
    }
    for (size_t i = 0; i < e->n_executed; i++) {
        if (type_of(function) == &PyFunction_Type &&
            PyFunction_GetGlobals(function) == e->modules[i].dict)
            return true;
    }
    return false;
}

void exit_functions_take_back(const struct execution *e)
{
    PyObject *functions = atexit_functions();

    if (!functions)
        return;
    for (Py_ssize_t i = PyList_Size(functions) - 1; i >= 0; i--) {
        if (is_of(e, PyList_GetItem(functions, i)))
            atexit_remove(i);
    }
    Py_DecRef(functions);
}
