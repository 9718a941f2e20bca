/* What containers hold (contents.h): a walk along tp_traverse, breadth first. */
#include "contents.h"

#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/gc_objects.h"
#include "cpython/introspect.h"
#include "cpython/shared_keys.h"

/* Registries are near the modules, and small: what is larger, or beyond, is data.  A walk to the
 * bound takes some 40 ms. */
enum { MAX_OBJECTS = 1 << 17, MAX_WORDS = 1 << 20, MAX_ENTRIES = 1 << 13 };

struct record {
    PyObject *container;
    size_t first, n; /* in words */
};

struct contents {
    struct record *records; /* by address */
    size_t n, cap;
    PyObject **words;
    size_t n_words, words_cap;
    PyObject **classes; /* class, bases, class, bases; kept alive */
    size_t n_classes, classes_cap;
    struct pointer_set kept;
    struct pointer_set seen; /* every object that was reached */
    bool complete;           /* that is all there are */
};

struct walk {
    struct contents *contents;
    PyObject *kept; /* list: owns contents->kept */
    struct pointer_set classes;
    PyObject **queue; /* borrowed: no code runs during the walk */
    size_t n, cap;
};

static int add_word(struct contents *c, PyObject *word)
{
    if (big_reserve_or_raise(&c->words, c->n_words, &c->words_cap, sizeof *c->words) < 0)
        return -1;
    c->words[c->n_words++] = word;
    return 0;
}

/* --- what is kept alive */

/* The classes that the modules define at their top level. */
static int find_classes(struct walk *walk, const struct execution *e)
{
    PyObject *name, *value, *module;
    Py_ssize_t at;

    for (size_t i = 0; i < e->n_executed; i++) {
        at = 0;
        while (PyDict_Next(e->modules[i].before, &at, &name, &value)) {
            module = is_heap_class(value) ? dict_get(class_dict(value), "__module__") : NULL;
            if (module && is_str(module) && PyUnicode_Compare(module, e->modules[i].name) == 0 &&
                pointer_set_add(&walk->classes, value) < 0)
                return -1;
        }
    }
    return 0;
}

static bool is_to_be_kept(const struct walk *walk, PyObject *value)
{
    return type_of(value) == &PyFunction_Type || type_of(value) == &PyMethod_Type ||
           type_of(value) == &PyCFunction_Type || is_type(value) ||
           pointer_set_has(&walk->classes, (PyObject *)type_of(value));
}

static int keep(struct walk *walk, PyObject *key, PyObject *value)
{
    struct pointer_set *kept = &walk->contents->kept;

    if (!is_to_be_kept(walk, value))
        return 0;
    /* The key too: an address that is used again would be taken for it. */
    if (PyList_Append(walk->kept, key) < 0)
        return -1;
    if (pointer_set_has(kept, value))
        return 0;
    return pointer_set_add(kept, value) < 0 ? -1 : PyList_Append(walk->kept, value);
}

/* --- containers */

static int note_dict(struct walk *walk, PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;

    while (PyDict_Next(dict, &at, &key, &value)) {
        if (add_word(walk->contents, key) < 0 || add_word(walk->contents, value) < 0 ||
            keep(walk, key, value) < 0)
            return -1;
    }
    return 0;
}

static int note_list(struct walk *walk, PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (add_word(walk->contents, PyList_GetItem(list, i)) < 0)
            return -1;
    }
    return 0;
}

static int note_set(struct walk *walk, PyObject *set)
{
    PyObject *key;
    Py_hash_t hash;
    Py_ssize_t at = 0;

    while (_PySet_NextEntry(set, &at, &key, &hash)) {
        if (add_word(walk->contents, key) < 0)
            return -1;
    }
    return 0;
}

/* An instance that has no dict yet. */
static int note_attributes(struct walk *walk, PyObject *instance, PyObject *const *values)
{
    size_t n = shared_keys_count(type_of(instance));

    for (size_t i = 0; i < n; i++) {
        PyObject *name = shared_keys_name(type_of(instance), i);

        if (values[i] &&
            (add_word(walk->contents, name) < 0 || add_word(walk->contents, values[i]) < 0 ||
             keep(walk, name, values[i]) < 0))
            return -1;
    }
    return 0;
}

/* `values`: shared_keys_any_values of what is neither dict, list nor set. */
static int note(struct walk *walk, PyObject *container, PyObject *const *values)
{
    struct contents *c = walk->contents;
    struct record record = {.container = container, .first = c->n_words};
    int status;

    if (values)
        status = note_attributes(walk, container, values);
    else if (is_dict(container))
        status = note_dict(walk, container);
    else if (is_list(container))
        status = note_list(walk, container);
    else
        status = note_set(walk, container);
    record.n = c->n_words - record.first;
    if (status < 0 || big_reserve_or_raise(&c->records, c->n, &c->cap, sizeof *c->records) < 0)
        return -1;
    c->records[c->n++] = record;
    return 0;
}

