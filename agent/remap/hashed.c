/* Hash tables: dicts with keys other than str, sets, frozensets.
 *
 * A replaced function or class that is a key or member hashes differently; so do the
 * tuples, frozensets, bound methods and weak references that name it and are keys or
 * members somewhere.  Such a table gets the new objects and hashes in the places the old
 * ones had, and its index is built anew from the stored hashes: linear, order kept, no
 * __hash__ or __eq__ is called and nothing is allocated, so it cannot fail.
 *
 * Old and new object in one table become one entry: it has the old one's place and the
 * value that was stored under the new one. */
#include <stdlib.h>

#include "../cpython/dict.h"
#include "../cpython/hash.h"
#include "../cpython/set.h"
#include "address_set.h"
#include "engine.h"
#include "rehash.h"
#include "tally.h"

/* An indirect change: `object` itself stays, its hash does not. */
struct change {
    PyObject *object;
    Py_hash_t after;
};

struct table {
    PyObject *container;
    struct change *changes; /* by address */
    size_t n_changes, n_keys;
};

struct hashed {
    struct tally tally;
    struct table *tables;
    size_t n, cap;
    PyObject **tuples; /* 3.14+: that remember a hash which changes */
    size_t n_tuples, cap_tuples;
    struct set_entry *copy; /* of the largest set */
    size_t cap_copy;
    unsigned char *rewritten; /* by entry of the largest dict */
    size_t cap_rewritten;
    bool failed;
};

static struct hashed *state(struct remap *r)
{
    if (!r->hashed)
        r->hashed = remap_alloc(r, sizeof *r->hashed);
    return r->hashed;
}

/* --- edges */

static int count_table(struct remap *r, PyObject *container)
{
    struct tally *tally = &r->hashed->tally;
    struct dict_table t;

    if (is_set(container)) {
        const struct set_object *set = (const struct set_object *)container;

        for (size_t i = 0; i <= (size_t)set->mask; i++)
            if (set_entry_live(&set->table[i]) && tally_add(r, tally, set->table[i].key) < 0)
                return -1;
        return 0;
    }
    dict_table_open(container, &t);
    for (size_t i = 0; i < t.n_entries; i++)
        if (t.entries[i].key && (tally_add(r, tally, t.entries[i].key) < 0 ||
                                 tally_add(r, tally, t.entries[i].value) < 0))
            return -1;
    for (struct odict_node *node = odict_first(container); node; node = node->next)
        if (tally_add(r, tally, node->key) < 0)
            return -1;
    return 0;
}

static bool has_table(PyObject *o)
{
    struct dict_table t;

    return is_set(o) || (is_dict(o) && dict_table_open(o, &t));
}

static ptrdiff_t hashed_resolve(struct remap *r, struct edge *e)
{
    int fresh;

    if ((!is_set(e->referrer) && !is_dict(e->referrer)) || !rehash_supported() ||
        !has_table(e->referrer))
        return 0;
    if (!state(r))
        return -1;
    fresh = tally_open(r, &r->hashed->tally, e->referrer);
    if (fresh < 0 || (fresh && count_table(r, e->referrer) < 0))
        return -1;
    return (ptrdiff_t)tally_take(&r->hashed->tally, e->key, e->visits);
}

/* --- which tables change, and how */

struct walk {
    struct remap *r;
    struct table *table; /* NULL: only count */
    size_t n_changes, n_keys, n_values;
};

static int walk_entry(struct walk *w, PyObject *key, Py_hash_t hash)
{
    Py_hash_t after;
    uint32_t index;

    if (keys_find(w->r, key) >= 0) {
        w->n_keys++;
        return 0;
    }
    switch (rehash_of(w->r, key, hash, &after, &index)) {
    case REHASH_SAME:
        return 0;
    case REHASH_FAILED:
        return -1;
    case REHASH_UNKNOWN:
        if (w->table || index == REHASH_NO_KEY)
            return 0;
        return remap_hold(w->r, index,
                          "a key of a dict or set, whose hash only the program "
                          "can compute: found under the old hash",
                          0);
    case REHASH_CHANGED:
        if (w->table)
            w->table->changes[w->n_changes] = (struct change){key, after};
        w->n_changes++;
    }
    return 0;
}

