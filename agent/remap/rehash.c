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

enum {
    DEEPEST = 50,       /* at once */
    MOST_NESTS = 10000, /* times DEEPEST: CPython's own hash would have run out of stack */
    ON_STACK = 32,
};

struct lane {
    Py_hash_t before, after;
    bool known;
};

static enum rehash change_of(const struct remap *, PyObject *, const Py_hash_t *, int,
                             struct lane *, uint32_t *);

/* --- what is known of nested objects */

/* One that was looked at: without it, what many hold would be looked at once for each way that
 * leads to it. */
struct known {
    PyObject *object; /* NULL: free */
    enum rehash change;
    uint32_t key;
    struct lane lane;
};

struct rehash_memo {
    struct known *slots;
    size_t n, cap;      /* a power of two, or 0 */
    PyObject *too_deep; /* what the last attempt did not look into: it is to be known first */
};

static struct known *slot_of(struct known *slots, size_t cap, const PyObject *o)
{
    size_t i = ((uintptr_t)o >> 4) * 0x9e3779b97f4a7c15u;

    for (i ^= i >> 32;; i++) {
        struct known *slot = &slots[i & (cap - 1)];

        if (!slot->object || slot->object == o)
            return slot;
    }
}

static const struct known *recall(const struct remap *r, const PyObject *o)
{
    const struct rehash_memo *memo = r->rehash_memo;
    const struct known *slot = memo->n ? slot_of(memo->slots, memo->cap, o) : NULL;

    return slot && slot->object ? slot : NULL;
}

static int grow(struct rehash_memo *memo)
{
    size_t cap = memo->cap ? 2 * memo->cap : 256;
    struct known *slots = calloc(cap, sizeof *slots);

    if (!slots) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < memo->cap; i++)
        if (memo->slots[i].object)
            *slot_of(slots, cap, memo->slots[i].object) = memo->slots[i];
    free(memo->slots);
    memo->slots = slots;
    memo->cap = cap;
    return 0;
}

static int remember(struct rehash_memo *memo, const struct known *known)
{
    struct known *slot;

    if (2 * memo->n >= memo->cap && grow(memo) < 0)
        return -1;
    slot = slot_of(memo->slots, memo->cap, known->object);
    memo->n += !slot->object;
    *slot = *known;
    return 0;
}

int rehash_begin(struct remap *r)
{
    r->rehash_memo = calloc(1, sizeof *r->rehash_memo);
    if (r->rehash_memo)
        return 0;
    PyErr_NoMemory();
    return -1;
}

void rehash_end(struct remap *r)
{
    if (r->rehash_memo)
        free(r->rehash_memo->slots);
    free(r->rehash_memo);
    r->rehash_memo = NULL;
}

/* --- by type */

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
    Py_hash_t delta = hash_pointer(self) ^ hash_pointer(keys_mapped(r, self));

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

static bool is_nest(PyObject *o)
{
    const PyTypeObject *type = type_of(o);

    return (is_tuple(o) && type->tp_hash == PyTuple_Type.tp_hash) ||
           type->tp_hash == PyFrozenSet_Type.tp_hash || type == &PyMethod_Type ||
           is_weakref_hash(o);
}

static enum rehash change_of_nest(const struct remap *r, PyObject *o, const Py_hash_t *stored,
                                  int depth, struct lane *lane, uint32_t *key)
{
    if (is_tuple(o))
        return change_of_tuple(r, o, stored, depth, lane, key);
    if (type_of(o)->tp_hash == PyFrozenSet_Type.tp_hash)
        return change_of_frozenset(r, o, depth, lane, key);
    if (type_of(o) == &PyMethod_Type)
        return change_of_method(r, o, stored, depth, lane, key);
    return change_of_weakref(r, o, depth, lane, key);
}

