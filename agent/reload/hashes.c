/* New hashes for keys (hashes.h).  They are computed first, as that runs Python code; then each
 * table is built anew at once, in its order. */
#include "hashes.h"

#include <stdlib.h>

#include "big.h"
#include "cpython/bytecode.h"
#include "cpython/dict.h"
#include "cpython/hash.h"
#include "cpython/introspect.h"
#include "cpython/set.h"
#include "cpython/weakref.h"
#include "remap/remap.h"

enum { DEEPEST = 8, MAX_TRIES = 3 };

/* --- which classes */

static PyObject *lookup(PyObject *class, PyObject *name)
{
    return _PyType_Lookup((PyTypeObject *)class, name);
}

/* Are they two versions of a function that do the same?  What is none counts as the same. */
static bool same_function(PyObject *old, PyObject *new_)
{
    int same = 1;

    if (old && new_ && type_of(old) == &PyFunction_Type && type_of(new_) == &PyFunction_Type)
        same = program_same(PyFunction_GetCode(old), PyFunction_GetCode(new_));
    drop_error();
    return same == 1;
}

static bool same_helpers(PyObject *old_class, PyObject *new_class, PyObject *hash)
{
    PyObject *names = code_attribute(PyFunction_GetCode(hash), "co_names");
    bool same = names != NULL;

    for (Py_ssize_t i = 0; same && i < PyTuple_Size(names); i++) {
        PyObject *name = PyTuple_GetItem(names, i);

        same = same_function(lookup(old_class, name), lookup(new_class, name));
    }
    drop_error();
    Py_DecRef(names);
    return same;
}

bool hashes_change(PyObject *old_class, PyObject *new_class)
{
    PyObject *name = PyUnicode_InternFromString("__hash__");
    PyObject *old = name ? lookup(old_class, name) : NULL;
    PyObject *new_ = name ? lookup(new_class, name) : NULL;
    bool changed;

    drop_error();
    Py_DecRef(name);
    if (!old || !new_ || new_ == Py_None)
        return false;
    if (type_of(old) != &PyFunction_Type || type_of(new_) != &PyFunction_Type)
        changed = old != new_;
    else
        changed = !same_function(old, new_) || !same_helpers(old_class, new_class, new_);
    return changed;
}

/* --- which containers */

struct search {
    PyObject *classes;
    PyObject **found; /* strong */
    size_t n, cap;
};

static bool is_affected(PyObject *classes, PyObject *object, int depth)
{
    PyTypeObject *type = type_of(object);
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t at = 0;

    if (type == &PyUnicode_Type || depth > DEEPEST)
        return false;
    for (Py_ssize_t i = 0; i < PyList_Size(classes); i++) {
        if (PyType_IsSubtype(type, (PyTypeObject *)PyList_GetItem(classes, i)))
            return true;
    }
    if (is_weakref_hash(object)) {
        key = ((struct weak_reference *)object)->object;
        return key != Py_None && is_affected(classes, key, depth + 1);
    }
    if (type == &PyFrozenSet_Type) {
        while (_PySet_NextEntry(object, &at, &key, &hash)) {
            if (is_affected(classes, key, depth + 1))
                return true;
        }
    }
    for (Py_ssize_t i = 0; is_tuple(object) && i < PyTuple_Size(object); i++) {
        if (is_affected(classes, PyTuple_GetItem(object, i), depth + 1))
            return true;
    }
    return false;
}

static bool has_affected_key(PyObject *classes, PyObject *container)
{
    PyObject *key, *value;
    Py_hash_t hash;
    Py_ssize_t at = 0;

    if (is_dict(container)) {
        while (PyDict_Next(container, &at, &key, &value)) {
            if (is_affected(classes, key, 0))
                return true;
        }
    } else if (is_set(container)) {
        while (_PySet_NextEntry(container, &at, &key, &hash)) {
            if (is_affected(classes, key, 0))
                return true;
        }
    }
    return false;
}

