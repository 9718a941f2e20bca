#include "reachable.h"

#include "../big.h"
#include "../cpython/gc_objects.h"
#include "address_set.h"
#include "frames.h"
#include "heap.h"

struct reachable {
    struct address_set seen;
    PyObject **todo;
    size_t n_todo, cap_todo;
    bool failed;
};

static bool is_plain(const PyTypeObject *type)
{
    return type == &PyUnicode_Type || type == &PyLong_Type || type == &PyFloat_Type ||
           type == &PyBytes_Type || type == &PyBool_Type || type == &PyCode_Type ||
           type == type_of(Py_None);
}

/* Does the collector leave it out? */
static bool is_unlisted(PyObject *o)
{
    const PyTypeObject *type = type_of(o);

    if (!type_has(type, Py_TPFLAGS_HAVE_GC))
        return !is_plain(type);
    /* Among them sched_param: PyStructSequence_New tracks none (Objects/structseq.c). */
    return (type == &PyDict_Type || type_has(type, Py_TPFLAGS_TUPLE_SUBCLASS)) && !gc_is_tracked(o);
}

static bool push(struct reachable *w, PyObject *o)
{
    if (!big_reserve(&w->todo, w->n_todo, &w->cap_todo, sizeof *w->todo))
        return false;
    w->todo[w->n_todo++] = o;
    return true;
}

int reachable_add(PyObject *o, void *reachable)
{
    struct reachable *w = reachable;
    int added = is_unlisted(o) ? address_set_add(&w->seen, (uintptr_t)o) : 0;

    if (added < 0 || (added && !push(w, o)))
        w->failed = true;
    return w->failed;
}

/* From 3.11 on no traversal shows what a running frame holds. */
static int add_locals(struct remap *r, PyObject *frame, void *arg)
{
    (void)r;
    return frames_visit_locals(frame, reachable_add, arg);
}

static int look_at(struct reachable *w, PyObject *o,
                   int (*visit)(struct reachable *, PyObject *, void *), void *arg)
{
    int result = visit(w, o, arg);

    if (result == 0 && type_of(o)->tp_traverse)
        type_of(o)->tp_traverse(o, reachable_add, w);
    return w->failed ? -1 : result;
}

int reachable_each(struct remap *r, int (*visit)(struct reachable *, PyObject *, void *), void *arg)
{
    struct reachable w = {0};
    int result = 0;

    for (size_t i = 0; i < r->heap->n && result == 0; i++)
        result = look_at(&w, r->heap->objects[i], visit, arg);
    if (result == 0)
        result = frames_each(r, add_locals, &w);
    while (w.n_todo && result == 0)
        result = look_at(&w, w.todo[--w.n_todo], visit, arg);
    if (w.failed && !PyErr_Occurred())
        PyErr_NoMemory();
    address_set_free(&w.seen);
    big_free(w.todo);
    return result;
}
