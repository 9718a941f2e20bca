#include "scan.h"

#include <stdlib.h>
#include <string.h>

#include "../agent.h"
#include "../big.h"
#include "../cpython/gc_objects.h"
#include "../cpython/introspect.h"
#include "../cpython/refcount.h"
#include "../emit.h"
#include "heap.h"
#include "keys.h"

enum { CHECK = 1 << 16 }; /* objects between two looks at the job */

struct scan {
    const struct key_table *table;
    struct remap *r;
    struct edges *edges;
    size_t first, scanned, expected;
    PyObject *referrer;
    size_t *last_edge; /* by key: where its last edge is, + 1 */
    bool failed;

    /* Keys that are no objects of the collector may be held by others that are none: code
     * by code, anything by a tuple that was untracked.  Then all objects found on the way
     * that the heap's list lacks are traversed too. */
    bool deep;
    struct address_set seen;
    PyObject **todo;
    size_t n_todo, cap_todo;
};

static bool push_edge(struct scan *s, uint32_t key)
{
    struct edges *edges = s->edges;

    if (!big_reserve(&edges->items, edges->n, &edges->cap, sizeof *edges->items))
        return false;
    edges->items[edges->n++] = (struct edge){.referrer = s->referrer, .key = key, .visits = 1};
    s->last_edge[key] = edges->n;
    return true;
}

static bool found(struct scan *s, size_t key)
{
    struct edge *last = s->last_edge[key] ? &s->edges->items[s->last_edge[key] - 1] : NULL;

    s->r->keys[key].visits++;
    if (last && last->referrer == s->referrer) {
        last->visits++;
        return true;
    }
    return push_edge(s, (uint32_t)key);
}

/* Not inlined: the test before it, for each reference there is, must need no stack. */
static __attribute__((noinline)) int visit_likely_key(PyObject *o, struct scan *s)
{
    ptrdiff_t key = keys_lookup(s->r, o);

    if (key < 0 || (size_t)key < s->first)
        return 0;
    if (found(s, (size_t)key))
        return 0;
    s->failed = true;
    return 1;
}

static int visit(PyObject *o, void *arg)
{
    struct scan *s = arg;

    return keys_may_have(s->table, o) ? visit_likely_key(o, s) : 0;
}

/* --- what the collector does not list */

static bool is_unlisted(PyObject *o)
{
    if (type_of(o) == &PyCode_Type)
        return true;
    return (type_of(o) == &PyTuple_Type || type_of(o) == &PyDict_Type) && !gc_is_tracked(o);
}

static bool remember(struct scan *s, PyObject *o)
{
    int added = address_set_add(&s->seen, (uintptr_t)o);

    if (added <= 0)
        return added == 0;
    if (!big_reserve(&s->todo, s->n_todo, &s->cap_todo, sizeof *s->todo))
        return false;
    s->todo[s->n_todo++] = o;
    return true;
}

static int visit_deep(PyObject *o, void *arg)
{
    struct scan *s = arg;

    if (is_unlisted(o) && !remember(s, o)) {
        s->failed = true;
        return 1;
    }
    return visit(o, arg);
}

/* Code is not traversed by CPython: only its constants can be of interest. */
static void scan_code(struct scan *s, PyObject *code)
{
    PyObject *constants = PyObject_GetAttrString(code, "co_consts");

    if (!constants) {
        s->failed |= pass_over_error() < 0;
        return;
    }
    /* A tracked tuple is in the heap's list.  The code holds it when we let go. */
    if (is_tuple(constants) && !gc_is_tracked(constants) && !remember(s, constants))
        s->failed = true;
    Py_DecRef(constants);
}

static void scan_unlisted(struct scan *s)
{
    while (s->n_todo && !s->failed) {
        PyObject *o = s->todo[--s->n_todo];

        s->referrer = o;
        if (type_of(o) == &PyCode_Type)
            scan_code(s, o);
        else
            type_of(o)->tp_traverse(o, visit_deep, s);
    }
}

/* --- the pass */

/* 0, or -1 when the job is cancelled. */
static int show_progress(const struct scan *s)
{
    emit_progress("scan", s->scanned, s->expected);
    if (!job_cancelled())
        return 0;
    job_fail("cancelled", 4, NULL, "given up while looking for references; nothing was changed");
    return -1;
}

static int scan_one(PyObject *o, void *arg)
{
    struct scan *s = arg;

    if (++s->scanned % CHECK == 0 && show_progress(s) < 0)
        return -1;
    s->referrer = o;
    type_of(o)->tp_traverse(o, s->deep ? visit_deep : visit, s);
    return s->failed ? -1 : 0;
}

static int count_ours(PyObject *o, void *arg)
{
    struct scan *s = arg;
    ptrdiff_t key = keys_lookup(s->r, o);

    if (key >= 0 && (size_t)key >= s->first)
        s->r->keys[key].refcount--;
    return 0;
}

static void count_holder(struct scan *s, PyObject *o)
{
    count_ours(o, s);
    if (address_set_add(&s->seen, (uintptr_t)o) < 0) /* no referrer, wherever it is found */
        s->failed = true;
    if (gc_has_head(o) && type_of(o)->tp_traverse)
        type_of(o)->tp_traverse(o, count_ours, s);
}

/* Reference counts without what the engine and its caller hold. */
static void count_references(struct scan *s)
{
    struct remap *r = s->r;

    for (size_t i = s->first; i < r->n_keys; i++) {
        r->keys[i].visits = 0;
        r->keys[i].refcount = refcount_of(r->keys[i].old) - 1;
        s->deep = s->deep || !gc_has_head(r->keys[i].old);
    }
    for (size_t i = 0; i < r->n_excluded; i++)
        count_holder(s, r->excluded[i]);
    for (size_t i = 0; i < r->n_graves; i++)
        count_holder(s, r->graves[i]);
}

int scan(struct remap *r, size_t first, struct edges *edges)
{
    struct scan s = {
        .r = r, .edges = edges, .table = r->table, .first = first, .expected = r->heap->n};
    int status = 0;

    memset(edges, 0, sizeof *edges);
    s.last_edge = calloc(r->n_keys + 1, sizeof *s.last_edge);
    if (s.last_edge) {
        count_references(&s);
        status = show_progress(&s) < 0 ? -1 : heap_scan(r, scan_one, &s);
        if (status == 0)
            scan_unlisted(&s);
    }
    if (!s.last_edge || s.failed) {
        PyErr_NoMemory();
        status = -1;
    }
    free(s.last_edge);
    big_free(s.todo);
    address_set_free(&s.seen);
    if (status < 0) {
        big_free(edges->items);
        memset(edges, 0, sizeof *edges);
    }
    return status;
}
