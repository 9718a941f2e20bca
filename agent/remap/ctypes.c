/* Uncounted pointers in the memory of ctypes objects.
 *
 * A py_object, and an array or structure of such, has the address of an object in its buffer
 * and the counted reference to it elsewhere, in b_objects (Modules/_ctypes/_ctypes.c), where
 * traversal finds it.  Once that is rewritten the address would lead to an object that may be
 * freed.  The types tell where in the buffer it is; the memory may be anybody's and gone, so
 * that it is read without being touched, and written only where it is private and writable. */
#include <stdlib.h>

#include "../cpython/buffer.h"
#include "../cpython/introspect.h"
#include "heap.h"
#include "keys.h"

enum { MOST_DEPTH = 32 };

struct box {
    uintptr_t *address;
    uint32_t key;
};

struct ctypes {
    struct box *boxes;
    size_t n, cap;
};

struct search {
    struct remap *remap;
    PyTypeObject *data, *simple, *array, *structure, *union_; /* of _ctypes; borrowed */
    PyObject *sizeof_;
    bool failed;
};

/* --- what is there */

static bool add_box(struct remap *r, uintptr_t address, uint32_t key)
{
    struct ctypes *c = r->ctypes;

    if (remap_reserve(r, &c->boxes, c->n, &c->cap, sizeof *c->boxes) < 0)
        return false;
    c->boxes[c->n++] = (struct box){(uintptr_t *)address, key};
    return true;
}

static void look_at_word(struct search *s, uintptr_t address)
{
    uintptr_t word;
    ptrdiff_t key;

    if (!memory_read(&s->remap->heap->memory, address, &word, sizeof word) || !word)
        return;
    key = keys_lookup(s->remap, (PyObject *)word);
    if (key >= 0 && memory_at(&s->remap->heap->memory, address) &&
        !add_box(s->remap, address, (uint32_t)key))
        s->failed = true;
}

/* --- where in the memory */

/* An attribute of a class, past its metaclass; borrowed, or NULL. */
static PyObject *lookup(PyTypeObject *type, const char *name)
{
    PyObject *text = PyUnicode_InternFromString(name);
    PyObject *value = text ? _PyType_Lookup(type, text) : NULL;

    Py_DecRef(text);
    return value;
}

static uintptr_t number(PyObject *owned)
{
    Py_ssize_t n = owned && is_int(owned) ? PyLong_AsSsize_t(owned) : 0;

    Py_DecRef(owned);
    return n > 0 ? (uintptr_t)n : 0;
}

static uintptr_t size_of(const struct search *s, PyTypeObject *type)
{
    return number(PyObject_CallFunctionObjArgs(s->sizeof_, type, NULL));
}

static void look_at_memory(struct search *s, PyTypeObject *type, uintptr_t address, int depth);

static bool has_objects(struct search *s, PyTypeObject *type, int depth);

static PyTypeObject *element_of(PyTypeObject *array)
{
    PyObject *element = lookup(array, "_type_");

    return element && is_type(element) ? (PyTypeObject *)element : NULL;
}

static void look_at_elements(struct search *s, PyTypeObject *type, uintptr_t address, int depth)
{
    PyTypeObject *element = element_of(type);
    uintptr_t size = element ? size_of(s, element) : 0, whole = size_of(s, type);

    if (!size || !has_objects(s, element, depth))
        return;
    for (uintptr_t at = 0; at + size <= whole && !s->failed; at += size)
        look_at_memory(s, element, address + at, depth);
}

/* Calls `visit` for each field of a structure or union until it says true. */
static bool each_field(struct search *s, PyTypeObject *type, uintptr_t address, int depth,
                       bool (*visit)(struct search *, PyTypeObject *, uintptr_t, int))
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_mro); i < n; i++) {
        PyTypeObject *class = (PyTypeObject *)PyTuple_GetItem(type->tp_mro, i);
        PyObject *own = class->tp_dict ? dict_get(class->tp_dict, "_fields_") : NULL;
        PyObject *fields = own && (is_list(own) || is_tuple(own)) ? PySequence_List(own) : NULL;
        bool stop = false;

        for (Py_ssize_t j = 0; fields && !stop && j < PyList_Size(fields); j++) {
            PyObject *field = PyList_GetItem(fields, j), *place;

            if (!is_tuple(field) || PyTuple_Size(field) < 2 || !is_type(PyTuple_GetItem(field, 1)))
                continue;
            place = PyDict_GetItemWithError(class->tp_dict, PyTuple_GetItem(field, 0));
            if (place)
                stop = visit(s, (PyTypeObject *)PyTuple_GetItem(field, 1),
                             address + number(PyObject_GetAttrString(place, "offset")), depth);
        }
        Py_DecRef(fields);
        if (stop)
            return true;
    }
    return false;
}

