/* References in numpy arrays, and in the records that are taken out of them.
 *
 * They are counted, but numpy's arrays are no objects of the collector, so no traversal finds
 * the arrays nor what is in them.  When a key has references that nothing else explains, all
 * arrays that can be reached are looked at, also those in arrays and those that they are views
 * of.  Where the pointers are, numpy tells: the dtype by offset, the buffer
 * protocol by address.  Views share memory, so each word counts once; a key with more words
 * than unexplained references is left alone, as one of them is not what it seems. */
#include "arrays.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/buffer.h"
#include "../cpython/introspect.h"
#include "address_set.h"
#include "keys.h"
#include "reachable.h"

enum { MOST_DIMENSIONS = 64, MOST_DEPTH = 32, ANSWERS = 256 };

struct word {
    char *address; /* in a packed record it may be unaligned */
    uint32_t key;
};

struct arrays {
    struct word *words;
    size_t n, cap;
};

/* Where the pointers of one item are. */
struct item {
    size_t *offsets;
    size_t n, cap;
};

struct answer {
    const PyTypeObject *type;
    bool is_array;
};

struct search {
    struct remap *remap;
    PyTypeObject *array, *record; /* numpy.ndarray, numpy.void; borrowed */
    PyObject *dtype, *base;       /* their attributes' descriptors; borrowed */
    PyObject *record_dtype;
    struct address_set words;
    struct reachable *reachable;
    struct item item;
    struct answer answers[ANSWERS];
    bool failed;
};

/* --- which objects */

static bool is_array(struct search *s, PyTypeObject *type)
{
    struct answer *answer = &s->answers[(uintptr_t)type / 64 % ANSWERS];

    if (answer->type != type)
        *answer = (struct answer){type, PyType_IsSubtype(type, s->array) ||
                                            PyType_IsSubtype(type, s->record)};
    return answer->is_array;
}

/* --- where in an item */

static PyObject *get(PyObject *descr, PyObject *object)
{
    PyObject *(*get)(PyObject *, PyObject *, PyObject *) = type_of(descr)->tp_descr_get;

    return get(descr, object, (PyObject *)type_of(object));
}

static bool add_offset(struct search *s, size_t offset)
{
    struct item *item = &s->item;

    if (!big_reserve(&item->offsets, item->n, &item->cap, sizeof *item->offsets)) {
        s->failed = true;
        return false;
    }
    item->offsets[item->n++] = offset;
    return true;
}

static bool add_dtype(struct search *s, PyObject *dtype, size_t offset, int depth);

static size_t size_of(PyObject *dtype)
{
    PyObject *size = PyObject_GetAttrString(dtype, "itemsize");
    Py_ssize_t n = size ? PyLong_AsSsize_t(size) : -1;

    Py_DecRef(size);
    return n > 0 ? (size_t)n : 0;
}

/* (dtype of the elements, shape) */
static bool add_subarray(struct search *s, PyObject *dtype, PyObject *sub, size_t offset, int depth)
{
    PyObject *element = PyTuple_GetItem(sub, 0);
    size_t size = element ? size_of(element) : 0, whole = size_of(dtype);

    for (size_t at = 0; size && at + size <= whole; at += size)
        if (!add_dtype(s, element, offset + at, depth))
            return false;
    return size > 0;
}

/* name -> (dtype, offset[, title]) */
static bool add_fields(struct search *s, PyObject *fields, size_t offset, int depth)
{
    PyObject *values = PyObject_CallMethod(fields, "values", NULL);
    PyObject *list = values ? PySequence_List(values) : NULL;
    bool done = list != NULL;

    for (Py_ssize_t i = 0; done && i < PyList_Size(list); i++) {
        PyObject *field = PyList_GetItem(list, i);
        Py_ssize_t at = is_tuple(field) && PyTuple_Size(field) >= 2
                            ? PyLong_AsSsize_t(PyTuple_GetItem(field, 1))
                            : -1;

        done = at >= 0 && add_dtype(s, PyTuple_GetItem(field, 0), offset + (size_t)at, depth);
    }
    Py_DecRef(values);
    Py_DecRef(list);
    return done;
}

