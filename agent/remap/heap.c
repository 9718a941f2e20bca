#include "heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../agent.h"
#include "../big.h"
#include "../cpython/gc_objects.h"

enum { NEAR = 8 }; /* objects whose memory is fetched at a time */

static int failed(int status)
{
    if (status == GC_COLLECTING)
        job_fail(
            "collecting", 3, "try again; nothing was changed",
            "a garbage collection is under way in process %d, and its objects cannot be listed",
            (int)getpid());
    return -1;
}

/* --- walks */

/* Where a list's or dict's table is: ob_item (Include/cpython/listobject.h) and ma_keys
 * (Include/cpython/dictobject.h), 3.8 to 3.15.  Only a hint to the cache. */
static const void *contents_of(const PyObject *o)
{
    const void *const *words = (const void *const *)o;

    if (type_of(o) == &PyList_Type)
        return words[3];
    if (type_of(o) == &PyDict_Type)
        return words[4];
    return words + 8;
}

/* An object passes through in three steps, each behind the one before by as many objects as it
 * takes the memory to answer: its own words are fetched, then its contents, then it is visited. */
struct visiting {
    int (*visit)(PyObject *, void *);
    void *arg;
    PyObject *passing[2 * NEAR];
    size_t n; /* how many have come */
    int result;
};

static int visit_one(struct visiting *v, size_t i)
{
    v->result = v->visit(v->passing[i % (2 * NEAR)], v->arg);
    return v->result ? -1 : 0;
}

static int pass(PyObject *o, void *arg)
{
    struct visiting *v = arg;
    size_t i = v->n++;

    if (i >= 2 * NEAR && visit_one(v, i) < 0)
        return -1;
    v->passing[i % (2 * NEAR)] = o;
    __builtin_prefetch((const uintptr_t *)o + 2);
    if (i >= NEAR)
        __builtin_prefetch(contents_of(v->passing[(i - NEAR) % (2 * NEAR)]));
    return 0;
}

int heap_visit(int (*visit)(PyObject *, void *), void *arg)
{
    struct visiting v = {.visit = visit, .arg = arg};
    int status = gc_each(pass, &v);

    if (v.result)
        return v.result;
    if (status < 0)
        return failed(status);
    for (size_t i = v.n < 2 * NEAR ? 0 : v.n - 2 * NEAR; i < v.n; i++)
        if (visit_one(&v, i) < 0)
            break;
    return v.result;
}

int heap_open(struct remap *r)
{
    r->heap = calloc(1, sizeof *r->heap);
    if (r->heap)
        return 0;
    PyErr_NoMemory();
    return -1;
}

static size_t bitmap_bytes(const struct mapping *m)
{
    return ((m->high - m->low) / 16 + 63) / 64 * sizeof(uint64_t);
}

static void unmap(struct heap *heap)
{
    for (size_t i = 0; heap->bitmaps && i < heap->memory.n; i++)
        if (heap->bitmaps[i])
            munmap(heap->bitmaps[i], bitmap_bytes(&heap->memory.mappings[i]));
    free(heap->bitmaps);
    memory_close(&heap->memory);
    heap->bitmaps = NULL;
    heap->mapped = heap->memory_open = false;
}

/* The arrays are kept: memory that was touched costs no page faults. */
static void forget(struct heap *heap)
{
    unmap(heap);
    address_set_free(&heap->ours);
    address_set_free(&heap->types);
    memset(heap->ours_filter, 0, sizeof heap->ours_filter);
    memset(heap->known, 0, sizeof heap->known);
    heap->n = 0;
}

void heap_close(struct remap *r)
{
    if (!r->heap)
        return;
    forget(r->heap);
    big_free(r->heap->objects);
    big_free(r->heap->kinds);
    free(r->heap);
}

/* --- the objects */

static uint64_t *filter_word(struct heap *heap, const PyObject *o)
{
    return &heap->ours_filter[(uintptr_t)o / 1024 % OURS_WORDS];
}

