/* Subclasses that nothing can reach any more, but that the collector has not freed yet.
 *
 * dataclass(slots=True), attrs and the like make each class a second time.  The first one is a
 * cycle, and a subclass of its bases, until a collection of its generation comes by, which in a
 * process with many objects takes long.  It cannot follow a base whose layout changes, and need
 * not.
 *
 * What leads to it is followed backwards, one pass over the heap for each step, until that is
 * complete or shows that it is alive.  The rule is a collection's (deduce_unreachable,
 * Python/gc.c): an object that has more references than those found is held from outside; what
 * leads from there is alive, and the rest is garbage.  What is replaced holds nothing: it goes
 * too.  What is too much to follow is taken for alive. */
#include "garbage.h"

#include <stdlib.h>

#include "../agent.h"
#include "../big.h"
#include "../cpython/gc_objects.h"
#include "../cpython/introspect.h"
#include "../cpython/refcount.h"
#include "heap.h"
#include "types.h"

enum { MOST_PASSES = 8, MOST_REFERRERS = 256, MOST_LINKS = 1 << 16 };
enum { CHECK = 1 << 16 }; /* objects between two looks at the job */

/* An object that may be garbage. */
struct suspect {
    PyObject *object;
    Py_ssize_t found; /* references from objects */
    size_t referrers;
    bool wanted, asked, alive;
};

struct link {
    PyObject *from, *to;
};

struct suspects {
    struct remap *r;
    struct suspect *items; /* the first `n` by address, the new ones behind */
    size_t n, n_new, cap;
    struct link *links;
    size_t n_links, cap_links;
    struct address_set asking; /* what this pass looks for the referrers of */
    PyObject *referrer;
    bool failed;
};

static struct suspect *find(const struct suspects *s, PyObject *o)
{
    return s->n ? bsearch(&o, s->items, s->n, sizeof *s->items, by_address) : NULL;
}

static int add(struct suspects *s, PyObject *o, bool wanted)
{
    if (remap_reserve(s->r, &s->items, s->n + s->n_new, &s->cap, sizeof *s->items) < 0)
        return -1;
    s->items[s->n + s->n_new++] =
        (struct suspect){.object = o, .wanted = wanted, .alive = is_module(o)};
    return 0;
}

static void sort(struct suspects *s)
{
    s->n += s->n_new;
    s->n_new = 0;
    if (s->n)
        qsort(s->items, s->n, sizeof *s->items, by_address);
}

static bool is_subclass(const struct remap *r, const struct edge *e)
{
    return (!e->writer || e->writer->refuses) && r->keys[e->key].is_class && types_subclass(r, e);
}

static int add_wanted(struct suspects *s)
{
    const struct remap *r = s->r;
    size_t n = 0;

    for (size_t i = 0; i < r->n_edges; i++)
        if (is_subclass(r, &r->edges[i]) && add(s, r->edges[i].referrer, true) < 0)
            return -1;
    sort(s);
    for (size_t i = 0; i < s->n; i++)
        if (!n || s->items[n - 1].object != s->items[i].object)
            s->items[n++] = s->items[i];
    s->n = n;
    return 0;
}

/* --- one step back */

static int add_link(struct suspects *s, struct suspect *to)
{
    const struct link *last = s->n_links ? &s->links[s->n_links - 1] : NULL;
    bool known = last && last->from == s->referrer;

    if (keys_find(s->r, s->referrer) >= 0 || (known && last->to == to->object))
        return 0;
    to->alive = ++to->referrers > MOST_REFERRERS;
    if (remap_reserve(s->r, &s->links, s->n_links, &s->cap_links, sizeof *s->links) < 0)
        return -1;
    s->links[s->n_links++] = (struct link){s->referrer, to->object};
    return known || find(s, s->referrer) ? 0 : add(s, s->referrer, false);
}

static int visit(PyObject *o, void *arg)
{
    struct suspects *s = arg;
    struct suspect *to = address_set_has(&s->asking, (uintptr_t)o) ? find(s, o) : NULL;

    if (!to || to->alive)
        return 0;
    to->found++;
    s->failed = add_link(s, to) < 0;
    return s->failed || s->n_links > MOST_LINKS;
}

/* Our references will be gone. */
static int visit_ours(PyObject *o, void *arg)
{
    struct suspects *s = arg;

    if (address_set_has(&s->asking, (uintptr_t)o))
        find(s, o)->found++;
    return 0;
}

static void count_ours(struct suspects *s, PyObject *const *holders, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        visit_ours(holders[i], s);
        if (gc_has_head(holders[i]) && type_of(holders[i])->tp_traverse)
            type_of(holders[i])->tp_traverse(holders[i], visit_ours, s);
    }
}

static int ask(struct suspects *s, struct suspect *one)
{
    if (one->asked || one->alive)
        return 0;
    one->asked = true;
    if (address_set_add(&s->asking, (uintptr_t)one->object) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* What leads to something that is not known to be alive. */
static int ask_all(struct suspects *s)
{
    address_set_clear(&s->asking);
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].wanted && ask(s, &s->items[i]) < 0)
            return -1;
    for (size_t i = 0; i < s->n_links; i++)
        if (!find(s, s->links[i].to)->alive && ask(s, find(s, s->links[i].from)) < 0)
            return -1;
    return 0;
}

static int pass(struct suspects *s)
{
    const struct heap *heap = s->r->heap;

    count_ours(s, s->r->excluded, s->r->n_excluded);
    count_ours(s, s->r->graves, s->r->n_graves);
    for (size_t i = 0; i < heap->n && s->n_links <= MOST_LINKS; i++) {
        if (i % CHECK == 0 && job_cancelled()) {
            job_fail("cancelled", 4, NULL,
                     "given up while resolving references; nothing was changed");
            return -1;
        }
        s->referrer = heap->objects[i];
        type_of(s->referrer)->tp_traverse(s->referrer, visit, s);
        if (s->failed)
            return -1;
    }
    sort(s);
    return 0;
}

/* --- alive */

static void spread(struct suspects *s)
{
    bool again = true;

    while (again) {
        again = false;
        for (size_t i = 0; i < s->n_links; i++) {
            struct suspect *to = find(s, s->links[i].to);

            if (!to->alive && find(s, s->links[i].from)->alive)
                to->alive = again = true;
        }
    }
}

static bool is_open(const struct suspects *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].wanted && !s->items[i].alive)
            return true;
    return false;
}

static void find_alive(struct suspects *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct suspect *one = &s->items[i];

        one->alive |= one->asked && refcount_of(one->object) > one->found;
    }
    spread(s);
}

/* Whether something is garbage: then `alive` tells what is not. */
static int search(struct suspects *s)
{
    if (add_wanted(s) < 0)
        return -1;
    for (int i = 0; i < MOST_PASSES && is_open(s); i++) {
        if (ask_all(s) < 0)
            return -1;
        if (!s->asking.n)
            return 1;
        if (pass(s) < 0)
            return -1;
        if (s->n_links > MOST_LINKS)
            return 0;
        find_alive(s);
    }
    return 0;
}

int garbage_leave(struct remap *r)
{
    struct suspects s = {.r = r};
    int found = search(&s);

    for (size_t i = 0; found > 0 && i < r->n_edges; i++)
        if (is_subclass(r, &r->edges[i]) && !find(&s, r->edges[i].referrer)->alive)
            r->edges[i].writer = &left_writer;
    address_set_free(&s.asking);
    return found < 0 ? -1 : 0;
}
