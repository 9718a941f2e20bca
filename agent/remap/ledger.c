#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>

#include "../cpython/gc_objects.h"
#include "../cpython/introspect.h"
#include "../cpython/refcount.h"
#include "address_set.h"
#include "bases.h"

int ledger_open(struct remap *r)
{
    r->held = PyList_New(0);
    r->frames_on_old = PyList_New(0);
    r->by_kind = PyDict_New();
    return r->held && r->frames_on_old && r->by_kind ? 0 : -1;
}

void ledger_close(struct remap *r)
{
    Py_DecRef(r->held);
    Py_DecRef(r->frames_on_old);
    Py_DecRef(r->by_kind);
}

static Py_ssize_t residual_of(const struct key *k)
{
    if (refcount_immortal(k->old))
        return 0;
    return k->refcount - (Py_ssize_t)(k->visits + k->frames + k->held);
}

/* A residual below 0 comes from references that are visited but not counted (from 3.14 on,
 * in frames); it makes up for no other key's. */
size_t ledger_unaccounted(const struct remap *r)
{
    size_t sum = 0;

    for (size_t i = 0; i < r->n_keys; i++) {
        Py_ssize_t residual = residual_of(&r->keys[i]);

        if (residual > 0 && !r->keys[i].is_code)
            sum += (size_t)residual;
    }
    return sum;
}

/* --- the new objects */

/* A new object and its count before the commit. */
struct growth {
    PyObject *object;
    Py_ssize_t before, moved, buried;
};

struct growths {
    struct growth *items; /* by address */
    size_t n;
};

static struct growth *growth_of(const struct growths *g, PyObject *object)
{
    const struct growth wanted = {.object = object};

    return bsearch(&wanted, g->items, g->n, sizeof wanted, by_address);
}

int ledger_note(struct remap *r)
{
    struct growths *g = remap_alloc(r, sizeof *g);
    size_t n = 0;

    if (!g || !(g->items = remap_alloc(r, (r->n_keys + 1) * sizeof *g->items)))
        return -1;
    for (size_t i = 0; i < r->n_keys; i++)
        g->items[i].object = r->keys[i].new_;
    qsort(g->items, r->n_keys, sizeof *g->items, by_address);
    for (size_t i = 0; i < r->n_keys; i++)
        if (!n || g->items[n - 1].object != g->items[i].object)
            g->items[n++].object = g->items[i].object;
    for (size_t i = 0; i < n; i++)
        g->items[i].before = refcount_of(g->items[i].object);
    g->n = n;
    r->growths = g;
    return 0;
}

static int count_buried(PyObject *o, void *arg)
{
    struct growth *growth = growth_of(arg, o);

    if (growth)
        growth->buried++;
    return 0;
}

static int count_lost(PyObject *o, void *arg)
{
    struct growth *growth = growth_of(arg, o);

    if (growth)
        growth->buried--;
    return 0;
}

/* What the first phase buried: it goes when the remap is over. */
static void count_graves(const struct remap *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        PyObject *o = r->graves[i];

        count_buried(o, r->growths);
        if (gc_has_head(o) && type_of(o)->tp_traverse)
            type_of(o)->tp_traverse(o, count_buried, r->growths);
    }
}

size_t ledger_compare(const struct remap *r, size_t n_graves)
{
    const struct growths *g = r->growths;
    size_t sum = 0;

    if (r->migrated)
        return 0;
    for (size_t i = 0; i < r->n_keys; i++) {
        const struct key *k = &r->keys[i];

        growth_of(g, k->new_)->moved += (Py_ssize_t)(k->rewritten + k->roots - k->uncounted);
    }
    count_graves(r, n_graves);
    /* Their edges count as moved; but a new tuple is another one, and may have other classes. */
    bases_visit_tuples(r, true, count_lost, r->growths);
    bases_visit_tuples(r, false, count_buried, r->growths);
    for (size_t i = 0; i < g->n; i++) {
        const struct growth *it = &g->items[i];
        Py_ssize_t off = refcount_of(it->object) - it->before - it->moved - it->buried;

        /* Code is not in the accounts, see ledger_unaccounted. */
        if (!refcount_immortal(it->object) && type_of(it->object) != &PyCode_Type)
            sum += (size_t)(off < 0 ? -off : off);
    }
    return sum;
}

