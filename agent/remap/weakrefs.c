/* Weak references to a replaced object follow to the new one: refs, proxies, WeakMethod,
 * those in weak containers, callbacks included.  They are in a list that hangs off the
 * object; the list's nodes are the reference objects themselves, so they are moved.
 *
 * Not moved is the one by which base classes know a subclass (tp_subclasses): the new class
 * has its own there.  It can be the very object that `weakref.ref(cls)` gives to anybody; the
 * bases then get another one first. */
#include "../cpython/weakref.h"

#include <stdlib.h>

#include "../cpython/dict.h"
#include "../cpython/hash.h"
#include "../cpython/introspect.h"
#include "../cpython/refs.h"
#include "engine.h"

/* base.tp_subclasses[number], for one base of a replaced class. */
struct entry {
    uint32_t key; /* the class */
    PyObject *dict, *number;
    PyObject *stays;  /* borrowed from the dict: the weak reference that is not moved */
    PyObject *before; /* what was there; buried; NULL: it still is */
};

struct weakrefs {
    struct entry *entries; /* by key, once all are known */
    size_t n, cap;
    PyObject *callable; /* builtins.callable: a callback without effect */
    bool failed;
};

/* Is it an entry of some class's tp_subclasses, {address of the subclass: weak reference
 * to it}?  They are known by that: static types keep theirs outside the type from 3.12 on. */
static bool is_subclass_entry(const struct dict_entry *e)
{
    return type_of(e->key) == &PyLong_Type && is_weakref(e->value) &&
           PyLong_AsVoidPtr(e->key) == ((struct weak_reference *)e->value)->object;
}

static int add_entry(struct remap *r, uint32_t key, PyObject *dict, PyObject *number)
{
    struct weakrefs *w = r->weakrefs;

    if (remap_reserve_graves(r, 2) < 0)
        return -1;
    Py_IncRef(number);
    remap_bury(r, number);
    if (remap_reserve(r, &w->entries, w->n, &w->cap, sizeof *w->entries) < 0)
        return -1;
    w->entries[w->n++] = (struct entry){key, dict, number, NULL, NULL};
    return 0;
}

static int look_at(PyObject *o, void *arg)
{
    struct remap *r = arg;
    struct dict_table t;

    if (type_of(o) != &PyDict_Type || !dict_table_open(o, &t))
        return 0;
    for (size_t i = 0; i < t.n_entries; i++) {
        const struct dict_entry *e = &t.entries[i];
        ptrdiff_t key;

        if (!e->key)
            continue;
        if (type_of(e->key) != &PyLong_Type || !is_weakref(e->value))
            return 0; /* all entries are like that, or it is another dict */
        key = keys_find(r, ((struct weak_reference *)e->value)->object);
        if (key >= 0 && r->keys[key].is_class && is_subclass_entry(e) &&
            add_entry(r, (uint32_t)key, o, e->key) < 0) {
            r->weakrefs->failed = true;
            return 1;
        }
    }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    uint32_t x = ((const struct entry *)a)->key, y = ((const struct entry *)b)->key;

    return x < y ? -1 : x > y;
}

