/* Classes as referrers.
 *
 * A class that is replaced dies: what it is made of (namespace, bases, MRO, slot
 * descriptors, objects of extensions that only it has) stays as it is, so that old code that still
 * runs finds it consistent, and it goes with the old class.  Such edges are "left" (left_writer).
 */
#include "types.h"

#include <stdlib.h>
#include <string.h>

#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/introspect.h"
#include "../cpython/refs.h"
#include "../cpython/set.h"
#include "../cpython/type_layout.h"
#include "address_set.h"
#include "bases.h"
#include "frames.h"
#include "instances.h"
#include "places.h"
#include "rehash.h"

struct part {
    const PyObject *object;
    PyTypeObject *owner;
    enum type_part part;
};

struct types {
    PyTypeObject **all;
    size_t n, cap;
    struct part *parts; /* open addressing; never more than half full */
    size_t mask, n_parts;
    const PyObject **owned; /* by address */
    size_t n_owned, cap_owned;
    bool failed;
};

/* --- all types of the process */

static size_t slot_of(const struct types *t, const PyObject *object)
{
    size_t i = ((uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20;

    while (t->parts[i & t->mask].object && t->parts[i & t->mask].object != object)
        i++;
    return i & t->mask;
}

static int grow_parts(struct remap *r, struct types *t)
{
    struct part *old = t->parts;
    size_t n_old = old ? t->mask + 1 : 0;

    t->mask = n_old ? 2 * n_old - 1 : 4095;
    t->parts = remap_alloc(r, (t->mask + 1) * sizeof *t->parts);
    if (!t->parts)
        return -1;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].object)
            t->parts[slot_of(t, old[i].object)] = old[i];
    return 0;
}

static int add_part(struct remap *r, PyTypeObject *owner, PyObject *object, enum type_part part)
{
    struct types *t = r->types;
    size_t i;

    if (!object)
        return 0;
    if ((!t->parts || t->n_parts * 2 > t->mask) && grow_parts(r, t) < 0)
        return -1;
    i = slot_of(t, object);
    if (!t->parts[i].object) {
        t->parts[i] = (struct part){object, owner, part};
        t->n_parts++;
    }
    return 0;
}

static bool known_type(const struct types *t, const PyTypeObject *type)
{
    return t->parts && t->parts[slot_of(t, type->tp_mro)].object;
}

static int add_type(struct remap *r, PyTypeObject *type)
{
    struct types *t = r->types;

    if (!type->tp_mro) /* its metaclass's mro() runs; or it failed, and it is garbage */
        return add_part(r, type, type->tp_bases, PART_BASES);
    if (known_type(t, type))
        return 0;
    if (remap_reserve(r, &t->all, t->n, &t->cap, sizeof *t->all) < 0)
        return -1;
    t->all[t->n++] = type;
    if (add_part(r, type, type->tp_mro, PART_MRO) < 0 ||
        add_part(r, type, type->tp_bases, PART_BASES) < 0 ||
        add_part(r, type, type->tp_dict, PART_DICT) < 0)
        return -1;
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_mro); i < n; i++) {
        PyObject *base = PyTuple_GetItem(type->tp_mro, i);

        if (is_type(base) && add_type(r, (PyTypeObject *)base) < 0)
            return -1;
    }
    return 0;
}

static int collect(PyObject *o, void *arg)
{
    struct remap *r = arg;

    if (add_type(r, (PyTypeObject *)o) < 0) {
        r->types->failed = true;
        return 1;
    }
    return 0;
}

enum type_part types_part(const struct remap *r, const PyObject *o, PyTypeObject **owner)
{
    const struct part *p = &r->types->parts[slot_of(r->types, o)];

    *owner = p->owner;
    return p->object ? p->part : PART_NONE;
}

PyTypeObject *types_subclass(const struct remap *r, const struct edge *e)
{
    PyTypeObject *owner = NULL;
    enum type_part part = types_part(r, e->referrer, &owner);

    if (part == PART_BASES || part == PART_MRO)
        return owner;
    if (is_type(e->referrer) &&
        (PyObject *)((PyTypeObject *)e->referrer)->tp_base == r->keys[e->key].old)
        return (PyTypeObject *)e->referrer;
    return NULL;
}

void types_each(struct remap *r, void (*visit)(struct remap *, PyTypeObject *, void *), void *arg)
{
    for (size_t i = 0; i < r->types->n; i++)
        visit(r, r->types->all[i], arg);
}

struct key *types_replaced(const struct remap *r, const PyObject *o)
{
    ptrdiff_t i = keys_find(r, o);

    return i >= 0 && r->keys[i].is_class ? &r->keys[i] : NULL;
}