size_t remap_unresolved(const struct remap *r)
{
    return r->unresolved;
}

/* --- names */

static PyObject *qualified_name(PyObject *module, PyObject *name)
{
    if (module && name && is_str(module) && is_str(name))
        return PyUnicode_FromFormat("%U.%U", module, name);
    return NULL;
}

/* A class's __module__ from its own namespace: asking the class could run code. */
static PyObject *class_name(PyTypeObject *type)
{
    PyObject *module = type->tp_dict ? dict_get(type->tp_dict, "__module__") : NULL,
             *name = builtin_attribute((PyObject *)type, &PyType_Type, "__qualname__"),
             *text = qualified_name(module, name);

    Py_DecRef(name);
    PyErr_Clear();
    return text ? text : PyUnicode_FromString(type->tp_name);
}

PyObject *ledger_name_of(PyObject *o)
{
    PyObject *module, *name, *text = NULL;

    if (is_type(o))
        return class_name((PyTypeObject *)o);
    if (type_of(o) == &PyFunction_Type) {
        module = PyObject_GetAttrString(o, "__module__");
        name = module ? PyObject_GetAttrString(o, "__qualname__") : NULL;
        text = qualified_name(module, name);
        Py_DecRef(module);
        Py_DecRef(name);
        PyErr_Clear();
    }
    return text ? text : PyUnicode_FromFormat("%s object", type_of(o)->tp_name);
}

/* --- what is held */

/* Takes over `entry`, which may be NULL. */
static int hold(struct remap *r, uint32_t key, PyObject *entry, size_t count)
{
    int status = entry ? PyList_Append(r->held, entry) : -1;

    Py_DecRef(entry);
    if (status == 0)
        r->keys[key].held += count;
    return status;
}

int remap_hold(struct remap *r, uint32_t key, const char *where, size_t count)
{
    PyObject *name = ledger_name_of(r->keys[key].old);

    return hold(
        r, key,
        name ? Py_BuildValue("{sNsssn}", "object", name, "where", where, "count", (Py_ssize_t)count)
             : NULL,
        count);
}

/* "counter", "counters+8"; None: not known here.  New reference. */
static PyObject *symbol_of(const struct static_word *word)
{
    size_t inside;
    const char *symbol = static_symbol(word, &inside);

    if (!symbol)
        return Py_BuildValue("");
    return inside ? PyUnicode_FromFormat("%s+%zu", symbol, inside) : PyUnicode_FromString(symbol);
}

int remap_hold_static(struct remap *r, uint32_t key, const struct static_word *word)
{
    PyObject *name = ledger_name_of(r->keys[key].old),
             *file = PyUnicode_DecodeFSDefault(word->file);
    PyObject *symbol = symbol_of(word), *where = NULL, *entry = NULL;
    unsigned long long address = (uintptr_t)word->address, offset = word->offset;
    char text[20];
    int status;

    snprintf(text, sizeof text, "0x%llx", offset);
    if (file && symbol == Py_None)
        where = PyUnicode_FromFormat("C variable at %s of %U", text, file);
    else if (file && symbol)
        where = PyUnicode_FromFormat("C variable %U of %U", symbol, file);
    if (name && where)
        entry = Py_BuildValue("{sOsOsnsKsOsKsO}", "object", name, "where", where, "count",
                              (Py_ssize_t)1, "address", address, "file", file, "offset", offset,
                              "symbol", symbol);
    status = hold(r, key, entry, 1);
    Py_DecRef(name);
    Py_DecRef(file);
    Py_DecRef(symbol);
    Py_DecRef(where);
    return status;
}

