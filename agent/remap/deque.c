/* Items of a deque: a long chain of blocks, which the flip test would have to search, is
 * walked instead.  The places found are as many as traversal visited, or it is not ours. */
#include "../cpython/deque.h"
#include "engine.h"

struct places {
    PyObject *old;
    size_t n, cap;
    PyObject **fields[];
};

static int collect(PyObject **item, void *arg)
{
    struct places *p = arg;

    if (*item != p->old)
        return 0;
    if (p->n < p->cap)
        p->fields[p->n] = item;
    p->n++;
    return 0;
}

static ptrdiff_t deque_resolve(struct remap *r, struct edge *e)
{
    struct places *p;

    if (!is_deque(e->referrer))
        return 0;
    p = remap_alloc(r, sizeof *p + e->visits * sizeof p->fields[0]);
    if (!p)
        return -1;
    p->old = r->keys[e->key].old;
    p->cap = e->visits;
    deque_each(e->referrer, collect, p);
    if (p->n == 0 || p->n > p->cap)
        return 0;
    e->data = p;
    return (ptrdiff_t)p->n;
}

static void deque_finish(struct remap *r)
{
    for (size_t i = 0; i < r->n_edges; i++) {
        const struct places *p = r->edges[i].data;

        if (r->edges[i].writer != &deque_writer)
            continue;
        for (size_t n = 0; n < p->n; n++) {
            Py_IncRef(r->keys[r->edges[i].key].new_);
            *p->fields[n] = r->keys[r->edges[i].key].new_;
            Py_DecRef(p->old);
        }
    }
}

const struct writer deque_writer = {
    .kind = "deque", .resolve = deque_resolve, .finish = deque_finish};
