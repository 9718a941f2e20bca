#include "deque.h"

#include "introspect.h"

enum { BLOCK_LENGTH = 64, SAMPLES = 150 };

struct block {
    struct block *left;
    PyObject *data[BLOCK_LENGTH];
    struct block *right;
};

struct deque_object {
    PyVarObject ob_base;
    struct block *left_block, *right_block;
    Py_ssize_t left_index, right_index;
};

int deque_each(PyObject *deque, int (*visit)(PyObject **item, void *arg), void *arg)
{
    struct deque_object *d = (struct deque_object *)deque;
    struct block *block = d->left_block;
    Py_ssize_t index = d->left_index;
    int result = 0;

    for (Py_ssize_t n = d->ob_base.ob_size; n > 0 && result == 0; n--) {
        result = visit(&block->data[index], arg);
        if (++index == BLOCK_LENGTH) {
            block = block->right;
            index = 0;
        }
    }
    return result;
}

struct expected {
    PyObject *items;
    Py_ssize_t n;
};

static int compare(PyObject **item, void *arg)
{
    struct expected *e = arg;

    return *item != PyList_GetItem(e->items, e->n++);
}

/* A deque of SAMPLES items whose first block was entered in the middle. */
static bool layout_holds(PyObject *type)
{
    PyObject *items = PyList_New(0), *deque = NULL;
    bool ok = items;

    for (long i = 0; ok && i < SAMPLES; i++) {
        PyObject *n = PyLong_FromLong(100000 + i);

        ok = n && PyList_Append(items, n) == 0;
        if (n)
            Py_DecRef(n);
    }
    if (ok)
        deque = PyObject_CallFunctionObjArgs(type, items, NULL);
    if (deque) {
        struct deque_object *d = (struct deque_object *)deque;
        struct expected e = {items, 0};

        /* The offsets first: nothing is followed that is not as expected. */
        ok = d->ob_base.ob_size == SAMPLES && d->left_index >= 0 && d->left_index < BLOCK_LENGTH &&
             d->right_index >= 0 && d->right_index < BLOCK_LENGTH &&
             (d->left_index + SAMPLES - 1) % BLOCK_LENGTH == d->right_index &&
             deque_each(deque, compare, &e) == 0 && e.n == SAMPLES;
        Py_DecRef(deque);
    }
    if (items)
        Py_DecRef(items);
    return ok && deque;
}

/* collections.deque, borrowed (the module keeps it); NULL: not imported, so no deque is. */
static PyObject *deque_type(void)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "_collections");
    PyObject *type = module ? PyObject_GetAttrString(module, "deque") : NULL;

    PyErr_Clear();
    if (type)
        Py_DecRef(type);
    return type;
}

bool is_deque(const PyObject *o)
{
    static PyObject *type;
    static bool tried, known;

    /* Most objects are smaller, and the type is looked for each time until it is imported. */
    if ((size_t)type_of(o)->tp_basicsize < sizeof(struct deque_object))
        return false;
    if (!tried) {
        type = deque_type();
        known = type && is_type(type) && layout_holds(type);
        PyErr_Clear();
        tried = type;
    }
    return known && PyType_IsSubtype(type_of(o), (PyTypeObject *)type);
}
