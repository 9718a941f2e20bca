/* Modules executed aside (execute.h): their dicts, their order, what they leave behind. */
#include "execute.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/introspect.h"
#include "import.h"
#include "interrupt.h"
#include "signal_mask.h"
#include "sys_modules.h"

/* --- the dict that the code runs in */

/* A new execution makes these anew, or must not find them at all: an annotated name would be
 * written into the live module's dict of annotations. */
static int drop_stale_names(PyObject *dict)
{
    static const char *const names[] = {"__annotations__", "__annotate__", "__annotate_func__",
                                        "__conditional_annotations__"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (dict_get(dict, names[i]) && PyDict_DelItemString(dict, names[i]) < 0)
            return -1;
    }
    return PyDict_SetItemString(dict, "__doc__", Py_None);
}

/* Moves the reference into the holder.  Returns it, borrowed; NULL if there was none. */
static PyObject *hold(struct aside *aside, PyObject *object)
{
    int status = object ? PyList_Append(aside->holder, object) : -1;

    Py_DecRef(object);
    return status < 0 ? NULL : object;
}

static PyObject *hold_borrowed(struct aside *aside, PyObject *object)
{
    Py_IncRef(object);
    return hold(aside, object);
}

static int aside_init(struct aside *aside, PyObject *name, PyObject *module, PyObject *code)
{
    PyObject *live = PyModule_GetDict(module);

    aside->holder = PyList_New(0);
    if (!aside->holder)
        return -1;
    aside->name = hold_borrowed(aside, name);
    aside->module = hold_borrowed(aside, module);
    aside->code = code ? hold_borrowed(aside, code) : NULL;
    aside->before = hold(aside, PyDict_Copy(live));
    aside->shadow = hold(aside, PyModule_NewObject(name));
    aside->state = code ? ASIDE_WAITING : ASIDE_DONE;
    if (!aside->shadow || PyErr_Occurred())
        return -1;
    aside->dict = hold_borrowed(aside, PyModule_GetDict(aside->shadow));
    if (!aside->dict || PyDict_Update(aside->dict, live) < 0)
        return -1;
    return code ? drop_stale_names(aside->dict) : 0;
}

struct aside *execution_find(const struct execution *e, PyObject *name)
{
    for (size_t i = 0; i < e->n; i++) {
        if (PyUnicode_Compare(e->modules[i].name, name) == 0)
            return &e->modules[i];
    }
    return NULL;
}

PyObject *execution_shadow(const struct execution *e, PyObject *module)
{
    for (size_t i = 0; i < e->n; i++) {
        if (e->modules[i].module == module) {
            Py_IncRef(e->modules[i].shadow);
            Py_DecRef(module);
            return e->modules[i].shadow;
        }
    }
    return module;
}

/* "a.b" of "a.b.c"; new reference, or NULL: no parent, or an exception. */
static PyObject *parent_name(PyObject *name)
{
    Py_ssize_t end = PyUnicode_GetLength(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, end, -1);

    return dot > 0 ? PyUnicode_Substring(name, 0, dot) : NULL;
}

static PyObject *child_name(PyObject *name)
{
    Py_ssize_t end = PyUnicode_GetLength(name);
    Py_ssize_t dot = PyUnicode_FindChar(name, '.', 0, end, -1);

    return PyUnicode_Substring(name, dot + 1, end);
}

static struct aside *grow(struct execution *e)
{
    struct aside *bigger = realloc(e->modules, (e->n + 1) * sizeof *bigger);

    if (!bigger) {
        PyErr_NoMemory();
        return NULL;
    }
    e->modules = bigger;
    memset(&bigger[e->n], 0, sizeof *bigger);
    return &bigger[e->n++];
}

/* The packages above `name` that are not executed get a shadow too, so that `from a import b`
 * and `import a.b` lead to the shadow of a.b. */
static int add_packages(struct execution *e, PyObject *name)
{
    PyObject *parent = parent_name(name);
    int status = 0;

    if (!parent)
        return PyErr_Occurred() ? -1 : 0;
    PyObject *module = PyDict_GetItemWithError(PyImport_GetModuleDict(), parent);
    if (module && is_module(module) && !execution_find(e, parent)) {
        struct aside *aside = grow(e);

        status = aside ? aside_init(aside, parent, module, NULL) : -1;
    }
    if (status == 0)
        status = add_packages(e, parent);
    Py_DecRef(parent);
    return status;
}

/* A package's shadow has its modules' shadows as attributes. */
static int link_to_package(struct execution *e, struct aside *aside)
{
    PyObject *parent = parent_name(aside->name), *child;
    struct aside *package = parent ? execution_find(e, parent) : NULL;
    int status = 0;

    Py_DecRef(parent);
    if (!package)
        return PyErr_Occurred() ? -1 : 0;
    child = child_name(aside->name);
    if (!child)
        return -1;
    if (PyDict_GetItemWithError(package->dict, child) == aside->module)
        status = PyDict_SetItem(package->dict, child, aside->shadow);
    Py_DecRef(child);
    return status;
}

