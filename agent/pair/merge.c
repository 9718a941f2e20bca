/* Merging: a container that stays gets what the new execution registered in the one that is
 * dropped, and nothing twice.
 *
 * Two elements are one when they are the same object, old and new of a pair, equal immutable
 * values, or tuples of such.  What is left over of mutable elements is matched in order by
 * type, so that an instance that the source registers again is the one that is there. */
#include <stdlib.h>

#include "cpython/weakref.h"
#include "data.h"
#include "identity.h"

#define MAX_DEPTH 50

static bool same_entry(const struct pairing *, PyObject *old, PyObject *new_, int depth,
                       bool loose);

static bool same_part(const struct pairing *pairing, PyObject *old, PyObject *new_,
                      const char *name, int depth, bool loose)
{
    PyObject *a = builtin_attribute(old, partial_type(), name);
    PyObject *b = builtin_attribute(new_, partial_type(), name);
    bool same = a && b &&
                (same_entry(pairing, a, b, depth + 1, loose) ||
                 (is_dict(a) && is_dict(b) && !PyDict_Size(a) && !PyDict_Size(b)));

    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* A weakref.WeakMethod refers to the instance, and in _func_ref, a slot, to the function. */
static bool same_referent(const struct pairing *pairing, PyObject *old, PyObject *new_, int depth,
                          bool loose)
{
    PyObject *a = weakref_target(old), *b = weakref_target(new_);
    bool same =
        a && b && type_of(old) == type_of(new_) && same_entry(pairing, a, b, depth + 1, loose);

    if (!same || !is_exactly(old, "weakref", "WeakMethod"))
        return same;
    a = PyObject_GetAttrString(old, "_func_ref");
    b = PyObject_GetAttrString(new_, "_func_ref");
    same = a && b && same_entry(pairing, a, b, depth + 1, loose);
    drop_error();
    Py_DecRef(a);
    Py_DecRef(b);
    return same;
}

/* `loose`: instances of one class, before and after, are the same. */
static bool same_entry(const struct pairing *pairing, PyObject *old, PyObject *new_, int depth,
                       bool loose)
{
    if (old == new_ || pairing_origin(pairing, new_) == old ||
        remap_get(pairing->remap, new_) == old || same_value(old, new_) ||
        is_same_identity(pairing, old, new_) || is_same_private(old, new_))
        return true;
    if (depth == MAX_DEPTH)
        return false;
    if (loose && type_of(old) != type_of(new_) && is_same_class(pairing, old, new_))
        return true;
    if (type_of(old) == &PyMethod_Type && type_of(new_) == &PyMethod_Type)
        return same_entry(pairing, PyMethod_Function(old), PyMethod_Function(new_), depth + 1,
                          loose) &&
               same_entry(pairing, PyMethod_Self(old), PyMethod_Self(new_), depth + 1, loose);
    if (is_weakref(old) && is_weakref(new_))
        return same_referent(pairing, old, new_, depth, loose);
    if (is_partial(old) && is_partial(new_))
        return same_part(pairing, old, new_, "func", depth, loose) &&
               same_part(pairing, old, new_, "args", depth, loose) &&
               same_part(pairing, old, new_, "keywords", depth, loose);
    if (type_of(old) != &PyTuple_Type || type_of(new_) != &PyTuple_Type ||
        PyTuple_Size(old) != PyTuple_Size(new_))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_Size(old); i++) {
        if (!same_entry(pairing, PyTuple_GetItem(old, i), PyTuple_GetItem(new_, i), depth + 1,
                        loose))
            return false;
    }
    return true;
}

bool is_same_entry(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    return same_entry(pairing, old, new_, 0, false);
}

bool is_repetition(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    return same_entry(pairing, old, new_, 0, true);
}

bool is_same_class(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *a = (PyObject *)type_of(old), *b = (PyObject *)type_of(new_);

    return a == b || remap_get(pairing->remap, a) == b;
}

static bool is_literal(PyObject *literals, PyObject *value)
{
    for (Py_ssize_t i = 0; literals && is_list(literals) && i < PyList_Size(literals); i++) {
        if (same_value(PyList_GetItem(literals, i), value))
            return true;
    }
    return false;
}

static bool is_mergeable(const struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyTypeObject *type = type_of(old);

    if (old == new_ || !is_same_class(pairing, old, new_))
        return false;
    return type == &PyDict_Type || type == &PyList_Type || type == &PySet_Type ||
           is_exactly(old, "collections", "defaultdict") ||
           is_exactly(old, "collections", "OrderedDict") || is_ours(pairing, (PyObject *)type);
}

