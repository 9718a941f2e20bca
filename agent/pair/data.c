/* Data policy: state stays, constants and changed initialisers arrive. */
#include "data.h"
#include "cpython/contextvar.h"
#include "literal.h"

#include <string.h>

#include "request.h"

#define MAX_DEPENDENCIES 8

bool is_immutable(PyObject *object)
{
    static PyTypeObject *const plain[] = {
        &PyLong_Type,  &PyBool_Type,    &PyFloat_Type, &PyUnicode_Type,
        &PyBytes_Type, &PyComplex_Type, &PyRange_Type, &PySlice_Type,
    };
    PyTypeObject *type = type_of(object);

    if (object == Py_None || object == &_Py_EllipsisObject || object == &_Py_NotImplementedStruct)
        return true;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        if (type == plain[i])
            return true;
    }
    if (type == &PyTuple_Type) {
        for (Py_ssize_t i = 0; i < PyTuple_Size(object); i++) {
            if (!is_immutable(PyTuple_GetItem(object, i)))
                return false;
        }
        return true;
    }
    if (type == &PyFrozenSet_Type) {
        PyObject *key;
        Py_hash_t hash;
        Py_ssize_t at = 0;

        while (_PySet_NextEntry(object, &at, &key, &hash)) {
            if (!is_immutable(key))
                return false;
        }
        return true;
    }
    return false;
}

bool same_value(PyObject *a, PyObject *b)
{
    int same = is_immutable(a) && is_immutable(b) ? constant_same(a, b) : 0;

    drop_error();
    return same == 1;
}

/* Is the name, or the qualified name in its class, in the list of --new or --keep? */
static bool is_listed(PyObject *list, const struct scope *scope, PyObject *name)
{
    PyObject *qualified = scope->qualname ? PyUnicode_FromFormat("%U.%U", scope->qualname, name)
                                          : (Py_IncRef(name), name);
    PyObject *dotted =
        qualified ? PyUnicode_FromFormat("%U.%U", scope->module->name, qualified) : NULL;
    bool found = false;

    for (Py_ssize_t i = 0; dotted && list && i < PyList_Size(list) && !found; i++) {
        PyObject *item = PyList_GetItem(list, i);

        found = is_str(item) &&
                (PyUnicode_Compare(item, qualified) == 0 || PyUnicode_Compare(item, dotted) == 0);
    }
    Py_DecRef(qualified);
    Py_DecRef(dotted);
    drop_error();
    return found;
}

bool binds_data(const struct binding *binding)
{
    return binding && (binding->kind == BINDS_VALUE || binding->kind == BINDS_CONSTANT ||
                       binding->kind == BINDS_EMPTY || binding->kind == BINDS_ALIAS);
}

/* Called for each object of the heap: no Python object may be made here. */
static int collect_code(PyObject *object, void *arg)
{
    struct pairing *pairing = arg;

    if (type_of(object) != &PyFunction_Type)
        return 0;
    for (size_t i = 0; i < pairing->n; i++) {
        if (PyFunction_GetGlobals(object) == pairing->modules[i].new_dict)
            return pointer_set_add(&pairing->kept_code, PyFunction_GetCode(object));
    }
    return 0;
}

int lambdas_are_kept(struct pairing *pairing, PyObject *lambdas)
{
    if (!PyList_Size(lambdas))
        return 1;
    if (!pairing->kept_code_known && heap_visit(collect_code, pairing) < 0)
        return -1;
    pairing->kept_code_known = true;
    for (Py_ssize_t i = 1; i < PyList_Size(lambdas); i += 2) {
        if (!pointer_set_has(&pairing->kept_code, PyList_GetItem(lambdas, i)))
            return 0;
    }
    return 1;
}

/* The same statements, but for what lambdas do that the value keeps. */
static int same_initialiser(const struct scope *scope, PyObject *name)
{
    PyObject *lambdas = PyList_New(0);
    int same = lambdas ? body_same_but_lambdas(scope->old, scope->new_, name, lambdas) : -1;

    if (same == 1)
        same = lambdas_are_kept(scope->pairing, lambdas);
    Py_DecRef(lambdas);
    return same;
}

/* Did the initialiser of `name` change, or that of data it is made from?  Definitions do not
 * count: a singleton stays when its class changes.  1: unchanged; 0; -1: exception. */
static int unchanged(const struct scope *scope, PyObject *name, int depth)
{
    PyObject *uses;
    int same;

    while (scope && scope->new_ && !body_binds(scope->new_, name))
        scope = scope->outer;
    if (!scope || !scope->old || !scope->new_)
        return 1; /* a builtin, or injected: not this source's */
    same = same_initialiser(scope, name);
    if (same != 1 || depth == MAX_DEPENDENCIES)
        return same;
    uses = body_uses(scope->new_, name);
    if (!uses)
        return -1;
    for (Py_ssize_t i = 0; i < PyList_Size(uses) && same == 1; i++) {
        PyObject *used = PyList_GetItem(uses, i);

        if (PyUnicode_Compare(used, name) != 0 && binds_data(body_binding(scope->new_, used)))
            same = unchanged(scope, used, depth + 1);
    }
    Py_DecRef(uses);
    return same;
}

int data_unchanged(const struct scope *scope, PyObject *name)
{
    return binds_data(scope->new_ ? body_binding(scope->new_, name) : NULL)
               ? unchanged(scope, name, 0)
               : 1;
}

