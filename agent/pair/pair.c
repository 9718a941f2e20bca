/* Pairing: the walk over the names of the modules of a transaction.
 *
 * D' started as a copy of D, so a name counts as the new source's when its bytecode binds it
 * or its value changed in the execution; everything else in D was put there by others. */
#include "pair.h"

#include <stdlib.h>

#include "data.h"
#include "identity.h"
#include "literal.h"
#include "pairing.h"

static PyObject *address_of(PyObject *object)
{
    return PyLong_FromVoidPtr(object);
}

PyObject *pairing_origin(const struct pairing *pairing, PyObject *new_)
{
    PyObject *address = address_of(new_);
    PyObject *origin = address ? dict_lookup(pairing->origin, address) : NULL;

    Py_DecRef(address);
    drop_error();
    return origin;
}

PyObject *pairing_final(const struct pairing *pairing, PyObject *object)
{
    PyObject *final = remap_get(pairing->remap, object);

    return final ? final : object;
}

int pairing_add(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *address;
    int status;

    if (old == new_ || remap_get(pairing->remap, old))
        return 0;
    if (remap_add(pairing->remap, old, new_) < 0) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError))
            return -1;
        PyErr_Clear(); /* no key: immortal, static, or part of another pair */
        return 0;
    }
    address = address_of(new_);
    status = address ? PyDict_SetItem(pairing->origin, address, old) : -1;
    Py_DecRef(address);
    return status < 0 ? -1 : 1;
}

int pairing_set(struct pairing *pairing, PyObject *dict, PyObject *key, PyObject *value)
{
    PyObject *edit = value ? PyTuple_Pack(3, dict, key, value) : PyTuple_Pack(2, dict, key);
    int status = edit ? PyList_Append(pairing->edits, edit) : -1;

    Py_DecRef(edit);
    return status;
}

int pairing_insert(struct pairing *pairing, PyObject *container, PyObject *value)
{
    PyObject *edit = PyTuple_Pack(2, container, value);
    int status = edit ? PyList_Append(pairing->edits, edit) : -1;

    Py_DecRef(edit);
    return status;
}

static int flush_edit(struct pairing *pairing, PyObject *edit)
{
    PyObject *container = PyTuple_GetItem(edit, 0), *key = PyTuple_GetItem(edit, 1);
    PyObject *value = PyTuple_Size(edit) == 3 ? PyTuple_GetItem(edit, 2) : NULL, *there;

    if (is_list(container))
        return plan_append(pairing->plan, container, pairing_final(pairing, key));
    if (type_of(container) == &PySet_Type)
        return plan_add(pairing->plan, container, pairing_final(pairing, key));
    if (!value)
        return plan_delete(pairing->plan, container, key);
    value = pairing_final(pairing, value);
    there = dict_lookup(container, key); /* it keeps its key: the engine moves it with the rest */
    if (!there)
        there = dict_lookup(container, key = pairing_final(pairing, key));
    if (there && remap_get(pairing->remap, there) == value)
        return 0; /* a pair that was found after the edit was queued */
    return plan_set(pairing->plan, container, key, value);
}

/* Gives the queued edits to the plan, now that all pairs are known. */
static int flush_edits(struct pairing *pairing)
{
    int status = 0;

    for (Py_ssize_t i = 0; i < PyList_Size(pairing->edits) && status == 0; i++)
        status = flush_edit(pairing, PyList_GetItem(pairing->edits, i));
    return status;
}

static bool names_module(const struct module_pair *module, PyObject *cls)
{
    PyObject *name = dict_get(class_dict(cls), "__module__");

    return name && is_str(name) && PyUnicode_Compare(name, module->name) == 0;
}

struct module_pair *pairing_module(const struct pairing *pairing, PyObject *definition)
{
    PyObject *globals = NULL;

    if (type_of(definition) == &PyFunction_Type)
        globals = PyFunction_GetGlobals(definition);
    else if (!is_heap_class(definition))
        return NULL;
    for (size_t i = 0; i < pairing->n; i++) {
        struct module_pair *module = &pairing->modules[i];

        if (globals ? globals == module->old_dict || globals == module->new_dict
                    : names_module(module, definition))
            return module;
    }
    return NULL;
}

struct module_pair *pairing_counts(struct module_pair *module)
{
    return module->moved_from ? module->moved_from : module;
}

