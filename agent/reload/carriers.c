/* Which objects lead to what an execution made (carriers.h): along tp_traverse, the other way
 * round, so in turns until a turn finds none. */
#include "carriers.h"

#include "big.h"
#include "cpython/gc_objects.h"
#include "cpython/introspect.h"
#include "remap/remap.h"

enum { MAX_TURNS = 16 };

struct search {
    struct pointer_set *carriers;
    const struct births *births;
    const struct contents *contents;
    PyObject **made; /* borrowed: no code runs during the search */
    size_t n, cap;
    bool failed;
};

/* Modules, classes, functions and frames lead to the whole of the execution. */
static bool leads_everywhere(PyObject *object)
{
    return is_type(object) || type_of(object) == &PyModule_Type ||
           type_of(object) == &PyFunction_Type || type_of(object) == &PyFrame_Type ||
           type_of(object) == &PyTraceBack_Type;
}

static bool is_namespace(const struct births *births, PyObject *object)
{
    for (size_t i = 0; i < births->n_dicts; i++) {
        if (births->dicts[i] == object)
            return true;
    }
    return false;
}

static int collect(PyObject *object, void *arg)
{
    struct search *search = arg;

    if (!contents_made_since(search->contents, object) || leads_everywhere(object) ||
        is_namespace(search->births, object) || find_birth(search->births, object) ||
        !type_of(object)->tp_traverse)
        return 0;
    if (!big_reserve(&search->made, search->n, &search->cap, sizeof *search->made)) {
        search->failed = true;
        return 1;
    }
    search->made[search->n++] = object;
    return 0;
}

/* tp_traverse ends when this is not 0. */
static int leads_to_birth(PyObject *object, void *arg)
{
    const struct search *search = arg;

    return object &&
           (find_birth(search->births, object) || pointer_set_has(search->carriers, object));
}

/* Adds those that refer to what is known: 1 if there were any. */
static int turn(struct search *search)
{
    size_t left = 0;
    bool found = false;

    for (size_t i = 0; i < search->n; i++) {
        PyObject *object = search->made[i];

        if (!type_of(object)->tp_traverse(object, leads_to_birth, search)) {
            search->made[left++] = object;
            continue;
        }
        if (pointer_set_add(search->carriers, object) < 0)
            return -1;
        found = true;
    }
    search->n = left;
    return found;
}

int carriers_find(struct pointer_set *carriers, const struct births *births,
                  const struct contents *contents)
{
    struct search search = {.carriers = carriers, .births = births, .contents = contents};
    int status = heap_visit(collect, &search);

    if (search.failed) {
        PyErr_NoMemory();
        status = -1;
    }
    status = status < 0 ? -1 : 1;
    for (int i = 0; i < MAX_TURNS && status > 0; i++)
        status = turn(&search);
    big_free(search.made);
    return status < 0 ? -1 : 0;
}
