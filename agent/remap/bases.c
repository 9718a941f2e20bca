/* Classes that live on and have a replaced base get new `__bases__` through the type's own setter,
 * before anything else: it makes MRO, slots, tp_subclasses and caches right for all subclasses.
 * A raw write of tp_base or of the MRO tuple would not.
 *
 * The setter needs memory, and when it gets none it may fail half way (type_set_bases of
 * Objects/typeobject.c adds the class to its new bases after all else).  So it is not undone by
 * setting the old bases: all that it changes is copied before, and put back without the API. */
#include "bases.h"

#include <stdlib.h>
#include <string.h>

#include "../cpython/descr.h"
#include "../cpython/dict.h"
#include "../cpython/introspect.h"
#include "../cpython/refs.h"
#include "../cpython/type_layout.h"
#include "../cpython/version.h"
#include "../cpython/weakref.h"
#include "address_set.h"
#include "places.h"
#include "types.h"

enum { MOST_SUITES = 1024 }; /* bytes of slots behind the front of a heap type */

/* What the setter may change in a class: tp_base, tp_bases, tp_mro and its slots. */
struct saved {
    PyTypeObject *type;
    PyTypeObject front;
    size_t suites_size;
    char *suites; /* PyAsyncMethods to PyBufferProcs of PyHeapTypeObject */
};

/* base.tp_subclasses, of bases before and after. */
struct subclasses {
    PyObject *dict, *copy;
    PyObject **place; /* where its class has it; NULL: a static type, outside the type */
};

struct bases {
    PyTypeObject **fix; /* classes that get other bases, fewer ancestors first */
    PyObject **before;  /* their tp_bases; borrowed */
    PyTypeObject **by_address;
    size_t n_fix;
    struct saved *saved; /* of all that have a replaced class in their MRO */
    size_t n_affected, n_saved;
    struct subclasses *subclasses;
    size_t n_subclasses, cap_subclasses, n_copied;
    const PyObject **touched; /* sorted: rewritten objects that may sit in a namespace */
    size_t n_touched;
    bool failed;
};

/* --- which classes */

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

/* Without memory to find out, too. */
static bool stays_apart(PyTypeObject *old, PyTypeObject *new_)
{
    int moves = places_move(old, new_);

    if (moves < 0)
        PyErr_Clear();
    return moves;
}

static bool can_have_bases(const struct remap *r, PyTypeObject *type)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_bases); i < n; i++) {
        const struct key *k = types_replaced(r, PyTuple_GetItem(type->tp_bases, i));

        if (k && (PyType_IsSubtype((PyTypeObject *)k->new_, type) ||
                  !type_layout_equal((PyTypeObject *)k->old, (PyTypeObject *)k->new_) ||
                  stays_apart((PyTypeObject *)k->old, (PyTypeObject *)k->new_)))
            return false;
    }
    return true;
}

bool bases_can_change(const struct remap *r, PyTypeObject *type)
{
    if (!type->tp_mro)
        return false;
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_mro); i < n; i++) {
        PyTypeObject *ancestor = (PyTypeObject *)PyTuple_GetItem(type->tp_mro, i);

        if (is_type((PyObject *)ancestor) && wants_bases(r, ancestor) &&
            !can_have_bases(r, ancestor))
            return false;
    }
    return true;
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
        return (PyObject *)owner->tp_base == k->old && bases_can_change(r, owner);
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

/* --- before the commit */

static void count_type(struct remap *r, PyTypeObject *type, void *arg)
{
    size_t *n_fix = arg;

    *n_fix += wants_bases(r, type);
    r->bases->n_affected += names_replaced(r, type->tp_mro);
}

static void add_fix(struct remap *r, PyTypeObject *type, void *arg)
{
    struct bases *b = r->bases;
    size_t at = b->n_fix;

    (void)arg;
    if (!wants_bases(r, type) || !bases_can_change(r, type))
        return;
    while (at > 0 && PyTuple_Size(b->fix[at - 1]->tp_mro) > PyTuple_Size(type->tp_mro)) {
        b->fix[at] = b->fix[at - 1];
        at--;
    }
    b->fix[at] = type;
    b->n_fix++;
}