int merge_keep(struct pairing *pairing, PyObject *old, PyObject *new_, PyObject *literals)
{
    PyObject *entry;
    int status;

    if (old == new_ || remap_get(pairing->remap, new_))
        return 0;
    if (pairing_add(pairing, new_, old) < 0)
        return -1;
    entry = PyTuple_Pack(3, old, new_, literals ? literals : Py_None);
    status = entry ? PyList_Append(pairing->merges, entry) : -1;
    Py_DecRef(entry);
    return status;
}

int pair_private(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    return is_same_private(old, new_) && pairing_add(pairing, old, new_) < 0 ? -1 : 0;
}

/* A value that both have at the same place. */
static int merge_present(struct pairing *pairing, PyObject *dict, PyObject *key, PyObject *old,
                         PyObject *new_)
{
    if (is_same_entry(pairing, old, new_))
        return pair_private(pairing, old, new_);
    if (is_mergeable(pairing, old, new_))
        return merge_keep(pairing, old, new_, NULL);
    /* What others put there at run time stays, what this source put there follows. */
    if (is_definition(pairing, new_) && is_definition(pairing, old))
        return pairing_set(pairing, dict, key, new_);
    return 0;
}

/* The keys of a live dict or set, and behind which one the last was found: the source makes them
 * in one order, before and now. */
struct live_keys {
    PyObject *list;
    Py_ssize_t next;
};

/* Instances of the modules' own classes that are made for keys, or in tuples for these, are new
 * ones each time: they are matched in order, as in lists. */
static bool stands_for(const struct pairing *pairing, PyObject *live, PyObject *new_, int depth)
{
    if (is_same_entry(pairing, live, new_))
        return true;
    if (type_of(new_) != &PyTuple_Type)
        return is_plain_key(live) && is_mergeable(pairing, live, new_) &&
               !remap_get(pairing->remap, live) && !pairing_origin(pairing, live);
    if (depth == MAX_DEPTH || type_of(live) != &PyTuple_Type ||
        PyTuple_Size(live) != PyTuple_Size(new_))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_Size(new_); i++) {
        if (!stands_for(pairing, PyTuple_GetItem(live, i), PyTuple_GetItem(new_, i), depth + 1))
            return false;
    }
    return true;
}

/* What stands_for said so of: the instances stay, with what the new ones have. */
static int keep_key(struct pairing *pairing, PyObject *live, PyObject *new_)
{
    int status = 0;

    if (is_same_entry(pairing, live, new_))
        return 0;
    if (type_of(new_) != &PyTuple_Type)
        return merge_keep(pairing, live, new_, NULL);
    for (Py_ssize_t i = 0; status == 0 && i < PyTuple_Size(new_); i++)
        status = keep_key(pairing, PyTuple_GetItem(live, i), PyTuple_GetItem(new_, i));
    return status;
}

/* Which of the keys one of the new execution's is: *live is borrowed, or NULL.  0, or -1. */
static int match_key(struct pairing *pairing, struct live_keys *keys, PyObject *new_,
                     PyObject **live)
{
    Py_ssize_t n = PyList_Size(keys->list);

    *live = remap_get(pairing->remap, new_);
    if (!*live)
        *live = pairing_origin(pairing, new_);
    if (*live || (type_of(new_) != &PyTuple_Type && !is_ours(pairing, (PyObject *)type_of(new_))))
        return 0;
    for (Py_ssize_t i = 0; i < n && !*live; i++) {
        Py_ssize_t at = (keys->next + i) % n;
        PyObject *key = PyList_GetItem(keys->list, at);

        if (!stands_for(pairing, key, new_, 0))
            continue;
        *live = key;
        keys->next = at + 1;
    }
    return *live ? keep_key(pairing, *live, new_) : 0;
}

static int merge_dict(struct pairing *pairing, PyObject *old, PyObject *new_, PyObject *literals)
{
    struct live_keys keys = {.list = PyDict_Keys(old)};
    PyObject *key, *value;
    Py_ssize_t at = 0;
    int status = keys.list ? 0 : -1;

    while (status == 0 && PyDict_Next(new_, &at, &key, &value)) {
        PyObject *name = key, *live;

        if (!is_plain_key(key))
            continue;
        live = dict_lookup(old, key);
        if (!live) {
            status = match_key(pairing, &keys, key, &name);
            live = name ? dict_lookup(old, name) : NULL;
        }
        if (status < 0)
            break;
        if (live)
            status = merge_present(pairing, old, name, live, value);
        else if (is_literal(literals, key) && !is_definition(pairing, value))
            status = 0;
        else
            status = pairing_set(pairing, old, key, value);
    }
    Py_DecRef(keys.list);
    return status;
}

