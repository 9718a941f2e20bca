#include "rehash.h"

#include <stdlib.h>

#include "../cpython/dict.h"
#include "../cpython/hash.h"
#include "../cpython/method.h"
#include "../cpython/set.h"
#include "../cpython/weakref.h"

bool rehash_supported(void)
{
    return dict_layout_known() && set_layout_known() && hash_formulas_known();
}

enum { DEEPEST = 200, ON_STACK = 32 };

struct lane {
    Py_hash_t before, after;
    bool known;
};

static enum rehash change_of(const struct remap *, PyObject *, const Py_hash_t *, int,
                             struct lane *, uint32_t *);

static PyObject *mapped(const struct remap *r, PyObject *o)
{
    ptrdiff_t i = keys_find(r, o);

    return i < 0 ? o : r->keys[i].new_;
}

/* The hash of an object whose type computes it in C from nothing but itself. */
static bool plain_hash(PyObject *o, Py_hash_t *hash)
{
    const PyTypeObject *type = type_of(o);

    if (!hashed_by_address(o) && type != &PyUnicode_Type && type != &PyLong_Type &&
        type != &PyBytes_Type && type != &PyFloat_Type && type != &PyBool_Type && o != Py_None)
        return false;
    *hash = PyObject_Hash(o);
    return true;
}

static enum rehash change_of_key(const struct key *k, const Py_hash_t *stored, struct lane *lane)
{
    lane->known = hash_without_python(k->old, &lane->before);
    /* What a method of the class computes is the same: that is its own say. */
    if (!lane->known || !hash_without_python(k->new_, &lane->after)) {
        if (stored)
            lane->before = *stored;
        lane->known |= stored != NULL;
        lane->after = lane->before;
        return REHASH_SAME;
    }
    return lane->before == lane->after ? REHASH_SAME : REHASH_CHANGED;
}

static enum rehash no_memory(void)
{
    PyErr_NoMemory();
    return REHASH_FAILED;
}

static enum rehash worse(enum rehash a, enum rehash b)
{
    return a > b ? a : b;
}

static enum rehash change_of_items(const struct remap *r, PyObject *tuple, size_t n, int depth,
                                   const Py_hash_t *stored, struct lane *lane, uint32_t *key,
                                   Py_hash_t *before, Py_hash_t *after)
{
    enum rehash change = REHASH_SAME;
    size_t unknown = n, n_unknown = 0;

    for (size_t i = 0; i < n; i++) {
        PyObject *item = PyTuple_GetItem(tuple, (Py_ssize_t)i);
        struct lane l = {0};

        if (item) /* NULL: the tuple is still being filled */
            change = worse(change, change_of(r, item, NULL, depth + 1, &l, key));
        before[i] = l.before;
        after[i] = l.after;
        if (!l.known) {
            unknown = i;
            n_unknown++;
        }
    }
    if (n_unknown == 1 && stored) {
        before[unknown] = after[unknown] = hash_tuple_item(before, n, unknown, *stored);
        n_unknown = 0;
    }
    lane->known = n_unknown == 0;
    if (!lane->known)
        return change == REHASH_CHANGED ? REHASH_UNKNOWN : change;
    lane->before = hash_tuple(before, n);
    lane->after = hash_tuple(after, n);
    return change;
}

static enum rehash change_of_tuple(const struct remap *r, PyObject *tuple, const Py_hash_t *stored,
                                   int depth, struct lane *lane, uint32_t *key)
{
    size_t n = (size_t)PyTuple_Size(tuple);
    Py_hash_t on_stack[2 * ON_STACK], *hashes = on_stack;
    enum rehash change;

    if (n > ON_STACK && !(hashes = malloc(2 * n * sizeof *hashes)))
        return no_memory();
    change = change_of_items(r, tuple, n, depth, stored, lane, key, hashes, hashes + n);
    if (hashes != on_stack)
        free(hashes);
    return change;
}

static enum rehash change_of_frozenset(const struct remap *r, PyObject *o, int depth,
                                       struct lane *lane, uint32_t *key)
{
    const struct set_object *set = (const struct set_object *)o;
    size_t n = (size_t)set->used, at = 0;
    Py_hash_t *hashes = malloc((2 * n + 1) * sizeof *hashes);
    enum rehash change = REHASH_SAME;

    if (!hashes)
        return no_memory();
    for (size_t i = 0; i <= (size_t)set->mask; i++) {
        struct lane l = {0};

        if (!set_entry_live(&set->table[i]))
            continue;
        change =
            worse(change, change_of(r, set->table[i].key, &set->table[i].hash, depth + 1, &l, key));
        hashes[at] = set->table[i].hash;
        hashes[n + at++] = l.known ? l.after : set->table[i].hash;
    }
    lane->known = true;
    lane->before = hash_frozenset(hashes, n);
    lane->after = hash_frozenset(hashes + n, n);
    free(hashes);
    return change;
}

static enum rehash change_of_weakref(const struct remap *r, PyObject *o, int depth,
                                     struct lane *lane, uint32_t *key)
{
    const struct weak_reference *ref = (const struct weak_reference *)o;
    enum rehash change;