static bool look_at_field(struct search *s, PyTypeObject *type, uintptr_t address, int depth)
{
    look_at_memory(s, type, address, depth);
    return s->failed;
}

static bool field_has_objects(struct search *s, PyTypeObject *type, uintptr_t address, int depth)
{
    (void)address;
    return has_objects(s, type, depth);
}

static bool is_py_object(struct search *s, PyTypeObject *type)
{
    PyObject *code = PyType_IsSubtype(type, s->simple) ? lookup(type, "_type_") : NULL;

    return code && is_str(code) && PyUnicode_CompareWithASCIIString(code, "O") == 0;
}

static bool is_structure(struct search *s, PyTypeObject *type)
{
    return PyType_IsSubtype(type, s->structure) || PyType_IsSubtype(type, s->union_);
}

static bool has_objects(struct search *s, PyTypeObject *type, int depth)
{
    if (depth > MOST_DEPTH || s->failed)
        return false;
    if (PyType_IsSubtype(type, s->array))
        return element_of(type) && has_objects(s, element_of(type), depth + 1);
    if (is_structure(s, type))
        return each_field(s, type, 0, depth + 1, field_has_objects);
    return is_py_object(s, type);
}

static void look_at_memory(struct search *s, PyTypeObject *type, uintptr_t address, int depth)
{
    if (depth > MOST_DEPTH || s->failed)
        return;
    if (PyType_IsSubtype(type, s->array))
        look_at_elements(s, type, address, depth + 1);
    else if (is_structure(s, type))
        each_field(s, type, address, depth + 1, look_at_field);
    else if (is_py_object(s, type))
        look_at_word(s, address);
}

/* --- which objects */

static int look_at(PyObject *o, void *arg)
{
    struct search *s = arg;
    PyTypeObject *type = type_of(o);
    Py_buffer view;

    /* All classes of ctypes have metaclasses of its own. */
    if (type_of((PyObject *)type) == &PyType_Type || !PyType_IsSubtype(type, s->data) ||
        !has_objects(s, type, 0))
        return 0;
    if (PyObject_GetBuffer(o, &view, PyBUF_STRIDES) == 0) {
        look_at_memory(s, type, (uintptr_t)view.buf, 0);
        PyBuffer_Release(&view);
    }
    if (!s->failed && pass_over_error() < 0)
        s->failed = true;
    return s->failed;
}

static PyTypeObject *class_of(PyObject *dict, const char *name)
{
    PyObject *class = dict_get(dict, name);

    return class && is_type(class) ? (PyTypeObject *)class : NULL;
}

/* Is ctypes loaded? */
static bool open_search(struct search *s)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "_ctypes"), *dict;

    if (!module || type_of(module) != &PyModule_Type)
        return false;
    dict = PyModule_GetDict(module);
    s->simple = class_of(dict, "_SimpleCData");
    s->array = class_of(dict, "Array");
    s->structure = class_of(dict, "Structure");
    s->union_ = class_of(dict, "Union");
    s->sizeof_ = dict_get(dict, "sizeof");
    s->data = s->simple ? s->simple->tp_base : NULL;
    return s->data && s->array && s->structure && s->union_ && s->sizeof_;
}

static int ctypes_prepare(struct remap *r)
{
    struct search s = {.remap = r};

    if (!r->n_edges || !open_search(&s))
        return 0;
    if (heap_memory(r->heap) < 0 || !(r->ctypes = remap_alloc(r, sizeof *r->ctypes)))
        return -1;
    remap_each(r, KIND_METACLASS, look_at, &s);
    return s.failed ? -1 : remap_reserve_stores(r, r->ctypes->n);
}

static void ctypes_finish(struct remap *r)
{
    for (size_t i = 0; r->ctypes && i < r->ctypes->n; i++) {
        const struct box *box = &r->ctypes->boxes[i];
        const struct key *k = &r->keys[box->key];

        if (*box->address == (uintptr_t)k->old)
            remap_store(r, box->address, (uintptr_t)k->new_);
    }
}

const struct writer ctypes_writer = {
    .kind = "ctypes",
    .prepare = ctypes_prepare,
    .finish = ctypes_finish,
};