static int note_class(struct walk *walk, PyObject *class)
{
    struct contents *c = walk->contents;
    PyObject *const pair[] = {class, ((PyTypeObject *)class)->tp_bases};

    for (int i = 0; i < 2; i++) {
        if (big_reserve_or_raise(&c->classes, c->n_classes, &c->classes_cap, sizeof *c->classes) <
                0 ||
            PyList_Append(walk->kept, pair[i]) < 0)
            return -1;
        c->classes[c->n_classes++] = pair[i];
    }
    return 0;
}

/* Entries of a container; -1: it is none. */
static Py_ssize_t entries(PyObject *object)
{
    if (is_dict(object))
        return PyDict_Size(object);
    if (is_list(object))
        return PyList_Size(object);
    return PyType_IsSubtype(type_of(object), &PySet_Type) ? PySet_Size(object) : -1;
}

/* --- the walk */

/* tp_traverse goes on while this returns 0. */
static int see(PyObject *object, void *arg)
{
    struct walk *walk = arg;

    if (!object || pointer_set_has(&walk->contents->seen, object))
        return 0;
    /* A dict of nothing but text and numbers is not tracked by the collector. */
    if (!gc_has_head(object))
        return 0;
    if (pointer_set_add(&walk->contents->seen, object) < 0 ||
        big_reserve_or_raise(&walk->queue, walk->n, &walk->cap, sizeof(PyObject *)) < 0)
        return -1;
    walk->queue[walk->n++] = object;
    return 0;
}

static int visit(struct walk *walk, PyObject *object)
{
    traverseproc traverse = type_of(object)->tp_traverse;
    Py_ssize_t n = entries(object);
    PyObject *const *values = n < 0 ? shared_keys_any_values(object) : NULL;

    if (n > MAX_ENTRIES) {
        walk->contents->complete = false;
        return 0;
    }
    if ((n >= 0 || values) && note(walk, object, values) < 0)
        return -1;
    if (is_heap_class(object) && note_class(walk, object) < 0)
        return -1;
    return traverse ? traverse(object, see, walk) : 0;
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct record *)a)->container;
    uintptr_t y = (uintptr_t)((const struct record *)b)->container;

    return (x > y) - (x < y);
}

static int walk_all(struct walk *walk)
{
    int status = see(PyImport_GetModuleDict(), walk);

    walk->contents->complete = true;
    for (size_t i = 0; status == 0 && i < walk->n; i++) {
        if (i >= MAX_OBJECTS || walk->contents->n_words >= MAX_WORDS) {
            walk->contents->complete = false;
            break;
        }
        status = visit(walk, walk->queue[i]);
    }
    return status;
}

struct contents *contents_look(const struct execution *e, PyObject *kept)
{
    struct walk walk = {.contents = calloc(1, sizeof *walk.contents), .kept = kept};
    int status = -1;

    shared_keys_known(); /* makes objects, if it is not known yet: before the walk */
    if (!walk.contents)
        PyErr_NoMemory();
    else if (find_classes(&walk, e) == 0)
        status = walk_all(&walk);
    big_free(walk.queue);
    pointer_set_clear(&walk.classes);
    if (status == 0) {
        qsort(walk.contents->records, walk.contents->n, sizeof(struct record), compare);
        return walk.contents;
    }
    contents_free(walk.contents);
    return NULL;
}

PyObject *const *contents_of(const struct contents *c, PyObject *container, size_t *n)
{
    struct record wanted = {.container = container}, *found;

    found = c && c->n ? bsearch(&wanted, c->records, c->n, sizeof wanted, compare) : NULL;
    if (!found)
        return NULL;
    *n = found->n;
    return &c->words[found->first];
}

bool contents_made_since(const struct contents *c, PyObject *object)
{
    return c && c->complete && gc_has_head(object) && !pointer_set_has(&c->seen, object);
}

int contents_each_class(const struct contents *c,
                        int (*visit)(PyObject *type, PyObject *bases, void *arg), void *arg)
{
    int status = 0;

    for (size_t i = 0; c && status == 0 && i < c->n_classes; i += 2)
        status = visit(c->classes[i], c->classes[i + 1], arg);
    return status;
}

bool contents_kept(const struct contents *c, PyObject *value)
{
    return pointer_set_has(&c->kept, value);
}

void contents_free(struct contents *c)
{
    if (!c)
        return;
    big_free(c->records);
    big_free(c->words);
    big_free(c->classes);
    pointer_set_clear(&c->kept);
    pointer_set_clear(&c->seen);
    free(c);
}