    if (ref->hash == -1)
        return REHASH_SAME; /* never hashed: in no table */
    if (ref->object == Py_None) {
        *lane = (struct lane){ref->hash, ref->hash, true};
        return REHASH_SAME;
    }
    change = change_of(r, ref->object, &ref->hash, depth + 1, lane, key);
    if (!lane->known)
        *lane = (struct lane){ref->hash, ref->hash, true};
    return change;
}

/* A bound method's hash is the xor of two, so the change of each can be xored in. */
static enum rehash change_of_method(const struct remap *r, PyObject *o, const Py_hash_t *stored,
                                    int depth, struct lane *lane, uint32_t *key)
{
    PyObject *self = PyMethod_Self(o), *function = PyMethod_Function(o);
    struct lane f = {0};
    enum rehash change = change_of(r, function, NULL, depth + 1, &f, key);
    ptrdiff_t found = keys_find(r, self);
    Py_hash_t delta = hash_pointer(self) ^ hash_pointer(mapped(r, self));

    if (found >= 0) {
        *key = (uint32_t)found;
        change = worse(change, REHASH_CHANGED);
    }
    if (change == REHASH_CHANGED && f.known)
        delta ^= f.before ^ f.after;
    lane->known = true;
    if (stored)
        lane->before = *stored;
    else if (f.known)
        lane->before = hash_pointer(self) ^ f.before;
    else
        lane->known = false;
    lane->after = lane->before ^ delta;
    if (lane->after == -1)
        lane->after = -2;
    return change;
}

static enum rehash change_of_builtin(const struct remap *r, PyObject *o, const Py_hash_t *stored,
                                     struct lane *lane, uint32_t *key)
{
    PyObject *self = builtin_self(o);
    ptrdiff_t found = self ? keys_find(r, self) : -1;
    Py_hash_t hash = stored ? *stored : PyObject_Hash(o); /* addresses only: meth_hash */

    *lane = (struct lane){hash, hash, true};
    if (found < 0)
        return REHASH_SAME;
    *key = (uint32_t)found;
    lane->after = hash ^ hash_pointer(self) ^ hash_pointer(r->keys[found].new_);
    if (lane->after == -1)
        lane->after = -2;
    return REHASH_CHANGED;
}

/* `stored`: the hash if it is known, or NULL. */
static enum rehash change_of(const struct remap *r, PyObject *o, const Py_hash_t *stored, int depth,
                             struct lane *lane, uint32_t *key)
{
    ptrdiff_t found = keys_find(r, o);

    if (found >= 0) {
        *key = (uint32_t)found;
        return change_of_key(&r->keys[found], stored, lane);
    }
    if (depth > DEEPEST)
        return REHASH_UNKNOWN;
    if (is_tuple(o) && type_of(o)->tp_hash == PyTuple_Type.tp_hash)
        return change_of_tuple(r, o, stored, depth, lane, key);
    if (type_of(o)->tp_hash == PyFrozenSet_Type.tp_hash)
        return change_of_frozenset(r, o, depth, lane, key);
    if (is_weakref_hash(o))
        return change_of_weakref(r, o, depth, lane, key);
    if (type_of(o) == &PyMethod_Type)
        return change_of_method(r, o, stored, depth, lane, key);
    if (type_of(o) == &PyCFunction_Type)
        return change_of_builtin(r, o, stored, lane, key);
    lane->known = stored || plain_hash(o, &lane->before);
    if (stored)
        lane->before = *stored;
    lane->after = lane->before;
    return REHASH_SAME;
}

enum rehash rehash_of(const struct remap *r, PyObject *o, Py_hash_t before, Py_hash_t *after,
                      uint32_t *key)
{
    struct lane lane = {0};
    enum rehash change;

    *key = REHASH_NO_KEY;
    change = change_of(r, o, &before, 0, &lane, key);
    if (change == REHASH_CHANGED) {
        /* The formulas must explain the hash that is there; else the object was changed
         * since, or is hashed in a way not known here. */
        if (!lane.known || lane.before != before)
            return REHASH_UNKNOWN;
        *after = lane.after;
        if (*after == before)
            return REHASH_SAME;
    }
    return change;
}

static bool same_items(PyObject *a, PyObject *b, void *arg)
{
    Py_ssize_t n = PyTuple_Size(a);

    if (n != PyTuple_Size(b))
        return false;
    for (Py_ssize_t i = 0; i < n; i++)
        if (!rehash_same(PyTuple_GetItem(a, i), PyTuple_GetItem(b, i), arg))
            return false;
    return true;
}

bool rehash_same(PyObject *a, PyObject *b, void *arg)
{
    const struct remap *r = arg;

    a = mapped(r, a);
    b = mapped(r, b);
    if (a == b)
        return true;
    if (type_of(a) != type_of(b))
        return false;
    if (type_of(a) == &PyTuple_Type)
        return same_items(a, b, arg);
    if (type_of(a) == &PyUnicode_Type)
        return PyUnicode_Compare(a, b) == 0;
    if (type_of(a) == &PyMethod_Type)
        return PyMethod_Self(a) == PyMethod_Self(b) &&
               mapped(r, PyMethod_Function(a)) == mapped(r, PyMethod_Function(b));
    if (type_of(a) == &_PyWeakref_RefType) {
        const PyObject *x = ((struct weak_reference *)a)->object;

        return x != Py_None &&
               mapped(r, (PyObject *)x) == mapped(r, ((struct weak_reference *)b)->object);
    }
    return false;
}
