/* What is a definition: a function or class of the transaction, or an object of the standard kinds
 * that holds one; and what such an object wraps. */
#include <string.h>

#include "data.h"
#include "pairing.h"

#define MAX_DEPTH 20

static bool holds_definition(const struct pairing *, PyObject *object, int depth);

static bool attribute_is_definition(const struct pairing *pairing, PyObject *object,
                                    PyTypeObject *type, const char *name, int depth)
{
    PyObject *value = builtin_attribute(object, type, name);
    bool found = value && holds_definition(pairing, value, depth + 1);

    Py_DecRef(value);
    return found;
}

static bool closure_has_definition(const struct pairing *pairing, PyObject *function, int depth)
{
    PyObject *closure = PyFunction_GetClosure(function);

    for (Py_ssize_t i = 0; closure && i < PyTuple_Size(closure); i++) {
        PyObject *value = PyCell_Get(PyTuple_GetItem(closure, i));
        bool found = value && holds_definition(pairing, value, depth + 1);

        Py_DecRef(value);
        if (found)
            return true;
    }
    return false;
}

static bool wraps_definition(const struct pairing *pairing, PyObject *object, int depth)
{
    PyObject *dict = instance_dict(object);
    PyObject *wrapped = dict ? dict_get(dict, "__wrapped__") : NULL;
    bool found = wrapped && holds_definition(pairing, wrapped, depth + 1);

    Py_DecRef(dict);
    return found;
}

bool is_lru_cache(PyObject *object)
{
    return is_exactly(object, "functools", "_lru_cache_wrapper");
}

bool is_private(PyObject *object)
{
    PyObject *globals, *name, *module;

    if (type_of(object) != &PyFunction_Type)
        return false;
    globals = PyFunction_GetGlobals(object);
    name = dict_get(globals, "__name__");
    module = name && is_str(name) ? dict_lookup(PyImport_GetModuleDict(), name) : NULL;
    return !module || !PyType_IsSubtype(type_of(module), &PyModule_Type) ||
           PyModule_GetDict(module) != globals;
}