static int collect(PyObject *object, void *arg)
{
    struct search *search = arg;

    if (!has_affected_key(search->classes, object))
        return 0;
    if (big_reserve_or_raise(&search->found, search->n, &search->cap, sizeof *search->found) < 0)
        return -1;
    Py_IncRef(object);
    search->found[search->n++] = object;
    return 0;
}

/* --- one container */

struct renewed {
    PyObject *key;
    Py_hash_t hash;
};

struct table {
    PyObject *keys; /* list: owns them */
    struct renewed *renewed;
    size_t n;
    PyObject *dropped; /* list of what has no place any more */
};

static int compare(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct renewed *)a)->key;
    uintptr_t y = (uintptr_t)((const struct renewed *)b)->key;

    return (x > y) - (x < y);
}

static Py_hash_t hash_now(const struct table *table, PyObject *key, Py_hash_t stored)
{
    struct renewed wanted = {.key = key};
    const struct renewed *found =
        bsearch(&wanted, table->renewed, table->n, sizeof wanted, compare);

    return found ? found->hash : stored;
}

static bool identical(PyObject *a, PyObject *b, void *arg)
{
    (void)arg;
    return a == b;
}

static bool never(PyObject *a, PyObject *b, void *arg)
{
    (void)a, (void)b, (void)arg;
    return false;
}

