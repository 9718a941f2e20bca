/* See rebased.h.  Bases are set by type's own setter (type_set_bases, Objects/typeobject.c), past
 * what a metaclass has for the name. */
#include "rebased.h"

#include "cpython/descr.h"
#include "cpython/introspect.h"

static int set_bases(PyObject *type, PyObject *bases)
{
    PyObject *setter = builtin_descr(&PyType_Type, "__bases__");

    return setter ? descr_set(setter, type, bases) : -1;
}

static int restore(PyObject *type, PyObject *bases, void *arg)
{
    (void)arg;
    if (((PyTypeObject *)type)->tp_bases == bases || set_bases(type, bases) == 0)
        return 0;
    if (PyErr_ExceptionMatches(PyExc_MemoryError))
        return -1;
    PyErr_Clear();
    return 0;
}

int rebased_restore(const struct contents *contents)
{
    return contents_each_class(contents, restore, NULL);
}

/* Is it new, and its old one among these too? */
static bool is_doubled(struct remap *remap, PyObject *bases, const PyObject *base)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(bases); i++) {
        PyObject *other = PyTuple_GetItem(bases, i);

        if (other != base && remap_get(remap, other) == base)
            return true;
    }
    return false;
}

/* New reference to a list. */
static PyObject *without_doubled(struct remap *remap, PyObject *bases)
{
    PyObject *list = PyList_New(0);

    for (Py_ssize_t i = 0; list && i < PyTuple_Size(bases); i++) {
        PyObject *base = PyTuple_GetItem(bases, i);

        if (!is_doubled(remap, bases, base) && PyList_Append(list, base) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

static int settle(PyObject *type, PyObject *before, void *remap)
{
    PyObject *bases = ((PyTypeObject *)type)->tp_bases, *list, *tuple = NULL;
    int status = 0;

    if (bases == before)
        return 0;
    list = without_doubled(remap, bases);
    if (list && PyList_Size(list) < PyTuple_Size(bases))
        tuple = PyList_AsTuple(list);
    if (!list || PyErr_Occurred() || (tuple && set_bases(type, tuple) < 0))
        status = -1;
    Py_DecRef(list);
    Py_DecRef(tuple);
    return status;
}

int rebased_settle(const struct contents *contents, struct remap *remap)
{
    return contents_each_class(contents, settle, remap);
}
