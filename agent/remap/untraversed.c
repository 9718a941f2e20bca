/* References that objects have but do not show to the collector: what is left of a key's count
 * once all that is traversed is known.
 *
 * Looked at is the memory of objects that the collector does not know (datetime) and of those of
 * extension types, whose traverse functions may miss a field; then, for a few types that are known
 * to keep references elsewhere, what that leads to.  A word that equals a key's address is no
 * proof of a counted reference.  It is rewritten where cpython/untraversed.h knows it as one; else
 * it names the object. */
#include "untraversed.h"

#include <stdio.h>
#include <string.h>

#include "../cpython/gc_objects.h"
#include "../cpython/introspect.h"
#include "../cpython/untraversed.h"
#include "candidates.h"
#include "field.h"
#include "keys.h"
#include "reachable.h"

enum { TYPES = 256, MOST_WORDS = 1 << 18 };

struct search {
    struct remap *r;
    untraversed_visit *visit;
    struct candidates candidates;
    struct address_set words; /* told */
    size_t budget;            /* words of memory still to be read */
    struct type_note {
        const PyTypeObject *type, *extension;
        bool keeps; /* memory of its own with references in it */
    } notes[TYPES];
};

/* The C type of an extension that gives the objects their memory: not the interpreter's own,
 * whose names have no module.  NULL: none. */
static const PyTypeObject *extension_of(const PyTypeObject *type)
{
    for (; type; type = type->tp_base)
        if (strchr(type->tp_name, '.') && strncmp(type->tp_name, "collections.", 12) != 0)
            return type;
    return NULL;
}

static struct type_note *note_of(struct search *s, const PyTypeObject *type)
{
    struct type_note *note = &s->notes[(uintptr_t)type / 64 % TYPES];

    if (note->type != type)
        *note = (struct type_note){
            .type = type, .extension = extension_of(type), .keeps = untraversed_keeps(type)};
    return note;
}

/* Each word once; -1: MemoryError. */
static int tell(struct search *s, uintptr_t *word, PyObject **field, const char *where)
{
    int added = address_set_add(&s->words, (uintptr_t)word);

    if (added < 0)
        PyErr_NoMemory();
    if (added <= 0)
        return added;
    return s->visit(s->r, (uint32_t)keys_lookup(s->r, (PyObject *)*word), field, where);
}

/* --- the object itself */

static int look_at_word(struct search *s, PyObject *o, size_t offset)
{
    uintptr_t *word = (uintptr_t *)((char *)o + offset);
    enum untraversed is = untraversed_field(o, offset, (PyObject *)*word);
    char where[200];

    if (is == UNTRAVERSED_NONE)
        return 0;
    snprintf(where, sizeof where, "%.150s object, at offset %zu", type_of(o)->tp_name, offset);
    return tell(s, word, is == UNTRAVERSED_COUNTED ? (PyObject **)word : NULL, where);
}

struct untracked {
    struct search *search;
    PyObject *object;
};

static int look_at_item(PyObject *item, void *arg)
{
    struct untracked *u = arg;
    ptrdiff_t key = keys_lookup(u->search->r, item);
    char where[200];

    if (key < 0 || item == (PyObject *)type_of(u->object))
        return 0;
    snprintf(where, sizeof where, "%.150s object, which the collector does not list",
             type_of(u->object)->tp_name);
    return u->search->visit(u->search->r, (uint32_t)key, NULL, where);
}

/* A weak reference has the address of what it refers to, and does not count it. */
static bool is_weak(const PyTypeObject *type)
{
    return PyType_IsSubtype((PyTypeObject *)type, &_PyWeakref_RefType) ||
           type == &_PyWeakref_ProxyType || type == &_PyWeakref_CallableProxyType;
}

static size_t count_words(PyObject *o, size_t size, const PyObject *value)
{
    size_t n = 0;

    for (size_t at = sizeof(PyObject); at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t))
        n += *(PyObject **)((char *)o + at) == value;
    return n;
}

/* More words than visits: which of them is not visited cannot be told, and none is rewritten.
 * Told at the last of them. */
