#include "candidates.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/gc_objects.h"
#include "../cpython/shared_keys.h"
#include "keys.h"

enum { BUDGET = 1 << 18, MOST_BLOCKS = 1 << 14, PIECE = 512, MOST_STATICS = 8, LARGE = 1 << 16 };

/* --- growing arrays */

static void push_word(struct candidates *c, uintptr_t address)
{
    if (big_reserve(&c->words, c->n, &c->cap, sizeof *c->words))
        c->words[c->n++] = (uintptr_t *)address;
    else
        c->failed = true;
}

static void push_block(struct candidates *c, uintptr_t low, uintptr_t high)
{
    const struct block block = {low, high};

    if (high - low > LARGE) {
        if (big_reserve(&c->large, c->n_large, &c->cap_large, sizeof block))
            c->large[c->n_large++] = block;
        else
            c->failed = true;
    } else if (big_reserve(&c->blocks, c->n_blocks, &c->cap_blocks, sizeof block)) {
        c->blocks[c->n_blocks++] = block;
    } else {
        c->failed = true;
    }
}

static bool see(struct candidates *c, uintptr_t low)
{
    int added = address_set_add(&c->seen, low);

    c->failed = c->failed || added < 0;
    return added == 1;
}

/* --- which words */

static bool within(uintptr_t address, uintptr_t start, size_t n)
{
    return address - start < n;
}

static bool is_set(PyObject *o)
{
    return PyType_IsSubtype(type_of(o), &PySet_Type) ||
           PyType_IsSubtype(type_of(o), &PyFrozenSet_Type);
}

/* Words that no flip may touch: header, count and class of the referrer; what the bases of
 * a class are derived to; members of a set, which have their place by hash. */
static bool is_forbidden(const struct candidates *c, uintptr_t address)
{
    uintptr_t o = (uintptr_t)c->referrer;
    const PyTypeObject *type = (const PyTypeObject *)c->referrer;

    if (within(address, o - 16, 16 + sizeof(PyObject)))
        return true;
    if (is_type(c->referrer))
        return address == (uintptr_t)&type->tp_base || address == (uintptr_t)&type->tp_dict ||
               address == (uintptr_t)&type->tp_bases || address == (uintptr_t)&type->tp_mro;
    return is_set(c->referrer) && within(address, o, (size_t)PySet_Type.tp_basicsize);
}

/* The low bits of a reference may be flags (_PyStackRef from 3.14, lru_cache's keys, ...). */
static bool may_be_reference(const struct candidates *c, uintptr_t word)
{
    uintptr_t tag = word - (uintptr_t)c->key;

    if (!c->key)
        return keys_lookup(c->keys, (PyObject *)word) >= 0;
    return tag < 8 && tag != 4;
}

/* --- which pointers to follow */

/* Is this an object without contents of interest, or a class?  What looks like a count and
 * a type may be an array of pointers: those have bits 32 to 47 set, which counts never do,
 * or point into the data of an executable that is loaded low. */
static bool is_leaf(struct candidates *c, uintptr_t address)
{
    uintptr_t words[2], meta[2];
    const void *type;

    if (!memory_peek(&c->heap->memory, address, words, sizeof words))
        return true;
    if (!(uint32_t)words[0] || words[0] >> 32 & 0xFFFF || memory_at(&c->heap->memory, words[0]))
        return false;
    type = (const void *)words[1];
    if (type == &PyUnicode_Type || type == &PyLong_Type || type == &PyBytes_Type ||
        type == &PyCode_Type || type == &PyFloat_Type || type == &PyBool_Type ||
        type == &PyType_Type)
        return true;
    if (words[1] < 4096 || words[1] % 8 ||
        !memory_peek(&c->heap->memory, words[1], meta, sizeof meta))
        return false;
    /* A listed object would be known: this one of a class with header is not listed now. */
    return meta[1] == (uintptr_t)&PyType_Type &&
           type_has((const PyTypeObject *)words[1], Py_TPFLAGS_HAVE_GC);
}

/* Does the block belong to an object of the collector?  Its header may come first. */
static bool is_object_block(struct candidates *c, uintptr_t low, uintptr_t high)
{
    for (uintptr_t at = low; at <= low + 48 && at < high; at += 16)
        if (heap_has(c->heap, at))
            return true;
    return false;
}