static int add_subclasses(struct remap *r, PyObject *dict, PyObject **place)
{
    struct bases *b = r->bases;

    if (remap_reserve(r, &b->subclasses, b->n_subclasses, &b->cap_subclasses,
                      sizeof *b->subclasses) < 0)
        return -1;
    b->subclasses[b->n_subclasses++] = (struct subclasses){dict, NULL, place};
    return 0;
}

/* Static types of the interpreter have theirs elsewhere from 3.12 on (lookup_tp_subclasses of
 * Objects/typeobject.c). */
static PyObject **subclasses_of(PyTypeObject *type)
{
    return type_has(type, Py_TPFLAGS_HEAPTYPE) || cpython_minor() < 12
               ? (PyObject **)&type->tp_subclasses
               : NULL;
}

static PyObject **place_of(PyTypeObject *type, PyObject *dict)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_bases); i < n; i++) {
        PyObject **place = subclasses_of((PyTypeObject *)PyTuple_GetItem(type->tp_bases, i));

        if (place && *place == dict)
            return place;
    }
    return NULL;
}

/* So they are known by their contents: {address of the subclass: weak reference to it}. */
static int look_for_subclasses(PyObject *dict, void *arg)
{
    struct remap *r = arg;
    PyObject *number, *ref;
    Py_ssize_t position = 0;

    if (type_of(dict) != &PyDict_Type)
        return 0;
    while (PyDict_Next(dict, &position, &number, &ref)) {
        PyObject *class;

        if (type_of(number) != &PyLong_Type || !is_weakref(ref))
            return 0;
        class = ((struct weak_reference *)ref)->object;
        if (PyLong_AsVoidPtr(number) != class ||
            !bsearch(&class, r->bases->by_address, r->bases->n_fix, sizeof class, by_address))
            continue;
        if (add_subclasses(r, dict, place_of((PyTypeObject *)class, dict)) < 0)
            r->bases->failed = true;
        return r->bases->failed;
    }
    return 0;
}

static PyObject **subclasses_of_new(const struct key *k)
{
    return k->is_class ? subclasses_of((PyTypeObject *)k->new_) : NULL;
}

static int find_subclasses(struct remap *r)
{
    struct bases *b = r->bases;

    remap_each(r, KIND_DICT, look_for_subclasses, r);
    for (size_t i = 0; i < r->n_keys && !b->failed; i++) {
        PyObject **place = subclasses_of_new(&r->keys[i]);

        if (place && *place && add_subclasses(r, *place, place) < 0)
            b->failed = true;
    }
    return b->failed ? -1 : 0;
}

static int find_touched(struct remap *r)
{
    struct bases *b = r->bases;
    size_t n = 0;

    b->touched = remap_alloc(r, (r->n_edges + 1) * sizeof *b->touched);
    if (!b->touched)
        return -1;
    for (size_t i = 0; i < r->n_edges; i++) {
        const PyTypeObject *type = type_of(r->edges[i].referrer);

        if (type->tp_descr_get && type != &PyFunction_Type)
            b->touched[n++] = r->edges[i].referrer;
    }
    qsort(b->touched, n, sizeof *b->touched, by_address);
    b->n_touched = n;
    return 0;
}

static int bases_prepare(struct remap *r)
{
    struct bases *b;
    size_t n = 0;

    if (!r->types)
        return 0;
    if (!(b = r->bases = remap_alloc(r, sizeof *b)))
        return -1;
    types_each(r, count_type, &n);
    b->fix = remap_alloc(r, (n + 1) * sizeof *b->fix);
    b->before = remap_alloc(r, (n + 1) * sizeof *b->before);
    b->by_address = remap_alloc(r, (n + 1) * sizeof *b->fix);
    b->saved = remap_alloc(r, (b->n_affected + 1) * sizeof *b->saved);
    if (!b->fix || !b->before || !b->by_address || !b->saved)
        return -1;
    types_each(r, add_fix, NULL);
    memcpy(b->by_address, b->fix, b->n_fix * sizeof *b->fix);
    qsort(b->by_address, b->n_fix, sizeof *b->fix, by_address);
    if (b->n_fix && find_subclasses(r) < 0)
        return -1;
    if (remap_reserve_graves(r, 2 * (b->n_affected + b->n_subclasses)) < 0)
        return -1;
    return find_touched(r);
}

