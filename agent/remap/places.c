/* See places.h.
 *
 * A named tuple's fields are numbers of items, and its methods rely on there being one for each
 * (Lib/collections/__init__.py).  A field of a structure or union is an offset into memory that
 * was allocated for the class as it was, and nothing checks it against that (Modules/_ctypes/
 * cfield.c, 3.8 to 3.15).  Arrays, pointers and subclasses of it were laid out for it as well. */
#include "places.h"

#include <string.h>

#include "../cpython/introspect.h"
#include "../cpython/type_layout.h"
#include "keys.h"

static PyObject *lookup(PyTypeObject *type, const char *name)
{
    PyObject *text = PyUnicode_InternFromString(name);
    PyObject *value = text ? _PyType_Lookup(type, text) : NULL;

    Py_DecRef(text);
    return value;
}

/* --- named tuples */

static bool same_text(PyObject *a, PyObject *b)
{
    return a == b || (is_str(a) && is_str(b) && PyUnicode_Compare(a, b) == 0);
}

static int fields_move(PyTypeObject *old, PyTypeObject *new_)
{
    PyObject *before = lookup(old, "_fields"), *after = lookup(new_, "_fields");

    if (PyErr_Occurred())
        return -1;
    if (!before || !is_tuple(before) || !after || !is_tuple(after))
        return 0;
    if (PyTuple_Size(before) != PyTuple_Size(after))
        return 1;
    for (Py_ssize_t i = 0; i < PyTuple_Size(before); i++)
        if (!same_text(PyTuple_GetItem(before, i), PyTuple_GetItem(after, i)))
            return 1;
    return 0;
}

/* --- ctypes */

static bool is_of_ctypes(const PyTypeObject *type)
{
    return strncmp(type->tp_name, "_ctypes.", strlen("_ctypes.")) == 0;
}

static bool is_data(PyTypeObject *type)
{
    while (type_is_python(type))
        type = type->tp_base;
    return is_of_ctypes(type);
}

/* -1 with an exception. */
static Py_ssize_t number(PyObject *owned)
{
    Py_ssize_t n = owned ? PyLong_AsSsize_t(owned) : -1;

    Py_DecRef(owned);
    return n;
}

/* 0: it has none, it is abstract. */
static Py_ssize_t size_of(PyTypeObject *type)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "_ctypes");
    Py_ssize_t size = module ? number(PyObject_CallMethod(module, "sizeof", "O", type)) : 0;

    return size < 0 ? pass_over_error() : size;
}

/* Its text has type, offset and size in all versions, and is made by C code. */
static int field_moves(PyObject *before, PyObject *after)
{
    PyObject *a = PyObject_Repr(before), *b = a ? PyObject_Repr(after) : NULL;
    int moves = b ? !same_text(a, b) : -1;

    Py_DecRef(a);
    Py_DecRef(b);
    return moves;
}

static int layout_moves(PyTypeObject *old, PyTypeObject *new_)
{
    Py_ssize_t before = size_of(old), after = before < 0 ? -1 : size_of(new_);
    int moves = before < 0 || after < 0 ? -1 : before != after;

    for (PyTypeObject *type = old; moves == 0 && type_is_python(type); type = type->tp_base) {
        PyObject *name, *value, *now;
        Py_ssize_t position = 0;

        while (moves == 0 && PyDict_Next(type->tp_dict, &position, &name, &value))
            if (is_ctypes_field(value) && (now = _PyType_Lookup(new_, name)))
                moves = type_of(now) == type_of(value) ? field_moves(value, now) : 1;
    }
    return moves;
}

int places_move(PyTypeObject *old, PyTypeObject *new_)
{
    if (type_has(old, Py_TPFLAGS_TUPLE_SUBCLASS))
        return fields_move(old, new_);
    return is_data(old) && is_data(new_) ? layout_moves(old, new_) : 0;
}

/* To 3.12 what a type was laid out for is in its namespace, an object of its own class. */
int places_refused(const struct remap *r, const struct edge *e)
{
    const struct key *k = &r->keys[e->key];
    const PyTypeObject *type = type_of(e->referrer);

    if (!is_of_ctypes(type) && strcmp(type->tp_name, "StgDict") != 0)
        return 0;
    return is_data((PyTypeObject *)k->old) && is_type(k->new_)
               ? places_move((PyTypeObject *)k->old, (PyTypeObject *)k->new_)
               : 0;
}