bool is_ours(const struct pairing *pairing, PyObject *object)
{
    return pairing_module(pairing, object) != NULL;
}

/* --- the names of one module */

/* Names that the import system gives: no data, and the module keeps its own. */
static bool is_import_system(PyObject *name)
{
    static const char *const names[] = {
        "__builtins__", "__name__",   "__spec__", "__loader__",
        "__path__",     "__cached__", "__file__", "__package__",
    };

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(name, names[i]))
            return true;
    }
    return false;
}

/* Follows the source without being anybody's data. */
static bool is_description(PyObject *name)
{
    return is_dunder(name) && !is_import_system(name);
}

static int take_name(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_,
                     bool follows)
{
    struct pairing *pairing = scope->pairing;
    PyObject *entry;
    int status;

    if (remap_get(pairing->remap, old) == new_)
        return 0;
    if (pairing_set(pairing, scope->module->old_dict, name, new_) < 0)
        return -1;
    if (follows)
        return 0;
    entry = PyTuple_Pack(4, scope->module->name, name, old, new_);
    status = entry ? PyList_Append(pairing->moved, entry) : -1;
    Py_DecRef(entry);
    return status;
}

/* One of several functions that the source gives one name, as registrations called `_`: those
 * are paired by their place. */
static bool is_one_of_many(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    return scope->old && type_of(old) == &PyFunction_Type && type_of(new_) == &PyFunction_Type &&
           is_ours(scope->pairing, old) && is_ours(scope->pairing, new_) &&
           (body_count(scope->old, name) > 1 || body_count(scope->new_, name) > 1);
}

static bool is_import(const struct binding *binding)
{
    return binding && binding->kind == BINDS_IMPORT;
}

/* What is imported under the name is made elsewhere: there is said how, before and now. */
static void look_where_made(struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    struct pairing *pairing = scope->pairing;
    struct module_pair *from = pairing_module(pairing, old), *to = pairing_module(pairing, new_);
    size_t i = from ? (size_t)(from - pairing->modules) : 0;

    if (!from || !to || !body_binds(&pairing->new_bodies[to - pairing->modules], name))
        return;
    scope->module = to;
    scope->old = from->old_code ? &pairing->old_bodies[i] : NULL;
    scope->new_ = &pairing->new_bodies[to - pairing->modules];
}

static int pair_definition_name(const struct scope *scope, PyObject *name, PyObject *old,
                                PyObject *new_)
{
    int stays = stays_replaced(scope, name, old, new_);
    struct scope inner = *scope;
    int same = 0;

    if (stays)
        return stays < 0 ? -1 : PyList_Append(scope->module->kept, name);
    if (is_import(body_binding(scope->new_, name)))
        look_where_made(&inner, name, old, new_);
    if (inner.old && (same = body_same(inner.old, inner.new_, name)) < 0)
        return -1;
    inner.name = name;
    inner.unchanged = same == 1;
    if (is_made_as_definition(scope, name, old) && !is_one_of_many(scope, name, old, new_) &&
        pair_values(&inner, old, new_) < 0)
        return -1;
    return take_name(scope, name, old, new_, remap_get(scope->pairing->remap, old) == new_);
}

static int pair_data_name(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    int fate = data_fate(scope, name, old, new_), follows;
    const struct binding *binding = body_binding(scope->new_, name);
    bool was_made_here = scope->old && binds_data(body_binding(scope->old, name));
    bool imported = binding && binding->kind == BINDS_IMPORT && !was_made_here;

    if (fate < 0)
        return -1;
    if (fate == DATA_KEEP) {
        if (data_keep(scope, name, old, new_) < 0)
            return -1;
        return same_value(old, new_) ? 0 : PyList_Append(scope->module->kept, name);
    }
    if (same_value(old, new_))
        return 0;
    follows = data_take(scope, name, old, new_);
    if (follows < 0 || (!imported && PyList_Append(scope->module->taken, name) < 0))
        return -1;
    return take_name(scope, name, old, new_, follows || imported);
}

/* Does the module make data under the name that it did not have before? */
static bool makes_data(const struct pairing *pairing, size_t i, PyObject *name)
{
    const struct module_pair *module = &pairing->modules[i];

    return !dict_lookup(module->before, name) &&
           binds_data(body_binding(&pairing->new_bodies[i], name));
}