/* --- commit */

static int save_type(struct remap *r, PyTypeObject *type)
{
    struct saved *s = &r->bases->saved[r->bases->n_saved];
    const char *first = type->tp_as_async, *last = type->tp_as_buffer;

    *s = (struct saved){.type = type, .front = *type};
    if (first && last > first && last - first < MOST_SUITES) {
        s->suites_size = (size_t)(last - first) + 2 * sizeof(void *);
        s->suites = remap_alloc(r, s->suites_size);
        if (!s->suites)
            return -1;
        memcpy(s->suites, first, s->suites_size);
    }
    /* The setter lets go of them; edges still point to the tuples, too. */
    Py_IncRef(type->tp_bases);
    Py_IncRef(type->tp_mro);
    r->bases->n_saved++;
    return 0;
}

static void save_affected(struct remap *r, PyTypeObject *type, void *arg)
{
    (void)arg;
    if (names_replaced(r, type->tp_mro) && !r->bases->failed && save_type(r, type) < 0)
        r->bases->failed = true;
}

static void exchange(PyObject **field, PyObject *before)
{
    PyObject *now = *field;

    Py_IncRef(before);
    *field = before;
    Py_DecRef(now);
}

static void restore_type(const struct saved *s)
{
    PyTypeObject *type = s->type, now;

    exchange((PyObject **)&type->tp_base, (PyObject *)s->front.tp_base);
    exchange(&type->tp_bases, s->front.tp_bases);
    exchange(&type->tp_mro, s->front.tp_mro);
    now = *type;
    *type = s->front;
    type->ob_base = now.ob_base;
    type->tp_flags = now.tp_flags;
    type->tp_dict = now.tp_dict;
    type->tp_cache = now.tp_cache;
    type->tp_subclasses = now.tp_subclasses;
    type->tp_weaklist = now.tp_weaklist;
    type->tp_version_tag = now.tp_version_tag;
    if (s->suites)
        memcpy(type->tp_as_async, s->suites, s->suites_size);
}

/* Those that had no subclass before: what they have now was given by the setter. */
static void forget_subclasses(struct remap *r)
{
    for (size_t i = 0; i < r->n_keys; i++) {
        PyObject **place = subclasses_of_new(&r->keys[i]);
        bool had = !place || !*place;

        for (size_t k = 0; k < r->bases->n_copied && !had; k++)
            had = r->bases->subclasses[k].place == place;
        if (!had)
            PyDict_Clear(*place);
    }
}

static void restore_subclasses(const struct subclasses *s)
{
    dict_exchange(s->dict, s->copy);
    if (!s->place || *s->place == s->dict)
        return;
    Py_DecRef(*s->place);
    Py_IncRef(s->dict);
    *s->place = s->dict;
}

static void bases_undo(struct remap *r)
{
    struct bases *b = r->bases;

    if (!b)
        return;
    if (b->n_saved)
        forget_subclasses(r);
    while (b->n_copied)
        restore_subclasses(&b->subclasses[--b->n_copied]);
    for (size_t i = 0; i < b->n_saved; i++)
        restore_type(&b->saved[i]);
    for (size_t i = 0; i < b->n_saved; i++) {
        PyType_Modified(b->saved[i].type);
        Py_DecRef(b->saved[i].front.tp_bases);
        Py_DecRef(b->saved[i].front.tp_mro);
    }
    b->n_saved = 0;
}

/* From 3.11 on the dict of a base that has lost its last subclass is dropped (remove_subclass of
 * Objects/typeobject.c), and where a static type has it is not known: an entry, which is skipped
 * as its class is dead, keeps it. */
static int keep_alive(PyObject *dict)
{
    PyObject *nobody = PySet_New(NULL);
    PyObject *dead = nobody ? PyWeakref_NewRef(nobody, NULL) : NULL;
    int result;

    Py_DecRef(nobody);
    result = dead ? PyDict_SetItem(dict, Py_None, dead) : -1;
    Py_DecRef(dead);
    return result;
}

