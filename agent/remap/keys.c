/* The map from old to new objects. */
#include "keys.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/refcount.h"

enum { FIRST_SLOTS = 1024, BITS_A_SLOT = 16 };

/* --- the table */

static void table_insert(struct key_table *t, const PyObject *old, uint32_t index)
{
    size_t hash = keys_hash(old), i = hash & t->mask, bit = hash & t->bitmap_mask;

    while (t->slots[i])
        i = (i + 1) & t->mask;
    t->slots[i] = index + 1;
    t->bitmap[bit / 8] |= (unsigned char)(1 << bit % 8);
}

static int table_grow(struct remap *r)
{
    struct key_table *t = r->table;
    size_t n = t->slots ? 2 * (t->mask + 1) : FIRST_SLOTS;
    uint32_t *slots = big_realloc(NULL, n * sizeof *slots);

    if (!slots) {
        PyErr_NoMemory();
        return -1;
    }
    big_free(t->slots);
    t->slots = slots;
    t->mask = n - 1;
    t->bitmap_mask = (n < BITMAP_BITS / BITS_A_SLOT ? n * BITS_A_SLOT : BITMAP_BITS) - 1;
    memset(t->bitmap, 0, (t->bitmap_mask + 1) / 8);
    for (size_t i = 0; i < r->n_keys; i++)
        table_insert(t, r->keys[i].old, (uint32_t)i);
    return 0;
}

int keys_open(struct remap *r)
{
    r->table = calloc(1, sizeof *r->table);
    if (!r->table) {
        PyErr_NoMemory();
        return -1;
    }
    return table_grow(r);
}

void keys_close(struct remap *r)
{
    for (size_t i = 0; i < r->n_keys; i++) {
        if (!r->keep_replaced || !r->committed)
            Py_DecRef(r->keys[i].old);
        Py_DecRef(r->keys[i].new_);
    }
    big_free(r->keys);
    if (r->table) {
        big_free(r->table->slots);
        address_set_free(&r->table->values);
    }
    free(r->table);
}

ptrdiff_t keys_find(const struct remap *r, const PyObject *object)
{
    return keys_lookup(r, object);
}

PyObject *keys_mapped(const struct remap *r, PyObject *object)
{
    ptrdiff_t i = keys_lookup(r, object);

    return i < 0 ? object : r->keys[i].new_;
}

PyObject *remap_get(struct remap *r, PyObject *old)
{
    ptrdiff_t i = keys_find(r, old);

    return i < 0 ? NULL : r->keys[i].new_;
}

/* --- adding */

static int refuse(PyObject *old, const char *why)
{
    PyErr_Format(PyExc_ValueError, "cannot remap this %s: %s", type_of(old)->tp_name, why);
    return -1;
}

/* Objects that the interpreter shares as it likes: a reference to one may mean anything. */
static bool is_shared_value(PyObject *o)
{
    const PyTypeObject *type = type_of(o);

    return type == &PyUnicode_Type || type == &PyBytes_Type || type == &PyLong_Type ||
           type == &PyFloat_Type || type == &PyBool_Type || type == &PyComplex_Type ||
           o == Py_None || o == &_Py_EllipsisObject || o == &_Py_NotImplementedStruct ||
           (type == &PyTuple_Type && PyTuple_Size(o) == 0);
}

static int check_old(PyObject *old, PyObject *new_)
{
    if (is_shared_value(old))
        return refuse(old, "the interpreter shares such values");
    if (is_type(old) && !type_has((PyTypeObject *)old, Py_TPFLAGS_HEAPTYPE))
        return refuse(old, "it is a static type of the interpreter or of an extension");
    if (refcount_immortal(old))
        return refuse(old, "it is immortal");
    if (is_type(old) && !is_type(new_))
        return refuse(old, "a class can only become a class");
    if ((type_of(old) == &PyCode_Type) != (type_of(new_) == &PyCode_Type))
        return refuse(old, "code can only become code");
    return 0;
}

static int append(struct remap *r, PyObject *old, PyObject *new_, bool derived)
{
    if (big_reserve_or_raise(&r->keys, r->n_keys, &r->cap_keys, sizeof *r->keys) < 0)
        return -1;
    if (r->n_keys * 2 > r->table->mask && table_grow(r) < 0)
        return -1;
    if (address_set_add(&r->table->values, (uintptr_t)new_) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    Py_IncRef(old);
    Py_IncRef(new_);
    r->keys[r->n_keys] = (struct key){
        .old = old,
        .new_ = new_,
        .is_class = is_type(old),
        .is_code = type_of(old) == &PyCode_Type,
        .derived = derived,
    };
    table_insert(r->table, old, (uint32_t)r->n_keys);
    r->n_keys++;
    return 0;
}

int remap_add(struct remap *r, PyObject *old, PyObject *new_)
{
    PyObject *known = remap_get(r, old);

    if (old == new_ || known == new_)
        return 0;
    if (known)
        return refuse(old, "it has two different replacements");
    if (check_old(old, new_) < 0)
        return -1;
    if (keys_find(r, new_) >= 0 || address_set_has(&r->table->values, (uintptr_t)old))
        return refuse(old, "a replacement is itself to be replaced");
    return append(r, old, new_, false);
}

/* A replacement that is itself replaced, now that it is known how: its keys get the new
 * one at once. */
static void redirect(struct remap *r, PyObject *from, PyObject *to)
{
    for (size_t i = 0; i < r->n_keys; i++) {
        if (r->keys[i].new_ != from)
            continue;
        Py_IncRef(to);
        r->keys[i].new_ = to;
        Py_DecRef(from);
    }
}

int remap_add_derived(struct remap *r, PyObject *old, PyObject *new_)
{
    if (old == new_ || keys_find(r, old) >= 0)
        return 0;
    if (keys_find(r, new_) >= 0)
        return refuse(old, "a replacement is itself to be replaced");
    if (append(r, old, new_, true) < 0)
        return -1;
    if (address_set_has(&r->table->values, (uintptr_t)old))
        redirect(r, old, new_);
    return 0;
}
