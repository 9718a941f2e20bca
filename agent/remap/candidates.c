#include "candidates.h"

#include <stdlib.h>
#include <string.h>

#include "../big.h"
#include "../cpython/gc_objects.h"
#include "../cpython/shared_keys.h"
#include "keys.h"

enum { BUDGET = 1 << 18, MOST_BLOCKS = 1 << 14, PIECE = 512, MOST_STATICS = 8, LARGE = 1 << 16 };

/* --- growing arrays */

static void push_word(struct candidates *c, uintptr_t *word)
{
    if (big_reserve(&c->words, c->n, &c->cap, sizeof *c->words))
        c->words[c->n++] = word;
    else
        c->failed = true;
}

static void push_found(struct candidates *c, uintptr_t address, uint32_t key)
{
    if (big_reserve(&c->found, c->n_found, &c->cap_found, sizeof *c->found))
        c->found[c->n_found++] = (struct found){(uintptr_t *)address, key, c->rings};
    else
        c->failed = true;
}

static void push_block(struct candidates *c, uintptr_t low, uintptr_t high, bool last)
{
    const struct block block = {low, high};

    if (last || high - low > LARGE) {
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
static bool may_be_reference(uintptr_t word, const PyObject *key)
{
    uintptr_t tag = word - (uintptr_t)key;

    return tag < 8 && tag != 4;
}

/* The index of the key that the word may be a reference to, or -1. */
static ptrdiff_t key_of(const struct candidates *c, uintptr_t word)
{
    return word % 8 == 4 ? -1 : keys_lookup(c->keys, (const PyObject *)(word - word % 8));
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
    if (!see(c, low))
        return;
    /* From a library's data all of the process can be reached. */
    push_block(c, low, high, memory_at(&c->heap->memory, address)->inode != 0);
}

static int visit_child(PyObject *o, void *arg)
{
    struct candidates *c = arg;

    if (address_set_add(&c->children, (uintptr_t)o) >= 0)
        return 0;
    c->failed = true;
    return 1;
}

/* --- reading */

static void look_for_keys(struct candidates *c, struct block block)
{
    for (uintptr_t at = block.low; at + sizeof at <= block.high && !c->failed; at += sizeof at) {
        ptrdiff_t key = key_of(c, *(const uintptr_t *)at);

        if (key >= 0 && !is_forbidden(c, at))
            push_found(c, at, (uint32_t)key);
    }
}

static void follow_all(struct candidates *c, struct block block)
{
    for (uintptr_t at = block.low; at + sizeof at <= block.high && !c->failed; at += sizeof at)
        if (key_of(c, *(const uintptr_t *)at) < 0)
            follow(c, *(const uintptr_t *)at);
}

/* Copies of what is at `address`. */
static void look_at(struct candidates *c, const uintptr_t *words, size_t n, uintptr_t address)
{
    for (size_t i = 0; i < n && !c->failed; i++, address += sizeof *words) {
        ptrdiff_t key = key_of(c, words[i]);

        if (key < 0)
            follow(c, words[i]);
        else if (!is_forbidden(c, address))
            push_found(c, address, (uint32_t)key);
    }
}

static void read_block(struct candidates *c, struct block block)
{
    uintptr_t address = (block.low + 7) & ~(uintptr_t)7;
    uintptr_t words[PIECE];

    while (address + sizeof words[0] <= block.high && c->budget && !c->failed) {
        size_t n = (block.high - address) / sizeof words[0];

        if (n > PIECE)
            n = PIECE;
        if (!memory_peek(&c->heap->memory, address, words, n * sizeof words[0]))
            return;
        look_at(c, words, n, address);
        address += n * sizeof words[0];
        c->budget -= n < c->budget ? n : c->budget;
    }
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
    qsort(c->words, c->n, sizeof *c->words, by_address);
    for (size_t i = 0; i < c->n; i++)
        if (!n || c->words[n - 1] != c->words[i])
            c->words[n++] = c->words[i];
    c->n = n;
}

static int settle(struct candidates *c)
{
    if (c->failed) {
        c->failed = false;
        candidates_forget(c);
        PyErr_NoMemory();
        return -1;
    }
    sort_words(c);
    return 0;
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
            push_block(c, block.low, block.high, false);
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
        push_block(c, ranges[i].low, ranges[i].high, false);
}

/* Where the referrer's own references are: two blocks, the second may be empty.  It lives and
 * their extent is known: no need to ask the kernel. */
static void own_blocks(struct candidates *c, struct block blocks[2])
{
    blocks[0] = own_block(c);
    blocks[1] = is_list(c->referrer) ? list_items(c->referrer) : instance_values(c->referrer);
}

int candidates_own(struct candidates *c, PyObject *referrer, const PyObject *key)
{
    struct block blocks[2];

    if (heap_memory(c->heap) < 0)
        return -1;
    if (c->referrer != referrer)
        candidates_forget(c);
    c->referrer = referrer;
    c->n = c->ring = 0;
    own_blocks(c, blocks);
    for (int i = 0; i < 2; i++)
        for (uintptr_t at = blocks[i].low; at + sizeof at <= blocks[i].high; at += sizeof at)
            if (may_be_reference(*(const uintptr_t *)at, key) && !is_forbidden(c, at))
                push_word(c, (uintptr_t *)at);
    return settle(c);
}

/* --- the walk */

static void walk_children(struct candidates *c)
{
    type_of(c->referrer)->tp_traverse(c->referrer, visit_grandchild_block, c);
}

static void walk_statics(struct candidates *c)
{
    if (is_type(c->referrer) || PyType_IsSubtype(type_of(c->referrer), &PyModule_Type))
        add_statics(c);
}

/* Nothing is left to be read, or too much was: on from the next start.  False: that was all. */
static bool go_on(struct candidates *c)
{
    if (c->start == START_STATICS)
        return false;
    c->start++;
    c->next = c->n_blocks = c->next_large = c->n_large = 0;
    c->budget = BUDGET;
    if (c->start == START_CHILDREN)
        walk_children(c);
    else
        walk_statics(c);
    return true;
}

static int begin(struct candidates *c)
{
    struct block blocks[2];

    c->n_found = c->n_blocks = c->next = c->n_large = c->next_large = 0;
    c->n_keys = c->keys->n_keys;
    c->start = START_OWN;
    c->budget = BUDGET;
    c->rings = 0;
    address_set_clear(&c->seen);
    address_set_clear(&c->children);
    if (heap_map(c->heap) < 0)
        return -1;
    if (type_of(c->referrer)->tp_traverse)
        type_of(c->referrer)->tp_traverse(c->referrer, visit_child, c);
    own_blocks(c, blocks);
    see(c, blocks[0].low);
    look_for_keys(c, blocks[0]);
    look_for_keys(c, blocks[1]);
    follow_all(c, blocks[0]);
    c->rings = 1;
    return 0;
}

static void next_ring(struct candidates *c)
{
    size_t end = c->n_blocks;

    if (c->next == end)
        read_block(c, c->large[c->next_large++]);
    while (c->next < end && c->budget && !c->failed)
        read_block(c, c->blocks[c->next++]);
    c->rings++;
}

static bool is_at_end(const struct candidates *c)
{
    return (c->next == c->n_blocks && c->next_large == c->n_large) || !c->budget || c->failed;
}

/* False: there is none. */
static bool read_ring(struct candidates *c)
{
    while (is_at_end(c))
        if (c->failed || !go_on(c))
            return false;
    next_ring(c);
    return true;
}

/* Memory that is not the referrer's own may have changed since it was peeked at, or be gone. */
static bool is_still(struct candidates *c, const uintptr_t *word, const PyObject *key)
{
    uintptr_t value;

    return memory_read(&c->heap->memory, (uintptr_t)word, &value, sizeof value) &&
           may_be_reference(value, key);
}

static bool is_of(const struct found *found, uint32_t key, uint32_t ring)
{
    return found->key == key && found->ring == ring;
}

/* The words of all rings up to this one, if it has any. */
static int take_ring(struct candidates *c, uint32_t key)
{
    size_t i = 0;

    while (i < c->n_found && !is_of(&c->found[i], key, c->ring))
        i++;
    if (i == c->n_found)
        return 0;
    c->n = 0;
    for (i = 0; i < c->n_found; i++) {
        const struct found *found = &c->found[i];

        if (found->key == key && found->ring <= c->ring &&
            (!found->ring || is_still(c, found->word, c->keys->keys[key].old)))
            push_word(c, found->word);
    }
    return settle(c) < 0 ? -2 : 1;
}

int candidates_next(struct candidates *c, uint32_t key)
{
    int status;

    if (!c->rings || c->n_keys != c->keys->n_keys) {
        c->ring = 0;
        if (begin(c) < 0)
            return -2;
    }
    if (c->ring == c->rings && !read_ring(c))
        return settle(c) < 0 ? -2 : -1;
    status = c->ring ? take_ring(c, key) : 0; /* the referrer's own words are in */
    c->ring++;
    return status;
}

int candidates_add(struct candidates *c, const PyObject *key, uintptr_t *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_still(c, words[i], key))
            push_word(c, words[i]);
    return settle(c);
}

int candidates_walk(struct candidates *c, PyObject *referrer, size_t *budget)
{
    size_t most = *budget < BUDGET ? *budget : BUDGET;

    if (heap_memory(c->heap) < 0)
        return -1;
    candidates_forget(c);
    c->referrer = referrer;
    if (begin(c) < 0)
        return -1;
    c->budget = most;
    while (!is_at_end(c))
        next_ring(c);
    *budget -= most - c->budget;
    return settle(c);
}

void candidates_forget(struct candidates *c)
{
    c->referrer = NULL;
    c->rings = 0;
    c->ring = 0;
}

void candidates_free(struct candidates *c)
{
    big_free(c->words);
    big_free(c->found);
    big_free(c->blocks);
    big_free(c->large);
    address_set_free(&c->seen);
    address_set_free(&c->children);
}