static bool is_true(PyObject *object, const char *attribute)
{
    PyObject *value = PyObject_GetAttrString(object, attribute);
    bool yes = value && PyObject_IsTrue(value) == 1;

    Py_DecRef(value);
    return yes;
}

/* False: not to be told. */
static bool add_dtype(struct search *s, PyObject *dtype, size_t offset, int depth)
{
    PyObject *kind, *sub, *fields;
    bool done;

    if (depth > MOST_DEPTH || s->failed)
        return false;
    if (!is_true(dtype, "hasobject"))
        return true;
    kind = PyObject_GetAttrString(dtype, "kind");
    sub = kind ? PyObject_GetAttrString(dtype, "subdtype") : NULL;
    fields = sub ? PyObject_GetAttrString(dtype, "fields") : NULL;
    if (!fields)
        done = false;
    else if (PyUnicode_CompareWithASCIIString(kind, "O") == 0)
        done = add_offset(s, offset);
    else if (is_tuple(sub))
        done = add_subarray(s, dtype, sub, offset, depth + 1);
    else
        done = fields != Py_None && add_fields(s, fields, offset, depth + 1);
    Py_DecRef(kind);
    Py_DecRef(sub);
    Py_DecRef(fields);
    return done;
}

/* --- what is there */

static bool add_word(struct search *s, char *address, uint32_t key)
{
    struct arrays *a = s->remap->arrays;
    int added = address_set_add(&s->words, (uintptr_t)address);

    if (added < 0 || !big_reserve(&a->words, a->n, &a->cap, sizeof *a->words))
        return false;
    if (added)
        a->words[a->n++] = (struct word){address, key};
    return true;
}

static bool look_at_item(struct search *s, char *item)
{
    for (size_t i = 0; i < s->item.n; i++) {
        char *address = item + s->item.offsets[i];
        PyObject *o;
        ptrdiff_t key;

        memcpy(&o, address, sizeof o);
        if (!o)
            continue;
        key = keys_lookup(s->remap, o);
        if (key >= 0 && !add_word(s, address, (uint32_t)key))
            return false;
        if (reachable_add(o, s->reachable))
            return false;
    }
    return true;
}

static void look_at_items(struct search *s, const Py_buffer *view)
{
    Py_ssize_t index[MOST_DIMENSIONS] = {0};
    char *item = view->buf;
    int d = 0;

    if (view->ndim > MOST_DIMENSIONS || (view->ndim && !view->strides))
        return;
    for (int i = 0; i < view->ndim; i++)
        if (!view->shape[i])
            return;
    while (d >= 0 && !s->failed) {
        s->failed = !look_at_item(s, item);
        for (d = view->ndim - 1; d >= 0; d--) {
            item += view->strides[d];
            if (++index[d] < view->shape[d])
                break;
            item -= view->strides[d] * view->shape[d];
            index[d] = 0;
        }
    }
}

static void look_at_array(struct search *s, PyObject *array)
{
    bool is_record = PyType_IsSubtype(type_of(array), s->record);
    PyObject *dtype = get(is_record ? s->record_dtype : s->dtype, array);
    PyObject *base = is_record ? NULL : get(s->base, array);
    Py_buffer view;

    s->item.n = 0;
    if (base)
        reachable_add(base, s->reachable);
    if (dtype && add_dtype(s, dtype, 0, 0) && s->item.n &&
        PyObject_GetBuffer(array, &view, PyBUF_STRIDES) == 0) {
        look_at_items(s, &view);
        PyBuffer_Release(&view);
    }
    if (pass_over_error() < 0)
        s->failed = true;
    Py_DecRef(dtype);
    Py_DecRef(base);
}

/* numpy's iterators hold arrays, and the collector does not know them either. */
static void look_at_iterator(struct search *s, PyObject *o)
{
    static const char *const tell[][2] = {
        {"numpy.flatiter", "base"}, {"numpy.broadcast", "iters"}, {"numpy.nditer", "operands"}};
    PyObject *held = NULL;

    for (size_t i = 0; i < sizeof tell / sizeof tell[0] && !held; i++)
        if (strcmp(type_of(o)->tp_name, tell[i][0]) == 0)
            held = builtin_attribute(o, type_of(o), tell[i][1]);
    if (held && is_tuple(held))
        for (Py_ssize_t i = 0; i < PyTuple_Size(held); i++)
            reachable_add(PyTuple_GetItem(held, i), s->reachable);
    else if (held)
        reachable_add(held, s->reachable);
    Py_DecRef(held); /* the iterator has them */
}