/* Data that this module made, as far as is known, and that another one makes now: stays if it would
 * have stayed here.  1: it does; 0; -1. */
static int keep_moved_data(const struct scope *scope, PyObject *name, PyObject *old)
{
    struct pairing *pairing = scope->pairing;

    if (scope->old && !binds_data(body_binding(scope->old, name)))
        return 0;
    for (size_t i = 0; i < pairing->n; i++) {
        struct module_pair *other = &pairing->modules[i];
        PyObject *new_ = dict_lookup(other->new_dict, name);
        struct scope there = *scope;
        int fate;

        if (other == scope->module || !new_ || !makes_data(pairing, i, name))
            continue;
        there.module = other;
        there.new_ = &pairing->new_bodies[i];
        fate = data_fate(&there, name, old, new_);
        if (fate != DATA_KEEP)
            return fate < 0 ? -1 : 0;
        if (data_keep(&there, name, old, new_) < 0 ||
            pairing_set(pairing, other->old_dict, name, old) < 0)
            return -1;
        return same_value(old, new_) || PyList_Append(scope->module->kept, name) == 0 ? 1 : -1;
    }
    return 0;
}

static int pair_imported_data(const struct scope *scope, PyObject *name, PyObject *old,
                              PyObject *new_)
{
    int moved = keep_moved_data(scope, name, old);

    return moved ? (moved < 0 ? -1 : 0) : pair_data_name(scope, name, old, new_);
}

static int pair_name(const struct scope *scope, PyObject *name, PyObject *new_)
{
    struct module_pair *module = scope->module;
    PyObject *old = dict_lookup(module->old_dict, name);
    PyObject *was = dict_lookup(module->before, name);
    const struct binding *binding = body_binding(scope->new_, name);

    if (is_import_system(name) || (!binding && new_ == was) || old == new_)
        return 0;
    if (is_description(name)) /* __version__ is imported elsewhere as other constants are */
        return old && is_immutable(old) && is_immutable(new_)
                   ? take_name(scope, name, old, new_, same_value(old, new_))
                   : pairing_set(scope->pairing, module->old_dict, name, new_);
    if (!old) {
        if (PyList_Append(module->added, name) < 0)
            return -1;
        return pairing_set(scope->pairing, module->old_dict, name, new_);
    }
    if (new_ == was)
        return 0; /* bound in a branch that did not run; somebody changed it meanwhile */
    if (is_import(binding)) {
        /* A definition that moved to another module of the transaction is still the same. */
        if ((is_ours(scope->pairing, old) && is_ours(scope->pairing, new_)) ||
            (scope->old && binds_definition(body_binding(scope->old, name)) &&
             is_definition(scope->pairing, old) && is_definition(scope->pairing, new_)))
            return pair_definition_name(scope, name, old, new_);
        return pair_imported_data(scope, name, old, new_);
    }
    if (is_definition(scope->pairing, new_) || binds_definition(binding))
        return pair_definition_name(scope, name, old, new_);
    return pair_data_name(scope, name, old, new_);
}

/* Did the old source make what the module has under this name? */
static bool is_from_old_source(const struct scope *scope, PyObject *name, PyObject *old)
{
    if (scope->old)
        return body_binds(scope->old, name);
    return pairing_module(scope->pairing, old) == scope->module;
}

/* The import system's own entry for a submodule of a package. */
static bool is_submodule(const struct module_pair *module, PyObject *name, PyObject *value)
{
    PyObject *full = PyUnicode_FromFormat("%U.%U", module->name, name);
    bool is = full && dict_lookup(PyImport_GetModuleDict(), full) == value;

    Py_DecRef(full);
    drop_error();
    return is;
}

/* Is it this module's definition?  `body`: NULL if its source is not known. */
static bool makes_definition(const struct module_pair *module, const struct body *body,
                             const struct pairing *pairing, PyObject *name, PyObject *value)
{
    return pairing_module(pairing, value) == module ||
           (body && binds_definition(body_binding(body, name)) &&
            (is_definition(pairing, value) || may_be_decorated(value)));
}