static enum rehash change_of_nested(const struct remap *r, PyObject *o, const Py_hash_t *stored,
                                    int depth, struct lane *lane, uint32_t *key)
{
    const struct known *before = recall(r, o);
    struct known known = {o, REHASH_SAME, REHASH_NO_KEY, {0, 0, false}};

    if (before) {
        *lane = before->lane;
        if (before->key != REHASH_NO_KEY)
            *key = before->key;
        return before->change;
    }
    if (depth > DEEPEST) {
        r->rehash_memo->too_deep = o;
        return REHASH_FAILED;
    }
    known.change = change_of_nest(r, o, stored, depth, &known.lane, &known.key);
    *lane = known.lane;
    if (known.key != REHASH_NO_KEY)
        *key = known.key;
    /* What follows from the hash stored in one table is not for all. */
    if (known.change != REHASH_FAILED && (!stored || !is_tuple(o)) &&
        remember(r->rehash_memo, &known) < 0)
        return REHASH_FAILED;
    return known.change;
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
    if (is_nest(o))
        return depth > 1 ? change_of_nested(r, o, stored, depth, lane, key)
                         : change_of_nest(r, o, stored, depth, lane, key);
    if (type_of(o) == &PyCFunction_Type)
        return change_of_builtin(r, o, stored, lane, key);
    lane->known = stored || plain_hash(o, &lane->before);
    if (stored)
        lane->before = *stored;
    lane->after = lane->before;
    return REHASH_SAME;
}

static bool waits_for_another(const struct remap *r, enum rehash change)
{
    return change == REHASH_FAILED && r->rehash_memo->too_deep && !PyErr_Occurred();
}

/* Gets to know the last of the list, or adds what has to be known before.  -1: no memory. */
static int look_into_last(const struct remap *r, struct known *list, size_t *n)
{
    struct known *last = &list[*n - 1];

    r->rehash_memo->too_deep = NULL;
    last->lane = (struct lane){0};
    last->change = change_of_nest(r, last->object, NULL, 0, &last->lane, &last->key);
    if (waits_for_another(r, last->change)) {
        list[(*n)++] = (struct known){.object = r->rehash_memo->too_deep, .key = REHASH_NO_KEY};
        return 0;
    }
    if (last->change == REHASH_FAILED || remember(r->rehash_memo, last) < 0)
        return -1;
    (*n)--;
    return 0;
}

/* Gets to know `o`, and first what is too deep in it, and so on: in a list, not on the stack,
 * which may be small. */
static int get_to_know(const struct remap *r, PyObject *o)
{
    struct known *list = malloc(MOST_NESTS * sizeof *list);
    size_t n = 0;
    int status = 0;

    if (!list) {
        PyErr_NoMemory();
        return -1;
    }
    list[n++] = (struct known){.object = o, .key = REHASH_NO_KEY};
    while (n > 0 && status == 0) {
        if (n == MOST_NESTS) {
            list[--n].change = REHASH_UNKNOWN;
            status = remember(r->rehash_memo, &list[n]);
        } else {
            status = look_into_last(r, list, &n);
        }
    }
    free(list);
    return status;
}

enum rehash rehash_of(const struct remap *r, PyObject *o, Py_hash_t before, Py_hash_t *after,
                      uint32_t *key)
{
    struct lane lane;
    enum rehash change;

    do {
        lane = (struct lane){0};
        *key = REHASH_NO_KEY;
        r->rehash_memo->too_deep = NULL;
        change = change_of(r, o, &before, 0, &lane, key);
    } while (waits_for_another(r, change) && get_to_know(r, r->rehash_memo->too_deep) == 0);
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

    a = keys_mapped(r, a);
    b = keys_mapped(r, b);
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
               keys_mapped(r, PyMethod_Function(a)) == keys_mapped(r, PyMethod_Function(b));
    if (type_of(a) == &_PyWeakref_RefType) {
        const PyObject *x = ((struct weak_reference *)a)->object;

        return x != Py_None && keys_mapped(r, (PyObject *)x) ==
                                   keys_mapped(r, ((struct weak_reference *)b)->object);
    }
    return false;
}
