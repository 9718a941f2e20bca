/* Lists elsewhere that the new execution appended to again: a decorator or a call of the
 * module registered the new object where the old one is.
 *
 * The old object was there before, and nobody but the execution could have put the new one
 * there; so for each old entry one new entry that stands for the same is taken out.  What the
 * new source registers more often than the old one remains. */
#include <stdlib.h>

#include "big.h"
#include "cpython/weakref.h"
#include "data.h"

struct search {
    struct pairing *pairing;
    struct pointer_set made; /* new objects of pairs */
    PyTypeObject *partial;
    PyObject **lists; /* strong */
    size_t n, cap;
    bool failed;
};

/* What stays in place of what was made is in merges, and in the map the other way round. */
static int add_made(struct search *search)
{
    const struct pairing *pairing = search->pairing;
    struct pointer_set kept = {0};
    PyObject *address, *old;
    Py_ssize_t at = 0;
    int status = 0;

    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(pairing->merges); i++)
        status = pointer_set_add(&kept, PyTuple_GetItem(PyList_GetItem(pairing->merges, i), 0));
    while (status == 0 && PyDict_Next(pairing->origin, &at, &address, &old)) {
        PyObject *new_ = remap_get(pairing->remap, old);

        if (new_)
            status = pointer_set_add(&search->made, pointer_set_has(&kept, new_) ? old : new_);
    }
    pointer_set_clear(&kept);
    return status;
}

static bool is_made_itself(const struct search *, PyObject *element);

/* Looks at the first field of functools.partial, its function (Modules/_functoolsmodule.c, 3.8
 * to 3.15), because the attribute cannot be asked for here. */
static bool is_partial_of_made(const struct search *search, PyObject *element)
{
    const struct {
        PyObject ob_base;
        PyObject *function;
    } *partial = (const void *)element;

    return search->partial && type_of(element) == search->partial &&
           is_made_itself(search, partial->function);
}

static bool is_made_itself(const struct search *search, PyObject *element)
{
    if (pointer_set_has(&search->made, element))
        return true;
    if (type_of(element) == &PyMethod_Type)
        return pointer_set_has(&search->made, PyMethod_Function(element));
    if (pointer_set_has(&search->made, (PyObject *)type_of(element)))
        return true; /* an instance of a new class */
    if (is_weakref(element)) {
        PyObject *target = weakref_target(element);

        return target && (pointer_set_has(&search->made, target) ||
                          pointer_set_has(&search->made, (PyObject *)type_of(target)));
    }
    return is_partial_of_made(search, element);
}

static bool is_made(const struct search *search, PyObject *element)
{
    if (type_of(element) != &PyTuple_Type)
        return is_made_itself(search, element);
    for (Py_ssize_t i = 0; i < PyTuple_Size(element); i++) {
        if (is_made_itself(search, PyTuple_GetItem(element, i)))
            return true;
    }
    return false;
}

static bool is_ours_to_leave(const struct pairing *pairing, PyObject *list)
{
    if (list == pairing->edits || list == pairing->merges || list == pairing->literals ||
        list == pairing->moved)
        return true;
    /* A list of the new execution that is dropped for the one that stays, or one that takes the
     * place of an old one: what it holds twice was meant so. */
    return remap_get(pairing->remap, list) || pairing_origin(pairing, list);
}

/* Called for each object of the heap: no Python object may be made here. */
static int collect_list(PyObject *object, void *arg)
{
    struct search *search = arg;
    bool found = false;

    if (type_of(object) != &PyList_Type)
        return 0;
    for (Py_ssize_t i = 0; i < PyList_Size(object) && !found; i++) {
        PyObject *element = PyList_GetItem(object, i);

        found = element && is_made(search, element);
    }
    if (!found)
        return 0;
    if (!big_reserve(&search->lists, search->n, &search->cap, sizeof *search->lists)) {
        search->failed = true;
        return 1;
    }
    Py_IncRef(object);
    search->lists[search->n++] = object;
    return 0;
}

/* The first unmatched entry that the new one at `i` is the `same` as, or -1. */
static Py_ssize_t repeated(const struct search *search, PyObject *list, Py_ssize_t i,
                           const char *matched,
                           bool same(const struct pairing *, PyObject *, PyObject *))
{
    PyObject *new_ = PyList_GetItem(list, i);

    for (Py_ssize_t k = 0; k < PyList_Size(list); k++) {
        PyObject *old = PyList_GetItem(list, k);

        if (k != i && !matched[k] && old != new_ && !is_made(search, old) &&
            same(search->pairing, old, new_))
            return k;
    }
    return -1;
}

static int remove_repeated(struct search *search, PyObject *list)
{
    char *matched = calloc((size_t)PyList_Size(list) + 1, 1);
    int status = 0;

    if (!matched) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(list); i++) {
        PyObject *element = PyList_GetItem(list, i);
        Py_ssize_t old =
            is_made(search, element) ? repeated(search, list, i, matched, is_repetition) : -1;

        if (old < 0)
            continue;
        matched[old] = matched[i] = 1;
        if (type_of(PyList_GetItem(list, old)) != type_of(element)) /* an instance */
            status = merge_keep(search->pairing, PyList_GetItem(list, old), element, NULL);
        if (status == 0)
            status =
                plan_remove(search->pairing->plan, list, pairing_final(search->pairing, element));
    }
    for (Py_ssize_t i = 0; status == 0 && i < PyList_Size(list); i++) {
        PyObject *element = PyList_GetItem(list, i);
        Py_ssize_t old = !matched[i] && is_made(search, element)
                             ? repeated(search, list, i, matched, is_reworded)
                             : -1;

        if (old < 0)
            continue;
        matched[old] = 1;
        status = plan_remove(search->pairing->plan, list, PyList_GetItem(list, old));
    }
    free(matched);
    return status;
}

int doubled_remove(struct pairing *pairing)
{
    struct search search = {.pairing = pairing, .partial = partial_type()};
    int status = add_made(&search);

    if (status == 0)
        status = heap_visit(collect_list, &search) < 0 ? -1 : 0;
    if (search.failed) {
        PyErr_NoMemory();
        status = -1;
    }
    for (size_t i = 0; i < search.n; i++) {
        if (status == 0 && !is_ours_to_leave(pairing, search.lists[i]))
            status = remove_repeated(&search, search.lists[i]);
        Py_DecRef(search.lists[i]);
    }
    big_free(search.lists);
    pointer_set_clear(&search.made);
    return status;
}