static int walk_table(struct walk *w, PyObject *container)
{
    struct dict_table t;

    if (is_set(container)) {
        const struct set_object *set = (const struct set_object *)container;

        for (size_t i = 0; i <= (size_t)set->mask; i++)
            if (set_entry_live(&set->table[i]) &&
                walk_entry(w, set->table[i].key, set->table[i].hash) < 0)
                return -1;
        return 0;
    }
    dict_table_open(container, &t);
    for (size_t i = 0; i < t.n_entries; i++) {
        if (!t.entries[i].key)
            continue;
        w->n_values += keys_find(w->r, t.entries[i].value) >= 0;
        if (walk_entry(w, t.entries[i].key, t.entries[i].hash) < 0)
            return -1;
    }
    return 0;
}

static void note_size(struct hashed *h, PyObject *container)
{
    size_t *cap = is_set(container) ? &h->cap_copy : &h->cap_rewritten;
    size_t size = (size_t)(is_set(container) ? PySet_Size(container) : 0);
    struct dict_table t;

    if (!is_set(container) && dict_table_open(container, &t))
        size = t.n_entries;
    if (*cap < size)
        *cap = size;
}

static int add_table(struct remap *r, PyObject *container, const struct walk *counted)
{
    struct hashed *h = r->hashed;
    struct table *table;
    struct walk w = {.r = r};

    if (remap_reserve(r, &h->tables, h->n, &h->cap, sizeof *h->tables) < 0)
        return -1;
    table = &h->tables[h->n];
    *table = (struct table){.container = container};
    table->changes = remap_alloc(r, (counted->n_changes + 1) * sizeof *table->changes);
    if (!table->changes || remap_reserve_graves(r, 3 * (counted->n_changes + counted->n_keys)) < 0)
        return -1;
    w.table = table;
    if (walk_table(&w, container) < 0)
        return -1;
    table->n_changes = w.n_changes;
    table->n_keys = counted->n_keys;
    if (is_set(container))
        r->rehashed_sets++;
    else if (table->n_keys + table->n_changes > 0)
        r->rehashed_dicts++;
    qsort(table->changes, table->n_changes, sizeof *table->changes, by_address);
    note_size(h, container);
    h->n++;
    return 0;
}

static int look_at_tuple(struct remap *r, PyObject *o)
{
    struct hashed *h = r->hashed;
    Py_hash_t after, cached = *tuple_cached_hash(o);
    uint32_t key;

    enum rehash change = cached == -1 ? REHASH_SAME : rehash_of(r, o, cached, &after, &key);

    if (change == REHASH_SAME)
        return 0;
    if (change == REHASH_FAILED)
        return -1;
    if (remap_reserve(r, &h->tuples, h->n_tuples, &h->cap_tuples, sizeof *h->tuples) < 0)
        return -1;
    h->tuples[h->n_tuples++] = o;
    return 0;
}

static int look_at(PyObject *o, void *arg)
{
    struct remap *r = arg;
    struct walk w = {.r = r};

    if (is_tuple(o) && tuple_caches_hash() && type_of(o)->tp_hash == PyTuple_Type.tp_hash) {
        r->hashed->failed = look_at_tuple(r, o) < 0;
        return r->hashed->failed;
    }
    if ((!is_dict(o) && !is_set(o)) || !has_table(o))
        return 0;
    r->hashed->failed =
        walk_table(&w, o) < 0 || (w.n_changes + w.n_keys + w.n_values && add_table(r, o, &w) < 0);
    return r->hashed->failed;
}

static int hashed_prepare(struct remap *r)
{
    struct hashed *h;

    if (!rehash_supported())
        return 0;
    h = state(r);
    if (!h)
        return -1;
    if (rehash_begin(r) < 0)
        return -1;
    remap_each(r, KIND_DICT | KIND_SET | KIND_TUPLE, look_at, r);
    rehash_end(r);
    if (h->failed)
        return -1;
    /* The caller may add entries and members of its own before the commit. */
    h->cap_copy = 4 * h->cap_copy + 1024;
    h->cap_rewritten = 4 * h->cap_rewritten + 1024;
    h->copy = remap_alloc(r, h->cap_copy * sizeof *h->copy);
    h->rewritten = remap_alloc(r, h->cap_rewritten);
    return h->copy && h->rewritten ? remap_make_scratch(r) : -1;
}

/* --- commit */

/* Move a reference; the old object is the map's and does not die here. */
static void replace(PyObject **field, PyObject *new_)
{
    PyObject *old = *field;

    Py_IncRef(new_);
    *field = new_;
    Py_DecRef(old);
}

/* The new hash of a member that stays itself; false: it has not changed. */
static bool new_hash(const struct table *table, const PyObject *object, Py_hash_t *hash)
{
    const struct change wanted = {.object = (PyObject *)object};
    const struct change *found =
        bsearch(&wanted, table->changes, table->n_changes, sizeof wanted, by_address);

    if (found)
        *hash = found->after;
    return found;
}