static void follow(struct candidates *c, uintptr_t word)
{
    uintptr_t address = word & ~(uintptr_t)7, low, high;
    enum block_kind kind;

    if (address < 4096 || address >> 47 || c->n_blocks >= MOST_BLOCKS)
        return;
    if (!memory_at(&c->heap->memory, address) || address_set_has(&c->children, address) ||
        heap_has(c->heap, address))
        return;
    kind = memory_block(&c->heap->memory, address, &low, &high);
    if (kind == BLOCK_NONE || address_set_has(&c->seen, low) || is_leaf(c, address))
        return;
    if (kind == BLOCK_EXACT && is_object_block(c, low, high))
        return;
    if (see(c, low))
        push_block(c, low, high);
}

static int visit_child(PyObject *o, void *arg)
{
    struct candidates *c = arg;

    if (address_set_add(&c->children, (uintptr_t)o) >= 0)
        return 0;
    c->failed = true;
    return 1;
}

/* Needed as soon as pointers are followed. */
static void know_children(struct candidates *c)
{
    if (c->have_children)
        return;
    if (type_of(c->referrer)->tp_traverse)
        type_of(c->referrer)->tp_traverse(c->referrer, visit_child, c);
    c->have_children = true;
}

/* --- reading */

static void look_at(struct candidates *c, const uintptr_t *words, size_t n, uintptr_t address)
{
    for (size_t i = 0; i < n && !c->failed; i++, address += sizeof *words) {
        if (!may_be_reference(c, words[i])) {
            if (c->have_children)
                follow(c, words[i]);
        } else if (!is_forbidden(c, address)) {
            push_word(c, address);
        }
    }
}

/* Words that were peeked at may have changed since. */
static void drop_changed(struct candidates *c, size_t from)
{
    size_t n = from;
    uintptr_t word;

    for (size_t i = from; i < c->n; i++)
        if (memory_read(&c->heap->memory, (uintptr_t)c->words[i], &word, sizeof word) &&
            may_be_reference(c, word))
            c->words[n++] = c->words[i];
    c->n = n;
}

static void read_block(struct candidates *c, struct block block)
{
    uintptr_t address = (block.low + 7) & ~(uintptr_t)7;
    uintptr_t words[PIECE];

    while (address + sizeof words[0] <= block.high && c->budget && !c->failed) {
        size_t n = (block.high - address) / sizeof words[0];
        size_t known = c->n;

        if (n > PIECE)
            n = PIECE;
        if (!memory_peek(&c->heap->memory, address, words, n * sizeof words[0]))
            return;
        look_at(c, words, n, address);
        drop_changed(c, known);
        address += n * sizeof words[0];
        c->budget -= n < c->budget ? n : c->budget;
    }
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return x < y ? -1 : x > y;
}

/* Blocks whose extent was guessed may overlap. */
static void sort_words(struct candidates *c)
{
    size_t n = 0;
    bool sorted = true;

    for (size_t i = 1; i < c->n && sorted; i++)
        sorted = c->words[i - 1] < c->words[i];
    if (sorted)
        return;
    qsort(c->words, c->n, sizeof *c->words, compare);
    for (size_t i = 0; i < c->n; i++)
        if (!n || c->words[n - 1] != c->words[i])
            c->words[n++] = c->words[i];
    c->n = n;
}

/* --- the start */

/* Allocated for its type's tp_basicsize, and for the items of a tuple, and nothing else. */
static bool is_of_plain_size(const PyObject *o)
{
    const PyTypeObject *type = type_of(o);

    return type == &PyList_Type || type == &PyTuple_Type || type == &PyCell_Type ||
           type == &PyFunction_Type || type == &PyDict_Type;
}

static struct block own_block(struct candidates *c)
{
    PyObject *o = c->referrer;
    uintptr_t start = gc_has_head(o) ? gc_start_of(o) : (uintptr_t)o;
    uintptr_t end = (uintptr_t)o + object_size(o);
    uintptr_t low, high;

    if (!is_of_plain_size(o) && memory_block(&c->heap->memory, start, &low, &high) == BLOCK_EXACT &&
        high > end)
        end = high;
    return (struct block){start, end};
}