int data_fate(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct pair_options *options = scope->pairing->options;
    const struct binding *binding = scope->new_ ? body_binding(scope->new_, name) : NULL;
    int same;

    if (is_listed(options->new_names, scope, name))
        return DATA_TAKE;
    if (is_listed(options->keep_names, scope, name))
        return DATA_KEEP;
    if (binding && (binding->kind == BINDS_IMPORT || binding->kind == BINDS_ALIAS))
        return DATA_TAKE; /* another name for what is made elsewhere */
    if (options->data_policy == PYHOT_DATA_NEW)
        return DATA_TAKE;
    if (options->data_policy == PYHOT_DATA_KEEP)
        return DATA_KEEP;
    if (!scope->old || !binding) /* no initialiser to compare */
        return is_immutable(old) ? DATA_TAKE : DATA_KEEP;
    same = unchanged(scope, name, 0);
    if (same <= 0)
        return same < 0 ? -1 : DATA_TAKE;
    /* Computed values follow what they are computed from; a constant that the source still
     * has, and that differs now, was changed at run time. */
    if (is_immutable(old) && is_immutable(new_))
        return body_always_constant(scope->new_, name) ? DATA_KEEP : DATA_TAKE;
    return DATA_KEEP;
}

static bool is_container(PyObject *object)
{
    static const char *const names[] = {"deque", "defaultdict", "OrderedDict", "Counter"};
    PyTypeObject *type = type_of(object);

    if (type == &PyDict_Type || type == &PyList_Type || type == &PySet_Type ||
        type == &PyTuple_Type || type == &PyFrozenSet_Type || type == &PyByteArray_Type)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_exactly(object, "collections", names[i]))
            return true;
    }
    return false;
}

/* The last part of a type's name. */
static const char *short_name(const PyTypeObject *type)
{
    const char *dot = strrchr(type->tp_name, '.');

    return dot ? dot + 1 : type->tp_name;
}

/* Does the initialiser call the object's class by name, so that the object is its own?  A
 * function that returns it might have returned one that others use too. */
static bool calls_class_of(const struct body *body, const struct binding *binding, PyObject *object)
{
    const char *name = short_name(type_of(object));

    for (size_t i = binding->first; i < binding->first + binding->n; i++) {
        PyObject *used = body->code.at[i].name;

        if (!used || body->code.at[i].kind == OP_STORE_NAME)
            continue;
        if (str_is(used, name))
            return true;
        /* threading.Lock and RLock are functions, to 3.12 and in all versions. */
        if ((strcmp(name, "lock") == 0 && str_is(used, "Lock")) ||
            (strcmp(name, "RLock") == 0 && str_is(used, "RLock")))
            return true;
    }
    return false;
}

/* Was `object` made by the initialiser of `name`, rather than found somewhere? */
static bool is_made_here(const struct scope *scope, const struct body *body, PyObject *name,
                         PyObject *object)
{
    const struct binding *binding = body ? body_binding(body, name) : NULL;

    if (is_immutable(object) || is_type(object) || type_of(object) == &PyModule_Type)
        return false;
    if (is_ours(scope->pairing, (PyObject *)type_of(object)))
        return true;
    if (!binding)
        return is_container(object);
    if (binding->kind == BINDS_IMPORT || binding->kind == BINDS_ALIAS)
        return false;
    return is_container(object) || calls_class_of(body, binding, object);
}

/* The constants in an initialiser, also those in constant tuples: new list. */
static PyObject *literals_of(const struct body *body, const struct binding *binding)
{
    PyObject *list = PyList_New(0);

    if (list && binding->constant) {
        if (PyList_Append(list, binding->constant) == 0)
            return list;
        Py_DecRef(list);
        return NULL;
    }
    for (size_t i = binding->first; list && i < binding->first + binding->n; i++) {
        PyObject *value = body->code.at[i].value;
        int status = 0;

        if (value && type_of(value) == &PyTuple_Type) {
            for (Py_ssize_t k = 0; k < PyTuple_Size(value) && status == 0; k++)
                status = PyList_Append(list, PyTuple_GetItem(value, k));
        } else if (value)
            status = PyList_Append(list, value);
        if (status < 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

int data_keep(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct binding *binding = scope->new_ ? body_binding(scope->new_, name) : NULL;
    PyObject *literals = NULL;
    int status;

    if (is_immutable(old) || !is_made_here(scope, scope->new_, name, new_))
        return 0;
    if (binding) {
        literals = literals_of(scope->new_, binding);
        if (!literals)
            return -1;
    }
    status = merge_keep(scope->pairing, old, new_, literals);
    Py_DecRef(literals);
    return status;
}

static bool is_context_variable(PyObject *object)
{
    return type_of(object) == &PyContextVar_Type;
}

/* Contexts keep the values that were set, under the new variable: unless the new execution has
 * set one for it as well. */
static int take_context_variable(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *nothing = PyList_New(0);
    PyObject *value = nothing ? PyObject_CallMethod(new_, "get", "O", nothing) : NULL;
    bool is_set = value != nothing;
    int added = value ? pairing_add(pairing, old, new_) : -1;

    if (added == 1 && !is_set)
        context_var_set_hash(new_, old);
    Py_DecRef(value);
    Py_DecRef(nothing);
    return added;
}

int data_take(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct body *body = scope->old ? scope->old : scope->new_;

    if (!is_made_here(scope, body, name, old) || is_immutable(new_))
        return 0;
    if (scope->pairing->options->data_policy == PYHOT_DATA_AUTO &&
        !is_listed(scope->pairing->options->new_names, scope, name) &&
        literal_note(scope, name, old, new_) < 0)
        return -1;
    if (is_context_variable(old) && is_context_variable(new_))
        return take_context_variable(scope->pairing, old, new_);
    return pairing_add(scope->pairing, old, new_);
}
