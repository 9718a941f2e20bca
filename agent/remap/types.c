/* Classes as referrers.
 *
 * A class that is replaced dies: what it is made of (namespace, bases, MRO, slot
 * descriptors) stays as it is, so that old code that still runs finds it consistent, and it
 * goes with the old class.  Such edges are "left" (left_writer).
 *
 * Every other class that names a replaced one as base gets new `__bases__` through the
 * type's own setter, before anything else: it makes MRO, slots, tp_subclasses and caches
 * right for all subclasses.  A raw write of tp_base or of the MRO tuple would not. */
#include "types.h"

#include <stdlib.h>
#include <string.h>

#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/refs.h"
#include "../cpython/set.h"
#include "frames.h"
#include "instances.h"
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
    PyTypeObject **fix; /* classes that get other bases, fewer ancestors first */
    PyObject **old_bases;
    size_t n_fix, n_fixed;
    const PyObject **touched; /* sorted: rewritten objects that may sit in a namespace */
    size_t n_touched;
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

    if (!type->tp_mro || known_type(t, type))
        return 0;
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 1024;
        PyTypeObject **all = remap_alloc(r, cap * sizeof *all);

        if (!all)
            return -1;
        if (t->n)
            memcpy(all, t->all, t->n * sizeof *all);
        t->all = all;
        t->cap = cap;
    }
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

/* --- layouts */

/* subtype_dealloc of Objects/typeobject.c, as a class has it that every process has. */
static destructor python_dealloc(void)
{
    static destructor dealloc;
    PyObject *module, *class;

    if (dealloc)
        return dealloc;
    module = PyDict_GetItemString(PyImport_GetModuleDict(), "_frozen_importlib");
    class = module ? PyObject_GetAttrString(module, "ModuleSpec") : NULL;
    if (class && is_type(class) && type_has((PyTypeObject *)class, Py_TPFLAGS_HEAPTYPE))
        dealloc = ((PyTypeObject *)class)->tp_dealloc;
    PyErr_Clear();
    if (class)
        Py_DecRef(class);
    return dealloc;
}

bool type_is_python(const PyTypeObject *type)
{
    return type_has(type, Py_TPFLAGS_HEAPTYPE) && python_dealloc() &&
           type->tp_dealloc == python_dealloc();
}

static size_t count_members(PyObject *dict)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;
    size_t n = 0;

    while (PyDict_Next(dict, &pos, &name, &value))
        n += type_of(value) == &PyMemberDescr_Type;
    return n;
}

/* Have the classes' own __slots__ the same names at the same offsets? */
static bool same_members(PyTypeObject *a, PyTypeObject *b)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    if (count_members(a->tp_dict) != count_members(b->tp_dict))
        return false;
    while (PyDict_Next(a->tp_dict, &pos, &name, &value)) {
        PyObject *other;

        if (type_of(value) != &PyMemberDescr_Type)
            continue;
        other = PyDict_GetItemWithError(b->tp_dict, name);
        if (!other || type_of(other) != &PyMemberDescr_Type ||
            member_of(other)->offset != member_of(value)->offset ||
            member_of(other)->type != member_of(value)->type)
            return false;
    }
    return true;
}

/* Does `type` add nothing to the layout of its base?  compatible_with_tp_base of
 * Objects/typeobject.c. */
static bool adds_nothing(const PyTypeObject *type)
{
    const PyTypeObject *base = type->tp_base;

    return base && type_is_python(type) && type->tp_basicsize == base->tp_basicsize &&
           type->tp_itemsize == base->tp_itemsize && type->tp_dictoffset == base->tp_dictoffset &&
           type->tp_weaklistoffset == base->tp_weaklistoffset;
}

bool type_layout_equal(PyTypeObject *a, PyTypeObject *b)
{
    for (;;) {
        while (adds_nothing(a))
            a = a->tp_base;
        while (adds_nothing(b))
            b = b->tp_base;
        if (a == b)
            return true;
        if (!type_is_python(a) || !type_is_python(b) || a->tp_basicsize != b->tp_basicsize ||
            a->tp_itemsize != b->tp_itemsize || a->tp_dictoffset != b->tp_dictoffset ||
            a->tp_weaklistoffset != b->tp_weaklistoffset || a->tp_free != b->tp_free ||
            type_has(a, Py_TPFLAGS_HAVE_GC) != type_has(b, Py_TPFLAGS_HAVE_GC) ||
            !same_members(a, b))
            return false;
        a = a->tp_base;
        b = b->tp_base;
    }
}

/* Is all that the class adds to its base where same_slots_added expects it: the dict, the
 * weak references, the slots, in this order? */
static bool plain_layout(const PyTypeObject *type)
{
    Py_ssize_t size = type->tp_base->tp_basicsize;

    if (type->tp_dictoffset == size)
        size += (Py_ssize_t)sizeof(PyObject *);
    if (type->tp_weaklistoffset == size)
        size += (Py_ssize_t)sizeof(PyObject *);
    return size + (Py_ssize_t)(count_members(type->tp_dict) * sizeof(PyObject *)) ==
           type->tp_basicsize;
}

