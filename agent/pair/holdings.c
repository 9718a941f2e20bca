/* What functions, and objects that wrap them, hold: closure variables by name, attributes; type
 * parameters. */
#include "data.h"
#include "pairing.h"

bool is_callable_link(const struct pairing *pairing, PyObject *object)
{
    return type_of(object) == &PyFunction_Type || is_definition(pairing, object);
}

/* Pairs the definitions in two dicts entry by entry, also under keys that are paired. */
static int pair_dict_values(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(new_, &at, &key, &value)) {
        PyObject *origin = pairing_origin(scope->pairing, key);
        PyObject *before = is_plain_key(key) ? dict_lookup(old, key) : NULL;

        if (!before && origin && is_plain_key(origin))
            before = dict_lookup(old, origin);
        if (before && is_callable_link(scope->pairing, before) &&
            is_callable_link(scope->pairing, value) && pair_values(scope, before, value) < 0)
            return -1;
    }
    return 0;
}

/* What a closure variable holds.  State of a decorator stays if what it decorates did not
 * change: a cache must not answer for the old function. */
static int pair_cell(const struct scope *scope, PyObject *cell, PyObject *old, PyObject *new_,
                     bool keep_state)
{
    if (old == new_)
        return 0;
    if (is_callable_link(scope->pairing, old) && is_callable_link(scope->pairing, new_))
        return pair_values(scope, old, new_);
    if (is_dict(old) && is_dict(new_) && pair_dict_values(scope, old, new_) < 0)
        return -1;
    if (!keep_state)
        return 0;
    if (is_immutable(old) && is_immutable(new_))
        return PyCell_Set(cell, old);
    return is_immutable(old) || is_immutable(new_) || type_of(old) != type_of(new_)
               ? 0
               : merge_keep(scope->pairing, old, new_, NULL);
}

static bool has_name_of(PyObject *old, PyObject *new_)
{
    PyObject *a = builtin_attribute(old, &PyType_Type, "__qualname__");
    PyObject *b = builtin_attribute(new_, &PyType_Type, "__qualname__");
    bool same = a && b && PyUnicode_Compare(a, b) == 0;

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* The class that a method was written in, where a decorator has put another in its place. */
static int pair_class_cell(const struct scope *scope, PyObject *old, PyObject *new_)
{
    if (is_type(old) && is_type(new_) && !has_name_of(old, new_))
        return 0;
    return is_definition(scope->pairing, old) && is_definition(scope->pairing, new_)
               ? pair_values(scope, old, new_)
               : 0;
}

/* The table of functools.singledispatch: what others registered for their types stays. */
static int carry_registrations(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(old, &at, &key, &value)) {
        PyObject *now = pairing_final(scope->pairing, key);

        if (is_plain_key(now) && !is_ours(scope->pairing, value) && !dict_lookup(new_, now) &&
            PyDict_SetItem(new_, now, value) < 0)
            return -1;
    }
    return 0;
}

/* The index of `name` in a tuple of str, or -1. */
static Py_ssize_t index_of(PyObject *names, PyObject *name)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++) {
        if (PyUnicode_Compare(PyTuple_GetItem(names, i), name) == 0)
            return i;
    }
    return -1;
}

/* Are these the variables of singledispatch's function `dispatch`? */
static bool is_dispatcher(PyObject *names)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(names); i++) {
        if (str_is(PyTuple_GetItem(names, i), "dispatch_cache"))
            return true;
    }
    return false;
}

int pair_cells(const struct scope *scope, PyObject *old, PyObject *new_, bool keep_state)
{
    PyObject *old_closure = PyFunction_GetClosure(old), *new_closure = PyFunction_GetClosure(new_);
    PyObject *old_names, *new_names;
    int status = 0;

    if (!old_closure || !new_closure)
        return 0;
    old_names = code_attribute(PyFunction_GetCode(old), "co_freevars");
    new_names = code_attribute(PyFunction_GetCode(new_), "co_freevars");
    if (!old_names || !new_names)
        status = -1;
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(new_names); i++) {
        Py_ssize_t at = index_of(old_names, PyTuple_GetItem(new_names, i));
        PyObject *cell = PyTuple_GetItem(new_closure, i), *a, *b;

        if (at < 0)
            continue;
        a = PyCell_Get(PyTuple_GetItem(old_closure, at));
        b = PyCell_Get(cell);
        /* __class__, __classdict__ and the like belong to the class, not to a decorator. */
        if (a && b && is_dunder(PyTuple_GetItem(new_names, i)))
            status = pair_class_cell(scope, a, b);
        else if (a && b)
            status = pair_cell(scope, cell, a, b, keep_state);
        if (status == 0 && a && b && a != b && is_dict(a) && is_dict(b) &&
            str_is(PyTuple_GetItem(new_names, i), "registry") && is_dispatcher(new_names))
            status = carry_registrations(scope, a, b);
        Py_DecRef(a);
        Py_DecRef(b);
    }
    Py_DecRef(old_names);
    Py_DecRef(new_names);
    return status;
}

