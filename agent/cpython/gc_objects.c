/* Walking the collector's lists (Include/internal/pycore_gc.h, pycore_mem.h in 3.8).
 *
 * To 3.13 the lists are walked here: PyUnstable_GC_VisitObjects of 3.12 and 3.13 leaves out
 * the permanent generation (Python/gc.c).  From 3.14 on that function visits all.
 *
 * Where the lists start is no exported symbol, but an object that was just tracked is the
 * last of generation 0, so its successor is the head of that list.  Around it lies, 3.8 to
 * 3.13 alike:
 *
 *     struct gc_generation generations[3];     24 bytes each: head, threshold, count
 *     PyGC_Head *generation0;                  &generations[0].head
 *     struct gc_generation permanent_generation;
 *     struct gc_generation_stats generation_stats[3];
 *     int collecting;
 *
 * (PyGC_Head is aligned to 4 bytes only in later micro versions of 3.13, so there may be a
 * gap before generation0),
 *
 * which the pointer generation0 proves, and each step is checked against the link back. */
#include "gc_objects.h"

#include <stdlib.h>
#include <string.h>

#include "version.h"

struct gc_head {
    uintptr_t next, prev; /* the low two bits are flags */
};

struct generation {
    struct gc_head head;
    int threshold, count;
};

/* What follows the array of generations, at the next multiple of a pointer's size. */
struct collector {
    struct gc_head *generation0;
    struct generation permanent;
    Py_ssize_t stats[3][3];
    int collecting;
};

struct walk {
    int (*take)(PyObject *const *batch, size_t n, void *arg);
    void *arg;
    PyObject *newest; /* our own, left out */
    PyObject *batch[GC_BATCH];
    size_t n;
    bool failed; /* take did */
};

static struct gc_head *link(uintptr_t word)
{
    return (struct gc_head *)(word & ~(uintptr_t)3);
}

static bool flush(struct walk *w)
{
    w->failed = w->failed || (w->n && w->take(w->batch, w->n, w->arg) < 0);
    w->n = 0;
    return !w->failed;
}

static bool push(struct walk *w, PyObject *o)
{
    if (o == w->newest)
        return true;
    w->batch[w->n++] = o;
    return w->n < GC_BATCH || flush(w);
}

static bool push_head(struct walk *w, struct gc_head *head)
{
    return push(w, (PyObject *)(head + 1));
}

/* From both ends at once: two chains of cache misses in flight instead of one.  False: the
 * links do not agree, or take failed. */
static bool walk_list(struct gc_head *list, struct walk *w)
{
    struct gc_head *front = link(list->next), *back = link(list->prev);
    struct gc_head *behind = list, *ahead = list;

    if (front == list)
        return back == list;
    for (;;) {
        if (link(front->prev) != behind || link(back->next) != ahead)
            return false;
        if (!push_head(w, front))
            return false;
        if (front == back)
            return true;
        if (!push_head(w, back))
            return false;
        if (link(front->next) == back)
            return link(back->prev) == front;
        behind = front;
        ahead = back;
        front = link(front->next);
        back = link(back->prev);
    }
}

static int unknown_layout(void)
{
    PyErr_Format(PyExc_RuntimeError, "the collector's lists of Python %s are not laid out as known",
                 Py_GetVersion());
    return -1;
}

static int collecting(void)
{
    PyErr_SetString(PyExc_RuntimeError, "a garbage collection is under way in this process; "
                                        "try again");
    return -1;
}

static const struct collector *after(const struct generation generations[3])
{
    uintptr_t end = (uintptr_t)&generations[3], size = sizeof(void *);

    return (const struct collector *)((end + size - 1) & ~(size - 1));
}

static int walk_all(const struct generation generations[3], const struct collector *collector,
                    struct walk *w)
{
    if (collector->collecting == 1)
        return collecting();
    if (collector->collecting != 0)
        return unknown_layout();
    for (int i = 0; i < 3; i++)
        if (!walk_list((struct gc_head *)&generations[i].head, w))
            return w->failed ? -1 : unknown_layout();
    if (!walk_list((struct gc_head *)&collector->permanent.head, w))
        return w->failed ? -1 : unknown_layout();
    return 0;
}

static int walk_lists(struct walk *w)
{
    const struct generation *generations;
    int result;

    w->newest = PyList_New(0);
    if (!w->newest)
        return -1;
    generations = (const struct generation *)link(((struct gc_head *)w->newest - 1)->next);
    if (after(generations)->generation0 != &generations[0].head)
        result = unknown_layout();
    else
        result = walk_all(generations, after(generations), w);
    if (result == 0 && !flush(w))
        result = -1;
    Py_DecRef(w->newest);
    return result;
}

bool gc_collecting(void)
{
    PyObject *newest = cpython_minor() <= 13 ? PyList_New(0) : NULL;
    const struct generation *generations;
    bool result = false;

    if (newest) {
        generations = (const struct generation *)link(((struct gc_head *)newest - 1)->next);
        result = after(generations)->generation0 == &generations[0].head &&
                 after(generations)->collecting == 1;
        Py_DecRef(newest);
    }
    PyErr_Clear();
    return result;
}

static int visit(PyObject *o, void *w)
{
    return push(w, o); /* 0 ends the visit */
}

int gc_each(int (*take)(PyObject *const *batch, size_t n, void *arg), void *arg)
{
    struct walk w = {.take = take, .arg = arg};

    if (cpython_minor() <= 13)
        return walk_lists(&w);
    if (!&PyUnstable_GC_VisitObjects)
        return unknown_layout();
    PyUnstable_GC_VisitObjects(visit, &w);
    return flush(&w) ? 0 : -1;
}

/* --- all in an array */

struct objects {
    PyObject **items;
    size_t n, cap;
};

static int append(PyObject *const *batch, size_t n, void *arg)
{
    struct objects *objects = arg;

    if (objects->n + n > objects->cap) {
        size_t cap = objects->cap ? objects->cap + objects->cap / 2 : 1 << 16;
        PyObject **items = realloc(objects->items, cap * sizeof *items);

        if (!items) {
            PyErr_NoMemory();
            return -1;
        }
        objects->items = items;
        objects->cap = cap;
    }
    memcpy(objects->items + objects->n, batch, n * sizeof *batch);
    objects->n += n;
    return 0;
}

int gc_objects(PyObject ***items, size_t *n)
{
    struct objects objects = {0};

    if (gc_each(append, &objects) < 0) {
        free(objects.items);
        return -1;
    }
    *items = objects.items;
    *n = objects.n;
    return 0;
}
