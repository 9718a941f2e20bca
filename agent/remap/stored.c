/* The writer of last resort, and of most references: a stored pointer becomes another.
 *
 * The fields are looked for when resolving, to know that they can be found, and again at
 * the end of phase one of the commit: setting an entry or a class by the API may have moved
 * what is behind the referrer.  The stores themselves cannot fail. */
#include <stdlib.h>

#include "../cpython/gc_objects.h"
#include "../cpython/introspect.h"
#include "field.h"
#include "heap.h"

/* What an edge's commit found. */
struct stored {
    uintptr_t **fields;
    size_t n;
    uint32_t others; /* visits of the same that another writer takes away later than commit */
    PyObject *dict;  /* where attributes have moved since the scan; or NULL; borrowed */
};

struct new_dict {
    struct heap *heap;
    PyObject *dict;
};

static int find_new_dict(PyObject *o, void *arg)
{
    struct new_dict *found = arg;

    /* After a second scan all are known, old and new. */
    if (type_of(o) == &PyDict_Type &&
        (found->heap->scans > 1 || !heap_has(found->heap, (uintptr_t)o)))
        found->dict = o;
    return 0;
}

/* Attributes of an instance were moved from its own memory to a dict (by setting its class,
 * or trying to, from 3.11 on): borrowed in *dict, or NULL.  0, or -1 with an exception. */
static int look_for_dict(struct remap *r, const struct edge *e, PyObject **dict)
{
    struct new_dict found = {.heap = r->heap};

    if (heap_map(r->heap) < 0)
        return -1;
    type_of(e->referrer)->tp_traverse(e->referrer, find_new_dict, &found);
    *dict = found.dict;
    return 0;
}

static size_t count_values(PyObject *dict, PyObject *old)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    size_t n = 0;

    while (PyDict_Next(dict, &position, &name, &value))
        n += value == old && type_of(name) == &PyUnicode_Type;
    return n;
}

/* Setting the class has moved the attributes to the instance's dict.  That may have been there
 * before: in 3.13 and 3.14 a dict shares the values inside its instance until then
 * (_PyDict_DetachFromObject, Objects/dictobject.c).  Borrowed, or NULL. */
static PyObject *dict_moved_to(const struct edge *e)
{
    PyObject *dict = instance_dict(e->referrer);

    Py_DecRef(dict); /* the instance has it */
    return dict;
}

/* A search is dear where much memory is behind the referrer. */
static int remember(struct remap *r, struct edge *e, uintptr_t **fields, size_t n)
{
    struct stored *s = remap_alloc(r, sizeof *s);

    if (!s)
        return -1;
    s->fields = fields;
    s->n = n;
    s->others = r->visits_left_for_finish;
    e->data = s;
    return 0;
}

static ptrdiff_t stored_resolve(struct remap *r, struct edge *e)
{
    PyObject *old = r->keys[e->key].old, *dict;
    uintptr_t **fields;
    ptrdiff_t n = field_find(r, e->referrer, e->key, e->visits, 0, &fields);
    size_t moved;

    if (n)
        return n < 0 || remember(r, e, fields, (size_t)n) < 0 ? -1 : (ptrdiff_t)e->visits;
    if (look_for_dict(r, e, &dict) < 0)
        return -1;
    moved = dict ? count_values(dict, old) : 0;
    if (moved < e->visits) {
        n = moved ? field_find(r, e->referrer, e->key, e->visits - moved, 0, &fields) : 0;
        if (n <= 0)
            return n;
    }
    return remember(r, e, NULL, 0) < 0 ? -1 : (ptrdiff_t)e->visits;
}

/* The writers before this one have written by now. */
static int stored_commit_own(struct remap *r)
{
    field_forget(r);
    return 0;
}

static int stored_commit(struct remap *r, struct edge *e)
{
    struct stored *s = e->data;
    size_t visits;
    ptrdiff_t n;

    n = field_find_item(r, e->referrer, e->key, e->visits, &s->fields);
    if (n != -2) {
        s->n = n < 0 ? 0 : (size_t)n;
        return n < 0 ? -1 : remap_reserve_stores(r, s->n);
    }
    visits = field_visits(e->referrer, r->keys[e->key].old);
    visits -= visits < s->others ? visits : s->others;
    if (visits < e->visits)
        s->dict = dict_moved_to(e);
    if (visits > e->visits)
        visits = e->visits;
    n = field_find(r, e->referrer, e->key, visits, s->n, &s->fields);
    if (n < 0)
        return -1;
    if (n == 0 && visits) {
        PyErr_Format(PyExc_RuntimeError, "references of a %s changed while it was being rewritten",
                     type_of(e->referrer)->tp_name);
        return -1;
    }
    s->n = (size_t)n;
    return remap_reserve_stores(r, s->n);
}

#ifdef PYHOT_FAULTS
/* PYHOT_MISCOUNT in the tracee's environment: the next reference that moves is not counted. */
static bool miscounts(void)
{
    bool now = getenv("PYHOT_MISCOUNT") != NULL;

    unsetenv("PYHOT_MISCOUNT");
    return now;
}
#else
static bool miscounts(void)
{
    return false;
}
#endif

static size_t write_fields(struct remap *r, const struct stored *s, struct key *k)
{
    size_t written = 0;

    for (size_t i = 0; i < s->n; i++) {
        uintptr_t tag = *s->fields[i] - (uintptr_t)k->old;

        if (tag >= 8) { /* two referrers led to the same word */
            k->uncounted++;
            continue;
        }
        remap_store(r, s->fields[i], (uintptr_t)k->new_ + tag);
        written++;
        if (tag & 1) { /* a reference that is not counted */
            k->uncounted++;
            continue;
        }
        if (!miscounts())
            Py_IncRef(k->new_);
        Py_DecRef(k->old);
    }
    return written;
}

/* Values of str that are there already: nothing is allocated, no code is called. */
static size_t write_dict(PyObject *dict, const struct key *k)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    size_t written = 0;

    while (PyDict_Next(dict, &position, &name, &value)) {
        if (value != k->old || type_of(name) != &PyUnicode_Type)
            continue;
        if (PyDict_SetItem(dict, name, k->new_) < 0)
            PyErr_Clear();
        else
            written++;
    }
    return written;
}

/* What CPython remembers about the referrer from before the write. */
static void forget_caches(PyObject *referrer)
{
    if (is_type(referrer)) {
        PyType_Modified((PyTypeObject *)referrer);
    } else if (type_of(referrer) == &PyFunction_Type) {
        PyObject *defaults = PyFunction_GetDefaults(referrer);

        /* Sets func_version to 0 (Objects/funcobject.c, from 3.11 on). */
        if (PyFunction_SetDefaults(referrer, defaults ? defaults : Py_None) < 0)
            PyErr_Clear();
    }
}

static void stored_finish(struct remap *r)
{
    for (size_t i = 0; i < r->n_edges; i++) {
        struct edge *e = &r->edges[i];
        struct key *k = &r->keys[e->key];
        const struct stored *s = e->data;
        size_t written;

        if (e->writer != &field_writer || !s)
            continue;
        written = write_fields(r, s, k);
        if (s->dict)
            written += write_dict(s->dict, k);
        if (written)
            forget_caches(e->referrer);
    }
}

const struct writer field_writer = {
    .kind = "field",
    .resolve = stored_resolve,
    .commit_own = stored_commit_own,
    .commit = stored_commit,
    .finish = stored_finish,
};
