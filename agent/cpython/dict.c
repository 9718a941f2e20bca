#include "dict.h"

#include <string.h>

#include "descr.h"
#include "gc_objects.h"
#include "introspect.h"
#include "statics.h"
#include "version.h"

/* Include/cpython/dictobject.h.  ma_version_tag became _ma_watcher_tag in 3.14. */
struct dict_object {
    PyObject ob_base;
    Py_ssize_t ma_used;
    uint64_t ma_version_tag;
    union dict_keys *ma_keys;
    void *ma_values; /* not NULL: a split table */
};

/* struct _dictkeysobject: Objects/dict-common.h to 3.10, where entries always have a
 * hash; Include/internal/pycore_dict.h from 3.11, where kind 0 (general) has one. */
union dict_keys {
    struct {
        Py_ssize_t refcnt, size;
        void *lookup;
        Py_ssize_t usable, nentries;
        char indices[];
    } v8;
    struct {
        Py_ssize_t refcnt;
        uint8_t log2_size, log2_index_bytes, kind;
        uint32_t version;
        Py_ssize_t usable, nentries;
        char indices[];
    } v11;
};

/* Objects/odictobject.c; od_fast_nodes is indexed like the dict's entries. */
struct odict_object {
    struct dict_object dict;
    struct odict_node *first, *last, **fast_nodes;
    Py_ssize_t fast_nodes_size;
    void *resize_sentinel;
    size_t state;
};

enum { KIND_GENERAL = 0, PERTURB_SHIFT = 5 };

/* To 3.10: the lookup function of dicts whose keys are not all exact str. */
static void *general_lookup;

static struct dict_object *as_dict(PyObject *dict)
{
    return (struct dict_object *)dict;
}

static unsigned index_bytes(size_t size)
{
    if (size <= 0xff)
        return 1;
    if (size <= 0xffff)
        return 2;
    return size <= 0xffffffff ? 4 : 8;
}

static bool open_table(PyObject *dict, struct dict_table *t)
{
    union dict_keys *keys = as_dict(dict)->ma_keys;
    size_t size;

    if (as_dict(dict)->ma_values)
        return false;
    t->dict = dict;
    if (cpython_minor() <= 10) {
        if (keys->v8.lookup != general_lookup)
            return false;
        size = (size_t)keys->v8.size;
        t->n_entries = (size_t)keys->v8.nentries;
        t->indices = keys->v8.indices;
    } else {
        if (keys->v11.kind != KIND_GENERAL)
            return false;
        size = (size_t)1 << keys->v11.log2_size;
        t->n_entries = (size_t)keys->v11.nentries;
        t->indices = keys->v11.indices;
    }
    t->mask = size - 1;
    t->index_bytes = index_bytes(size);
    t->entries = (struct dict_entry *)(t->indices + size * t->index_bytes);
    return true;
}

static int64_t get_index(const struct dict_table *t, size_t i)
{
    switch (t->index_bytes) {
    case 1:
        return ((int8_t *)t->indices)[i];
    case 2:
        return ((int16_t *)t->indices)[i];
    case 4:
        return ((int32_t *)t->indices)[i];
    default:
        return ((int64_t *)t->indices)[i];
    }
}

static void set_index(struct dict_table *t, size_t i, size_t entry)
{
    switch (t->index_bytes) {
    case 1:
        ((int8_t *)t->indices)[i] = (int8_t)entry;
        break;
    case 2:
        ((int16_t *)t->indices)[i] = (int16_t)entry;
        break;
    case 4:
        ((int32_t *)t->indices)[i] = (int32_t)entry;
        break;
    default:
        ((int64_t *)t->indices)[i] = (int64_t)entry;
    }
}

void dict_table_clear_indices(struct dict_table *t)
{
    memset(t->indices, 0xff, (t->mask + 1) * t->index_bytes); /* DKIX_EMPTY is -1 */
}

bool dict_table_insert(struct dict_table *t, size_t entry,
                       bool (*same)(PyObject *, PyObject *, void *), void *arg,
                       struct dict_entry **earlier)
{
    const struct dict_entry *e = &t->entries[entry];
    size_t perturb = (size_t)e->hash;
    size_t i = perturb & t->mask;

