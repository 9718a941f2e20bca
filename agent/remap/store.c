#include "store.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/collector.h"
#include "arrays.h"
#include "field.h"
#include "heap.h"
#include "keys.h"
#include "ledger.h"

enum { CHUNK = 1 << 14, LARGEST_CHUNK = 4 << 20, FIRST_CAP = 64 };

struct chunk {
    struct chunk *next;
    size_t used, size;
    _Alignas(16) char bytes[];
};

struct word {
    uintptr_t *address, before;
};

struct word_log {
    struct word *words;
    size_t n, cap;
};

struct remap *remap_new(void)
{
    struct remap *r = calloc(1, sizeof *r);

    writers_prepare_process();
    if (!r) {
        PyErr_NoMemory();
        return NULL;
    }
    r->migrate = true;
    r->log = calloc(1, sizeof *r->log);
    if (!r->log)
        PyErr_NoMemory();
    if (!r->log || keys_open(r) < 0 || heap_open(r) < 0 || ledger_open(r) < 0) {
        remap_free(r);
        return NULL;
    }
    return r;
}

/* The last references to old objects may go here: the collector is on again first, and
 * everything of ours is gone before code of theirs runs. */
void remap_free(struct remap *r)
{
    struct chunk *chunk, *next;
    PyObject *type, *value, *traceback;

    if (!r)
        return;
    PyErr_Fetch(&type, &value, &traceback);
    remap_resume_collector(r);
    field_close(r);
    arrays_close(r);
    heap_close(r);
    ledger_close(r);
    if (!r->keep_replaced || !r->committed)
        for (size_t i = 0; i < r->n_graves; i++)
            Py_DecRef(r->graves[i]);
    for (size_t i = 0; i < r->n_excluded; i++)
        Py_DecRef(r->excluded[i]);
    keys_close(r);
    for (chunk = r->chunks; chunk; chunk = next) {
        next = chunk->next;
        big_free(chunk);
    }
    if (r->log)
        big_free(r->log->words);
    free(r->log);
    big_free(r->edges);
    big_free(r->excluded);
    big_free(r->graves);
    free(r);
    PyErr_Restore(type, value, traceback);
}

void remap_set_migrate(struct remap *r, bool on)
{
    r->migrate = on;
}

void remap_keep_replaced(struct remap *r)
{
    r->keep_replaced = true;
}

int remap_pause_collector(struct remap *r)
{
    if (r->paused)
        return 0;
    if (collector_pause(&r->collector_was_on) < 0)
        return -1;
    r->paused = true;
    return 0;
}

void remap_resume_collector(struct remap *r)
{
    if (r->paused)
        collector_resume(r->collector_was_on);
    r->paused = false;
}

/* --- memory */

static struct chunk *new_chunk(size_t size)
{
    struct chunk *chunk = big_realloc(NULL, sizeof *chunk + size);

    if (chunk)
        chunk->size = size;
    else
        PyErr_NoMemory();
    return chunk;
}

/* What is large gets a chunk of its own, behind the one in use. */
void *remap_alloc(struct remap *r, size_t bytes)
{
    struct chunk *chunk = r->chunks, **place = &r->chunks;
    size_t size = chunk ? 2 * chunk->size : CHUNK;

    bytes = (bytes + 15) & ~(size_t)15;
    if (size > LARGEST_CHUNK)
        size = LARGEST_CHUNK;
    if (!chunk || chunk->size - chunk->used < bytes) {
        if (bytes > size / 4 && chunk)
            place = &chunk->next;
        chunk = new_chunk(bytes > size / 4 ? bytes : size);
        if (!chunk)
            return NULL;
        chunk->next = *place;
        *place = chunk;
    }
    chunk->used += bytes;
    return chunk->bytes + chunk->used - bytes;
}

int remap_reserve(struct remap *r, void *array, size_t n, size_t *cap, size_t size)
{
    void **place = array, *moved;
    size_t bigger = *cap ? 2 * *cap : FIRST_CAP;

    if (n < *cap)
        return 0;
    moved = remap_alloc(r, bigger * size);
    if (!moved)
        return -1;
    if (n)
        memcpy(moved, *place, n * size);
    *place = moved;
    *cap = bigger;
    return 0;
}

/* The same with malloc's memory, for arrays that grow much: room for `more`. */
static int reserve(void **array, size_t n, size_t *cap, size_t more, size_t size)
{
    size_t wanted = n + more, bigger = *cap ? *cap : FIRST_CAP;
    void *moved;

    if (wanted <= *cap)
        return 0;
    while (bigger < wanted)
        bigger *= 2;
    moved = big_realloc(*array, bigger * size);
    if (!moved) {
        PyErr_NoMemory();
        return -1;
    }
    *array = moved;
    *cap = bigger;
    return 0;
}

/* --- references */

int remap_exclude(struct remap *r, PyObject *holder)
{
    if (reserve((void **)&r->excluded, r->n_excluded, &r->cap_excluded, 1, sizeof holder) < 0)
        return -1;
    Py_IncRef(holder);
    r->excluded[r->n_excluded++] = holder;
    return 0;
}

int remap_reserve_graves(struct remap *r, size_t n)
{
    r->n_graves_reserved += n;
    return reserve((void **)&r->graves, 0, &r->cap_graves, r->n_graves_reserved, sizeof *r->graves);
}

void remap_bury(struct remap *r, PyObject *owned)
{
    r->graves[r->n_graves++] = owned;
}

int remap_make_scratch(struct remap *r)
{
    PyObject *dict;

    if (r->scratch)
        return 0;
    dict = PyDict_New();
    if (!dict || PyDict_SetItemString(dict, "v", Py_True) < 0 || remap_reserve_graves(r, 1) < 0) {
        Py_DecRef(dict);
        return -1;
    }
    remap_bury(r, dict);
    r->scratch = dict;
    return 0;
}

/* --- stores */

int remap_reserve_stores(struct remap *r, size_t n)
{
    r->n_stores_reserved += n;
    return reserve((void **)&r->log->words, 0, &r->log->cap, r->n_stores_reserved,
                   sizeof *r->log->words);
}

void remap_store(struct remap *r, uintptr_t *address, uintptr_t value)
{
    r->log->words[r->log->n++] = (struct word){address, *address};
    *address = value;
}

void store_undo(struct remap *r)
{
    while (r->log->n) {
        const struct word *word = &r->log->words[--r->log->n];

        *word->address = word->before;
    }
}
