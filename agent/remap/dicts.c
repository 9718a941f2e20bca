/* Values of dicts whose keys are all exact str: module namespaces, class namespaces,
 * instance dicts, most others.  CPython remembers such values (opcaches by dict version to
 * 3.10, dict watchers and the JIT from 3.12, the method cache for classes), so they are set
 * through the API.  Setting the value of a key that is there allocates nothing and, keys
 * being exact str, calls no Python code. */
#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/type_layout.h"
#include "engine.h"
#include "tally.h"
#include "types.h"

/* One value to set: a borrowed name in the dict of the edge, and which key is there. */
struct item {
    PyObject *name;
    uint32_t key;
};

struct dicts {
    struct tally tally;
    struct dict_job *job; /* of the dict in hand; NULL once an edge has it */
};

/* What the first edge of a dict's values commits for all of them. */
struct dict_job {
    PyObject *dict;
    PyTypeObject *owner; /* it is this class's namespace; or NULL */
    size_t n, done;
    struct item items[];
};

static struct dict_job *make_job(struct remap *r, PyObject *dict, PyTypeObject *owner)
{
    struct dict_job *job;
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    size_t n = 0;

    while (PyDict_Next(dict, &pos, &name, &value)) {
        if (tally_add(r, &r->dicts->tally, value) < 0)
            return NULL;
        n += keys_find(r, value) >= 0;
    }
    job = remap_alloc(r, sizeof *job + n * sizeof job->items[0]);
    if (!job)
        return NULL;
    job->dict = dict;
    job->owner = owner;
    pos = 0;
    while (PyDict_Next(dict, &pos, &name, &value)) {
        ptrdiff_t key = keys_find(r, value);

        if (key >= 0)
            job->items[job->n++] = (struct item){name, (uint32_t)key};
    }
    return job;
}

static ptrdiff_t resolve(struct remap *r, struct edge *e, PyTypeObject *owner)
{
    struct dicts *d = r->dicts;
    size_t taken;
    int fresh;

    if (!d && !(d = r->dicts = remap_alloc(r, sizeof *d)))
        return -1;
    fresh = tally_open(r, &d->tally, e->referrer);
    if (fresh < 0)
        return -1;
    if (fresh && !(d->job = make_job(r, e->referrer, owner)))
        return -1;
    taken = tally_take(&d->tally, e->key, e->visits);
    if (taken) { /* the first edge may be one of the dict's other fields */
        e->data = d->job;
        d->job = NULL;
    }
    return (ptrdiff_t)taken;
}

static ptrdiff_t dict_resolve(struct remap *r, struct edge *e)
{
    struct dict_table table;

    if (!is_dict(e->referrer) || !dict_layout_known() || dict_table_open(e->referrer, &table))
        return 0;
    return resolve(r, e, NULL);
}

static ptrdiff_t type_dict_resolve(struct remap *r, struct edge *e)
{
    struct dict_table table;
    PyTypeObject *owner;

    if (!is_dict(e->referrer) || !dict_layout_known() || dict_table_open(e->referrer, &table))
        return 0;
    if (types_open(r) < 0)
        return -1;
    if (types_part(r, e->referrer, &owner) != PART_DICT)
        return 0;
    return resolve(r, e, owner);
}

/* type.__setattr__ keeps slots in step, but hands over to a data descriptor of the
 * metaclass that has the name; and a static type refuses. */
static int set_type_item(PyTypeObject *owner, PyObject *dict, PyObject *name, PyObject *value)
{
    PyObject *meta = _PyType_Lookup(type_of((PyObject *)owner), name);
    int result;

    if (type_is_python(owner) && !(meta && type_of(meta)->tp_descr_set))
        return PyType_Type.tp_setattro((PyObject *)owner, name, value);
    result = PyDict_SetItem(dict, name, value);
    PyType_Modified(owner);
    return result;
}

static int set_item(const struct dict_job *job, PyObject *name, PyObject *value)
{
    return job->owner ? set_type_item(job->owner, job->dict, name, value)
                      : PyDict_SetItem(job->dict, name, value);
}

static void dict_undo(struct remap *r, struct edge *e)
{
    struct dict_job *job = e->data;
    PyObject *type, *value, *traceback;

    if (!job)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    while (job->done) {
        const struct item *item = &job->items[--job->done];
        const struct key *k = &r->keys[item->key];

        if (PyDict_GetItemWithError(job->dict, item->name) == k->new_ &&
            set_item(job, item->name, k->old) < 0)
            PyErr_WriteUnraisable(job->dict);
    }
    PyErr_Restore(type, value, traceback);
}

static int dict_commit(struct remap *r, struct edge *e)
{
    struct dict_job *job = e->data;

    for (; job && job->done < job->n; job->done++) {
        const struct item *item = &job->items[job->done];
        struct key *k = &r->keys[item->key];

        /* The caller may have set or deleted names of its own since. */
        if (PyDict_GetItemWithError(job->dict, item->name) != k->old) {
            k->uncounted++;
        } else if (set_item(job, item->name, k->new_) < 0) {
            dict_undo(r, e);
            return -1;
        }
    }
    return 0;
}

const struct writer dict_writer = {
    .kind = "dict", .resolve = dict_resolve, .commit = dict_commit, .undo = dict_undo};

const struct writer type_dict_writer = {.kind = "class namespace",
                                        .resolve = type_dict_resolve,
                                        .commit = dict_commit,
                                        .undo = dict_undo};