static int save(struct remap *r)
{
    struct bases *b = r->bases;

    while (b->n_copied < b->n_subclasses) {
        struct subclasses *s = &b->subclasses[b->n_copied];

        s->copy = PyDict_Copy(s->dict);
        if (!s->copy)
            return -1;
        b->n_copied++;
        remap_bury(r, s->copy);
        Py_IncRef(s->dict);
        remap_bury(r, s->dict);
        if (!s->place && keep_alive(s->dict) < 0)
            return -1;
    }
    types_each(r, save_affected, NULL);
    return b->failed ? -1 : 0;
}

static void forget_dead(struct remap *r)
{
    for (size_t i = 0; i < r->bases->n_copied; i++)
        if (!r->bases->subclasses[i].place &&
            PyDict_DelItem(r->bases->subclasses[i].dict, Py_None) < 0)
            PyErr_Clear();
}

/* The new classes in the place of the old, but for `self`.  New reference. */
static PyObject *with_new(const struct remap *r, PyObject *classes, const PyTypeObject *self)
{
    Py_ssize_t n = PyTuple_Size(classes);
    PyObject *tuple = PyTuple_New(n);

    for (Py_ssize_t i = 0; tuple && i < n; i++) {
        PyObject *class = PyTuple_GetItem(classes, i);
        const struct key *k = (PyTypeObject *)class == self ? NULL : types_replaced(r, class);

        if (k)
            class = k->new_;
        Py_IncRef(class);
        PyTuple_SetItem(tuple, i, class);
    }
    return tuple;
}

static bool gets_bases(const struct bases *b, const PyObject *class)
{
    return bsearch(&class, b->by_address, b->n_fix, sizeof class, by_address);
}

/* So its MRO is made anew, also if it is an old class or keeps its own bases. */
static bool is_below_one_that_does(const struct bases *b, const PyTypeObject *type)
{
    for (Py_ssize_t i = 0, n = PyTuple_Size(type->tp_mro); i < n; i++)
        if (gets_bases(b, PyTuple_GetItem(type->tp_mro, i)))
            return true;
    return false;
}

static int anticipate_tuple(const struct remap *r, PyObject **field, const PyTypeObject *self)
{
    PyObject *tuple = with_new(r, *field, self);

    if (!tuple)
        return -1;
    exchange(field, tuple);
    Py_DecRef(tuple);
    return 0;
}

static int anticipate_type(const struct remap *r, PyTypeObject *type)
{
    const struct key *base = types_replaced(r, (PyObject *)type->tp_base);

    if (!is_below_one_that_does(r->bases, type))
        return 0;
    if (anticipate_tuple(r, &type->tp_mro, type) < 0)
        return -1;
    if (!gets_bases(r->bases, (PyObject *)type) && !types_replaced(r, (PyObject *)type))
        return 0;
    if (anticipate_tuple(r, &type->tp_bases, NULL) < 0)
        return -1;
    if (base)
        exchange((PyObject **)&type->tp_base, base->new_);
    return 0;
}

/* The setter makes the MRO of each subclass anew, too, whose turn comes later or that is replaced
 * itself, and compares its layout, tp_base, bases and MRO as they are then with those that have
 * been set (mro_check of Objects/typeobject.c, where there is a metaclass).  It compares the
 * layouts of tp_base and of what becomes tp_base, and takes some that are equal for different ones
 * (same_slots_added: slots in two levels of which both are new, to 3.11 slots beside a
 * `__weakref__`); type_layout_equal has compared them.  So all classes are first as if they had
 * got theirs. */
static int anticipate(struct remap *r)
{
    struct bases *b = r->bases;
    int result = 0;

    for (size_t i = 0; i < b->n_fix; i++)
        b->before[i] = b->fix[i]->tp_bases;
    for (size_t i = 0; i < b->n_saved && result == 0; i++)
        result = anticipate_type(r, b->saved[i].type);
    return result;
}