static uint64_t filter_bit(const PyObject *o)
{
    return UINT64_C(1) << (uintptr_t)o / 16 % 64;
}

static int add_ours(struct heap *heap, PyObject *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        *filter_word(heap, objects[i]) |= filter_bit(objects[i]);
        if (address_set_add(&heap->ours, (uintptr_t)objects[i]) < 0) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return 0;
}

/* The engine's and the caller's own are not listed. */
static int know_ours(struct remap *r)
{
    if (add_ours(r->heap, r->excluded, r->n_excluded) < 0)
        return -1;
    return add_ours(r->heap, r->graves, r->n_graves);
}

static bool is_ours(struct heap *heap, PyObject *o)
{
    return *filter_word(heap, o) & filter_bit(o) && address_set_has(&heap->ours, (uintptr_t)o);
}

static unsigned char kinds_of(PyTypeObject *type)
{
    unsigned char kinds = 0;

    if (type_has(type, Py_TPFLAGS_DICT_SUBCLASS))
        kinds |= KIND_DICT;
    if (PyType_IsSubtype(type, &PySet_Type) || PyType_IsSubtype(type, &PyFrozenSet_Type))
        kinds |= KIND_SET;
    if (type_has(type, Py_TPFLAGS_TUPLE_SUBCLASS))
        kinds |= KIND_TUPLE;
    if (type_has(type, Py_TPFLAGS_TYPE_SUBCLASS))
        kinds |= KIND_TYPE;
    if (type == &PyGen_Type || type == &PyCoro_Type || type == &PyAsyncGen_Type ||
        type == &PyFrame_Type)
        kinds |= KIND_SUSPENDED;
    if (type_of((PyObject *)type) != &PyType_Type)
        kinds |= KIND_METACLASS;
    return kinds;
}