    for (;;) {
        int64_t there = get_index(t, i);

        if (there < 0) {
            set_index(t, i, entry);
            return true;
        }
        if (t->entries[there].hash == e->hash && same(t->entries[there].key, e->key, arg)) {
            *earlier = &t->entries[there];
            return false;
        }
        perturb >>= PERTURB_SHIFT;
        i = (i * 5 + perturb + 1) & t->mask;
    }
}

static bool identical(PyObject *a, PyObject *b, void *arg)
{
    (void)arg;
    return a == b;
}

void dict_table_reindex(struct dict_table *t)
{
    struct dict_entry *earlier;

    dict_table_clear_indices(t);
    for (size_t i = 0; i < t->n_entries; i++)
        if (t->entries[i].key)
            dict_table_insert(t, i, identical, NULL, &earlier);
}

void dict_table_remove(struct dict_table *t, struct dict_entry *entry)
{
    entry->key = entry->value = NULL;
    as_dict(t->dict)->ma_used--;
}

bool dict_table_open(PyObject *dict, struct dict_table *t)
{
    return open_table(dict, t);
}

void dict_new_version(PyObject *dict, PyObject *scratch)
{
    if (cpython_minor() > 10)
        return;
    /* An existing key: nothing is allocated, only pydict_global_version counts up. */
    PyDict_SetItemString(scratch, "v", dict_get(scratch, "v") == Py_True ? Py_False : Py_True);
    PyErr_Clear();
    as_dict(dict)->ma_version_tag = as_dict(scratch)->ma_version_tag;
}

/* Of a split table. */
struct kept {
    struct dict_object *dict;
    Py_ssize_t used;
    union dict_keys *keys;
};

static void give_back(const struct kept *kept)
{
    enum { IMMORTAL = -1 }; /* _Py_DICT_IMMORTAL_INITIAL_REFCNT is UINT32_MAX */
    struct dict_object *dict = kept->dict;

    if (dict->ma_keys == kept->keys || dict->ma_used)
        return;
    /* The class still has the keys, so they are alive. */
    dict->ma_keys = kept->keys;
    if ((int32_t)dict->ma_keys->v11.refcnt != IMMORTAL)
        dict->ma_keys->v11.refcnt++;
    dict->ma_used = kept->used;
}

int instance_set(PyObject *descr, PyObject *instance, PyObject *value)
{
    PyObject *dict = cpython_minor() == 13 ? instance_dict(instance) : NULL;
    bool split = dict && as_dict(dict)->ma_values;
    struct kept kept = {0};
    int result;

    if (split)
        kept = (struct kept){as_dict(dict), as_dict(dict)->ma_used, as_dict(dict)->ma_keys};
    result = descr_set(descr, instance, value);
    if (result < 0 && split)
        give_back(&kept);
    else if (split && !gc_is_tracked(dict))
        PyObject_GC_Track(dict);
    Py_DecRef(dict);
    return result;
}

void dict_exchange(PyObject *one, PyObject *other)
{
    struct dict_object *a = as_dict(one), *b = as_dict(other), before = *a;

    a->ma_used = b->ma_used;
    a->ma_keys = b->ma_keys;
    a->ma_values = b->ma_values;
    b->ma_used = before.ma_used;
    b->ma_keys = before.ma_keys;
    b->ma_values = before.ma_values;
}

int dict_unshare_keys(PyObject *dict)
{
    PyObject *copy;
    int result;

    if (cpython_minor() > 10 || !as_dict(dict)->ma_values)
        return 0;
    copy = PyDict_New();
    result = copy ? PyDict_Update(copy, dict) : -1;
    if (result == 0) {
        dict_exchange(dict, copy);
        as_dict(dict)->ma_version_tag = as_dict(copy)->ma_version_tag;
    }
    Py_DecRef(copy);
    return result;
}