/* True: the object is another one now. */
static bool renew(struct remap *r, const struct table *table, PyObject **key, Py_hash_t *hash)
{
    ptrdiff_t found = keys_find(r, *key);
    Py_hash_t before, after;

    if (found < 0) {
        new_hash(table, *key, hash);
        return false;
    }
    if (hash_without_python(r->keys[found].old, &before) &&
        hash_without_python(r->keys[found].new_, &after))
        *hash = after;
    replace(key, r->keys[found].new_);
    return true;
}

/* An OrderedDict's own list: the node of the entry that goes, goes too. */
static void merge_nodes(struct remap *r, struct dict_table *t, const struct dict_entry *from,
                        const struct dict_entry *into)
{
    struct odict_node *kept = NULL, *gone = NULL;

    for (struct odict_node *node = odict_first(t->dict); node; node = node->next) {
        if (!kept && node->key == into->key)
            kept = node;
        else if (!gone && node->key == from->key)
            gone = node;
    }
    if (!kept || !gone)
        return;
    remap_bury(r, gone->key);
    odict_remove(t->dict, gone, (size_t)(from - t->entries), kept, (size_t)(into - t->entries));
}

/* `from` has become equal to `into`, which comes before it and keeps the place.  The value
 * is that of the one which was not rewritten: what the program stored last. */
static void merge(struct remap *r, struct dict_table *t, struct dict_entry *from,
                  struct dict_entry *into)
{
    const unsigned char *rewritten = r->hashed->rewritten;

    if (!rewritten[from - t->entries] || rewritten[into - t->entries]) {
        PyObject *value = into->value;

        into->value = from->value;
        from->value = value;
    }
    merge_nodes(r, t, from, into);
    remap_bury(r, from->key);
    remap_bury(r, from->value);
    dict_table_remove(t, from);
    r->merged++;
}

static void reindex(struct remap *r, struct dict_table *t)
{
    struct dict_entry *earlier;

    dict_table_clear_indices(t);
    for (size_t i = 0; i < t->n_entries; i++)
        if (t->entries[i].key && !dict_table_insert(t, i, rehash_same, r, &earlier))
            merge(r, t, &t->entries[i], earlier);
}

static void finish_dict(struct remap *r, const struct table *table)
{
    struct hashed *h = r->hashed;
    struct dict_table t;

    if (!dict_table_open(table->container, &t) || t.n_entries > h->cap_rewritten)
        return; /* the caller emptied it */
    for (size_t i = 0; i < t.n_entries; i++) {
        struct dict_entry *e = &t.entries[i];
        ptrdiff_t found;

        if (!e->key)
            continue;
        h->rewritten[i] = renew(r, table, &e->key, &e->hash);
        found = keys_find(r, e->value);
        if (found >= 0)
            replace(&e->value, r->keys[found].new_);
    }
    for (struct odict_node *node = odict_first(t.dict); node; node = node->next)
        renew(r, table, &node->key, &node->hash);
    if (table->n_keys + table->n_changes > 0)
        reindex(r, &t);
    dict_new_version(t.dict, r->scratch);
}

static void drop_member(PyObject *owned, void *arg)
{
    struct remap *r = arg;

    remap_bury(r, owned);
    r->merged++;
}

static void finish_set(struct remap *r, const struct table *table)
{
    struct set_object *set = (struct set_object *)table->container;
    struct set_entry *copy = r->hashed->copy;
    size_t n = 0;

    if ((size_t)set->used > r->hashed->cap_copy)
        return;
    for (size_t i = 0; i <= (size_t)set->mask; i++) {
        struct set_entry *entry = &set->table[i];

        if (!set_entry_live(entry))
            continue;
        renew(r, table, &entry->key, &entry->hash);
        copy[n++] = *entry;
    }
    set_rebuild(set, copy, n, rehash_same, r, drop_member);
}

static void hashed_finish(struct remap *r)
{
    struct hashed *h = r->hashed;

    if (!h || !h->copy)
        return;
    for (size_t i = 0; i < h->n_tuples; i++)
        *tuple_cached_hash(h->tuples[i]) = -1;
    for (size_t i = 0; i < h->n; i++) {
        if (is_set(h->tables[i].container))
            finish_set(r, &h->tables[i]);
        else
            finish_dict(r, &h->tables[i]);
    }
}

const struct writer hashed_writer = {
    .kind = "hash table",
    .resolve = hashed_resolve,
    .prepare = hashed_prepare,
    .finish = hashed_finish,
};
