/* Taking back what a failed execution left in live objects (leftover.h). */
#include "leftover.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/collector.h"
#include "exit_functions.h"
#include "graveyard.h"
#include "remap/remap.h"

/* A definition or a named instance of the failed execution, and what it would have replaced. */
struct birth {
    PyObject *weak;  /* weak reference to it */
    PyObject *name;  /* str: module and name */
    PyObject *old;   /* its equivalent in the live module, or NULL */
    PyObject *alive; /* strong, while it is taken back */
};

struct births {
    struct birth *items;
    size_t n, cap;
    PyObject **dicts; /* the execution's dicts: compared only, they may be gone */
    size_t n_dicts;
};

static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    void *bigger;

    if (n < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    bigger = realloc(items, *cap * size);
    if (!bigger)
        PyErr_NoMemory();
    return bigger;
}

/* --- what the execution made */

static bool is_class_of(PyObject *object, PyObject *module_name)
{
    PyObject *module;

    if (!is_type(object) || !type_has((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE))
        return false;
    module = PyDict_GetItemString(((PyTypeObject *)object)->tp_dict, "__module__");
    return module && is_str(module) && PyUnicode_Compare(module, module_name) == 0;
}

static bool runs_in(PyObject *function, PyObject *dict)
{
    return type_of(function) == &PyFunction_Type && PyFunction_GetGlobals(function) == dict;
}

/* Was the object made by the execution?  Told from what it is made of: a module that the new
 * source imports, or a class from there, was not. */
static bool is_born(PyObject *object, const struct aside *aside)
{
    PyObject *wrapped;
    bool born;

    if (runs_in(object, aside->dict) || is_class_of(object, aside->name) ||
        is_class_of((PyObject *)type_of(object), aside->name))
        return true;
    wrapped = is_type(object) ? NULL : PyObject_GetAttrString(object, "__wrapped__");
    born = wrapped && runs_in(wrapped, aside->dict);
    PyErr_Clear();
    Py_DecRef(wrapped);
    return born;
}

static bool same_kind(PyObject *a, PyObject *b)
{
    return is_type(a) == is_type(b) &&
           (type_of(a) == &PyFunction_Type) == (type_of(b) == &PyFunction_Type);
}

static int add_birth(struct births *births, PyObject *object, PyObject *module, PyObject *name,
                     PyObject *old)
{
    struct birth birth = {.weak = PyWeakref_NewRef(object, NULL)};

    if (!birth.weak) { /* its type has no room for one: cannot be followed */
        PyErr_Clear();
        return 0;
    }
    birth.name = PyUnicode_FromFormat("%U.%U", module, name);
    births->items = grown(births->items, births->n, &births->cap, sizeof birth);
    if (!birth.name || !births->items)
        return -1;
    if (old && old != object && same_kind(old, object)) {
        birth.old = old;
        Py_IncRef(old);
    }
    births->items[births->n++] = birth;
    return 0;
}

/* The functions that a class defines, against those of the class it would have replaced. */
static int note_methods(struct births *births, PyObject *class, PyObject *old_class,
                        const struct aside *aside)
{
    PyObject *dict = ((PyTypeObject *)class)->tp_dict, *name, *value;
    PyObject *old_dict =
        old_class && is_type(old_class) ? ((PyTypeObject *)old_class)->tp_dict : NULL;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(dict, &position, &name, &value)) {
        if (is_str(name) && runs_in(value, aside->dict))
            status = add_birth(births, value, aside->name, name,
                               old_dict ? PyDict_GetItemWithError(old_dict, name) : NULL);
    }
    return status;
}

static int note_module(struct births *births, const struct aside *aside)
{
    PyObject *names = PyDict_Keys(aside->dict);
    int status = names ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);
        PyObject *value = PyDict_GetItemWithError(aside->dict, name);
        PyObject *old = PyDict_GetItemWithError(aside->before, name);

        if (!value || value == old || !is_str(name) || !is_born(value, aside))
            continue;
        status = add_birth(births, value, aside->name, name, old);
        if (status == 0 && is_type(value))
            status = note_methods(births, value, old, aside);
    }
    Py_DecRef(names);
    return status;
}

static int note_births(struct births *births, const struct execution *e)
{
    births->dicts = calloc(e->n_executed + 1, sizeof *births->dicts);
    if (!births->dicts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < e->n_executed; i++) {
        births->dicts[births->n_dicts++] = e->modules[i].dict;
        if (note_module(births, &e->modules[i]) < 0)
            return -1;
    }
    return 0;
}

