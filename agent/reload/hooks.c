/* Calling the program's hooks, and the defaults of new dataclass fields (hooks.h). */
#include "hooks.h"

#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/introspect.h"
#include "failure.h"
#include "fields.h"
#include "hashes.h"

enum { MAX_NESTING = 8 };

/* A replaced class whose instances want to be told, or lack fields that it has gained. */
struct upgrade {
    PyObject *module;                /* str: the module's name; borrowed from the class's entry */
    PyObject *old_class, *new_class; /* borrowed: keys and values of the map */
    PyObject *fields;                /* list of str: fields_added; borrowed from the holder */
    bool hook;                       /* has __pyhot_upgrade__ */
};

struct instance {
    PyObject *object; /* borrowed until hooks_hold_instances */
    const struct upgrade *upgrade;
};

/* What __pyhot_after__ of one module is given. */
struct past {
    PyObject *module; /* str */
    PyObject *old;    /* a module object with the old names */
    PyObject *live;   /* dict: where the new hook is after the commit */
};

struct hooks {
    PyObject *holder; /* list: all strong references */
    PyObject *hashed; /* list of module's name, class: those that hash in another way */
    struct past *pasts;
    size_t n_pasts;
    struct upgrade *upgrades;
    size_t n_upgrades, cap_upgrades;
    struct instance *instances;
    size_t n_instances, cap_instances;
    bool held, failed;
    PyObject *migrated; /* dict, after the commit: address of an old instance -> the new one */
};

static int ignore_result(PyObject *result)
{
    Py_DecRef(result);
    return result ? 0 : -1;
}

int hook_before(PyObject *module)
{
    PyObject *hook = dict_get(PyModule_GetDict(module), "__pyhot_before__");
    int status;

    if (!hook)
        return 0;
    Py_IncRef(hook);
    status = ignore_result(PyObject_CallObject(hook, NULL));
    Py_DecRef(hook);
    return status;
}

/* --- before the change */

static int add_upgrade(struct hooks *hooks, struct upgrade upgrade)
{
    if (big_reserve_or_raise(&hooks->upgrades, hooks->n_upgrades, &hooks->cap_upgrades,
                             sizeof *hooks->upgrades) < 0)
        return -1;
    hooks->upgrades[hooks->n_upgrades++] = upgrade;
    return 0;
}

static bool has_upgrade_hook(PyObject *class)
{
    PyObject *name = PyUnicode_InternFromString("__pyhot_upgrade__");
    bool found = name && _PyType_Lookup((PyTypeObject *)class, name);

    drop_error();
    Py_DecRef(name);
    return found;
}

static int note_hash(struct hooks *hooks, PyObject *module, PyObject *old, PyObject *new_)
{
    if (!hashes_change(old, new_))
        return 0;
    return PyList_Append(hooks->hashed, module) < 0 ? -1 : PyList_Append(hooks->hashed, new_);
}

static int find_class(struct hooks *hooks, PyObject *module, PyObject *old, PyObject *new_)
{
    struct upgrade upgrade = {
        .module = module,
        .old_class = old,
        .new_class = new_,
        .fields = fields_added(old, new_),
        .hook = has_upgrade_hook(new_),
    };
    int status = upgrade.fields ? note_hash(hooks, module, old, new_) : -1;

    if (status == 0 && (upgrade.hook || PyList_Size(upgrade.fields) > 0)) {
        status = PyList_Append(hooks->holder, upgrade.fields);
        if (status == 0)
            status = add_upgrade(hooks, upgrade);
    }
    Py_DecRef(upgrade.fields);
    return status;
}

/* The replaced classes among the values of `dict`, and those nested in them. */
static int find_classes(struct hooks *hooks, struct remap *remap, PyObject *module, PyObject *dict,
                        int depth)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(dict, &position, &name, &value)) {
        PyObject *new_;

        if (!is_type(value) || !(new_ = remap_get(remap, value)) || !is_type(new_))
            continue;
        status = find_class(hooks, module, value, new_);
        if (status == 0 && depth < MAX_NESTING)
            status =
                find_classes(hooks, remap, module, ((PyTypeObject *)value)->tp_dict, depth + 1);
    }
    return status;
}

