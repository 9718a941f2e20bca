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

/* Code that is the same in both, whatever its place: borrowed, or NULL. */
static PyObject *find_same_code(PyObject *consts, PyObject *name, PyObject *code)
{
    PyObject *found;
    Py_ssize_t at = 0;

    while ((found = next_code(consts, name, &at))) {
        if (program_same(code, found) == 1)
            return found;
    }
    return NULL;
}

/* The code in `new_consts` that stands for the `place`-th of its name in `old_consts`. */
static PyObject *code_at_place(PyObject *old_consts, PyObject *new_consts, PyObject *name,
                               PyObject *code, size_t place)
{
    PyObject *found = NULL;
    Py_ssize_t at = 0;
    size_t n_old = 0, n_new = 0;

    while (next_code(old_consts, name, &at))
        n_old++;
    at = 0;
    while ((found = next_code(new_consts, name, &at)))
        n_new++;
    if (n_old != n_new && (found = find_same_code(new_consts, name, code)))
        return found;
    at = 0;
    for (size_t i = 0; i <= place; i++)
        found = next_code(new_consts, name, &at);
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
        found = code_at_place(old_consts, new_consts, name, code, place);
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
    scope->module->code++;
    old_consts = code_attribute(old, "co_consts");
    new_consts = code_attribute(new_, "co_consts");
    if (old_consts && new_consts)
        status = pair_nested_code(scope, old_consts, new_consts);
    Py_DecRef(old_consts);
    Py_DecRef(new_consts);
    return status;
}
