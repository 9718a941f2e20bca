/* A list of many keys would be searched and flipped once for each of them.  So it is done
 * once for all: each word that names a key gets the address of its own record here, the list
 * is traversed, and each record must have been visited once, and no key.
 *
 * The records need not look like objects: list_traverse and tupletraverse hand on what is in
 * the array and look at none of it (Objects/listobject.c, Objects/tupleobject.c, 3.8 to
 * 3.15); of a subclass nothing is assumed. */
#include "items.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/gc_objects.h"
#include "keys.h"

enum { LONG = 32 };

struct item {
    uintptr_t *word;
    uint32_t key, visits;
};

struct proof {
    struct remap *r;
    struct items *items;
    size_t keys; /* visited although all words that name one are flipped */
};

static bool locate(PyObject *container, uintptr_t **words, size_t *n)
{
    if (type_of(container) == &PyList_Type) {
        /* ob_item, Include/cpython/listobject.h */
        *words = ((uintptr_t **)container)[3];
        *n = (size_t)PyList_Size(container);
    } else if (type_of(container) == &PyTuple_Type) {
        *n = (size_t)PyTuple_Size(container);
        /* ob_item comes last, also from 3.14 on, with ob_hash before it. */
        *words = (uintptr_t *)((char *)container + object_size(container)) - *n;
    } else {
        return false;
    }
    return *n >= LONG;
}

static int push(struct items *t, uintptr_t *word, uint32_t key)
{
    if (big_reserve_or_raise(&t->items, t->n, &t->cap, sizeof *t->items) < 0)
        return -1;
    t->items[t->n++] = (struct item){.word = word, .key = key};
    return 0;
}

static int count(PyObject *o, void *arg)
{
    struct proof *p = arg;
    size_t distance = (size_t)((uintptr_t)o - (uintptr_t)p->items->items);

    if (distance < p->items->n * sizeof(struct item))
        p->items->items[distance / sizeof(struct item)].visits++;
    else
        p->keys += keys_lookup(p->r, o) >= 0;
    return 0;
}

static bool prove(struct remap *r, struct items *t)
{
    struct proof p = {.r = r, .items = t};
    bool once = true;

    for (size_t i = 0; i < t->n; i++)
        *t->items[i].word = (uintptr_t)&t->items[i];
    type_of(t->container)->tp_traverse(t->container, count, &p);
    for (size_t i = 0; i < t->n; i++) {
        *t->items[i].word = (uintptr_t)r->keys[t->items[i].key].old;
        once = once && t->items[i].visits == 1;
    }
    return once && !p.keys;
}

static int compare(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->word < y->word ? -1 : x->word > y->word;
}

static void sort(struct items *t)
{
    for (size_t i = 1; i < t->n; i++) {
        if (compare(&t->items[i - 1], &t->items[i]) > 0) {
            qsort(t->items, t->n, sizeof *t->items, compare);
            return;
        }
    }
}

/* 0; -1: MemoryError.  What cannot be proven has no items. */
static int look_at(struct remap *r, struct items *t, PyObject *container, uintptr_t *words,
                   size_t n)
{
    *t = (struct items){.container = container,
                        .words = words,
                        .n_words = n,
                        .n_keys = r->n_keys,
                        .items = t->items,
                        .cap = t->cap};
    for (size_t i = 0; i < n; i++) {
        ptrdiff_t key = keys_lookup(r, (PyObject *)words[i]);

        if (key >= 0 && push(t, &words[i], (uint32_t)key) < 0) {
            t->container = NULL;
            return -1;
        }
    }
    if (!prove(r, t))
        t->n = 0;
    sort(t);
    return 0;
}

static size_t first_of(const struct items *t, uint32_t key)
{
    size_t low = 0, high = t->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (t->items[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

ptrdiff_t items_find(struct remap *r, struct items *t, PyObject *container, uint32_t key,
                     size_t visits, uintptr_t ***fields)
{
    uintptr_t *words;
    size_t n, first;

    if (!locate(container, &words, &n))
        return -2;
    if ((t->container != container || t->words != words || t->n_words != n ||
         t->n_keys != r->n_keys) &&
        look_at(r, t, container, words, n) < 0)
        return -1;
    first = first_of(t, key);
    for (n = 0; first + n < t->n && t->items[first + n].key == key; n++)
        if (*t->items[first + n].word != (uintptr_t)r->keys[key].old)
            return -2;
    if (n != visits)
        return -2;
    *fields = remap_alloc(r, n * sizeof **fields);
    if (!*fields)
        return -1;
    for (size_t i = 0; i < n; i++)
        (*fields)[i] = t->items[first + i].word;
    return (ptrdiff_t)n;
}

void items_forget(struct items *t)
{
    t->container = NULL;
}

void items_free(struct items *t)
{
    big_free(t->items);
    memset(t, 0, sizeof *t);
}
