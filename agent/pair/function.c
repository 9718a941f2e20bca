/* Pairing functions and what wraps them: closures by the names of their variables, the objects
 * that decorators make by their attributes. */
#include "data.h"
#include "pairing.h"

#define MAX_DEPTH 20

/* --- what is a definition */

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

static bool is_lru_cache(PyObject *object)
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
    PyErr_Clear();
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

static bool binds_definition(const struct binding *binding)
{
    return binding && (binding->kind == BINDS_FUNCTION || binding->kind == BINDS_CLASS ||
                       binding->kind == BINDS_DECORATED);
}

/* The function of ours called `name` that `object` wraps: borrowed as long as nothing changes,
 * or NULL. */
static PyObject *wrapped_function(const struct pairing *pairing, PyObject *object, PyObject *name,
                                  int depth);

bool is_made_as_definition(const struct scope *scope, PyObject *name, PyObject *old)
{
    const struct body *body = scope->old ? scope->old : scope->new_;

    if (is_definition(scope->pairing, old))
        return true;
    /* What a decorator made of it may be anything, but nothing that was there before.  If the
     * old source is not known, it has to hold the function. */
    if (!body || !binds_definition(body_binding(body, name)) || is_type(old) || is_immutable(old) ||
        type_of(old) == &PyModule_Type)
        return false;
    return scope->old || wrapped_function(scope->pairing, old, name, 0);
}

/* --- code */

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
        Py_ssize_t at = 0;
        size_t place = 0;
        int status;

        if (type_of(code) != &PyCode_Type)
            continue;
        name = code_attribute(code, "co_name");
        if (!name)
            return -1;
        while (next_code(old_consts, name, &at) != code)
            place++;
        found = code_at_place(old_consts, new_consts, name, code, place);
        status = found ? pair_code_objects(scope, code, found) : 0;
        Py_DecRef(name);
        if (status < 0)
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

/* --- what definitions hold */

/* A function of any module, or what wraps a definition of ours: not data. */
static bool is_callable_link(const struct pairing *pairing, PyObject *object)
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