/* Pairs what this module made with what the other one makes now under the same name. */
static int pair_in_other(const struct scope *scope, struct module_pair *other, PyObject *name,
                         PyObject *old, PyObject *new_)
{
    struct scope there = *scope;
    int same;

    there.module = other;
    there.new_ = &scope->pairing->new_bodies[other - scope->pairing->modules];
    there.name = name;
    same = scope->old ? body_same(scope->old, there.new_, name) : 0;
    there.unchanged = same == 1;
    return same < 0 ? -1 : pair_values(&there, old, new_);
}

/* What is gone here and new in another module of the transaction has moved. */
static int pair_moved(const struct scope *scope, PyObject *name, PyObject *old)
{
    struct pairing *pairing = scope->pairing;

    if (!makes_definition(scope->module, scope->old, pairing, name, old))
        return keep_moved_data(scope, name, old) < 0 ? -1 : 0;
    for (size_t i = 0; i < pairing->n; i++) {
        struct module_pair *other = &pairing->modules[i];
        PyObject *new_ = dict_lookup(other->new_dict, name);

        if (other != scope->module && new_ && !dict_lookup(other->before, name) &&
            makes_definition(other, &pairing->new_bodies[i], pairing, name, new_) &&
            is_same_class(pairing, old, new_))
            return pair_in_other(scope, other, name, old, new_);
    }
    return 0;
}

static int remove_names(const struct scope *scope)
{
    struct module_pair *module = scope->module;
    PyObject *name, *old;
    Py_ssize_t at = 0;

    while (PyDict_Next(module->old_dict, &at, &name, &old)) {
        PyObject *new_ = dict_lookup(module->new_dict, name);
        PyObject *was = dict_lookup(module->before, name);
        bool gone = was && !new_; /* `del name` */

        if (!is_str(name) || is_import_system(name))
            continue;
        if (is_submodule(module, name, old))
            continue;
        if (!gone) {
            if (!was || new_ != was || body_binds(scope->new_, name))
                continue;
            if (scope->new_->star || !is_from_old_source(scope, name, old))
                continue;
        }
        if (pair_moved(scope, name, old) < 0 ||
            pairing_set(scope->pairing, module->old_dict, name, NULL) < 0)
            return -1;
        if (!is_dunder(name) && PyList_Append(module->removed, name) < 0)
            return -1;
    }
    return 0;
}

static int pair_names(const struct scope *scope, bool imports)
{
    PyObject *name, *new_;
    Py_ssize_t at = 0;

    while (PyDict_Next(scope->module->new_dict, &at, &name, &new_)) {
        if (is_str(name) && is_import(body_binding(scope->new_, name)) == imports &&
            pair_name(scope, name, new_) < 0)
            return -1;
    }
    return 0;
}

static struct scope module_scope(struct pairing *pairing, size_t i)
{
    struct module_pair *module = &pairing->modules[i];

    return (struct scope){
        .pairing = pairing,
        .module = module,
        .old = module->old_code ? &pairing->old_bodies[i] : NULL,
        .new_ = &pairing->new_bodies[i],
    };
}

static int pair_module(struct pairing *pairing, size_t i)
{
    struct module_pair *module = &pairing->modules[i];
    struct scope scope = module_scope(pairing, i);

    if (module->moved_from)
        return 0;
    if (remap_add(pairing->remap, module->new_dict, module->old_dict) < 0)
        return -1;
    if (module->shadow && module->shadow != module->module &&
        remap_add(pairing->remap, module->shadow, module->module) < 0)
        return -1;
    return pair_names(&scope, false);
}

/* Once the modules that make them are done: only there is known whether a definition changed. */
static int pair_imports(struct pairing *pairing, size_t i)
{
    struct scope scope = module_scope(pairing, i);

    if (scope.module->moved_from)
        return 0;
    return pair_names(&scope, true) < 0 ? -1 : remove_names(&scope);
}

/* Of several functions of one name, in the branches of a condition for instance, another one may
 * run now: what has no function in its place is the one that the name has. */
static int pair_left_over(struct pairing *pairing, size_t i)
{
    struct scope scope = module_scope(pairing, i);
    PyObject *name, *new_;
    Py_ssize_t at = 0;

    while (PyDict_Next(scope.module->new_dict, &at, &name, &new_)) {
        PyObject *old = is_str(name) ? dict_lookup(scope.module->old_dict, name) : NULL;

        if (old && old != new_ && body_binds(scope.new_, name) &&
            is_one_of_many(&scope, name, old, new_) && !remap_get(pairing->remap, old) &&
            !pairing_origin(pairing, new_) && pair_values(&scope, old, new_) < 0)
            return -1;
    }
    return 0;
}