/* --- what is still there */

/* Collects, and holds those that are alive then.  Their number, or -1. */
static Py_ssize_t hold_survivors(struct births *births)
{
    Py_ssize_t n = 0;

    if (collector_collect() < 0)
        return -1;
    for (size_t i = 0; i < births->n; i++) {
        struct birth *birth = &births->items[i];

        birth->alive = PyObject_CallObject(birth->weak, NULL);
        if (!birth->alive)
            return -1;
        if (birth->alive == Py_None) {
            Py_DecRef(birth->alive);
            birth->alive = NULL;
        }
        n += birth->alive != NULL;
    }
    return n;
}

static void let_go(struct births *births)
{
    for (size_t i = 0; i < births->n; i++) {
        Py_DecRef(births->items[i].alive);
        births->items[i].alive = NULL;
    }
}

static const struct birth *find_birth(const struct births *births, PyObject *object)
{
    for (size_t i = 0; i < births->n; i++) {
        if (births->items[i].alive == object)
            return &births->items[i];
    }
    return NULL;
}

/* Has `object` no place in the live program: a definition without an equivalent, or an instance
 * of a class that the execution made? */
static bool is_stray(const struct births *births, PyObject *object)
{
    const struct birth *birth = find_birth(births, object);

    if (birth)
        return !birth->old;
    return find_birth(births, (PyObject *)type_of(object)) != NULL;
}

/* --- taking strays out of containers */

/* Would `object` become a second entry of `list`, because its equivalent is there? */
static bool is_double(const struct births *births, PyObject *list, PyObject *object)
{
    const struct birth *birth = find_birth(births, object);

    for (Py_ssize_t i = 0; birth && birth->old && i < PyList_Size(list); i++) {
        if (PyList_GetItem(list, i) == birth->old)
            return true;
    }
    return false;
}

static bool set_holds(PyObject *set, PyObject *object)
{
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t position = 0;

    while (_PySet_NextEntry(set, &position, &key, &hash)) {
        if (key == object)
            return true;
    }
    return false;
}

struct container {
    PyObject *object;
    PyObject *key; /* of a dict, or element of a set; NULL: a list */
};

struct search {
    const struct births *births;
    struct container *found;
    size_t n, cap;
    bool failed;
};

static int add_container(struct search *search, PyObject *object, PyObject *key)
{
    search->found = grown(search->found, search->n, &search->cap, sizeof *search->found);
    if (!search->found) {
        search->n = 0;
        search->failed = true;
        return -1;
    }
    Py_IncRef(object);
    Py_IncRef(key);
    search->found[search->n++] = (struct container){object, key};
    return 0;
}

static bool is_ours(const struct search *search, PyObject *dict)
{
    for (size_t i = 0; i < search->births->n_dicts; i++) {
        if (search->births->dicts[i] == dict)
            return true;
    }
    return false;
}

static int search_dict(struct search *search, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t position = 0;
    int status = 0;

    if (is_ours(search, dict))
        return 0;
    while (status == 0 && PyDict_Next(dict, &position, &key, &value)) {
        if (is_stray(search->births, key) || is_stray(search->births, value))
            status = add_container(search, dict, key);
    }
    return status;
}

static int search_set(struct search *search, PyObject *set)
{
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t position = 0;
    int status = 0;

    while (status == 0 && _PySet_NextEntry(set, &position, &key, &hash)) {
        const struct birth *birth = find_birth(search->births, key);

        if (is_stray(search->births, key) || (birth && birth->old && set_holds(set, birth->old)))
            status = add_container(search, set, key);
    }
    return status;
}

static int search_list(struct search *search, PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        PyObject *object = PyList_GetItem(list, i);

        if (is_stray(search->births, object) || is_double(search->births, list, object))
            return add_container(search, list, NULL);
    }
    return 0;
}

static int search_object(PyObject *object, void *search)
{
    if (is_dict(object))
        return search_dict(search, object);
    if (is_list(object))
        return search_list(search, object);
    if (PyType_IsSubtype(type_of(object), &PySet_Type))
        return search_set(search, object);
    return 0;
}

static void remove_from_list(const struct births *births, PyObject *list)
{
    for (Py_ssize_t i = PyList_Size(list) - 1; i >= 0; i--) {
        PyObject *object = i < PyList_Size(list) ? PyList_GetItem(list, i) : NULL;

        if (object && (is_stray(births, object) || is_double(births, list, object)))
            PyList_SetSlice(list, i, i + 1, NULL);
    }
}