static PyObject *names_in_sys_modules(void)
{
    PyObject *keys = PyDict_Keys(PyImport_GetModuleDict());
    PyObject *set = keys ? PySet_New(keys) : NULL;

    Py_DecRef(keys);
    return set;
}

static int prepare(struct execution *e, size_t n, PyObject *const *names, PyObject *const *modules,
                   PyObject *const *codes)
{
    for (size_t i = 0; i < n; i++) {
        struct aside *aside = grow(e);

        if (!aside || aside_init(aside, names[i], modules[i], codes[i]) < 0)
            return -1;
    }
    e->n_executed = n;
    for (size_t i = 0; i < n; i++) {
        if (add_packages(e, names[i]) < 0)
            return -1;
    }
    for (size_t i = 0; i < e->n; i++) {
        if (link_to_package(e, &e->modules[i]) < 0)
            return -1;
    }
    e->known = names_in_sys_modules();
    e->asked = PySet_New(NULL);
    e->asked_by_others = PySet_New(NULL);
    return e->known && e->asked && e->asked_by_others ? 0 : -1;
}

int execution_begin(struct execution *e, size_t n, PyObject *const *names, PyObject *const *modules,
                    PyObject *const *codes)
{
    memset(e, 0, sizeof *e);
    e->failed = -1;
    if (prepare(e, n, names, modules, codes) == 0)
        return 0;
    execution_end(e);
    return -1;
}

void execution_end(struct execution *e)
{
    for (size_t i = 0; i < e->n; i++)
        Py_DecRef(e->modules[i].holder);
    for (int i = 0; i < 3; i++)
        Py_DecRef(e->error[i]);
    free(e->modules);
    Py_DecRef(e->known);
    Py_DecRef(e->asked);
    Py_DecRef(e->asked_by_others);
    memset(e, 0, sizeof *e);
}

/* --- running */

int execution_run_module(struct execution *e, struct aside *aside)
{
    PyObject *result;

    aside->state = ASIDE_RUNNING;
    result = PyEval_EvalCode(aside->code, aside->dict, aside->dict);
    aside->state = ASIDE_DONE;
    Py_DecRef(result);
    if (result)
        return 0;
    if (e->failed < 0) {
        e->failed = aside - e->modules;
        PyErr_Fetch(&e->error[0], &e->error[1], &e->error[2]);
        for (int i = 0; i < 3; i++)
            Py_IncRef(e->error[i]);
        PyErr_Restore(e->error[0], e->error[1], e->error[2]);
    }
    return -1;
}

/* The modules to execute in the order in which the program finished importing them: that is
 * the order of sys.modules, as the import system puts a module at its end when it is loaded.
 * malloc'ed, with NULL at the end. */
static struct aside **in_import_order(struct execution *e)
{
    struct aside **order = malloc((e->n_executed + 1) * sizeof *order);
    PyObject *modules = PyImport_GetModuleDict(), *name, *module;
    Py_ssize_t position = 0;
    size_t n = 0;

    if (!order) {
        PyErr_NoMemory();
        return NULL;
    }
    while (PyDict_Next(modules, &position, &name, &module)) {
        for (size_t i = 0; i < e->n_executed && n < e->n_executed; i++) {
            if (e->modules[i].module == module && is_str(name) &&
                PyUnicode_Compare(e->modules[i].name, name) == 0)
                order[n++] = &e->modules[i];
        }
    }
    order[n] = NULL;
    return order;
}

static bool is_package_of(PyObject *package, PyObject *name)
{
    Py_ssize_t length = PyUnicode_GetLength(package);

    return PyUnicode_GetLength(name) > length && PyUnicode_Find(name, package, 0, length, 1) == 0 &&
           PyUnicode_FindChar(name, '.', length, length + 1, 1) == length;
}

/* Does the module's top level name the other module, as an import statement would?  1, 0, -1. */
static int mentions(const struct aside *aside, const struct aside *other)
{
    PyObject *names = PyObject_GetAttrString(aside->code, "co_names");
    PyObject *last = child_name(other->name);
    int found = names && last ? PySequence_Contains(names, last) : -1;

    if (found == 0)
        found = PySequence_Contains(names, other->name);
    Py_DecRef(last);
    Py_DecRef(names);
    return found;
}

/* Was the import of `later`, which ended after that of `aside`, on when it began?  So it is for
 * packages of the module, and for what it imports itself: where imports are circular, only the
 * order in which they began is known to work.  1, 0, -1. */
static int began_before(const struct aside *aside, const struct aside *later)
{
    if (is_package_of(later->name, aside->name))
        return 1;
    return mentions(aside, later);
}

/* Runs order[i], after those behind it whose import was on when its own began.  What `later`
 * imports it will run by itself (import.c). */