bool type_assignable(PyTypeObject *a, PyTypeObject *b)
{
    if (!type_layout_equal(a, b))
        return false;
    while (adds_nothing(a))
        a = a->tp_base;
    while (adds_nothing(b))
        b = b->tp_base;
    return a == b || (a->tp_base == b->tp_base && plain_layout(a) && plain_layout(b));
}

/* --- bases */

static bool names_replaced(const struct remap *r, PyObject *tuple)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(tuple); i < n; i++)
        if (types_replaced(r, PyTuple_GetItem(tuple, i)))
            return true;
    return false;
}

/* A class that lives on and has a replaced base of its own. */
static bool wants_bases(const struct remap *r, PyTypeObject *type)
{
    return type_has(type, Py_TPFLAGS_HEAPTYPE) && !types_replaced(r, (PyObject *)type) &&
           names_replaced(r, type->tp_bases);
}

static bool can_have_bases(const struct remap *r, PyTypeObject *type)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_bases); i < n; i++) {
        const struct key *k = types_replaced(r, PyTuple_GetItem(type->tp_bases, i));

        if (k && (PyType_IsSubtype((PyTypeObject *)k->new_, type) ||
                  !type_assignable((PyTypeObject *)k->old, (PyTypeObject *)k->new_)))
            return false;
    }
    return true;
}

/* Will the type and all its ancestors that need it get their new bases? */
static bool can_have_mro(const struct remap *r, PyTypeObject *type)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_mro); i < n; i++) {
        PyTypeObject *ancestor = (PyTypeObject *)PyTuple_GetItem(type->tp_mro, i);

        if (is_type((PyObject *)ancestor) && wants_bases(r, ancestor) &&
            !can_have_bases(r, ancestor))
            return false;
    }
    return true;
}

static int list_fixes(struct remap *r)
{
    struct types *t = r->types;
    size_t n = 0, tuples = 0;

    for (size_t i = 0; i < t->n; i++) {
        n += wants_bases(r, t->all[i]);
        tuples += names_replaced(r, t->all[i]->tp_mro);
    }
    t->fix = remap_alloc(r, (n + 1) * sizeof *t->fix);
    t->old_bases = remap_alloc(r, (n + 1) * sizeof *t->old_bases);
    if (!t->fix || !t->old_bases || remap_reserve_graves(r, 2 * tuples) < 0)
        return -1;
    for (size_t i = 0; i < t->n; i++) {
        PyTypeObject *type = t->all[i];
        size_t at = t->n_fix;

        if (!wants_bases(r, type) || !can_have_mro(r, type))
            continue;
        while (at > 0 && PyTuple_Size(t->fix[at - 1]->tp_mro) > PyTuple_Size(type->tp_mro)) {
            t->fix[at] = t->fix[at - 1];
            at--;
        }
        t->fix[at] = type;
        t->n_fix++;
    }
    return 0;
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

int types_open(struct remap *r)
{
    size_t n = r->n_keys;

    if (r->types)
        return 0;
    r->types = remap_alloc(r, sizeof *r->types);
    if (!r->types || grow_parts(r, r->types) < 0)
        return -1;
    remap_each_type(r, collect, r);
    if (r->types->failed || list_fixes(r) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const struct key k = r->keys[i];

        if (k.is_class && type_is_python((PyTypeObject *)k.old) &&
            type_is_python((PyTypeObject *)k.new_) && add_members(r, &k) < 0)
            return -1;
    }
    return 0;
}

static ptrdiff_t bases_resolve(struct remap *r, struct edge *e)
{
    const struct key *k = &r->keys[e->key];
    PyTypeObject *owner;

    if (!k->is_class)
        return 0;
    if (types_open(r) < 0)
        return -1;
    if (is_type(e->referrer)) {
        owner = (PyTypeObject *)e->referrer;
        return (PyObject *)owner->tp_base == k->old && can_have_mro(r, owner);
    }
    switch (types_part(r, e->referrer, &owner)) {
    case PART_BASES:
    case PART_MRO:
        /* A tuple that others hold too is not gone when the class has let go of it. */
        return only_reference(e->referrer) ? e->visits : 0;
    default:
        return 0;
    }
}

static int set_bases(PyTypeObject *type, PyObject *bases)
{
    PyObject *name = PyUnicode_InternFromString("__bases__");
    PyObject *setter = name ? _PyType_Lookup(&PyType_Type, name) : NULL;
    int result = -1;

    if (setter)
        result = descr_set(setter, (PyObject *)type, bases);
    if (name)
        Py_DecRef(name);
    return result;
}

static PyObject *replaced_bases(const struct remap *r, PyObject *bases)
{
    Py_ssize_t n = PyTuple_Size(bases);
    PyObject *tuple = PyTuple_New(n);

    for (Py_ssize_t i = 0; tuple && i < n; i++) {
        PyObject *base = PyTuple_GetItem(bases, i);
        const struct key *k = types_replaced(r, base);

        if (k)
            base = k->new_;
        Py_IncRef(base);
        PyTuple_SetItem(tuple, i, base);
    }
    return tuple;
}

static void bury(struct remap *r, PyObject *o)
{
    Py_IncRef(o);
    remap_bury(r, o);
}

static void bases_undo(struct remap *r)
{
    struct types *t = r->types;
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    while (t && t->n_fixed) {
        t->n_fixed--;
        if (set_bases(t->fix[t->n_fixed], t->old_bases[t->n_fixed]) < 0)
            PyErr_WriteUnraisable((PyObject *)t->fix[t->n_fixed]);
    }
    PyErr_Restore(type, value, traceback);
}

static int bases_commit(struct remap *r)
{
    struct types *t = r->types;

    if (!t)
        return 0;
    /* The setter drops MRO and bases tuples that edges still point to. */
    for (size_t i = 0; i < t->n; i++) {
        if (!names_replaced(r, t->all[i]->tp_mro))
            continue;
        bury(r, t->all[i]->tp_mro);
        bury(r, t->all[i]->tp_bases);
    }
    for (; t->n_fixed < t->n_fix; t->n_fixed++) {
        PyTypeObject *type = t->fix[t->n_fixed];
        PyObject *bases = replaced_bases(r, type->tp_bases);
        int result = -1;

        t->old_bases[t->n_fixed] = type->tp_bases; /* buried above */
        if (bases) {
            result = set_bases(type, bases);
            Py_DecRef(bases);
        }
        if (result < 0) {
            bases_undo(r);
            return -1;
        }
    }
    return 0;
}

/* --- caches of what a class's namespace leads to */

static int by_address(const void *a, const void *b)
{
    const PyObject *x = *(const PyObject *const *)a, *y = *(const PyObject *const *)b;

    return x < y ? -1 : x > y;
}

static int bases_prepare(struct remap *r)
{
    struct types *t = r->types;
    size_t n = 0;

    if (!t)
        return 0;
    t->touched = remap_alloc(r, (r->n_edges + 1) * sizeof *t->touched);
    if (!t->touched)
        return -1;
    for (size_t i = 0; i < r->n_edges; i++) {
        const PyTypeObject *type = type_of(r->edges[i].referrer);

        if (type->tp_descr_get && type != &PyFunction_Type)
            t->touched[n++] = r->edges[i].referrer;
    }
    qsort(t->touched, n, sizeof *t->touched, by_address);
    t->n_touched = n;
    return 0;
}

/* Code specialised from 3.12 on remembers a property's getter under the class's version
 * only (LOAD_ATTR_PROPERTY): a class whose namespace holds a rewritten descriptor is told. */
static void finish_type(struct remap *r, PyTypeObject *type, void *arg)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    (void)arg;
    while (type->tp_dict && PyDict_Next(type->tp_dict, &pos, &name, &value)) {
        if (bsearch(&value, r->types->touched, r->types->n_touched, sizeof value, by_address)) {
            PyType_Modified(type);
            return;
        }
    }
}

