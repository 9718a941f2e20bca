/* Uncounted aliases: pointers that CPython keeps beside a counted reference, to find an object
 * faster.  No traversal visits them, so once the counted reference is rewritten they would lead
 * to an object that may be freed.  They are forgotten; CPython looks the object up anew.
 *
 * There is one kind: the value that a ContextVar returned last.  A ContextVar is often not
 * tracked by the collector, but the node of the context that refers to the value refers to the
 * variable too (Python/hamt.c: key and value lie side by side). */

#include "../cpython/contextvar.h"
#include "engine.h"

struct aliases {
    struct context_var **vars; /* alive: their node is a referrer */
    size_t n, cap;
};

struct search {
    struct remap *remap;
    PyObject *old;
    bool failed;
};

static int add_var(struct remap *r, struct context_var *var)
{
    struct aliases *a = r->aliases;

    if (remap_reserve(r, &a->vars, a->n, &a->cap, sizeof *a->vars) < 0)
        return -1;
    a->vars[a->n++] = var;
    return 0;
}

static int find_var(PyObject *child, void *arg)
{
    struct search *search = arg;
    struct context_var *var = (struct context_var *)child;

    if (type_of(child) == &PyContextVar_Type && var->cached == search->old)
        search->failed = add_var(search->remap, var) < 0;
    return search->failed;
}

/* Takes no visit: whoever rewrites the edge, the alias has to go. */
static ptrdiff_t alias_resolve(struct remap *r, struct edge *e)
{
    struct search search = {.remap = r, .old = r->keys[e->key].old};
    PyTypeObject *type = type_of(e->referrer);

    if (type == &PyList_Type || type == &PyTuple_Type || type == &PyFunction_Type ||
        type == &PyCell_Type || !type->tp_traverse)
        return 0;
    if (PyContextVar_Type.tp_basicsize != sizeof(struct context_var)) {
        PyErr_SetString(PyExc_RuntimeError, "the layout of ContextVar is not known");
        return -1;
    }
    if (!r->aliases && !(r->aliases = remap_alloc(r, sizeof *r->aliases)))
        return -1;
    type->tp_traverse(e->referrer, find_var, &search);
    return search.failed ? -1 : 0;
}

static int alias_prepare(struct remap *r)
{
    return r->aliases ? remap_reserve_stores(r, r->aliases->n) : 0;
}

static void alias_finish(struct remap *r)
{
    for (size_t i = 0; r->aliases && i < r->aliases->n; i++)
        remap_store(r, (uintptr_t *)&r->aliases->vars[i]->cached, 0);
}

const struct writer alias_writer = {
    .kind = "alias",
    .resolve = alias_resolve,
    .prepare = alias_prepare,
    .finish = alias_finish,
};
