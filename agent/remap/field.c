/* Where in a referrer's memory a reference is: the flip test.
 *
 * Stock tp_traverse tells which objects are referred to, not where.  So each word that may
 * be the field gets the address of a twin, a byte-for-byte copy of the key that is no
 * object of anyone's; the referrer is traversed; the words get their old value back.  A
 * word whose twin was visited is a field: the object's own traverse function read it
 * there.  The visits of twins and of the key must add up to what they were before, and the
 * fields to the visits that are to be explained, or nothing is believed.
 *
 * No Python code runs and no other thread that has to do with objects: the GIL is held. */
#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/gc_objects.h"
#include "../cpython/memory.h"
#include "candidates.h"
#include "field.h"
#include "items.h"

enum {
    MOST_BYTES = 8192,     /* of a twin: what traverse functions look at is in front */
    BEFORE = 48,           /* header and pre-header are copied too */
    MOST_TWINS = 64 << 20, /* bytes of all twins at a time */
    MOST_TURNS = 4096,     /* flips for one pair */
};

struct fields {
    struct candidates candidates;
    struct items items;
    char *twins;
    size_t twins_bytes, at_once; /* how many words have one */
    uint32_t *hits;              /* by word */
    size_t cap_hits;
};

/* One traverse under flipped words. */
struct flip {
    PyObject *key;
    const char *twins; /* the object in the first copy */
    size_t step, n;
    uint32_t *hits;
    size_t key_visits, twin_visits, others, most_others;
};

static int count_flip(PyObject *o, void *arg)
{
    struct flip *flip = arg;
    size_t distance = (size_t)((const char *)o - flip->twins);

    if (o == flip->key)
        flip->key_visits++;
    else if (distance < flip->n * flip->step && distance % flip->step == 0) {
        flip->hits[distance / flip->step]++;
        flip->twin_visits++;
    } else if (flip->others++ > flip->most_others)
        return 1; /* the twin led it astray */
    return 0;
}

struct count {
    PyObject *key;
    size_t n, others;
};

static int count_visit(PyObject *o, void *arg)
{
    struct count *count = arg;

    if (o == count->key)
        count->n++;
    else
        count->others++;
    return 0;
}

static struct count count_visits(PyObject *referrer, PyObject *key)
{
    struct count count = {.key = key};

    type_of(referrer)->tp_traverse(referrer, count_visit, &count);
    return count;
}

size_t field_visits(PyObject *referrer, PyObject *key)
{
    return count_visits(referrer, key).n;
}

/* --- twins */

/* The bytes to copy: from *start on, clipped to the mapping. */
static size_t twin_bytes(struct heap *heap, PyObject *key, uintptr_t *start)
{
    const struct mapping *m = memory_at(&heap->memory, (uintptr_t)key);
    uintptr_t end = (uintptr_t)key + object_size(key);

    if (!m)
        return 0;
    *start = (uintptr_t)key - m->low < BEFORE ? m->low : (uintptr_t)key - BEFORE;
    if (end > m->high)
        end = m->high;
    return end - *start < MOST_BYTES ? end - *start : MOST_BYTES;
}

static int reserve_twins(struct fields *f, size_t bytes)
{
    char *twins;

    if (bytes <= f->twins_bytes)
        return 0;
    twins = big_realloc(NULL, bytes);
    if (!twins) {
        PyErr_NoMemory();
        return -1;
    }
    big_free(f->twins);
    f->twins = twins;
    f->twins_bytes = bytes;
    return 0;
}

static int reserve_hits(struct fields *f, size_t n)
{
    size_t cap = f->cap_hits ? f->cap_hits : 64;
    uint32_t *hits;

    while (cap < n)
        cap *= 2;
    if (cap == f->cap_hits)
        return 0;
    hits = big_realloc(f->hits, cap * sizeof *hits);
    if (!hits) {
        PyErr_NoMemory();
        return -1;
    }
    f->hits = hits;
    f->cap_hits = cap;
    return 0;
}

/* --- the proof */

/* Flip `n` words.  False: the visits do not add up. */
static bool flip_words(uintptr_t **words, PyObject *referrer, struct flip *flip,
                       const struct count *before)
{
    uintptr_t key = (uintptr_t)flip->key;

    flip->key_visits = flip->twin_visits = flip->others = 0;
    flip->most_others = before->others;
    memset(flip->hits, 0, flip->n * sizeof *flip->hits);
    for (size_t i = 0; i < flip->n; i++)
        *words[i] = (uintptr_t)flip->twins + i * flip->step + (*words[i] - key);
    type_of(referrer)->tp_traverse(referrer, count_flip, flip);
    for (size_t i = 0; i < flip->n; i++)
        *words[i] = key + (*words[i] - ((uintptr_t)flip->twins + i * flip->step));
    return flip->key_visits + flip->twin_visits == before->n && flip->others == before->others;
}

/* Twins for `n` words at a time.  1; 0: there can be none; -1: MemoryError. */
static int make_twins(struct fields *f, struct flip *flip, size_t n)
{
    uintptr_t start;
    size_t bytes = twin_bytes(f->candidates.heap, flip->key, &start), most;

    flip->step = (bytes + 63) & ~(size_t)31;
    most = MOST_TWINS / flip->step;
    f->at_once = n < most ? n : most;
    if (!bytes || n / f->at_once > MOST_TURNS)
        return 0;
    if (reserve_hits(f, n) < 0 || reserve_twins(f, f->at_once * flip->step + 64) < 0)
        return -1;
    /* An object is 16 bytes aligned, and so are its twins. */
    flip->twins = (char *)(((uintptr_t)f->twins + 31) & ~(uintptr_t)31) + start % 16;
    for (size_t i = 0; i < f->at_once; i++)
        memcpy((char *)flip->twins + i * flip->step, (const void *)start, bytes);
    flip->twins += (uintptr_t)flip->key - start;
    return 1;
}