/* A module object with the names and values of before, for __pyhot_after__. */
static int add_past(struct hooks *hooks, const struct aside *aside, struct remap *remap)
{
    PyObject *old;
    int status;

    if (!dict_get(aside->dict, "__pyhot_after__"))
        return 0;
    old = PyModule_NewObject(aside->name);
    if (!old)
        return -1;
    status = PyDict_Update(PyModule_GetDict(old), aside->before);
    if (status == 0)
        status = PyList_Append(hooks->holder, old);
    if (status == 0)
        status = remap_exclude(remap, PyModule_GetDict(old));
    Py_DecRef(old);
    hooks->pasts[hooks->n_pasts++] = (struct past){
        .module = aside->name,
        .old = old,
        .live = PyModule_GetDict(aside->module),
    };
    return status;
}

static int prepare(struct hooks *hooks, const struct execution *e, struct remap *remap)
{
    hooks->holder = PyList_New(0);
    hooks->hashed = PyList_New(0);
    hooks->pasts = calloc(e->n_executed + 1, sizeof *hooks->pasts);
    if (!hooks->holder || !hooks->hashed || !hooks->pasts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < e->n_executed; i++) {
        const struct aside *aside = &e->modules[i];

        if (add_past(hooks, aside, remap) < 0 ||
            find_classes(hooks, remap, aside->name, aside->before, 0) < 0)
            return -1;
    }
    return 0;
}

struct hooks *hooks_new(const struct execution *e, struct remap *remap)
{
    struct hooks *hooks = calloc(1, sizeof *hooks);

    if (!hooks) {
        PyErr_NoMemory();
        return NULL;
    }
    if (prepare(hooks, e, remap) == 0)
        return hooks;
    hooks_free(hooks);
    return NULL;
}

void hooks_free(struct hooks *hooks)
{
    if (!hooks)
        return;
    for (size_t i = 0; hooks->held && i < hooks->n_instances; i++)
        Py_DecRef(hooks->instances[i].object);
    Py_DecRef(hooks->holder);
    Py_DecRef(hooks->hashed);
    Py_DecRef(hooks->migrated);
    free(hooks->pasts);
    big_free(hooks->upgrades);
    big_free(hooks->instances);
    free(hooks);
}

/* --- instances */

static const struct upgrade *upgrade_of(const struct hooks *hooks, PyTypeObject *type)
{
    for (size_t i = 0; i < hooks->n_upgrades; i++) {
        if ((PyObject *)type == hooks->upgrades[i].old_class)
            return &hooks->upgrades[i];
    }
    for (size_t i = 0; i < hooks->n_upgrades; i++) {
        if (PyType_IsSubtype(type, (PyTypeObject *)hooks->upgrades[i].old_class))
            return &hooks->upgrades[i];
    }
    return NULL;
}

static int note_instance(PyObject *object, void *arg)
{
    struct hooks *hooks = arg;
    const struct upgrade *upgrade = upgrade_of(hooks, type_of(object));

    if (!upgrade)
        return 0;
    if (!big_reserve(&hooks->instances, hooks->n_instances, &hooks->cap_instances,
                     sizeof *hooks->instances)) {
        hooks->failed = true;
        return -1;
    }
    hooks->instances[hooks->n_instances++] = (struct instance){object, upgrade};
    return 0;
}

int hooks_find_instances(struct hooks *hooks)
{
    int status = hooks->n_upgrades ? heap_visit(note_instance, hooks) : 0;

    if (hooks->failed)
        PyErr_NoMemory();
    return status;
}