/* Does an attribute that both have keep its live value? */
static bool keeps_attribute(const struct scope *scope, PyObject *attribute, PyObject *old,
                            PyObject *new_, bool keep_state)
{
    if (!is_immutable(old) || !is_immutable(new_))
        return keep_state;
    if (!scope->name || !scope->new_ || !body_sets_attribute(scope->new_, scope->name, attribute))
        return !is_dunder(attribute); /* a counter of the decorator's */
    return scope->old && body_attribute_same(scope->old, scope->new_, scope->name, attribute) == 1;
}

static int pair_attribute_values(const struct scope *scope, PyObject *dict, PyObject *name,
                                 PyObject *old, PyObject *new_, bool keep_state)
{
    if (old == new_)
        return 0;
    if (is_callable_link(scope->pairing, old) && is_callable_link(scope->pairing, new_))
        return pair_values(scope, old, new_);
    if (is_dict(old) && is_dict(new_) && pair_dict_values(scope, old, new_) < 0)
        return -1;
    if (!keeps_attribute(scope, name, old, new_, keep_state))
        return 0;
    if (is_immutable(old) && is_immutable(new_))
        return PyDict_SetItem(dict, name, old);
    return is_immutable(old) || is_immutable(new_) || type_of(old) != type_of(new_)
               ? 0
               : merge_keep(scope->pairing, old, new_, NULL);
}

/* An attribute that only the old one has: set at run time, unless the old source did. */
static bool is_set_at_run_time(const struct scope *scope, PyObject *name)
{
    return !scope->old || !scope->name || !body_sets_attribute(scope->old, scope->name, name);
}

int pair_attributes(const struct scope *scope, PyObject *old, PyObject *new_, bool keep_state)
{
    PyObject *a = instance_dict(old), *b = instance_dict(new_), *name, *value;
    Py_ssize_t at = 0;
    int status = 0;

    while (a && b && a != b && status == 0 && PyDict_Next(a, &at, &name, &value)) {
        PyObject *there;

        if (!is_str(name))
            continue;
        there = dict_lookup(b, name);
        if (there)
            status = pair_attribute_values(scope, b, name, value, there, keep_state);
        else if (!str_is(name, "__wrapped__") && is_set_at_run_time(scope, name))
            status = PyDict_SetItem(b, name, value);
    }
    Py_DecRef(a);
    Py_DecRef(b);
    return status;
}

/* --- type parameters */

/* New reference to a tuple, or NULL. */
static PyObject *type_parameters(PyObject *object)
{
    PyObject *value =
        is_heap_class(object) ? dict_get(class_dict(object), "__type_params__") : NULL;

    if (is_type(object))
        Py_IncRef(value);
    else
        value = builtin_attribute(object, type_of(object), "__type_params__");
    if (value && is_tuple(value))
        return value;
    Py_DecRef(value);
    return NULL;
}

static bool is_same_parameter(PyObject *old, PyObject *new_)
{
    PyObject *a, *b;
    bool same;

    if (type_of(old) != type_of(new_))
        return false;
    a = builtin_attribute(old, type_of(old), "__name__");
    b = builtin_attribute(new_, type_of(new_), "__name__");
    same = a && b && is_str(a) && is_str(b) && PyUnicode_Compare(a, b) == 0;
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

int pair_type_parameters(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *a = type_parameters(old), *b = type_parameters(new_);
    int status = 0;

    for (Py_ssize_t i = 0; a && b && status >= 0 && i < PyTuple_Size(a); i++) {
        for (Py_ssize_t k = 0; status >= 0 && k < PyTuple_Size(b); k++) {
            if (is_same_parameter(PyTuple_GetItem(a, i), PyTuple_GetItem(b, k)))
                status = pairing_add(scope->pairing, PyTuple_GetItem(a, i), PyTuple_GetItem(b, k));
        }
    }
    Py_DecRef(a);
    Py_DecRef(b);
    return status < 0 ? -1 : 0;
}
