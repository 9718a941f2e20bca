/* Code objects: those nested in an old function's code, and in the code of the new one. */
#include "pairing.h"

static bool is_comprehension(PyObject *name)
{
    static const char *const names[] = {"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(name, names[i]))
            return true;
    }
    return false;
}

/* The n-th code object called `name` among the constants, from index *at on: borrowed. */
static PyObject *next_code(PyObject *consts, PyObject *name, Py_ssize_t *at)
{
    while (*at < PyTuple_Size(consts)) {
        PyObject *code = PyTuple_GetItem(consts, (*at)++), *own;
        bool same;

        if (type_of(code) != &PyCode_Type)
            continue;
        own = code_attribute(code, "co_name");
        same = own && PyUnicode_Compare(own, name) == 0;
        Py_DecRef(own);
        if (same)
            return code;
    }
    return NULL;
}

/* All of that name.  New list. */
static PyObject *codes_named(PyObject *consts, PyObject *name)
{
    PyObject *list = PyList_New(0), *code;
    Py_ssize_t at = 0;

    while (list && (code = next_code(consts, name, &at))) {
        if (PyList_Append(list, code) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* The code in `new_consts` that stands for the `place`-th of its name in `old_consts`: borrowed
 * from there, or NULL, with an exception if memory was short. */
static PyObject *code_at_place(PyObject *old_consts, PyObject *new_consts, PyObject *name,
                               size_t place)
{
    PyObject *old = codes_named(old_consts, name), *new_ = codes_named(new_consts, name);
    PyObject *found = old && new_ ? code_for(old, new_, (Py_ssize_t)place) : NULL;

    Py_DecRef(old);
    Py_DecRef(new_);
    return found;
}

static int pair_nested_code(const struct scope *scope, PyObject *old_consts, PyObject *new_consts)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(old_consts); i++) {
        PyObject *code = PyTuple_GetItem(old_consts, i), *name, *found;
        PyObject *other;
        Py_ssize_t at = 0;
        size_t place = 0;
        int status;

        if (type_of(code) != &PyCode_Type)
            continue;
        name = code_attribute(code, "co_name");
        if (!name)
            return -1;
        while ((other = next_code(old_consts, name, &at)) && other != code)
            place++;
        found = code_at_place(old_consts, new_consts, name, place);
        status = found && !PyErr_Occurred() ? pair_code_objects(scope, code, found) : 0;
        Py_DecRef(name);
        if (status < 0 || PyErr_Occurred())
            return -1;
    }
    return 0;
}

int pair_code_objects(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *name, *old_consts, *new_consts;
    int added = 1, status = -1;

    if (old == new_ || remap_get(scope->pairing->remap, old) ||
        code_is_namespace(old) != code_is_namespace(new_))
        return 0;
    name = code_attribute(old, "co_name");
    if (!name)
        return -1;
    if (!is_comprehension(name) && !code_is_namespace(old))
        added = pairing_add(scope->pairing, old, new_);
    Py_DecRef(name);
    if (added <= 0)
        return added;
    pairing_counts(scope->module)->code++;
    old_consts = code_attribute(old, "co_consts");
    new_consts = code_attribute(new_, "co_consts");
    if (old_consts && new_consts)
        status = pair_nested_code(scope, old_consts, new_consts);
    Py_DecRef(old_consts);
    Py_DecRef(new_consts);
    return status;
}