/* The list of (old, new) as a dict from the old one's address.  New reference. */
static PyObject *by_address(PyObject *migrated)
{
    PyObject *dict = PyDict_New();

    for (Py_ssize_t i = 0; dict && i < PyList_Size(migrated); i++) {
        PyObject *pair = PyList_GetItem(migrated, i);
        PyObject *address = PyLong_FromVoidPtr(PyTuple_GetItem(pair, 0));

        if (!address || PyDict_SetItem(dict, address, PyTuple_GetItem(pair, 1)) < 0) {
            Py_DecRef(dict);
            dict = NULL;
        }
        Py_DecRef(address);
    }
    return dict;
}

int hooks_hold_instances(struct hooks *hooks, struct remap *remap)
{
    PyObject *migrated;

    if (!hooks->n_instances)
        return 0;
    for (size_t i = 0; i < hooks->n_instances; i++)
        Py_IncRef(hooks->instances[i].object);
    hooks->held = true;
    migrated = remap_migrated(remap);
    hooks->migrated = migrated ? by_address(migrated) : NULL;
    Py_DecRef(migrated);
    return hooks->migrated ? 0 : -1;
}

/* The object that took the place of a migrated instance, or the instance itself; borrowed. */
static PyObject *current_object(const struct hooks *hooks, PyObject *object)
{
    PyObject *address = hooks->migrated ? PyLong_FromVoidPtr(object) : NULL;
    PyObject *now = address ? PyDict_GetItemWithError(hooks->migrated, address) : NULL;

    PyErr_Clear();
    Py_DecRef(address);
    return now ? now : object;
}

/* --- after the change */

/* Keeps the first error; 0, or -1 with an exception of ours. */
static int take_error(PyObject **error)
{
    PyObject *failure = failure_take();

    if (!failure)
        return -1;
    if (!*error)
        *error = failure;
    else
        Py_DecRef(failure);
    return 0;
}

static int upgrade_instances(struct hooks *hooks, PyObject *module, PyObject **error)
{
    for (size_t i = 0; i < hooks->n_instances; i++) {
        const struct upgrade *upgrade = hooks->instances[i].upgrade;
        PyObject *object = current_object(hooks, hooks->instances[i].object);

        if (PyUnicode_Compare(upgrade->module, module) != 0)
            continue;
        if (fields_fill(object, upgrade->new_class, upgrade->fields) < 0 && take_error(error) < 0)
            return -1;
        if (upgrade->hook &&
            ignore_result(
                PyObject_CallMethod(object, "__pyhot_upgrade__", "O", upgrade->old_class)) < 0 &&
            take_error(error) < 0)
            return -1;
    }
    return 0;
}

static int renew_hashes(struct hooks *hooks, PyObject *module, PyObject **error)
{
    PyObject *classes = PyList_New(0);
    int status = classes ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i + 1 < PyList_Size(hooks->hashed); i += 2) {
        if (PyUnicode_Compare(PyList_GetItem(hooks->hashed, i), module) == 0)
            status = PyList_Append(classes, PyList_GetItem(hooks->hashed, i + 1));
    }
    if (status == 0 && hashes_renew(classes) < 0)
        status = take_error(error);
    Py_DecRef(classes);
    return status;
}

static int call_after(const struct past *past, PyObject **error)
{
    PyObject *hook = dict_get(past->live, "__pyhot_after__");
    int status = 0;

    if (!hook)
        return 0;
    Py_IncRef(hook);
    if (ignore_result(PyObject_CallFunctionObjArgs(hook, past->old, NULL)) < 0)
        status = take_error(error);
    Py_DecRef(hook);
    return status;
}

int hooks_run(struct hooks *hooks, PyObject *name, PyObject **error)
{
    if (upgrade_instances(hooks, name, error) < 0 || renew_hashes(hooks, name, error) < 0)
        return -1;
    for (size_t i = 0; i < hooks->n_pasts; i++) {
        if (PyUnicode_Compare(hooks->pasts[i].module, name) == 0 &&
            call_after(&hooks->pasts[i], error) < 0)
            return -1;
    }
    return 0;
}