static PyObject *keys_of(PyObject *container)
{
    PyObject *list, *key;
    Py_hash_t hash;
    Py_ssize_t at = 0;

    if (is_dict(container))
        return PyDict_Keys(container);
    list = PyList_New(0);
    while (list && _PySet_NextEntry(container, &at, &key, &hash)) {
        if (PyList_Append(list, key) < 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* What is remembered of the key's hash, in itself and in what it is made of. */
static void forget_hash(PyObject *classes, PyObject *key, int depth)
{
    if (!is_affected(classes, key, depth))
        return;
    if (is_weakref_hash(key))
        ((struct weak_reference *)key)->hash = -1;
    else if (type_of(key) == &PyFrozenSet_Type)
        ((struct set_object *)key)->hash = -1;
    else if (is_tuple(key)) {
        if (tuple_caches_hash())
            *tuple_cached_hash(key) = -1;
        for (Py_ssize_t i = 0; i < PyTuple_Size(key); i++)
            forget_hash(classes, PyTuple_GetItem(key, i), depth + 1);
    }
}

/* Runs Python code.  0, or -1: the exception of the first that failed; the others are there. */
static int compute(PyObject *classes, struct table *table)
{
    PyObject *error[3] = {NULL};

    for (Py_ssize_t i = 0; i < PyList_Size(table->keys); i++) {
        PyObject *key = PyList_GetItem(table->keys, i);
        Py_hash_t hash;

        if (!is_affected(classes, key, 0))
            continue;
        forget_hash(classes, key, 0);
        hash = PyObject_Hash(key);
        if (hash != -1)
            table->renewed[table->n++] = (struct renewed){key, hash};
        else if (error[0])
            PyErr_Clear();
        else
            PyErr_Fetch(&error[0], &error[1], &error[2]);
    }
    qsort(table->renewed, table->n, sizeof *table->renewed, compare);
    if (!error[0])
        return 0;
    PyErr_Restore(error[0], error[1], error[2]);
    return -1;
}

/* A key that another thread did not find any more and stored again: that is the newer value. */
static void merge(struct table *table, struct dict_table *t, struct dict_entry *earlier,
                  struct dict_entry *later)
{
    PyObject *key = later->key, *value = earlier->value;

    earlier->value = later->value;
    dict_table_remove(t, later);
    if (PyList_Append(table->dropped, value) == 0) {
        Py_DecRef(value);
        Py_DecRef(key); /* not the last one: `earlier` has it too */
    }                   /* else they stay alive for ever */
    PyErr_Clear();
}

static void rebuild_dict(struct table *table, PyObject *dict, PyObject *scratch)
{
    struct odict_node *node = odict_first(dict);
    bool ordered = node != NULL;
    struct dict_entry *earlier;
    struct dict_table t;

    if (!dict_table_open(dict, &t))
        return;
    for (size_t i = 0; i < t.n_entries; i++) {
        if (t.entries[i].key)
            t.entries[i].hash = hash_now(table, t.entries[i].key, t.entries[i].hash);
    }
    for (; node; node = node->next)
        node->hash = hash_now(table, node->key, node->hash);
    dict_table_clear_indices(&t);
    for (size_t i = 0; i < t.n_entries; i++) {
        if (t.entries[i].key &&
            !dict_table_insert(&t, i, ordered ? never : identical, NULL, &earlier))
            merge(table, &t, earlier, &t.entries[i]);
    }
    dict_new_version(dict, scratch);
}

static void drop(PyObject *owned, void *arg)
{
    struct table *table = arg;

    if (PyList_Append(table->dropped, owned) == 0)
        Py_DecRef(owned);
    PyErr_Clear();
}

static int rebuild_set(struct table *table, PyObject *object)
{
    struct set_object *set = (struct set_object *)object;
    struct set_entry *entries = malloc(((size_t)set->used + 1) * sizeof *entries);
    size_t n = 0;

    if (!entries) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i <= set->mask; i++) {
        struct set_entry entry = set->table[i];

        if (!set_entry_live(&entry))
            continue;
        entry.hash = hash_now(table, entry.key, entry.hash);
        entries[n++] = entry;
    }
    set_rebuild(set, entries, n, identical, table, drop);
    free(entries);
    return 0;
}

static int renew_container(PyObject *classes, PyObject *container, PyObject *scratch)
{
    struct table table = {.keys = keys_of(container), .dropped = PyList_New(0)};
    int status = -1;

    if (table.keys && table.dropped) {
        table.renewed = malloc(((size_t)PyList_Size(table.keys) + 1) * sizeof *table.renewed);
        if (!table.renewed)
            PyErr_NoMemory();
    }
    if (table.renewed) {
        PyObject *error[3];

        status = compute(classes, &table);
        PyErr_Fetch(&error[0], &error[1], &error[2]);
        if (is_dict(container))
            rebuild_dict(&table, container, scratch);
        else if (rebuild_set(&table, container) < 0 && !error[0]) {
            PyErr_Fetch(&error[0], &error[1], &error[2]);
            status = -1;
        }
        PyErr_Restore(error[0], error[1], error[2]);
    }
    free(table.renewed);
    Py_DecRef(table.keys);
    Py_DecRef(table.dropped);
    return status;
}

/* --- all */

/* Frozen sets come first, as they may be keys themselves; twice, as they may be in each other. */
static int renew_all(const struct search *search, PyObject *scratch)
{
    PyObject *error[3] = {NULL};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < search->n; i++) {
            bool frozen = PyType_IsSubtype(type_of(search->found[i]), &PyFrozenSet_Type);

            if (frozen != (round < 2))
                continue;
            if (renew_container(search->classes, search->found[i], scratch) == 0)
                continue;
            if (error[0])
                PyErr_Clear();
            else
                PyErr_Fetch(&error[0], &error[1], &error[2]);
        }
    }
    if (!error[0])
        return 0;
    PyErr_Restore(error[0], error[1], error[2]);
    return -1;
}

static int renew(PyObject *classes)
{
    struct search search = {.classes = classes};
    PyObject *scratch = PyDict_New();
    int status = -1;

    if (scratch && PyDict_SetItemString(scratch, "v", Py_True) == 0)
        status = heap_visit(collect, &search);
    if (status == 0)
        status = renew_all(&search, scratch);
    for (size_t i = 0; i < search.n; i++)
        Py_DecRef(search.found[i]);
    big_free(search.found);
    Py_DecRef(scratch);
    return status;
}

int hashes_renew(PyObject *classes)
{
    int status, tries = 0;

    if (PyList_Size(classes) == 0 || !dict_layout_known() || !set_layout_known())
        return 0;
    /* The classes are replaced: what is not found again now never will be.  Memory may be short
     * for a moment only. */
    while ((status = renew(classes)) < 0 && ++tries < MAX_TRIES &&
           PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear();
    return status;
}