static void remove_stray(const struct births *births, const struct container *container)
{
    if (!container->key)
        remove_from_list(births, container->object);
    else if (PyType_IsSubtype(type_of(container->object), &PyODict_Type))
        PyODict_DelItem(container->object, container->key);
    else if (is_dict(container->object))
        PyDict_DelItem(container->object, container->key);
    else
        PySet_Discard(container->object, container->key);
    PyErr_Clear(); /* what is left is reported */
}

static int remove_strays(const struct births *births)
{
    struct search search = {.births = births};

    heap_visit(search_object, &search);
    for (size_t i = 0; i < search.n; i++) {
        remove_stray(births, &search.found[i]);
        Py_DecRef(search.found[i].object);
        Py_DecRef(search.found[i].key);
    }
    free(search.found);
    return search.failed ? -1 : 0;
}

/* --- giving the old ones their places back */

static int remap_to_old(const struct births *births)
{
    struct remap *remap = remap_new();
    int status = remap ? 0 : -1;

    for (size_t i = 0; status == 0 && i < births->n; i++) {
        const struct birth *birth = &births->items[i];

        if (!birth->alive || !birth->old)
            continue;
        if (remap_add(remap, birth->alive, birth->old) < 0)
            PyErr_Clear(); /* an alias of one that is added; what is left is reported */
    }
    if (status == 0)
        status = remap_resolve(remap);
    if (status == 0)
        status = remap_commit(remap);
    if (status == 0)
        status = remap_verify(remap);
    remap_free(remap);
    return status;
}

/* The engine has moved the weak references along with all others: new ones tell whether those
 * that made room are held by anybody still. */
static int renew_weak_references(struct births *births)
{
    for (size_t i = 0; i < births->n; i++) {
        struct birth *birth = &births->items[i];
        PyObject *weak = birth->alive ? PyWeakref_NewRef(birth->alive, NULL) : NULL;

        if (birth->alive && !weak)
            return -1;
        if (weak) {
            Py_DecRef(birth->weak);
            birth->weak = weak;
        }
    }
    return 0;
}

/* The dicts of the execution that are alive: those that surviving functions run in. */
static int keep_globals(const struct births *births)
{
    PyObject **dicts = calloc(births->n + 1, sizeof *dicts);
    size_t n = 0;
    int status;

    if (!dicts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < births->n; i++) {
        PyObject *alive = births->items[i].alive;

        if (alive && type_of(alive) == &PyFunction_Type)
            dicts[n++] = PyFunction_GetGlobals(alive);
    }
    status = graveyard_keep_globals(dicts, n);
    free(dicts);
    return status;
}

static int take_back(struct births *births)
{
    bool collecting;
    int status = collector_pause(&collecting);

    if (status < 0)
        return -1;
    status = remove_strays(births);
    if (status == 0)
        status = keep_globals(births);
    if (status == 0)
        status = remap_to_old(births);
    if (status == 0)
        status = renew_weak_references(births);
    collector_resume(collecting);
    return status;
}

/* The names of those that are alive even now. */
static PyObject *names_left(struct births *births)
{
    PyObject *list = PyList_New(0);
    Py_ssize_t n = list ? hold_survivors(births) : -1;
    int status = n < 0 ? -1 : 0;

    for (size_t i = 0; status == 0 && n > 0 && i < births->n; i++) {
        if (births->items[i].alive)
            status = PyList_Append(list, births->items[i].name);
    }
    let_go(births);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

static void clear(struct births *births)
{
    let_go(births);
    for (size_t i = 0; i < births->n; i++) {
        Py_DecRef(births->items[i].weak);
        Py_DecRef(births->items[i].name);
        Py_DecRef(births->items[i].old);
    }
    free(births->items);
    free(births->dicts);
}

PyObject *leftover_take_back(struct execution *e)
{
    struct births births = {0};
    PyObject *left = NULL;
    int status = note_births(&births, e);
    Py_ssize_t survivors;

    exit_functions_take_back(e);
    execution_end(e);
    survivors = status == 0 && births.n ? hold_survivors(&births) : 0;
    if (survivors > 0)
        status = take_back(&births);
    let_go(&births);
    if (status == 0 && survivors == 0)
        left = PyList_New(0);
    else if (status == 0 && survivors > 0)
        left = names_left(&births);
    clear(&births);
    return left;
}