/* Those that are replaced stay as they were. */
static void restore_replaced(struct remap *r)
{
    for (size_t i = 0; i < r->bases->n_saved; i++) {
        const struct saved *s = &r->bases->saved[i];

        if (!types_replaced(r, (PyObject *)s->type))
            continue;
        restore_type(s);
        PyType_Modified(s->type);
    }
}

/* The setter takes the class out of the tp_subclasses of the bases that it has. */
static int set_bases(PyTypeObject *type, PyObject *before)
{
    PyObject *setter = builtin_descr(&PyType_Type, "__bases__"), *bases = type->tp_bases;
    int result;

    Py_IncRef(bases);
    exchange(&type->tp_bases, before);
    result = setter ? descr_set(setter, (PyObject *)type, bases) : -1;
    Py_DecRef(bases);
    /* It passes over errors of its own (remove_subclass, update_all_slots). */
    if (result < 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    return PyErr_Occurred() ? -1 : 0;
}

static int bases_commit(struct remap *r)
{
    struct bases *b = r->bases;
    int result = 0;

    if (!b || !b->n_fix) /* no bases are set, so nothing else of a type changes */
        return 0;
    result = save(r);
    if (result == 0)
        result = anticipate(r);
    for (size_t i = 0; i < b->n_fix && result == 0; i++)
        result = set_bases(b->fix[i], b->before[i]);
    if (result < 0)
        bases_undo(r);
    else
        restore_replaced(r);
    return result;
}

/* Tuples that are a class's no more are ours now. */
static void let_go(struct remap *r, PyObject *before, PyObject *now)
{
    if (now != before)
        remap_bury(r, before);
    else
        Py_DecRef(before);
}

static void visit_tuple(const struct remap *r, PyObject *old, PyObject *now, bool before,
                        visitproc visit, void *arg)
{
    PyObject *tuple = before ? old : now;

    for (Py_ssize_t i = 0; old != now && i < PyTuple_Size(tuple); i++) {
        PyObject *class = PyTuple_GetItem(tuple, i);
        const struct key *k = types_replaced(r, class);

        if (!before)
            visit(class, arg);
        else if (k)
            visit(k->new_, arg);
    }
}

void bases_visit_tuples(const struct remap *r, bool before, visitproc visit, void *arg)
{
    for (size_t i = 0; r->bases && i < r->bases->n_saved; i++) {
        const struct saved *s = &r->bases->saved[i];

        visit_tuple(r, s->front.tp_bases, s->type->tp_bases, before, visit, arg);
        visit_tuple(r, s->front.tp_mro, s->type->tp_mro, before, visit, arg);
    }
}

/* --- caches of what a class's namespace leads to */

/* Code specialised from 3.12 on remembers a property's getter under the class's version
 * only (LOAD_ATTR_PROPERTY): a class whose namespace holds a rewritten descriptor is told. */
static void finish_type(struct remap *r, PyTypeObject *type, void *arg)
{
    PyObject *name, *value;
    Py_ssize_t pos = 0;

    (void)arg;
    while (type->tp_dict && PyDict_Next(type->tp_dict, &pos, &name, &value)) {
        if (bsearch(&value, r->bases->touched, r->bases->n_touched, sizeof value, by_address)) {
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
        !dict_get(type->tp_dict, "_abc_impl"))
        return;
    done = PyObject_CallFunctionObjArgs(reset, type, NULL);
    PyErr_Clear();
    if (done)
        Py_DecRef(done);
}

static PyObject *abc_reset_function(void)
{
    PyObject *module = dict_get(PyImport_GetModuleDict(), "_abc");
    PyObject *reset = module && type_of(module) == &PyModule_Type
                          ? dict_get(PyModule_GetDict(module), "_reset_caches")
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
    struct bases *b = r->bases;

    if (b)
        forget_dead(r);
    for (size_t i = 0; b && i < b->n_saved; i++) {
        const struct saved *s = &b->saved[i];

        let_go(r, s->front.tp_bases, s->type->tp_bases);
        let_go(r, s->front.tp_mro, s->type->tp_mro);
    }
    if (b && b->n_touched)
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