static int run_in_order(struct execution *e, struct aside **order, size_t i)
{
    struct aside *aside = order[i];

    if (aside->state != ASIDE_WAITING)
        return 0;
    for (size_t j = i + 1; order[j]; j++) {
        int before = order[j]->state == ASIDE_WAITING ? began_before(aside, order[j]) : 0;

        if (before < 0)
            return -1;
        if (before && run_in_order(e, order, j) < 0)
            return -1;
    }
    return aside->state == ASIDE_WAITING ? execution_run_module(e, aside) : 0;
}

/* Names bound to shadows are bound to the modules themselves again, so that they compare equal
 * with what the live dict holds. */
static int unshadow(struct execution *e, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;

    while (PyDict_Next(dict, &position, &key, &value)) {
        for (size_t i = 0; i < e->n; i++) {
            if (value != e->modules[i].shadow)
                continue;
            /* Storing over a key that exists does not disturb PyDict_Next. */
            if (PyDict_SetItem(dict, key, e->modules[i].module) < 0)
                return -1;
            break;
        }
    }
    return 0;
}

static int run_all(struct execution *e)
{
    struct aside **order = in_import_order(e);
    int status = order ? 0 : -1;

    for (size_t i = 0; status == 0 && order[i]; i++)
        status = run_in_order(e, order, i);
    free(order);
    /* A module may have caught the failure of another; there is no half of a transaction. */
    if (e->failed >= 0) {
        PyErr_Restore(e->error[0], e->error[1], e->error[2]);
        memset(e->error, 0, sizeof e->error);
        status = -1;
    }
    return status;
}

int execution_run(struct execution *e)
{
    struct interrupter interrupter;
    sigset_t mask;
    int status;

    if (import_hook_install(e) < 0)
        return -1;
    if (sys_modules_install(e) < 0) {
        import_hook_remove();
        return -1;
    }
    interrupter_start(&interrupter);
    signal_mask_of_main(&mask);
    status = run_all(e);
    signal_mask_restore(&mask);
    interrupter_stop(&interrupter);
    sys_modules_remove();
    import_hook_remove();
    for (size_t i = 0; status == 0 && i < e->n; i++)
        status = unshadow(e, e->modules[i].dict);
    return status;
}

/* --- what a failed execution imported */

/* Deletes the module from its package's attributes, if it is there. */
static void unlink_from_package(PyObject *name, PyObject *module)
{
    PyObject *parent = parent_name(name);
    PyObject *package = parent ? PyDict_GetItemWithError(PyImport_GetModuleDict(), parent) : NULL;
    PyObject *child = package ? child_name(name) : NULL;

    if (child && is_module(package)) {
        PyObject *dict = PyModule_GetDict(package);

        if (PyDict_GetItemWithError(dict, child) == module)
            PyDict_DelItem(dict, child);
    }
    Py_DecRef(child);
    Py_DecRef(parent);
}

/* Ours is what this thread asked for, directly or in a module that it imported, and no other
 * thread did. */
static bool is_ours(const struct execution *e, PyObject *name)
{
    return is_str(name) && PySet_Contains(e->known, name) == 0 &&
           PySet_Contains(e->asked, name) == 1 && PySet_Contains(e->asked_by_others, name) == 0;
}

PyObject *execution_imports(const struct execution *e)
{
    PyObject *modules = PyDict_Copy(PyImport_GetModuleDict()), *name, *module;
    PyObject *list = modules ? PyList_New(0) : NULL;
    Py_ssize_t at = 0;
    int status = list ? 0 : -1;

    while (status == 0 && PyDict_Next(modules, &at, &name, &module)) {
        PyObject *entry;

        if (!is_module(module) || !is_ours(e, name))
            continue;
        entry = PyTuple_Pack(2, name, module);
        status = entry ? PyList_Append(list, entry) : -1;
        Py_DecRef(entry);
    }
    Py_DecRef(modules);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* Module code may have put something else in the module's place (sys.modules[__name__] = ...). */
static void restore_modules(struct execution *e)
{
    PyObject *modules = PyImport_GetModuleDict();

    for (size_t i = 0; i < e->n_executed; i++) {
        if (PyDict_GetItemWithError(modules, e->modules[i].name) != e->modules[i].module)
            PyDict_SetItem(modules, e->modules[i].name, e->modules[i].module);
    }
}

void execution_forget_imports(struct execution *e)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *names = PyDict_Keys(modules);

    restore_modules(e);
    for (Py_ssize_t i = names ? PyList_Size(names) - 1 : -1; i >= 0; i--) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *module = PyDict_GetItemWithError(modules, name);

        if (!module || !is_ours(e, name))
            continue;
        Py_IncRef(module);
        unlink_from_package(name, module);
        PyDict_DelItem(modules, name);
        Py_DecRef(module);
    }
    PyErr_Clear();
    Py_DecRef(names);
}