/* Arrays of a class made by a class statement are listed, their items not traversed. */
static int look_at(struct reachable *reachable, PyObject *o, void *arg)
{
    struct search *s = arg;

    s->reachable = reachable;
    if (is_array(s, type_of(o)))
        look_at_array(s, o);
    else if (strncmp(type_of(o)->tp_name, "numpy.", 6) == 0)
        look_at_iterator(s, o);
    return s->failed ? -1 : 0;
}

/* --- the search */

static PyTypeObject *class_of(PyObject *module, const char *name)
{
    PyObject *class = dict_get(PyModule_GetDict(module), name);

    return class && is_type(class) ? (PyTypeObject *)class : NULL;
}

static PyObject *getter(PyTypeObject *type, const char *name)
{
    PyObject *text = PyUnicode_InternFromString(name);
    PyObject *descr = text ? _PyType_Lookup(type, text) : NULL;

    Py_DecRef(text);
    return descr && type_of(descr)->tp_descr_get ? descr : NULL;
}

/* Is numpy loaded? */
static bool open_search(struct search *s)
{
    PyObject *numpy = dict_get(PyImport_GetModuleDict(), "numpy");

    if (!numpy || !PyType_IsSubtype(type_of(numpy), &PyModule_Type))
        return false;
    s->array = class_of(numpy, "ndarray");
    s->record = class_of(numpy, "void");
    if (!s->array || !s->record)
        return false;
    s->dtype = getter(s->array, "dtype");
    s->base = getter(s->array, "base");
    s->record_dtype = getter(s->record, "dtype");
    return s->dtype && s->base && s->record_dtype;
}

static Py_ssize_t unexplained(const struct key *k)
{
    return k->refcount - (Py_ssize_t)(k->visits + k->frames);
}

/* Takes each key's words, or none of them. */
static int account(struct remap *r)
{
    struct arrays *a = r->arrays;
    size_t *found = calloc(r->n_keys + 1, sizeof *found), n = 0;

    if (!found) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < a->n; i++)
        found[a->words[i].key]++;
    for (size_t i = 0; i < a->n; i++) {
        uint32_t key = a->words[i].key;

        if ((Py_ssize_t)found[key] <= unexplained(&r->keys[key]))
            a->words[n++] = a->words[i];
    }
    a->n = n;
    for (size_t i = 0; i < a->n; i++) {
        r->keys[a->words[i].key].frames++;
        r->keys[a->words[i].key].roots++;
    }
    free(found);
    return 0;
}

static bool any_unexplained(const struct remap *r)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (unexplained(&r->keys[i]) > 0)
            return true;
    return false;
}

int arrays_scan(struct remap *r)
{
    struct search s = {.remap = r};
    int status;

    if (!r->arrays && !(r->arrays = calloc(1, sizeof *r->arrays))) {
        PyErr_NoMemory();
        return -1;
    }
    r->arrays->n = 0;
    if (!any_unexplained(r) || !open_search(&s))
        return pass_over_error();
    status = reachable_each(r, look_at, &s);
    address_set_free(&s.words);
    big_free(s.item.offsets);
    if (s.failed && !PyErr_Occurred())
        PyErr_NoMemory();
    return status < 0 ? -1 : account(r);
}

void arrays_close(struct remap *r)
{
    if (r->arrays)
        big_free(r->arrays->words);
    free(r->arrays);
}

static void arrays_finish(struct remap *r)
{
    struct arrays *a = r->arrays;

    for (size_t i = 0; a && i < a->n; i++) {
        const struct key *k = &r->keys[a->words[i].key];

        if (memcmp(a->words[i].address, &k->old, sizeof k->old))
            continue;
        Py_IncRef(k->new_);
        memcpy(a->words[i].address, &k->new_, sizeof k->new_);
        Py_DecRef(k->old);
    }
}

const struct writer array_writer = {
    .kind = "array",
    .finish = arrays_finish,
};