struct odict_node *odict_first(PyObject *dict)
{
    if (!PyType_IsSubtype(type_of(dict), &PyODict_Type))
        return NULL;
    return ((struct odict_object *)dict)->first;
}

void odict_remove(PyObject *dict, struct odict_node *node, size_t entry, struct odict_node *kept,
                  size_t into)
{
    struct odict_object *od = (struct odict_object *)dict;

    if (od->resize_sentinel == od->dict.ma_keys && (Py_ssize_t)entry < od->fast_nodes_size) {
        od->fast_nodes[entry] = NULL;
        od->fast_nodes[into] = kept;
    }
    if (node->prev)
        node->prev->next = node->next;
    else
        od->first = node->next;
    if (node->next)
        node->next->prev = node->prev;
    else
        od->last = node->prev;
    od->state++;
    PyMem_Free(node);
}

/* --- a dict of another interpreter */

/* The front of PyASCIIObject: Include/cpython/unicodeobject.h, 3.8 to 3.15. */
struct str_front {
    PyObject ob_base;
    Py_ssize_t length;
    Py_hash_t hash;
};

static bool is_equal_str(const void *key, const struct str_front *name)
{
    struct str_front front;

    return read_safely(key, &front, sizeof front) && front.ob_base.ob_type == &PyUnicode_Type &&
           front.length == name->length && front.hash == name->hash;
}

bool dict_has_str_safely(const void *dict, PyObject *name)
{
    struct dict_object o;
    union dict_keys keys;
    uintptr_t entry[3];
    size_t size, n, stride = sizeof entry, at = 1; /* {hash, key, value} */
    const char *entries;

    if (PyObject_Hash(name) == -1 || !read_safely(dict, &o, sizeof o) ||
        o.ob_base.ob_type != &PyDict_Type || !read_safely(o.ma_keys, &keys, sizeof keys))
        return false;
    if (cpython_minor() <= 10) {
        size = (size_t)keys.v8.size * index_bytes((size_t)keys.v8.size);
        n = (size_t)keys.v8.nentries;
        entries = o.ma_keys->v8.indices + size;
    } else {
        size = (size_t)1 << (keys.v11.log2_index_bytes & 63);
        n = (size_t)keys.v11.nentries;
        entries = o.ma_keys->v11.indices + size;
        if (keys.v11.kind != KIND_GENERAL) { /* {key, value} */
            stride = 2 * sizeof *entry;
            at = 0;
        }
    }
    for (size_t i = 0; i < n && read_safely(entries + i * stride, entry, stride); i++)
        if (entry[at] && is_equal_str((void *)entry[at], (const struct str_front *)name))
            return true;
    return false;
}

/* --- is it so? */

/* {0: 0, 7919: 7919, ...} with `count` entries. */
static PyObject *sample(size_t count)
{
    PyObject *d = PyDict_New();
    bool ok = d;

    for (size_t i = 0; ok && i < count; i++) {
        PyObject *n = PyLong_FromSize_t(i * 7919);

        ok = n && PyDict_SetItem(d, n, n) == 0;
        if (n)
            Py_DecRef(n);
    }
    if (d && !ok) {
        Py_DecRef(d);
        d = NULL;
    }
    return d;
}

static bool entries_as_expected(PyObject *d, const struct dict_table *t)
{
    Py_ssize_t pos = 0;
    PyObject *key, *value;
    size_t i = 0;

    if (t->n_entries != (size_t)PyDict_Size(d) || as_dict(d)->ma_used != PyDict_Size(d))
        return false;
    for (; PyDict_Next(d, &pos, &key, &value); i++) {
        const struct dict_entry *e = &t->entries[i];

        if (e->key != key || e->value != value || e->hash != PyObject_Hash(key))
            return false;
    }
    return i == t->n_entries;
}

static bool reindex_works(PyObject *d, struct dict_table *t)
{
    dict_table_reindex(t);
    for (size_t i = 0; i < t->n_entries; i++)
        if (PyDict_GetItemWithError(d, t->entries[i].key) != t->entries[i].value)
            return false;
    return true;
}