/* Someone besides the class holds a slot descriptor of it, as in `get_x = P.x.__get__`:
 * it would read the new layout with the old offset, so it moves with the class. */
static int add_members(struct remap *r, const struct key *k)
{
    PyObject *old_dict = ((PyTypeObject *)k->old)->tp_dict;
    PyObject *new_dict = ((PyTypeObject *)k->new_)->tp_dict;
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    while (PyDict_Next(old_dict, &pos, &name, &value)) {
        PyObject *other = PyDict_GetItemWithError(new_dict, name);

        if (other && type_of(value) == &PyMemberDescr_Type &&
            type_of(other) == &PyMemberDescr_Type && !only_reference(value) &&
            keys_find(r, value) < 0 && remap_add_derived(r, value, other) < 0)
            return -1;
    }
    return 0;
}

/* An object of an extension that only the namespace of a replaced class holds, as pydantic's
 * validators.  What is in it would be dear to find, and for nothing. */
static bool is_owned(const PyObject *value)
{
    const PyTypeObject *type = type_of(value);

    return type_has(type, Py_TPFLAGS_HAVE_GC) && !type_is_python(type) &&
           strchr(type->tp_name, '.') && only_reference(value);
}

static int add_owned(struct remap *r, const struct key *k)
{
    struct types *t = r->types;
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    while (PyDict_Next(((PyTypeObject *)k->old)->tp_dict, &pos, &name, &value)) {
        if (!is_owned(value))
            continue;
        if (remap_reserve(r, &t->owned, t->n_owned, &t->cap_owned, sizeof *t->owned) < 0)
            return -1;
        t->owned[t->n_owned++] = value;
    }
    return 0;
}

static int find_owned(struct remap *r)
{
    struct types *t = r->types;

    for (size_t i = 0; i < r->n_keys; i++)
        if (r->keys[i].is_class && add_owned(r, &r->keys[i]) < 0)
            return -1;
    if (t->n_owned)
        qsort(t->owned, t->n_owned, sizeof *t->owned, by_address);
    return 0;
}

int types_open(struct remap *r)
{
    size_t n = r->n_keys;

    if (r->types)
        return 0;
    r->types = remap_alloc(r, sizeof *r->types);
    if (!r->types || grow_parts(r, r->types) < 0)
        return -1;
    remap_each_type(r, collect, r);
    if (r->types->failed)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct key k = r->keys[i];

        if (k.is_class && type_is_python((PyTypeObject *)k.old) &&
            type_is_python((PyTypeObject *)k.new_) && add_members(r, &k) < 0)
            return -1;
    }
    return find_owned(r);
}

/* --- what is left with the old class */

static ptrdiff_t left_resolve(struct remap *r, struct edge *e)
{
    PyTypeObject *owner;

    if (r->keys[e->key].is_code)
        return e->visits;
    if (types_open(r) < 0)
        return -1;
    if (types_replaced(r, e->referrer))
        return e->visits;
    if (types_part(r, e->referrer, &owner) != PART_NONE && types_replaced(r, (PyObject *)owner))
        return e->visits;
    if (r->types->n_owned && bsearch(&e->referrer, r->types->owned, r->types->n_owned,
                                     sizeof *r->types->owned, by_address))
        return e->visits;
    if ((type_of(e->referrer) == &PyMemberDescr_Type ||
         type_of(e->referrer) == &PyGetSetDescr_Type) &&
        descr_type(e->referrer) == (PyTypeObject *)r->keys[e->key].old)
        return e->visits;
    switch (instance_dies(r, e->referrer)) {
    case 0:
        return frames_keep(r, e);
    case 1:
        return e->visits;
    default:
        return -1;
    }
}

const struct writer left_writer = {.kind = "old class", .leaves = true, .resolve = left_resolve};

/* --- what cannot be */

static ptrdiff_t refused_resolve(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];
    PyTypeObject *owner = (PyTypeObject *)e->referrer;
    int moves;

    if ((is_dict(e->referrer) || is_set(e->referrer)) && !rehash_supported())
        return e->visits;
    if (!k->is_class)
        return 0;
    moves = places_refused(r, e);
    if (moves)
        return moves < 0 ? -1 : (ptrdiff_t)e->visits;
    if (is_type(e->referrer))
        return (PyObject *)owner->tp_base == k->old && !bases_can_change(r, owner);
    switch (types_part(r, e->referrer, &owner)) {
    case PART_BASES:
    case PART_MRO:
        return bases_can_change(r, owner) ? 0 : e->visits;
    default:
        return instance_refused(r, e);
    }
}

const struct writer refused_writer = {
    .kind = "refused", .refuses = true, .resolve = refused_resolve};
