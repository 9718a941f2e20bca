/* Pairing functions, and what wraps them by what it holds. */
#include "data.h"
#include "pairing.h"

static int pair_tuples(const struct scope *scope, PyObject *old, PyObject *new_)
{
    if (!old || !new_ || type_of(old) != &PyTuple_Type || type_of(new_) != &PyTuple_Type)
        return 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(old) && i < PyTuple_Size(new_); i++) {
        PyObject *a = PyTuple_GetItem(old, i), *b = PyTuple_GetItem(new_, i);

        if (is_ours(scope->pairing, a) && is_ours(scope->pairing, b) && type_of(a) == type_of(b) &&
            pair_values(scope, a, b) < 0)
            return -1;
    }
    return 0;
}

/* What decorates a class has its instances, which stay, where what decorates a function would
 * have its results. */
static bool closure_has_class(const struct pairing *pairing, PyObject *function)
{
    PyObject *closure = PyFunction_GetClosure(function);

    for (Py_ssize_t i = 0; closure && i < PyTuple_Size(closure); i++) {
        PyObject *value = PyCell_Get(PyTuple_GetItem(closure, i));
        bool found = value && is_type(value) && is_ours(pairing, value);

        Py_DecRef(value);
        if (found)
            return true;
    }
    return false;
}

/* Those of singledispatch have the table of what the source registers, which is no state, and
 * what was looked up in it, which is void. */
static bool is_of_functools(PyObject *function)
{
    PyObject *name = dict_get(PyFunction_GetGlobals(function), "__name__");

    return name && is_str(name) && str_is(name, "functools");
}

static int pair_functions(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *old_code = PyFunction_GetCode(old), *new_code = PyFunction_GetCode(new_);
    int added = pairing_add(scope->pairing, old, new_);
    int keep_state;

    if (added <= 0)
        return added;
    if (scope->cls)
        pairing_counts(scope->module)->methods++;
    else
        pairing_counts(scope->module)->functions++;
    if (is_ours(scope->pairing, old) && is_ours(scope->pairing, new_) &&
        pair_code_objects(scope, old_code, new_code) < 0)
        return -1;
    keep_state =
        (scope->unchanged || closure_has_class(scope->pairing, old)) && !is_of_functools(new_)
            ? program_same(old_code, new_code)
            : 0;
    if (keep_state < 0 || pair_cells(scope, old, new_, keep_state) < 0 ||
        pair_tuples(scope, PyFunction_GetDefaults(old), PyFunction_GetDefaults(new_)) < 0)
        return -1;
    return pair_type_parameters(scope, old, new_) < 0
               ? -1
               : pair_attributes(scope, old, new_, keep_state);
}

static int pair_builtin_attribute(const struct scope *scope, PyObject *old, PyObject *new_,
                                  PyTypeObject *type, const char *name)
{
    PyObject *a = builtin_attribute(old, type, name), *b = builtin_attribute(new_, type, name);
    int status = 0;

    if (a && b && is_callable_link(scope->pairing, a) && is_callable_link(scope->pairing, b))
        status = pair_values(scope, a, b);
    Py_DecRef(a);
    Py_DecRef(b);
    return status;
}

/* `type` and its attributes that hold functions. */
static int pair_builtin_wrapper(const struct scope *scope, PyObject *old, PyObject *new_,
                                PyTypeObject *type, const char *const *names)
{
    for (; *names; names++) {
        if (pair_builtin_attribute(scope, old, new_, type, *names) < 0)
            return -1;
    }
    return pair_attributes(scope, old, new_, false);
}

static int pair_wrappers(const struct scope *scope, PyObject *old, PyObject *new_)
{
    static const char *const func[] = {"__func__", NULL};
    static const char *const accessors[] = {"fget", "fset", "fdel", NULL};
    static const char *const partial[] = {"func", NULL};

    if (both_are(old, new_, &PyMethod_Type)) {
        PyObject *a = PyMethod_Function(old), *b = PyMethod_Function(new_);

        return a != b ? pair_values(scope, a, b) : 0;
    }
    if (both_are(old, new_, &PyStaticMethod_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyStaticMethod_Type, func);
    if (both_are(old, new_, &PyClassMethod_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyClassMethod_Type, func);
    if (both_are(old, new_, &PyProperty_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyProperty_Type, accessors);
    if (both_are(old, new_, partial_type()))
        return pair_builtin_wrapper(scope, old, new_, partial_type(), partial);
    return pair_attributes(scope, old, new_, scope->unchanged && !is_lru_cache(new_));
}

/* The function in a staticmethod, classmethod or property: new reference, or NULL. */
static PyObject *described_function(PyObject *object)
{
    PyTypeObject *type = type_of(object);
    PyObject *function = NULL;

    if (type == &PyStaticMethod_Type || type == &PyClassMethod_Type)
        function = builtin_attribute(object, type, "__func__");
    else if (type == &PyProperty_Type)
        function = builtin_attribute(object, type, "fget");
    if (function && type_of(function) == &PyFunction_Type)
        return function;
    Py_DecRef(function);
    return NULL;
}

/* Bound methods refer to the function, and could not call a descriptor: the new class has that. */
static int pair_with_described(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *function = described_function(new_);
    int status = function ? pair_functions(scope, old, function) : 0;

    Py_DecRef(function);
    return function ? status : pairing_add(scope->pairing, old, new_);
}

int pair_values(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *inner;
    int added;

    if (old == new_)
        return 0;
    if (type_of(old) == &PyFunction_Type && type_of(new_) == &PyFunction_Type)
        return pair_functions(scope, old, new_);
    if (type_of(old) == &PyFunction_Type && scope->cls)
        return pair_with_described(scope, old, new_) < 0 ? -1 : 0;
    if (is_heap_class(old) && is_heap_class(new_))
        return is_ours(scope->pairing, old) ? pair_classes(scope->pairing, old, new_) : 0;
    added = pairing_add(scope->pairing, old, new_);
    if (added <= 0)
        return added;
    if (is_type_alias(old) && is_type_alias(new_))
        return pair_type_parameters(scope, old, new_);
    if (type_of(old) == type_of(new_) ||
        remap_get(scope->pairing->remap, (PyObject *)type_of(old)) == (PyObject *)type_of(new_))
        return pair_wrappers(scope, old, new_);
    /* Another kind under the same name: what the old one wraps is the new one as well. */
    inner = scope->name ? wrapped_function(scope->pairing, old, scope->name, 0) : NULL;
    if (!inner || inner == old)
        return 0;
    return type_of(inner) == &PyFunction_Type && scope->cls
               ? pair_with_described(scope, inner, new_)
               : pairing_add(scope->pairing, inner, new_);
}
