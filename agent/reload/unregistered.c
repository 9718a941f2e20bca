/* Definitions that only a dropped object has (unregistered.h). */
#include "unregistered.h"

#include "big.h"
#include "cpython/introspect.h"

enum { MAX_OBJECTS = 1 << 16 };

struct walk {
    const struct contents *contents;
    struct pointer_set seen;
    PyObject **queue; /* borrowed */
    size_t n, cap;
};

static int see(PyObject *object, void *arg)
{
    struct walk *walk = arg;

    if (!object || pointer_set_has(&walk->seen, object) ||
        !contents_made_since(walk->contents, object) || walk->n == MAX_OBJECTS)
        return 0;
    if (pointer_set_add(&walk->seen, object) < 0)
        return -1;
    /* Functions and classes lead to the whole module. */
    if (type_of(object) == &PyFunction_Type || is_type(object) || type_of(object) == &PyModule_Type)
        return 0;
    if (big_reserve_or_raise(&walk->queue, walk->n, &walk->cap, sizeof *walk->queue) < 0)
        return -1;
    walk->queue[walk->n++] = object;
    return 0;
}

/* Those of the added names whose functions or classes `object` leads to.  New list. */
static PyObject *added_in(const struct module_pair *pair, const struct contents *contents,
                          PyObject *object)
{
    struct walk walk = {.contents = contents};
    PyObject *list = PyList_New(0);
    int status = list ? see(object, &walk) : -1;

    for (size_t i = 0; status == 0 && i < walk.n; i++) {
        traverseproc traverse = type_of(walk.queue[i])->tp_traverse;

        status = traverse ? traverse(walk.queue[i], see, &walk) : 0;
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(pair->added); i++) {
        PyObject *name = PyList_GetItem(pair->added, i);
        PyObject *value = dict_lookup(pair->new_dict, name);

        if (value && (type_of(value) == &PyFunction_Type || is_type(value)) &&
            pointer_set_has(&walk.seen, value))
            status = PyList_Append(list, name);
    }
    big_free(walk.queue);
    pointer_set_clear(&walk.seen);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* An instance of a class that was there before: what those of the module's own lead to is merged.
 */
static bool is_dropped(const struct contents *contents, PyObject *old, PyObject *new_)
{
    return old && new_ && old != new_ && is_heap_class((PyObject *)type_of(new_)) &&
           type_of(old) == type_of(new_) &&
           !contents_made_since(contents, (PyObject *)type_of(new_)) && !is_type(new_);
}

PyObject *unregistered(const struct module_pair *pair, const struct contents *contents)
{
    PyObject *report = PyDict_New();

    for (Py_ssize_t i = 0; report && i < PyList_Size(pair->kept); i++) {
        PyObject *name = PyList_GetItem(pair->kept, i), *list;
        PyObject *new_ = dict_lookup(pair->new_dict, name);
        int status;

        if (!is_dropped(contents, dict_lookup(pair->old_dict, name), new_))
            continue;
        list = added_in(pair, contents, new_);
        status = !list ? -1 : PyList_Size(list) ? PyDict_SetItem(report, name, list) : 0;
        Py_DecRef(list);
        if (status < 0) {
            Py_DecRef(report);
            return NULL;
        }
    }
    return report;
}