/* Those of one key are adjacent: where they begin. */
static size_t first_of(const struct weakrefs *w, uint32_t key)
{
    size_t low = 0, high = w->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (w->entries[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int weakrefs_prepare(struct remap *r)
{
    bool classes = false;

    r->weakrefs = remap_alloc(r, sizeof *r->weakrefs);
    if (!r->weakrefs)
        return -1;
    r->weakrefs->callable = dict_get(PyEval_GetBuiltins(), "callable");
    if (!r->weakrefs->callable) {
        PyErr_SetString(PyExc_RuntimeError, "this interpreter has no builtins.callable");
        return -1;
    }
    for (size_t i = 0; i < r->n_keys; i++)
        classes |= r->keys[i].is_class;
    if (classes && dict_layout_known())
        remap_each(r, KIND_DICT, look_at, r);
    if (r->weakrefs->n)
        qsort(r->weakrefs->entries, r->weakrefs->n, sizeof *r->weakrefs->entries, by_key);
    return r->weakrefs->failed ? -1 : 0;
}

/* Do only these dicts hold the weak reference to the key? */
static bool only_bases_hold(const struct weakrefs *w, uint32_t key, const PyObject *ref)
{
    uint32_t n = 0;

    for (size_t i = first_of(w, key); i < w->n && w->entries[i].key == key; i++)
        n += PyDict_GetItemWithError(w->entries[i].dict, w->entries[i].number) == ref;
    return reference_count(ref) == n;
}

static void weakrefs_undo(struct remap *r)
{
    struct weakrefs *w = r->weakrefs;
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    for (size_t i = 0; w && i < w->n; i++) {
        struct entry *e = &w->entries[i];

        if (e->before && PyDict_SetItem(e->dict, e->number, e->before) < 0)
            PyErr_WriteUnraisable(e->dict);
        e->before = NULL;
    }
    PyErr_Restore(type, value, traceback);
}

static int weakrefs_commit(struct remap *r)
{
    struct weakrefs *w = r->weakrefs;

    for (size_t i = 0; w && i < w->n; i++) {
        struct entry *e = &w->entries[i];
        PyObject *ref = PyDict_GetItemWithError(e->dict, e->number);

        if (!ref) /* the class has been given other bases since */
            continue;
        if (!only_bases_hold(w, e->key, ref)) {
            PyObject *other; /* one with a callback is never shared */
            int result;

            other = PyWeakref_NewRef(r->keys[e->key].old, w->callable);
            if (!other) {
                weakrefs_undo(r);
                return -1;
            }
            Py_IncRef(ref);
            remap_bury(r, ref);
            e->before = ref;
            result = PyDict_SetItem(e->dict, e->number, other);
            Py_DecRef(other);
            if (result < 0) {
                weakrefs_undo(r);
                return -1;
            }
        }
    }
    for (size_t i = 0; w && i < w->n; i++)
        w->entries[i].stays = PyDict_GetItemWithError(w->entries[i].dict, w->entries[i].number);
    return 0;
}

static bool stays(const struct weakrefs *w, uint32_t key, const struct weak_reference *ref)
{
    for (size_t i = first_of(w, key); i < w->n && w->entries[i].key == key; i++)
        if (w->entries[i].stays == &ref->ob_base)
            return true;
    return false;
}

static bool is_basic_ref(const struct weak_reference *ref)
{
    return ref && !ref->callback && type_of(&ref->ob_base) == &_PyWeakref_RefType;
}

static bool is_basic_proxy(const struct weak_reference *ref)
{
    return ref && !ref->callback &&
           (type_of(&ref->ob_base) == &_PyWeakref_ProxyType ||
            type_of(&ref->ob_base) == &_PyWeakref_CallableProxyType);
}

static void unlink_ref(struct weak_reference **list, struct weak_reference *ref)
{
    if (ref->prev)
        ref->prev->next = ref->next;
    else
        *list = ref->next;
    if (ref->next)
        ref->next->prev = ref->prev;
}

static struct weak_reference *last_of(struct weak_reference *ref)
{
    while (ref && ref->next)
        ref = ref->next;
    return ref;
}

/* The shared reference and the shared proxy, if there are any, come first in this order
 * (get_basic_refs, Objects/weakrefobject.c); the order of the rest is that of creation, and
 * *last the end of it. */
static void link_ref(struct weak_reference **list, struct weak_reference **last,
                     struct weak_reference *ref)
{
    struct weak_reference *after = NULL;

    if (is_basic_proxy(ref) && is_basic_ref(*list) && !is_basic_proxy((*list)->next))
        after = *list;
    else if (!(is_basic_ref(ref) && !is_basic_ref(*list)) &&
             !(is_basic_proxy(ref) && !is_basic_ref(*list) && !is_basic_proxy(*list)))
        after = *last;
    ref->prev = after;
    ref->next = after ? after->next : *list;
    if (ref->next)
        ref->next->prev = ref;
    else
        *last = ref;
    if (after)
        after->next = ref;
    else
        *list = ref;
}

static void move_refs(struct remap *r, uint32_t key)
{
    const struct key *k = &r->keys[key];
    struct weak_reference **from = weakref_list(k->old), **to = weakref_list(k->new_), *last;
    bool by_address = hashed_by_address(k->old) && hashed_by_address(k->new_);

    if (!from || !to)
        return;
    last = last_of(*to);
    for (struct weak_reference *ref = *from, *next; ref; ref = next) {
        next = ref->next;
        if (stays(r->weakrefs, key, ref))
            continue;
        unlink_ref(from, ref);
        ref->object = k->new_;
        if (ref->hash != -1 && by_address)
            ref->hash = hash_pointer(k->new_);
        link_ref(to, &last, ref);
    }
}

/* Nobody can reach the old class: its bases need not know it (they invalidate the caches
 * of those they know), and `__subclasses__()` must not list it. */
static bool unreachable(const struct key *k)
{
    return k->refcount >= 0 && (size_t)k->refcount == k->visits + k->roots && !k->unresolved &&
           k->frames == k->roots;
}

static void weakrefs_finish(struct remap *r)
{
    struct weakrefs *w = r->weakrefs;

    if (!w)
        return;
    for (size_t i = 0; i < r->n_keys; i++)
        if (!r->keys[i].is_code)
            move_refs(r, (uint32_t)i);
    for (size_t i = 0; i < w->n; i++)
        if (w->entries[i].stays && unreachable(&r->keys[w->entries[i].key]) &&
            PyDict_DelItem(w->entries[i].dict, w->entries[i].number) < 0)
            PyErr_Clear();
}

const struct writer weakref_writer = {
    .kind = "weak reference",
    .prepare = weakrefs_prepare,
    .commit_own = weakrefs_commit,
    .undo_own = weakrefs_undo,
    .finish = weakrefs_finish,
};