/* -1: out of memory. */
static int look_up_kinds(struct heap *heap, PyTypeObject *type)
{
    size_t i = ((uintptr_t)type >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 56;

    if (heap->known[i].type != type) {
        if (address_set_add(&heap->types, (uintptr_t)type) < 0)
            return -1;
        heap->known[i].kinds = kinds_of(type);
        heap->known[i].type = type;
    }
    return heap->known[i].kinds;
}

static int reserve(struct heap *heap)
{
    size_t cap = heap->cap ? heap->cap + heap->cap / 2 : 1 << 16;
    PyObject **objects;
    unsigned char *kinds;

    if (heap->n < heap->cap)
        return 0;
    objects = big_realloc(heap->objects, cap * sizeof *objects);
    if (!objects)
        return -1;
    heap->objects = objects;
    kinds = big_realloc(heap->kinds, cap);
    if (!kinds)
        return -1;
    heap->kinds = kinds;
    heap->cap = cap;
    return 0;
}

struct enumeration {
    struct heap *heap;
    int (*take)(PyObject *o, void *arg);
    void *arg;
    size_t typed, taken;
};

/* Its own words are in the cache by now: its contents are fetched. */
static int type_one(struct enumeration *e)
{
    struct heap *heap = e->heap;
    PyObject *o = heap->objects[e->typed];
    int kinds = look_up_kinds(heap, type_of(o));

    if (kinds < 0) {
        PyErr_NoMemory();
        return -1;
    }
    heap->kinds[e->typed++] = (unsigned char)kinds;
    __builtin_prefetch(contents_of(o));
    return 0;
}

static int take_one(struct enumeration *e)
{
    return e->take(e->heap->objects[e->taken++], e->arg);
}

/* In three steps, as in heap_visit. */
static int add(PyObject *o, void *arg)
{
    struct enumeration *e = arg;
    struct heap *heap = e->heap;

    if (is_ours(heap, o))
        return 0;
    if (reserve(heap) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    heap->objects[heap->n++] = o;
    __builtin_prefetch((const uintptr_t *)o + 2);
    if (heap->n - e->typed > NEAR && type_one(e) < 0)
        return -1;
    return e->typed - e->taken > NEAR ? take_one(e) : 0;
}

int heap_scan(struct remap *r, int (*take)(PyObject *o, void *), void *arg)
{
    struct enumeration e = {.heap = r->heap, .take = take, .arg = arg};

    forget(r->heap);
    if (know_ours(r) < 0)
        return -1;
    int status = gc_each(add, &e);
    if (status < 0)
        return failed(status);
    while (e.typed < r->heap->n)
        if (type_one(&e) < 0)
            return -1;
    while (e.taken < r->heap->n)
        if (take_one(&e) < 0)
            return -1;
    r->heap->scans++;
    return 0;
}

int remap_each(struct remap *r, unsigned kinds, int (*visit)(PyObject *, void *), void *arg)
{
    const struct heap *heap = r->heap;
    int result = 0;

    for (size_t i = 0; i < heap->n && result == 0; i++) {
        if (i + 2 * NEAR < heap->n && heap->kinds[i + 2 * NEAR] & kinds)
            __builtin_prefetch((const uintptr_t *)heap->objects[i + 2 * NEAR] + 4);
        if (i + NEAR < heap->n && heap->kinds[i + NEAR] & kinds)
            __builtin_prefetch(contents_of(heap->objects[i + NEAR]));
        if (heap->kinds[i] & kinds)
            result = visit(heap->objects[i], arg);
    }
    return result;
}

int remap_each_suspended(struct remap *r, int (*visit)(PyObject *, void *), void *arg)
{
    return remap_each(r, KIND_SUSPENDED, visit, arg);
}

int remap_each_type(struct remap *r, int (*visit)(PyObject *, void *), void *arg)
{
    const struct address_set *types = &r->heap->types;
    int result = 0;

    for (size_t i = 0; types->slots && i <= types->mask && result == 0; i++)
        if (types->slots[i])
            result = visit((PyObject *)types->slots[i], arg);
    return result ? result : remap_each(r, KIND_TYPE, visit, arg);
}

/* --- addresses */

/* The word of the bitmap for `address`; NULL if there is none. */
static uint64_t *bitmap_word(struct heap *heap, uintptr_t address, bool create)
{
    const struct mapping *m = memory_at(&heap->memory, address);
    size_t index;
    void *map;

    if (!m)
        return NULL;
    index = (size_t)(m - heap->memory.mappings);
    if (!heap->bitmaps[index]) {
        if (!create)
            return NULL;
        map = mmap(NULL, bitmap_bytes(m), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED)
            return NULL;
        heap->bitmaps[index] = map;
    }
    return &heap->bitmaps[index][(address - m->low) / 16 / 64];
}

static uint64_t bit_of(struct heap *heap, uintptr_t address)
{
    return UINT64_C(1) << (address - memory_at(&heap->memory, address)->low) / 16 % 64;
}

int heap_memory(struct heap *heap)
{
    if (!heap->memory_open && memory_open(&heap->memory) < 0)
        return -1;
    heap->memory_open = true;
    return 0;
}

int heap_map(struct heap *heap)
{
    size_t n = 0;

    if (heap->mapped)
        return 0;
    if (heap_memory(heap) < 0)
        return -1;
    heap->bitmaps = calloc(heap->memory.n + 1, sizeof *heap->bitmaps);
    for (size_t i = 0; heap->bitmaps && i < heap->n; i++) {
        uintptr_t address = (uintptr_t)heap->objects[i];
        uint64_t *word = bitmap_word(heap, address, true);

        if (word)
            *word |= bit_of(heap, address);
        else if (memory_at(&heap->memory, address))
            break;
        n++;
    }
    heap->mapped = heap->bitmaps && n == heap->n;
    if (!heap->mapped)
        PyErr_NoMemory();
    return heap->mapped ? 0 : -1;
}

bool heap_has(struct heap *heap, uintptr_t address)
{
    const uint64_t *word = address % 16 ? NULL : bitmap_word(heap, address, false);

    return word && *word & bit_of(heap, address);
}