/* Flips `n` of the candidates, from the `i`th on. */
static bool flip_some(struct fields *f, size_t i, size_t n, struct flip *flip,
                      const struct count *before)
{
    flip->n = n;
    flip->hits = f->hits + i;
    return flip_words(f->candidates.words + i, f->candidates.referrer, flip, before);
}

/* A word that is no field may be what the traverse function finds its way by: then the visits do
 * not add up, and each is tried alone.  Such a word has no hits. */
static void flip_each(struct fields *f, size_t i, size_t n, struct flip *flip,
                      const struct count *before)
{
    for (; n > 0; i++, n--)
        if (!flip_some(f, i, 1, flip, before))
            f->hits[i] = 0;
}

/* Which of the candidates are fields: hits by word.  How many visits they explain in
 * *explained.  1; 0: not to be told; -1: MemoryError. */
static int prove(struct fields *f, const struct count *before, size_t *explained)
{
    const struct candidates *c = &f->candidates;
    struct flip flip = {.key = before->key};
    int status = c->n ? make_twins(f, &flip, c->n) : 1;

    *explained = 0;
    if (status <= 0)
        return status;
    for (size_t i = 0, n; i < c->n; i += n) {
        n = c->n - i < f->at_once ? c->n - i : f->at_once;
        if (flip_some(f, i, n, &flip, before))
            continue;
        if (c->n > MOST_TURNS)
            return 0;
        flip_each(f, i, n, &flip, before);
    }
    for (size_t i = 0; i < c->n; i++)
        *explained += f->hits[i];
    return 1;
}

/* May pointers be followed from it?  The tables of dicts and sets have their own writers:
 * what is in there has its place by hash, or is remembered elsewhere. */
static bool is_table(PyObject *o)
{
    return is_dict(o) || PyType_IsSubtype(type_of(o), &PySet_Type) ||
           PyType_IsSubtype(type_of(o), &PyFrozenSet_Type);
}

/* 1: the fields are the candidates with hits.  0: they do not explain what is wanted, or more.
 * -1: MemoryError. */
static int explains(struct fields *f, const struct count *before, size_t wanted, bool *enough)
{
    size_t explained;
    int status = prove(f, before, &explained);

    *enough = status == 1 && explained >= wanted;
    return status == 1 ? explained == wanted : status;
}

/* The same; and -1 with any exception. */
static int search(struct fields *f, uint32_t key, const struct count *before, size_t wanted)
{
    int found, status;
    bool enough;

    while ((found = candidates_next(&f->candidates, key)) >= 0) {
        if (!found)
            continue;
        status = explains(f, before, wanted, &enough);
        if (status || enough)
            return status;
    }
    return found == -1 ? 0 : -1;
}

static ptrdiff_t collect(struct remap *r, const struct fields *f, uintptr_t ***fields)
{
    const struct candidates *c = &f->candidates;
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        n += f->hits[i] > 0;
    *fields = remap_alloc(r, n * sizeof **fields);
    if (!*fields)
        return -1;
    n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (f->hits[i])
            (*fields)[n++] = c->words[i];
    return (ptrdiff_t)n;
}

static struct fields *state(struct remap *r)
{
    if (!r->fields) {
        r->fields = calloc(1, sizeof *r->fields);
        if (!r->fields) {
            PyErr_NoMemory();
            return NULL;
        }
        r->fields->candidates.heap = r->heap;
        r->fields->candidates.keys = r;
    }
    return r->fields;
}

void field_close(struct remap *r)
{
    if (!r->fields)
        return;
    candidates_free(&r->fields->candidates);
    items_free(&r->fields->items);
    big_free(r->fields->twins);
    big_free(r->fields->hits);
    free(r->fields);
}

void field_forget(struct remap *r)
{
    if (r->fields) {
        items_forget(&r->fields->items);
        candidates_forget(&r->fields->candidates);
    }
    if (r->heap->memory_open)
        memory_forget(&r->heap->memory);
}

ptrdiff_t field_find_item(struct remap *r, PyObject *referrer, uint32_t key, size_t visits,
                          uintptr_t ***fields)
{
    struct fields *f = state(r);

    return f ? items_find(r, &f->items, referrer, key, visits, fields) : -1;
}

ptrdiff_t field_find(struct remap *r, PyObject *referrer, uint32_t key, size_t visits,
                     size_t n_before, uintptr_t ***fields)
{
    struct fields *f = state(r);
    PyObject *old = r->keys[key].old;
    struct count before;
    bool enough;
    ptrdiff_t n;
    int status;

    if (!f)
        return -1;
    if (!visits || !type_of(referrer)->tp_traverse)
        return 0;
    n = field_find_item(r, referrer, key, visits, fields);
    if (n != -2)
        return n;
    before = count_visits(referrer, old);
    status = candidates_own(&f->candidates, referrer, old);
    if (status == 0)
        status = explains(f, &before, visits, &enough);
    if (status == 0 && !enough && n_before) {
        status = candidates_add(&f->candidates, old, *fields, n_before);
        if (status == 0)
            status = explains(f, &before, visits, &enough);
    }
    if (status == 0 && !enough && !is_table(referrer))
        status = search(f, key, &before, visits);
    return status > 0 ? collect(r, f, fields) : status;
}