/* The object lives and its extent is known: no need to ask the kernel. */
static void read_own(struct candidates *c, struct block block)
{
    look_at(c, (const uintptr_t *)block.low, (block.high - block.low) / sizeof(uintptr_t),
            block.low);
}

/* ob_item and ob_size of a list (Include/cpython/listobject.h, 3.8 to 3.15): up to millions
 * of references. */
static struct block list_items(PyObject *list)
{
    uintptr_t items = ((const uintptr_t *)list)[3];

    return (struct block){items, items + (size_t)PyList_Size(list) * sizeof(uintptr_t)};
}

/* Attributes of an instance in memory of their own. */
static struct block instance_values(PyObject *o)
{
    uintptr_t values = (uintptr_t)shared_keys_values(o);
    size_t n = values ? shared_keys_count(type_of(o)) : 0;

    return (struct block){values, values + n * sizeof(uintptr_t)};
}

static int visit_grandchild_block(PyObject *o, void *arg)
{
    struct candidates *c = arg;

    if (gc_has_head(o) && !is_type(o) && c->n_blocks < MOST_BLOCKS) {
        struct candidates child = {.heap = c->heap, .referrer = o};
        struct block block = own_block(&child);

        if (see(c, block.low))
            push_block(c, block.low, block.high);
    }
    return c->failed;
}

static void add_statics(struct candidates *c)
{
    const PyModuleDef *def = PyModule_GetDef(c->referrer);
    struct mapping ranges[MOST_STATICS];
    size_t n;

    if (!def || !def->m_traverse)
        return;
    n = memory_data_of((uintptr_t)def->m_traverse, ranges, MOST_STATICS);
    for (size_t i = 0; i < n; i++)
        push_block(c, ranges[i].low, ranges[i].high);
}

int candidates_open(struct candidates *c, struct heap *heap, PyObject *referrer, PyObject *key,
                    enum reach reach)
{
    c->heap = heap;
    c->referrer = referrer;
    c->key = key;
    c->n = c->n_blocks = c->next = c->n_large = c->next_large = 0;
    c->budget = BUDGET;
    c->have_children = c->own_read = c->failed = false;
    address_set_clear(&c->seen);
    address_set_clear(&c->children);
    if (heap_memory(heap) < 0)
        return -1;
    if (reach == REACH_OWN)
        return 0;
    if (heap_map(heap) < 0)
        return -1;
    know_children(c);
    if (reach == REACH_CHILDREN)
        type_of(referrer)->tp_traverse(referrer, visit_grandchild_block, c);
    else if (is_type(referrer) || PyType_IsSubtype(type_of(referrer), &PyModule_Type))
        add_statics(c);
    return 0;
}

static int next_ring(struct candidates *c)
{
    struct block own = own_block(c);
    size_t end;

    if (!c->own_read) {
        c->own_read = true;
        read_own(c, own);
        if (is_list(c->referrer))
            read_own(c, list_items(c->referrer));
        else
            read_own(c, instance_values(c->referrer));
        if (c->n_blocks == 0 && c->n_large == 0)
            return 0;
    } else if (!c->have_children) { /* the second ring: now read it again for pointers */
        if (heap_map(c->heap) < 0)
            return -1;
        know_children(c);
        see(c, own.low);
        read_own(c, own);
    }
    end = c->n_blocks;
    if (c->next == end && c->next_large < c->n_large)
        read_block(c, c->large[c->next_large++]);
    while (c->next < end && c->budget && !c->failed)
        read_block(c, c->blocks[c->next++]);
    return 0;
}

int candidates_next(struct candidates *c)
{
    size_t before = c->n;

    if (c->own_read && c->have_children &&
        ((c->next == c->n_blocks && c->next_large == c->n_large) || !c->budget))
        return -1;
    if (next_ring(c) < 0)
        return -2;
    if (c->failed) {
        PyErr_NoMemory();
        return -2;
    }
    sort_words(c);
    return c->n > before;
}

void candidates_free(struct candidates *c)
{
    big_free(c->words);
    big_free(c->blocks);
    big_free(c->large);
    address_set_free(&c->seen);
    address_set_free(&c->children);
}