/* Entries that say the same of the same become one.  New reference to a list. */
static PyObject *merged_held(const struct remap *r)
{
    PyObject *index = PyDict_New(), *list = PyList_New(0);
    int status = index && list ? 0 : -1;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(r->held); i++) {
        PyObject *entry = PyList_GetItem(r->held, i), *first, *sum, *copy;
        PyObject *id = PyTuple_Pack(2, dict_get(entry, "object"), dict_get(entry, "where"));
        long count = PyLong_AsLong(dict_get(entry, "count"));

        if (!id) {
            status = -1;
            break;
        }
        first = PyDict_GetItemWithError(index, id);
        if (first) {
            sum = PyLong_FromLong(count + PyLong_AsLong(dict_get(first, "count")));
            status = sum ? PyDict_SetItemString(first, "count", sum) : -1;
            Py_DecRef(sum);
        } else {
            copy = PyDict_Copy(entry);
            status = copy && PyDict_SetItem(index, id, copy) == 0 ? PyList_Append(list, copy) : -1;
            Py_DecRef(copy);
        }
        Py_DecRef(id);
    }
    Py_DecRef(index);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* --- reports */

PyObject *remap_report(struct remap *r)
{
    PyObject *held = merged_held(r);
    PyObject *frames = held ? PySequence_List(r->frames_on_old) : NULL;
    PyObject *kinds = frames ? PyDict_Copy(r->by_kind) : NULL;

    if (!kinds) {
        Py_DecRef(held);
        Py_DecRef(frames);
        return NULL;
    }
    return Py_BuildValue("{snsnsnsNs{snsnsn}snsnsnsnsNsNs{sdsd}}", "objects_scanned",
                         (Py_ssize_t)r->objects_scanned, "referrers", (Py_ssize_t)r->referrers,
                         "references_rewritten", (Py_ssize_t)r->references_rewritten, "by_kind",
                         kinds, "rehashed", "dict", (Py_ssize_t)r->rehashed_dicts, "set",
                         (Py_ssize_t)r->rehashed_sets, "merged", (Py_ssize_t)r->merged, "migrated",
                         (Py_ssize_t)r->migrated, "left", (Py_ssize_t)r->left, "unresolved",
                         (Py_ssize_t)r->unresolved, "unaccounted", (Py_ssize_t)r->unaccounted,
                         "held", held, "frames_on_old_code", frames, "time", "scan_ms",
                         (double)r->scan_ns / 1e6, "commit_ms", (double)r->commit_ns / 1e6);
}

/* Which writers' edges name the key, by kind.  New reference. */
static PyObject *kinds_of(const struct remap *r, size_t key)
{
    PyObject *kinds = PyDict_New();

    for (size_t i = 0; kinds && i < r->n_edges; i++) {
        const struct edge *e = &r->edges[i];
        const char *kind = e->writer ? e->writer->kind : "unresolved";
        PyObject *known, *sum;

        if (e->key != key)
            continue;
        known = dict_get(kinds, kind);
        sum = PyLong_FromSsize_t((Py_ssize_t)e->visits + (known ? PyLong_AsSsize_t(known) : 0));
        if (!sum || PyDict_SetItemString(kinds, kind, sum) < 0) {
            Py_DecRef(kinds);
            kinds = NULL;
        }
        Py_DecRef(sum);
    }
    return kinds;
}

PyObject *remap_report_key(struct remap *r, PyObject *old)
{
    ptrdiff_t key = keys_find(r, old);
    PyObject *kinds;

    if (key < 0) {
        PyErr_SetString(PyExc_KeyError, "not in the map");
        return NULL;
    }
    kinds = kinds_of(r, (size_t)key);
    if (!kinds)
        return NULL;
    return Py_BuildValue("{snsNsn}", "references", r->keys[key].refcount, "by_kind", kinds,
                         "residual", residual_of(&r->keys[key]));
}

PyObject *remap_migrated(struct remap *r)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list && i < r->n_keys; i++) {
        const struct key *k = &r->keys[i];
        PyObject *pair;

        if (!k->derived || keys_find(r, (PyObject *)type_of(k->old)) < 0)
            continue;
        pair = PyTuple_Pack(2, k->old, k->new_);
        if (!pair || PyList_Append(list, pair) < 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(pair);
    }
    return list;
}