static bool general_as_expected(size_t count)
{
    PyObject *d = sample(count);
    struct dict_table t;
    bool ok = false;

    if (d) {
        if (cpython_minor() <= 10 && !general_lookup)
            general_lookup = as_dict(d)->ma_keys->v8.lookup;
        ok = open_table(d, &t) && entries_as_expected(d, &t) && reindex_works(d, &t);
        Py_DecRef(d);
    }
    return ok;
}

static bool str_only_as_expected(void)
{
    PyObject *d = PyDict_New();
    struct dict_table t;
    bool ok = d && PyDict_SetItemString(d, "a", Py_None) == 0 && !open_table(d, &t);

    if (d)
        Py_DecRef(d);
    return ok;
}

static bool odict_as_expected(void)
{
    PyObject *od = PyObject_CallObject((PyObject *)&PyODict_Type, NULL);
    PyObject *key = PyLong_FromLong(7919);
    bool ok = od && key && PyObject_SetItem(od, key, Py_None) == 0 &&
              PyObject_SetItem(od, Py_None, key) == 0;

    if (ok) {
        struct odict_object *o = (struct odict_object *)od;
        struct odict_node *n = o->first;

        ok = n && n->key == key && n->hash == PyObject_Hash(key) && !n->prev && n->next &&
             n->next == o->last && n->next->key == Py_None && n->next->prev == n &&
             !n->next->next && (void *)o->resize_sentinel == (void *)o->dict.ma_keys &&
             o->fast_nodes[0] == n && o->fast_nodes[1] == n->next;
    }
    if (key)
        Py_DecRef(key);
    if (od)
        Py_DecRef(od);
    return ok;
}

/* The first entry of a table of 8 places: an int, its hash and its value. */
static bool first_entry_plausible(const char *indices, PyObject *key)
{
    struct dict_entry e;

    return read_safely(indices + 8, &e, sizeof e) && e.key == key && e.value == key &&
           e.hash == PyObject_Hash(key);
}

static bool general_plausible(PyObject *d, size_t shift)
{
    struct dict_object o;
    union dict_keys keys;
    PyObject *key, *value;
    Py_ssize_t pos = 0;

    if (!PyDict_Next(d, &pos, &key, &value) || !read_safely((char *)d + shift, &o, sizeof o) ||
        o.ma_used != PyDict_Size(d) || o.ma_values || !read_safely(o.ma_keys, &keys, sizeof keys))
        return false;
    if (cpython_minor() <= 10)
        return keys.v8.size == 8 && keys.v8.nentries == o.ma_used &&
               first_entry_plausible(o.ma_keys->v8.indices, key);
    return keys.v11.kind == KIND_GENERAL && keys.v11.log2_size == 3 &&
           keys.v11.nentries == o.ma_used && first_entry_plausible(o.ma_keys->v11.indices, key);
}

static bool ordered_plausible(PyObject *od, size_t shift)
{
    struct odict_object o;
    struct odict_node n, *fast;

    return read_safely((char *)od + shift, &o, sizeof o) && o.first && o.first == o.last &&
           read_safely(o.first, &n, sizeof n) && n.key == Py_None && !n.next && !n.prev &&
           read_safely(o.fast_nodes, &fast, sizeof fast) && fast == o.first;
}

bool dict_layout_plausible(size_t shift)
{
    PyObject *d = sample(3), *od = PyObject_CallObject((PyObject *)&PyODict_Type, NULL);
    bool ok = d && od && PyObject_SetItem(od, Py_None, Py_None) == 0 &&
              general_plausible(d, shift) && ordered_plausible(od, shift);

    PyErr_Clear();
    if (d)
        Py_DecRef(d);
    if (od)
        Py_DecRef(od);
    return ok;
}

bool dict_layout_known(void)
{
    static enum { UNTRIED, NO, YES } known;

    if (known == UNTRIED) {
        bool ok = general_as_expected(3) && general_as_expected(300) && str_only_as_expected() &&
                  odict_as_expected();

        PyErr_Clear();
        known = ok ? YES : NO;
    }
    return known == YES;
}