static int pair_class_cell(const struct scope *scope, PyObject *old, PyObject *new_)
{
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

static int pair_cells(const struct scope *scope, PyObject *old, PyObject *new_, bool keep_state)
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

/* The attributes of functions and of objects that wrap them. */
static int pair_attributes(const struct scope *scope, PyObject *old, PyObject *new_,
                           bool keep_state)
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

static int pair_functions(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *old_code = PyFunction_GetCode(old), *new_code = PyFunction_GetCode(new_);
    int added = pairing_add(scope->pairing, old, new_);
    bool keep_state;

    if (added <= 0)
        return added;
    if (scope->cls)
        scope->module->methods++;
    else
        scope->module->functions++;
    if (is_ours(scope->pairing, old) && is_ours(scope->pairing, new_) &&
        pair_code_objects(scope, old_code, new_code) < 0)
        return -1;
    keep_state = (scope->unchanged || closure_has_class(scope->pairing, old)) &&
                 program_same(old_code, new_code) == 1;
    if (pair_cells(scope, old, new_, keep_state) < 0 ||
        pair_tuples(scope, PyFunction_GetDefaults(old), PyFunction_GetDefaults(new_)) < 0)
        return -1;
    return pair_attributes(scope, old, new_, keep_state);
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

static bool both(PyObject *old, PyObject *new_, PyTypeObject *type)
{
    return type && PyType_IsSubtype(type_of(old), type) && PyType_IsSubtype(type_of(new_), type);
}

static int pair_wrappers(const struct scope *scope, PyObject *old, PyObject *new_)
{
    static const char *const func[] = {"__func__", NULL};
    static const char *const accessors[] = {"fget", "fset", "fdel", NULL};
    static const char *const partial[] = {"func", NULL};

    if (both(old, new_, &PyMethod_Type)) {
        PyObject *a = PyMethod_Function(old), *b = PyMethod_Function(new_);

        return a != b ? pair_values(scope, a, b) : 0;
    }
    if (both(old, new_, &PyStaticMethod_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyStaticMethod_Type, func);
    if (both(old, new_, &PyClassMethod_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyClassMethod_Type, func);
    if (both(old, new_, &PyProperty_Type))
        return pair_builtin_wrapper(scope, old, new_, &PyProperty_Type, accessors);
    if (both(old, new_, partial_type()))
        return pair_builtin_wrapper(scope, old, new_, partial_type(), partial);
    return pair_attributes(scope, old, new_, scope->unchanged && !is_lru_cache(new_));
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

static bool is_named(PyObject *function, PyObject *name)
{
    PyObject *own = code_attribute(PyFunction_GetCode(function), "co_name");
    bool same = own && PyUnicode_Compare(own, name) == 0;

    Py_DecRef(own);
    PyErr_Clear();
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

static PyObject *wrapped_function(const struct pairing *pairing, PyObject *object, PyObject *name,
                                  int depth)
{
    PyObject *found = NULL;

    if (depth > 4)
        return NULL;
    if (type_of(object) == &PyFunction_Type) {
        if (is_ours(pairing, object) && is_named(object, name))
            return object;
        found = wrapped_in_closure(pairing, object, name, depth);
    } else if (type_of(object) == &PyMethod_Type)
        return wrapped_function(pairing, PyMethod_Function(object), name, depth + 1);
    else if (is_partial(object))
        return wrapped_in_builtin(pairing, object, partial_type(), "func", name, depth);
    else if (both(object, object, &PyStaticMethod_Type))
        return wrapped_in_builtin(pairing, object, &PyStaticMethod_Type, "__func__", name, depth);
    else if (both(object, object, &PyClassMethod_Type))
        return wrapped_in_builtin(pairing, object, &PyClassMethod_Type, "__func__", name, depth);
    else if (both(object, object, &PyProperty_Type))
        return wrapped_in_builtin(pairing, object, &PyProperty_Type, "fget", name, depth);
    return found || is_type(object) ? found : wrapped_in_dict(pairing, object, name, depth);
}

int pair_values(const struct scope *scope, PyObject *old, PyObject *new_)
{
    PyObject *inner;
    int added;

    if (old == new_)
        return 0;
    if (type_of(old) == &PyFunction_Type && type_of(new_) == &PyFunction_Type)
        return pair_functions(scope, old, new_);
    if (is_heap_class(old) && is_heap_class(new_))
        return is_ours(scope->pairing, old) ? pair_classes(scope->pairing, old, new_) : 0;
    added = pairing_add(scope->pairing, old, new_);
    if (added <= 0)
        return added;
    if (type_of(old) == type_of(new_) ||
        remap_get(scope->pairing->remap, (PyObject *)type_of(old)) == (PyObject *)type_of(new_))
        return pair_wrappers(scope, old, new_);
    /* Another kind under the same name: what the old one wraps is the new one as well. */
    inner = scope->name ? wrapped_function(scope->pairing, old, scope->name, 0) : NULL;
    return inner && inner != old ? pairing_add(scope->pairing, inner, new_) : 0;
}

/* --- replaced at run time */

/* Could the source's statement for the name have made this object? */
static bool is_from_source(const struct scope *scope, const struct binding *made, PyObject *old,
                           PyObject *new_)
{
    if (made->kind == BINDS_FUNCTION)
        return type_of(old) == &PyFunction_Type && is_ours(scope->pairing, old) &&
               is_named(old, made->name);
    if (made->kind == BINDS_CLASS)
        return is_type(old) && is_ours(scope->pairing, old);
    if (type_of(old) != type_of(new_))
        return remap_get(scope->pairing->remap, (PyObject *)type_of(old)) ==
                   (PyObject *)type_of(new_) ||
               (is_ours(scope->pairing, (PyObject *)type_of(old)) &&
                is_ours(scope->pairing, (PyObject *)type_of(new_)));
    if (type_of(old) != &PyFunction_Type)
        return true;
    /* The closure of one and the same decorator. */
    return is_ours(scope->pairing, old) == is_ours(scope->pairing, new_) &&
           (is_ours(scope->pairing, old) || is_private(old) ||
            program_same(PyFunction_GetCode(old), PyFunction_GetCode(new_)) == 1);
}

int stays_replaced(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct binding *made = scope->old ? body_binding(scope->old, name) : NULL;
    PyObject *original;
    struct scope inner = *scope;
    int same;

    if (!made || !body_binds(scope->new_, name))
        return 0;
    same = body_same(scope->old, scope->new_, name);
    /* With decorators, or with another statement, the old kind of object is not known. */
    if (same < 0 || is_from_source(scope, made, old, new_) ||
        (same == 0 && made->kind != BINDS_FUNCTION && made->kind != BINDS_CLASS))
        return same < 0 ? -1 : 0;
    original = wrapped_function(scope->pairing, old, name, 0);
    if (original && type_of(new_) == &PyFunction_Type) {
        inner.name = name;
        inner.unchanged = same == 1;
        if (pair_functions(&inner, original, new_) < 0)
            return -1;
        return 1;
    }
    return same;
}
