/* atexit calls what was registered twice twice, so the second execution of
 * `atexit.register(f)` is taken back; the entry that stays is remapped as all references are.
 * From 3.14 on the entries are in an ordinary list, and pair/doubled.c has taken them out. */
#include "exit_functions.h"

#include <stdlib.h>

#include "cpython/callbacks.h"

static int add_position(PyObject *positions, Py_ssize_t n)
{
    PyObject *position = PyLong_FromSsize_t(n);
    int status = position ? PyList_Append(positions, position) : -1;

    Py_DecRef(position);
    return status;
}

/* The first unmatched entry that `new_` replaces, or -1. */
static Py_ssize_t replaced(struct remap *remap, PyObject *functions, PyObject *new_,
                           const char *matched)
{
    for (Py_ssize_t i = 0; i < PyList_Size(functions); i++) {
        if (!matched[i] && remap_get(remap, PyList_GetItem(functions, i)) == new_)
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
        Py_ssize_t old = replaced(remap, functions, PyList_GetItem(functions, i), matched);

        if (old < 0)
            continue;
        matched[old] = 1;
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