static int tell_rest(struct search *s, PyObject *o, size_t size, size_t at, size_t visits)
{
    uintptr_t *word = (uintptr_t *)((char *)o + at);
    size_t words = count_words(o, size, (PyObject *)*word);
    char where[200];

    if (words != count_words(o, at + sizeof *word, (PyObject *)*word))
        return 0;
    snprintf(where, sizeof where, "%.150s object, which does not visit it", type_of(o)->tp_name);
    for (; words > visits; words--)
        if (s->visit(s->r, (uint32_t)keys_lookup(s->r, (PyObject *)*word), NULL, where) < 0)
            return -1;
    return 0;
}

static int look_at_words(struct search *s, PyObject *o, size_t size, bool listed)
{
    for (size_t at = sizeof(PyObject); at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        PyObject *value = *(PyObject **)((char *)o + at);
        size_t visits;

        if (keys_lookup(s->r, value) < 0)
            continue;
        visits = listed ? field_visits(o, value) : 0;
        if ((visits ? tell_rest(s, o, size, at, visits) : look_at_word(s, o, at)) < 0)
            return -1;
    }
    return 0;
}

static int look_behind(struct search *, PyObject *);

static int look_at_object(struct reachable *reachable, PyObject *o, void *arg)
{
    struct search *s = arg;
    struct untracked u = {s, o};
    const PyTypeObject *type = type_of(o);
    bool listed = gc_has_head(o) && gc_is_tracked(o);

    (void)reachable;
    if (gc_has_head(o) && (is_type(o) || !(type = note_of(s, type)->extension)))
        return 0;
    if (gc_has_head(o) && !listed)
        return type_of(o)->tp_traverse(o, look_at_item, &u);
    if (is_weak(type))
        return 0;
    if (!listed && look_behind(s, o) < 0)
        return -1;
    return look_at_words(s, o, (size_t)type->tp_basicsize, listed);
}

/* --- memory behind it */

static int tell_word(struct search *s, PyObject *o, uintptr_t *word)
{
    struct memory *memory = &s->r->heap->memory;
    uintptr_t value, low, high;
    enum untraversed is;
    char where[200];

    if (!memory_read(memory, (uintptr_t)word, &value, sizeof value) ||
        keys_lookup(s->r, (PyObject *)value) < 0)
        return 0;
    if (memory_block(memory, (uintptr_t)word, &low, &high) != BLOCK_EXACT)
        low = 0;
    is = untraversed_in_memory(o, word, low);
    if (is == UNTRAVERSED_NONE)
        return 0;
    snprintf(where, sizeof where, "%s of a %.150s object", untraversed_keeps(type_of(o)),
             type_of(o)->tp_name);
    return tell(s, word, is == UNTRAVERSED_COUNTED ? (PyObject **)word : NULL, where);
}

static int look_behind(struct search *s, PyObject *o)
{
    struct candidates *c = &s->candidates;

    if (is_type(o) || !note_of(s, type_of(o))->keeps || !s->budget)
        return 0;
    if (candidates_walk(c, o, &s->budget) < 0)
        return -1;
    for (size_t i = 0; i < c->n_found; i++)
        if (tell_word(s, o, c->found[i].word) < 0)
            return -1;
    return 0;
}

/* --- both */

static struct search new_search(struct remap *r, untraversed_visit *visit)
{
    return (struct search){
        .r = r, .visit = visit, .candidates = {.heap = r->heap, .keys = r}, .budget = MOST_WORDS};
}

static void close_search(struct search *s)
{
    candidates_free(&s->candidates);
    address_set_free(&s->words);
}

int untraversed_objects(struct remap *r, untraversed_visit *visit)
{
    struct search s = new_search(r, visit);
    int status = reachable_each(r, look_at_object, &s);

    close_search(&s);
    return status;
}

/* Behind the objects that the collector lists; those behind others were looked at with them. */
int untraversed_memory(struct remap *r, untraversed_visit *visit)
{
    struct search s = new_search(r, visit);
    int status = 0;

    for (size_t i = 0; i < r->heap->n && status == 0; i++)
        status = look_behind(&s, r->heap->objects[i]);
    close_search(&s);
    return status;
}