static int merge_set(struct pairing *pairing, PyObject *old, PyObject *new_, PyObject *literals)
{
    struct live_keys keys = {.list = PySequence_List(old)};
    PyObject *key, *copy = PySequence_List(new_);
    int status = copy && keys.list ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(copy); i++) {
        PyObject *live;

        key = PyList_GetItem(copy, i);
        if (!is_plain_key(key) || is_literal(literals, key) || PySet_Contains(old, key) == 1)
            continue;
        status = match_key(pairing, &keys, key, &live);
        if (status == 0 && (!live || PySet_Contains(old, live) != 1))
            status = pairing_insert(pairing, old, key);
    }
    Py_DecRef(copy);
    Py_DecRef(keys.list);
    return status;
}

/* The index of the first unmatched live element that `fits`, or -1. */
static Py_ssize_t find_element(const struct pairing *pairing, PyObject *old, const char *matched,
                               PyObject *element, bool by_type)
{
    for (Py_ssize_t i = 0; i < PyList_Size(old); i++) {
        PyObject *live = PyList_GetItem(old, i);

        if (matched[i])
            continue;
        if (by_type ? is_mergeable(pairing, live, element) : is_same_entry(pairing, live, element))
            return i;
    }
    return -1;
}

/* Matches the elements of `new_`: taken[i] for those that are in `old`, or that nothing is to
 * be done for. */
static int match_elements(struct pairing *pairing, PyObject *old, PyObject *new_,
                          PyObject *literals, char *matched, char *taken)
{
    for (Py_ssize_t i = 0; i < PyList_Size(new_); i++) {
        PyObject *element = PyList_GetItem(new_, i);
        Py_ssize_t at = find_element(pairing, old, matched, element, false);

        taken[i] = at >= 0 || is_literal(literals, element);
        if (at < 0)
            continue;
        matched[at] = 1;
        if (pair_private(pairing, PyList_GetItem(old, at), element) < 0)
            return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(new_); i++) {
        PyObject *element = PyList_GetItem(new_, i);
        Py_ssize_t at;

        if (taken[i] || is_immutable(element) || is_definition(pairing, element))
            continue;
        at = find_element(pairing, old, matched, element, true);
        if (at < 0)
            continue;
        matched[at] = taken[i] = 1;
        if (merge_keep(pairing, PyList_GetItem(old, at), element, NULL) < 0)
            return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_Size(new_); i++) {
        PyObject *element = PyList_GetItem(new_, i);

        for (Py_ssize_t at = 0; !taken[i] && at < PyList_Size(old); at++) {
            PyObject *live = PyList_GetItem(old, at);

            if (matched[at] || !is_reworded(pairing, live, element))
                continue;
            matched[at] = taken[i] = 1;
            if (plan_replace(pairing->plan, old, live, element) < 0)
                return -1;
        }
    }
    return 0;
}

static int merge_list(struct pairing *pairing, PyObject *old, PyObject *new_, PyObject *literals)
{
    char *matched = calloc((size_t)PyList_Size(old) + 1, 1);
    char *taken = calloc((size_t)PyList_Size(new_) + 1, 1);
    int status = -1;

    if (!matched || !taken)
        PyErr_NoMemory();
    else
        status = match_elements(pairing, old, new_, literals, matched, taken);
    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(new_); i++) {
        if (!taken[i])
            status = pairing_insert(pairing, old, PyList_GetItem(new_, i));
    }
    free(matched);
    free(taken);
    return status;
}

/* Attributes that a changed __init__ gives are missing in the instance that stays. */
static int merge_instance(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *a = instance_dict(old), *b = instance_dict(new_);
    int status = a && b ? merge_dict(pairing, a, b, NULL) : 0;

    Py_DecRef(a);
    Py_DecRef(b);
    return status;
}

static int merge_values(struct pairing *pairing, PyObject *old, PyObject *new_, PyObject *literals)
{
    if (!is_mergeable(pairing, old, new_))
        return 0;
    if (is_dict(old))
        return merge_dict(pairing, old, new_, literals);
    if (is_list(old))
        return merge_list(pairing, old, new_, literals);
    if (type_of(old) == &PySet_Type)
        return merge_set(pairing, old, new_, literals);
    return merge_instance(pairing, old, new_);
}

int merge_all(struct pairing *pairing)
{
    for (Py_ssize_t i = 0; i < PyList_Size(pairing->merges); i++) {
        PyObject *entry = PyList_GetItem(pairing->merges, i);

        if (merge_values(pairing, PyTuple_GetItem(entry, 0), PyTuple_GetItem(entry, 1),
                         PyTuple_GetItem(entry, 2)) < 0)
            return -1;
    }
    return 0;
}