/* --- the transaction */

static int prepare_module(struct pairing *pairing, size_t i)
{
    struct module_pair *module = &pairing->modules[i];

    module->added = PyList_New(0);
    module->removed = PyList_New(0);
    module->kept = PyList_New(0);
    module->taken = PyList_New(0);
    module->details = NULL;
    module->functions = module->classes = module->methods = module->code = 0;
    if (!module->added || !module->removed || !module->kept || !module->taken)
        return -1;
    if (module->old_code && body_read(module->old_code, &pairing->old_bodies[i]) < 0)
        return -1;
    return body_read(module->new_code, &pairing->new_bodies[i]);
}

static int prepare(struct pairing *pairing)
{
    pairing->origin = PyDict_New();
    pairing->edits = PyList_New(0);
    pairing->merges = PyList_New(0);
    pairing->literals = PyList_New(0);
    pairing->moved = PyList_New(0);
    pairing->old_bodies = calloc(pairing->n + 1, sizeof *pairing->old_bodies);
    pairing->new_bodies = calloc(pairing->n + 1, sizeof *pairing->new_bodies);
    pairing->places = calloc(pairing->n + 1, sizeof *pairing->places);
    if (!pairing->old_bodies || !pairing->new_bodies || !pairing->places) {
        PyErr_NoMemory();
        return -1;
    }
    if (!pairing->origin || !pairing->edits || !pairing->merges || !pairing->literals ||
        !pairing->moved)
        return -1;
    for (size_t i = 0; i < pairing->n; i++) {
        if (prepare_module(pairing, i) < 0)
            return -1;
    }
    return read_all_places(pairing);
}

static void finish(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->n; i++) {
        if (pairing->old_bodies)
            body_clear(&pairing->old_bodies[i]);
        if (pairing->new_bodies)
            body_clear(&pairing->new_bodies[i]);
        if (pairing->places) {
            Py_DecRef(pairing->places[i].old);
            Py_DecRef(pairing->places[i].new_);
        }
    }
    free(pairing->old_bodies);
    free(pairing->new_bodies);
    free(pairing->places);
    Py_DecRef(pairing->origin);
    Py_DecRef(pairing->edits);
    Py_DecRef(pairing->merges);
    Py_DecRef(pairing->literals);
    Py_DecRef(pairing->moved);
    pointer_set_clear(&pairing->kept_code);
}

static int pair_all(struct pairing *pairing)
{
    if (prepare(pairing) < 0)
        return -1;
    for (size_t i = 0; i < pairing->n; i++) {
        if (pair_module(pairing, i) < 0)
            return -1;
    }
    for (size_t i = 0; i < pairing->n; i++) {
        if (pair_imports(pairing, i) < 0)
            return -1;
    }
    if (pair_functions_by_place(pairing) < 0)
        return -1;
    for (size_t i = 0; i < pairing->n; i++) {
        if (pair_left_over(pairing, i) < 0)
            return -1;
    }
    if (keep_bases(pairing) < 0 || literal_carry_all(pairing) < 0 || doubled_remove(pairing) < 0 ||
        merge_all(pairing) < 0 || importers_follow(pairing) < 0 || flush_edits(pairing) < 0 ||
        identities_follow(pairing) < 0)
        return -1;
    if (pairing->options->verbose && pair_details(pairing) < 0)
        return -1;
    return refresh_abc(pairing);
}

int pair_modules(struct plan *plan, struct module_pair *modules, size_t n,
                 const struct pair_options *options)
{
    struct pairing pairing = {
        .plan = plan,
        .remap = plan_remap(plan),
        .modules = modules,
        .n = n,
        .options = options,
    };
    int status = pair_all(&pairing);

    finish(&pairing);
    return status;
}

void module_pair_clear(struct module_pair *module)
{
    PyObject **fields[] = {&module->added, &module->removed, &module->kept, &module->taken,
                           &module->details};

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        Py_DecRef(*fields[i]);
        *fields[i] = NULL;
    }
}
