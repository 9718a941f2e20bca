#include "set.h"

#include <string.h>

enum { LINEAR_PROBES = 9, PERTURB_SHIFT = 5 };

/* True: inserted.  The sequence of places is that of set_add_entry and set_insert_clean. */
static bool insert(struct set_object *set, struct set_entry new_,
                   bool (*same)(PyObject *, PyObject *, void *), void *arg)
{
    size_t mask = (size_t)set->mask, perturb = (size_t)new_.hash, i = perturb & mask;

    for (;;) {
        struct set_entry *entry = &set->table[i];
        size_t probes = i + LINEAR_PROBES <= mask ? LINEAR_PROBES : 0;

        for (size_t n = 0; n <= probes; n++, entry++) {
            if (!entry->key) {
                *entry = new_;
                return true;
            }
            if (entry->hash == new_.hash && same(entry->key, new_.key, arg))
                return false;
        }
        perturb >>= PERTURB_SHIFT;
        i = (i * 5 + 1 + perturb) & mask;
    }
}

void set_rebuild(struct set_object *set, const struct set_entry *entries, size_t n,
                 bool (*same)(PyObject *, PyObject *, void *), void *arg,
                 void (*dropped)(PyObject *owned, void *arg))
{
    memset(set->table, 0, (size_t)(set->mask + 1) * sizeof *set->table);
    set->used = 0;
    for (size_t i = 0; i < n; i++) {
        if (insert(set, entries[i], same, arg))
            set->used++;
        else
            dropped(entries[i].key, arg);
    }
    set->fill = set->used;
    set->finger = 0;
    set->hash = -1;
}

static bool identical(PyObject *a, PyObject *b, void *arg)
{
    (void)arg;
    return a == b;
}

static void none_dropped(PyObject *owned, void *arg)
{
    (void)owned;
    *(bool *)arg = false;
}

enum { SAMPLES = 40 };

static bool rebuild_works(PyObject *set)
{
    struct set_object *s = (struct set_object *)set;
    struct set_entry copy[SAMPLES + 1];
    Py_ssize_t pos = 0;
    size_t n = 0;
    PyObject *key;
    Py_hash_t hash;
    bool ok = s->used == SAMPLES && s->fill == SAMPLES + 1 && s->hash == -1;

    for (size_t i = 0; ok && i <= (size_t)s->mask; i++) {
        if (!set_entry_live(&s->table[i]))
            continue;
        ok = _PySet_NextEntry(set, &pos, &key, &hash) && key == s->table[i].key &&
             hash == s->table[i].hash;
        copy[n++] = s->table[i];
    }
    if (!ok || n != SAMPLES)
        return false;
    set_rebuild(s, copy, n, identical, &ok, none_dropped);
    for (size_t i = 0; ok && i < n; i++)
        ok = PySet_Contains(set, copy[i].key) == 1;
    return ok && PySet_Size(set) == SAMPLES;
}

static bool try_layout(void)
{
    PyObject *set = PySet_New(NULL);
    bool ok = set;

    for (long i = 0; ok && i <= SAMPLES; i++) {
        PyObject *n = PyLong_FromLong(i * 7919);

        ok = n && PySet_Add(set, n) == 0;
        if (ok && i == SAMPLES)
            ok = PySet_Discard(set, n) == 1; /* leaves a deleted entry */
        if (n)
            Py_DecRef(n);
    }
    ok = ok && rebuild_works(set);
    if (set)
        Py_DecRef(set);
    PyErr_Clear();
    return ok;
}

bool set_layout_known(void)
{
    static enum { UNTRIED, NO, YES } known;

    if (known == UNTRIED)
        known = try_layout() ? YES : NO;
    return known == YES;
}