/* What an abstract class remembers of who is its subclass is under weak references to
 * replaced classes now: those of them that are subclasses for another reason than before
 * would not be asked.  _abc._reset_caches is C and asks no class. */
static void reset_abc(struct remap *r, PyTypeObject *type, void *arg)
{
    PyObject *reset = arg, *done;

    (void)r;
    if (!type_is_python(type) ||
        type_of((PyObject *)type)->tp_getattro != PyType_Type.tp_getattro ||
        !PyDict_GetItemString(type->tp_dict, "_abc_impl"))
        return;
    done = PyObject_CallFunctionObjArgs(reset, type, NULL);
    PyErr_Clear();
    if (done)
        Py_DecRef(done);
}

static PyObject *abc_reset_function(void)
{
    PyObject *module = PyDict_GetItemString(PyImport_GetModuleDict(), "_abc");
    PyObject *reset = module && type_of(module) == &PyModule_Type
                          ? PyDict_GetItemString(PyModule_GetDict(module), "_reset_caches")
                          : NULL;

    return reset && type_of(reset) == &PyCFunction_Type ? reset : NULL;
}

static bool replaces_class(const struct remap *r)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (r->keys[i].is_class)
            return true;
    return false;
}

static void bases_finish(struct remap *r)
{
    if (r->types && r->types->n_touched)
        types_each(r, finish_type, NULL);
    if (r->types && replaces_class(r) && abc_reset_function())
        types_each(r, reset_abc, abc_reset_function());
}

const struct writer bases_writer = {
    .kind = "base class",
    .resolve = bases_resolve,
    .prepare = bases_prepare,
    .commit_own = bases_commit,
    .undo_own = bases_undo,
    .finish = bases_finish,
};

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

    if ((is_dict(e->referrer) || is_set(e->referrer)) && !rehash_supported())
        return e->visits;
    if (!k->is_class)
        return 0;
    if (is_type(e->referrer))
        return (PyObject *)owner->tp_base == k->old && !can_have_mro(r, owner);
    switch (types_part(r, e->referrer, &owner)) {
    case PART_BASES:
    case PART_MRO:
        return can_have_mro(r, owner) ? 0 : e->visits;
    default:
        return instance_refused(r, e);
    }
}

const struct writer refused_writer = {
    .kind = "refused", .refuses = true, .resolve = refused_resolve};