bool is_same_private(PyObject *old, PyObject *new_)
{
    PyObject *a, *b;
    bool same;

    if (!is_private(old) || !is_private(new_))
        return false;
    a = code_attribute(PyFunction_GetCode(old), "co_name");
    b = code_attribute(PyFunction_GetCode(new_), "co_name");
    same = a && b && PyUnicode_Compare(a, b) == 0;
    drop_error();
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

static bool holds_definition(const struct pairing *pairing, PyObject *object, int depth)
{
    if (depth > MAX_DEPTH)
        return false;
    if (is_ours(pairing, object) || is_private(object))
        return true;
    if (type_of(object) == &PyFunction_Type)
        return wraps_definition(pairing, object, depth) ||
               closure_has_definition(pairing, object, depth);
    if (type_of(object) == &PyMethod_Type)
        return holds_definition(pairing, PyMethod_Function(object), depth + 1);
    if (PyType_IsSubtype(type_of(object), &PyStaticMethod_Type))
        return attribute_is_definition(pairing, object, &PyStaticMethod_Type, "__func__", depth);
    if (PyType_IsSubtype(type_of(object), &PyClassMethod_Type))
        return attribute_is_definition(pairing, object, &PyClassMethod_Type, "__func__", depth);
    if (PyType_IsSubtype(type_of(object), &PyProperty_Type))
        return attribute_is_definition(pairing, object, &PyProperty_Type, "fget", depth) ||
               attribute_is_definition(pairing, object, &PyProperty_Type, "fset", depth) ||
               attribute_is_definition(pairing, object, &PyProperty_Type, "fdel", depth);
    if (is_partial(object))
        return attribute_is_definition(pairing, object, partial_type(), "func", depth);
    return is_lru_cache(object) && wraps_definition(pairing, object, depth);
}

bool is_definition(const struct pairing *pairing, PyObject *object)
{
    return holds_definition(pairing, object, 0);
}

bool both_are(PyObject *old, PyObject *new_, PyTypeObject *type)
{
    return type && PyType_IsSubtype(type_of(old), type) && PyType_IsSubtype(type_of(new_), type);
}

static PyObject *wrapped_in_dict(const struct pairing *pairing, PyObject *object, PyObject *name,
                                 int depth)
{
    PyObject *dict = instance_dict(object), *key, *value, *found = NULL;
    Py_ssize_t at = 0;

    while (dict && !found && PyDict_Next(dict, &at, &key, &value))
        found = wrapped_function(pairing, value, name, depth + 1);
    Py_DecRef(dict);
    return found;
}

static PyObject *wrapped_in_closure(const struct pairing *pairing, PyObject *function,
                                    PyObject *name, int depth)
{
    PyObject *closure = PyFunction_GetClosure(function), *found = NULL;

    for (Py_ssize_t i = 0; closure && !found && i < PyTuple_Size(closure); i++) {
        PyObject *value = PyCell_Get(PyTuple_GetItem(closure, i));

        found = value ? wrapped_function(pairing, value, name, depth + 1) : NULL;
        Py_DecRef(value);
    }
    return found;
}

bool function_is_named(PyObject *function, PyObject *name)
{
    PyObject *own = code_attribute(PyFunction_GetCode(function), "co_name");
    bool same = own && PyUnicode_Compare(own, name) == 0;

    Py_DecRef(own);
    drop_error();
    return same;
}

static PyObject *wrapped_in_builtin(const struct pairing *pairing, PyObject *object,
                                    PyTypeObject *type, const char *attribute, PyObject *name,
                                    int depth)
{
    PyObject *value = builtin_attribute(object, type, attribute);
    PyObject *found = value ? wrapped_function(pairing, value, name, depth + 1) : NULL;

    Py_DecRef(value);
    return found;
}

PyObject *wrapped_function(const struct pairing *pairing, PyObject *object, PyObject *name,
                           int depth)
{
    PyObject *found = NULL;

    if (depth > 4)
        return NULL;
    if (type_of(object) == &PyFunction_Type) {
        if (is_ours(pairing, object) && function_is_named(object, name))
            return object;
        found = wrapped_in_closure(pairing, object, name, depth);
    } else if (type_of(object) == &PyMethod_Type)
        return wrapped_function(pairing, PyMethod_Function(object), name, depth + 1);
    else if (is_partial(object))
        return wrapped_in_builtin(pairing, object, partial_type(), "func", name, depth);
    else if (both_are(object, object, &PyStaticMethod_Type))
        return wrapped_in_builtin(pairing, object, &PyStaticMethod_Type, "__func__", name, depth);
    else if (both_are(object, object, &PyClassMethod_Type))
        return wrapped_in_builtin(pairing, object, &PyClassMethod_Type, "__func__", name, depth);
    else if (both_are(object, object, &PyProperty_Type))
        return wrapped_in_builtin(pairing, object, &PyProperty_Type, "fget", name, depth);
    return found || is_type(object) ? found : wrapped_in_dict(pairing, object, name, depth);
}

/* typing need not be loaded. */
bool is_type_alias(const PyObject *object)
{
    const PyTypeObject *type = type_of(object);

    return !type_has(type, Py_TPFLAGS_HEAPTYPE) &&
           strcmp(type->tp_name, "typing.TypeAliasType") == 0;
}

bool may_be_decorated(PyObject *object)
{
    return !is_type(object) && !is_immutable(object) && type_of(object) != &PyModule_Type;
}

/* Was the name imported before, from a module of the transaction whose source made `old`, as a
 * definition? */
static bool is_made_elsewhere(const struct pairing *pairing, PyObject *name, PyObject *old)
{
    for (size_t i = 0; i < pairing->n; i++) {
        const struct module_pair *module = &pairing->modules[i];

        if (module->old_code && dict_lookup(module->old_dict, name) == old &&
            binds_definition(body_binding(&pairing->old_bodies[i], name)))
            return true;
    }
    return false;
}

bool is_made_as_definition(const struct scope *scope, PyObject *name, PyObject *old)
{
    const struct body *body = scope->old ? scope->old : scope->new_;

    if (is_definition(scope->pairing, old) || is_type_alias(old))
        return true;
    /* If the old source is not known, it has to hold the function. */
    if (!body || !may_be_decorated(old))
        return false;
    if (!binds_definition(body_binding(body, name)))
        return scope->old && !scope->cls && is_made_elsewhere(scope->pairing, name, old);
    return scope->old || wrapped_function(scope->pairing, old, name, 0);
}
