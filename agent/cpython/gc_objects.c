/* Walking the collector's lists (Include/internal/pycore_gc.h; pycore_pymem.h in 3.8,
 * pycore_interp_structs.h from 3.14).
 *
 * PyUnstable_GC_VisitObjects of 3.12 and 3.13 leaves out the permanent generation, and later
 * ones walk from one end only (Python/gc.c), so the lists are walked here.
 *
 * Where they start is no exported symbol, but an object that was just tracked is the last of
 * generation 0, so its successor is the head of that list.  Around it lie, 3.8 to 3.15 alike,
 * the three generations, the permanent one, whether a collection is under way, and a pointer
 * to the first generation; in what order, the structs below say.  (PyGC_Head is aligned to 4
 * bytes only from later micro versions of 3.13 on, so there may be a gap behind the lists.)
 * That pointer proves the layout, and each step is checked against the link back.
 *
 * The first micro versions of 3.14 have an incremental collector, without that pointer: there
 * the function does it, which visits all. */
#include "gc_objects.h"

#include <string.h>

#include "version.h"

struct gc_head {
    uintptr_t next, prev; /* the low two bits are flags */
};

struct generation {
    struct gc_head head;
    int threshold, count;
};

/* What follows the array of generations to 3.13, at the next multiple of a pointer's size. */
struct collector {
    struct gc_head *generation0;
    struct generation permanent;
    Py_ssize_t stats[3][3];
    int collecting;
};

/* From 3.14 on, behind the permanent generation, which follows the others. */
struct collector_14 {
    Py_ssize_t stats[3][3];
    int collecting;
    PyObject *garbage, *callbacks;
    Py_ssize_t heap_size, work_to_do;
    int visited_space, phase;
    Py_ssize_t long_lived_total, long_lived_pending;
    struct gc_head *generation0;
};

struct collector_15 {
    void *stats;
    int collecting;
    void *frame;
    PyObject *garbage, *callbacks;
    Py_ssize_t heap_size, long_lived_total, long_lived_pending;
    struct gc_head *generation0;
};

struct lists {
    const struct generation *generations, *permanent;
    int collecting;
};

struct walk {
    int (*take)(PyObject *o, void *arg);
    void *arg;
    PyObject *newest; /* our own, left out */
    bool failed;      /* take did */
};

static struct gc_head *link(uintptr_t word)
{
    return (struct gc_head *)(word & ~(uintptr_t)3);
}

static bool hand_on(struct walk *w, PyObject *o)
{
    w->failed = o != w->newest && w->take(o, w->arg) < 0;
    return !w->failed;
}

/* From both ends at once, and the next two are fetched while these two are looked at: each step
 * would wait for the memory.  False: the links do not agree, or take failed. */
static bool walk_list(struct gc_head *list, struct walk *w)
{
    struct gc_head *front = link(list->next), *back = link(list->prev);
    struct gc_head *behind = list, *ahead = list;

    if (front == list)
        return back == list;
    for (;;) {
        if (link(front->prev) != behind || link(back->next) != ahead)
            return false;
        __builtin_prefetch(link(front->next));
        __builtin_prefetch(link(back->prev));
        if (!hand_on(w, (PyObject *)(front + 1)))
            return false;
        if (front == back)
            return true;
        if (!hand_on(w, (PyObject *)(back + 1)))
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

static const void *behind(const struct generation *generation)
{
    uintptr_t end = (uintptr_t)(generation + 1), size = sizeof(void *);

    return (const void *)((end + size - 1) & ~(size - 1));
}

/* `newest` was just tracked.  False: not laid out as known. */
static bool find_lists(PyObject *newest, struct lists *lists)
{
    const struct gc_head *head = link(((struct gc_head *)newest - 1)->next);
    const struct generation *generations = (const struct generation *)head;
    const struct collector *collector = behind(&generations[2]);
    const struct collector_14 *collector_14 = behind(&generations[3]);
    const struct collector_15 *collector_15 = behind(&generations[3]);

    lists->generations = generations;
    lists->permanent = &generations[3];
    if (cpython_minor() <= 13) {
        lists->permanent = &collector->permanent;
        lists->collecting = collector->collecting;
        return collector->generation0 == head;
    }
    if (cpython_minor() == 14) {
        lists->collecting = collector_14->collecting;
        return collector_14->generation0 == head;
    }
    lists->collecting = collector_15->collecting;
    return collector_15->generation0 == head;
}

static int walk_all(const struct lists *lists, struct walk *w)
{
    if (lists->collecting == 1)
        return GC_COLLECTING;
    if (lists->collecting != 0)
        return unknown_layout();
    for (int i = 0; i < 3; i++)
        if (!walk_list((struct gc_head *)&lists->generations[i].head, w))
            return w->failed ? -1 : unknown_layout();
    if (!walk_list((struct gc_head *)&lists->permanent->head, w))
        return w->failed ? -1 : unknown_layout();
    return 0;
}

bool gc_collecting(void)
{
    PyObject *newest = PyList_New(0);
    struct lists lists;
    bool result = newest && find_lists(newest, &lists) && lists.collecting == 1;

    Py_DecRef(newest);
    PyErr_Clear();
    return result;
}

static int visit(PyObject *o, void *w)
{
    return hand_on(w, o); /* 0 ends the visit */
}

static int each(struct walk *w)
{
    struct lists lists;

    if (find_lists(w->newest, &lists))
        return walk_all(&lists, w);
    if (cpython_minor() != 14 || !&PyUnstable_GC_VisitObjects)
        return unknown_layout();
    PyUnstable_GC_VisitObjects(visit, w);
    return w->failed ? -1 : 0;
}

int gc_each(int (*take)(PyObject *o, void *arg), void *arg)
{
    struct walk w = {.take = take, .arg = arg, .newest = PyList_New(0)};
    int result;

    if (!w.newest)
        return -1;
    result = each(&w);
    Py_DecRef(w.newest);
    return result;
}
