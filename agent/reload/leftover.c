/* Taking back what a failed execution left in live objects (leftover.h). */
#include "leftover.h"

#include <stdlib.h>

#include "births.h"
#include "c_memory.h"
#include "cpython/collector.h"
#include "exit_functions.h"
#include "graveyard.h"
#include "rebased.h"
#include "remap/remap.h"
#include "strays.h"

enum { MAX_TRIES = 3 };

/* --- giving the old ones their places back */

static int remap_to_old(const struct births *births)
{
    struct remap *remap = remap_new();
    int status = remap ? 0 : -1;

    for (size_t i = 0; status == 0 && i < births->n; i++) {
        const struct birth *birth = &births->items[i];

        if (!birth->alive || !birth->old)
            continue;
        if (remap_add(remap, birth->alive, birth->old) < 0)
            PyErr_Clear(); /* an alias of one that is added; what is left is reported */
    }
    if (status == 0)
        status = remap_resolve(remap);
    if (status == 0)
        status = remap_commit(remap);
    if (status == 0)
        status = remap_verify(remap);
    remap_free(remap);
    return status;
}

/* The engine has moved the weak references along with all others: new ones tell whether those
 * that made room are held by anybody still. */
static int renew_weak_references(struct births *births)
{
    for (size_t i = 0; i < births->n; i++) {
        struct birth *birth = &births->items[i];
        PyObject *weak = birth->alive ? PyWeakref_NewRef(birth->alive, NULL) : NULL;

        if (birth->alive && !weak)
            return -1;
        if (weak) {
            Py_DecRef(birth->weak);
            birth->weak = weak;
        }
    }
    return 0;
}

/* The dicts of the execution that are alive: those that surviving functions run in. */
static int keep_globals(const struct births *births)
{
    PyObject **dicts = calloc(births->n + 1, sizeof *dicts);
    size_t n = 0;

    if (!dicts) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < births->n; i++) {
        PyObject *alive = births->items[i].alive;

        if (alive && type_of(alive) == &PyFunction_Type)
            dicts[n++] = PyFunction_GetGlobals(alive);
    }
    graveyard_keep_globals(NULL, dicts, n);
    free(dicts);
    return 0;
}

static int take_back(struct births *births, const struct contents *contents)
{
    bool collecting;
    int status = collector_pause(&collecting);

    if (status < 0)
        return -1;
    status = rebased_restore(contents);
    if (status == 0)
        status = strays_remove(births, contents);
    if (status == 0)
        status = keep_globals(births);
    if (status == 0)
        status = remap_to_old(births);
    if (status == 0)
        status = renew_weak_references(births);
    collector_resume(collecting);
    return status;
}

/* The names of those that are alive even now. */
static PyObject *names_left(struct births *births)
{
    PyObject *list = PyList_New(0);
    Py_ssize_t n = list ? births_hold_survivors(births) : -1;
    int status = n < 0 ? -1 : 0;

    for (size_t i = 0; status == 0 && n > 0 && i < births->n; i++) {
        if (births->items[i].alive)
            status = PyList_Append(list, births->items[i].name);
    }
    births_let_go(births);
    if (status == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}

/* Whatever a step that failed for want of memory had done, it can be done again: memory may be
 * short for a moment, and what is left would be a half of the new source. */
static bool tries_again(int tries)
{
    if (tries >= MAX_TRIES || !PyErr_Occurred() || !PyErr_ExceptionMatches(PyExc_MemoryError))
        return false;
    PyErr_Clear();
    return true;
}

static int note_births(struct births *births, const struct execution *e,
                       const struct contents *contents)
{
    int status, tries = 0;

    do {
        births_clear(births);
        memory_was_short();
        status = births_note(births, e, contents);
        if (status == 0 && memory_was_short()) {
            PyErr_NoMemory();
            status = -1;
        }
    } while (status < 0 && tries_again(++tries));
    return status;
}

static Py_ssize_t hold_survivors(struct births *births)
{
    Py_ssize_t n;
    int tries = 0;

    do {
        births_let_go(births);
        n = births->n ? births_hold_survivors(births) : 0;
    } while (n < 0 && tries_again(++tries));
    return n;
}

/* New reference to the list of what is left, or NULL with an exception. */
static PyObject *empty_places(struct births *births, const struct contents *contents)
{
    Py_ssize_t survivors = hold_survivors(births);
    PyObject *left = NULL;
    int status = survivors < 0 ? -1 : 0, tries = 0;

    if (survivors > 0) {
        do
            status = take_back(births, contents);
        while (status < 0 && tries_again(++tries));
    }
    if (status < 0)
        return NULL;
    births_let_go(births);
    do
        left = survivors ? names_left(births) : PyList_New(0);
    while (!left && tries_again(++tries));
    return left;
}

static void keep_c_memory(const struct execution *e)
{
    bool collecting;

    if (collector_pause(&collecting) == 0) {
        c_memory_keep_of_failed(e);
        collector_resume(collecting);
    }
    PyErr_Clear();
}

PyObject *leftover_take_back(struct execution *e, const struct contents *contents)
{
    PyObject *error[3], *left = NULL;
    struct births births = {0};
    int status = note_births(&births, e, contents);

    PyErr_Fetch(&error[0], &error[1], &error[2]);
    keep_c_memory(e);
    exit_functions_take_back(e);
    execution_end(e);
    PyErr_Restore(error[0], error[1], error[2]);
    if (status == 0)
        left = empty_places(&births, contents);
    births_clear(&births);
    return left;
}
