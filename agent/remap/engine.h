/* Inside the engine: the data that scan, ledger, writers and commit share.
 *
 *   store.c   the life of a remap: memory, graves, logged stores
 *   heap.c    enumerates all objects known to the collector
 *   keys.c    the map: a bitmap and an open-addressed table, looked up once an edge
 *   scan.c    traverses every object once; result: edges (referrer, key, visits)
 *   ledger.c  for each key: references = found + frames + named holders + ours + residual
 *   field.c   where in the referrer's memory a reference is (the flip test); candidates.c
 *             finds the words that may be it, stored.c is the writer that uses it;
 *             items.c: all keys of a long list or tuple at once
 *   commit.c  resolve, commit, undo, verify: the order of all writers
 *   garbage.c subclasses that cannot follow and need not: nothing can reach them any more
 *   aliases.c uncounted pointers to old objects; ctypes.c those in memory of ctypes
 *   reachable.c  objects that the collector does not list; untraversed.c what no traversal shows
 *   greenlets.c  frames that no thread runs
 *   writers   types.c bases.c instances.c migration.c hashed.c weakrefs.c code.c frames.c
 *             arrays.c holders.c
 *
 * Memory of the engine is never the interpreter's: malloc and mmap only. */
#ifndef PYHOT_REMAP_ENGINE_H
#define PYHOT_REMAP_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../cpython/statics.h"
#include "remap.h"

/* One entry of the map. */
struct key {
    PyObject *old, *new_; /* strong: the graveyard */
    bool is_class, is_code;
    bool derived;        /* added by a writer (a migrated instance, a frozenset copy) */
    Py_ssize_t refcount; /* at the scan, less the engine's own and the excluded */
    size_t visits;       /* found by traversal */
    size_t frames;       /* in running frames of any thread, and proven C variables */
    size_t roots;        /* those of them that are rewritten */
    size_t held;         /* by a C holder known by name */
    size_t rewritten;    /* references that commit moves */
    size_t uncounted;    /* of these, words that hold no count, or no such reference now */
    size_t left;         /* left on purpose (code constants, frames on old code) */
    size_t unresolved;   /* visited, no writer */
};

/* One referrer of one key.  Edges of a referrer are adjacent. */
struct edge {
    PyObject *referrer; /* borrowed; alive as the GIL is held and nothing is freed */
    uint32_t key;       /* index */
    uint32_t visits;
    const struct writer *writer; /* chosen by resolve; NULL: unresolved */
    void *data;                  /* the writer's, from remap_alloc */
};

/* A way to rewrite references of one kind of referrer.  The writers of the table in
 * commit.c are asked in order; each takes as many of the edge's visits as it will account
 * for, and the rest goes on as an edge of its own to those after it (an instance's class
 * is one writer's, a slot of the instance that names the same class another's).
 *
 * Dry: `resolve` for every edge, again for those that derived keys bring; then `prepare`
 * of each writer, once, when no key will be added any more.
 *
 * Commit: phase one may fail and is undone in reverse order: for each writer in table
 * order `commit_own`, then `commit` of each of its edges.  Phase two cannot fail and runs
 * no Python code: `finish` of each writer in table order, that of field_writer (the flips
 * proper) before all others. */
struct writer {
    const char *kind; /* the name in by_kind: "dict", "instance", "field", ... */
    bool leaves;      /* its edges stay as they are: counted in key.left, not rewritten */
    bool refuses;     /* its edges cannot be rewritten, nor may a later writer: unresolved */

    /* How many of e->visits it takes, 0: not mine; -1: exception (out of memory).
     * Changes nothing in the target.  May call remap_add_derived. */
    ptrdiff_t (*resolve)(struct remap *, struct edge *);
    int (*prepare)(struct remap *);

    int (*commit_own)(struct remap *); /* what it found without an edge: frames, holders */
    void (*undo_own)(struct remap *);
    int (*commit)(struct remap *, struct edge *); /* undoes itself when it fails */
    void (*undo)(struct remap *, struct edge *);
    void (*finish)(struct remap *);
};

extern const struct writer code_writer, left_writer, refused_writer, bases_writer, migration_writer,
    instance_writer, type_dict_writer, dict_writer, hashed_writer, deque_writer, weakref_writer,
    frame_writer, holder_writer, array_writer, ctypes_writer, alias_writer, field_writer;

struct remap {
    struct key *keys;
    size_t n_keys, cap_keys;
    struct key_table *table; /* keys.c */
    struct edge *edges;
    size_t n_edges, cap_edges;
    PyObject **excluded;
    size_t n_excluded, cap_excluded;
    struct growths *growths; /* ledger.c */
    struct heap *heap;       /* all objects of the scan; heap.c */
    struct word_log *log;
    struct fields *fields; /* field.c */
    struct chunk *chunks;  /* remap_alloc */
    bool migrate, keep_replaced, resolved, committed;
    bool paused, collector_was_on; /* the collector */
    size_t objects_scanned, referrers, references_rewritten, unresolved, unaccounted;
    uint32_t visits_left_for_finish; /* of the edge being resolved: their writers write last */
    size_t miscounted;               /* see ledger_compare */
    size_t
        left; /* on purpose, of all keys but code: what the old itself holds, frames' functions */
    size_t frame_roots, array_roots, holder_roots; /* rewritten by frames.c, ... */
    size_t rehashed_dicts, rehashed_sets, migrated;
    size_t merged;           /* entries of dicts and sets where old and new were both in it */
    PyObject *held;          /* list of {"object","where","count"} */
    PyObject *frames_on_old; /* list of {"thread" or "suspended","function","file","line"} */
    PyObject *by_kind;       /* dict str -> int */
    uint64_t scan_ns, commit_ns;
    PyObject *scratch; /* for dict_new_version; borrowed from graves */
    PyObject **graves; /* remap_bury */
    size_t n_graves, cap_graves, n_graves_reserved, n_stores_reserved;
    struct types *types; /* the writers' own, from remap_alloc */
    struct bases *bases;
    struct instances *instances;
    struct migrations *migrations;
    struct dicts *dicts;
    struct hashed *hashed;
    struct rehash_memo *rehash_memo; /* rehash.c */
    struct deques *deques;
    struct weakrefs *weakrefs;
    struct frames *frames;
    struct holders *holders;
    struct aliases *aliases;
    struct arrays *arrays;
    struct ctypes *ctypes;
};

/* keys.c: the index of `object` in keys, or -1.  Inlined bitmap test in front. */
ptrdiff_t keys_find(const struct remap *, const PyObject *object);

/* What it becomes: its value if it is a key, else itself.  Borrowed. */
PyObject *keys_mapped(const struct remap *, PyObject *object);

/* A key that follows from others, found while resolving; the scan is then repeated for
 * the new keys only. */
int remap_add_derived(struct remap *, PyObject *old, PyObject *new_);

/* Zeroed memory that lives until remap_free.  NULL with MemoryError. */
void *remap_alloc(struct remap *, size_t bytes);

/* `array` is the address of a pointer to `n` items of `size` bytes, from here or NULL, with room
 * for *cap: afterwards there is room for one more.  -1 with MemoryError, then all is as it was. */
int remap_reserve(struct remap *, void *array, size_t n, size_t *cap, size_t size);

/* Take over a reference and drop it in remap_free, when user code may run again.
 * Room is reserved while resolving; remap_bury itself cannot fail. */
int remap_reserve_graves(struct remap *, size_t n);
void remap_bury(struct remap *, PyObject *owned);

/* Makes r->scratch, once. */
int remap_make_scratch(struct remap *);

/* What writers look for, by an object's type. */
enum kind {
    KIND_DICT = 1, /* and subclasses, as of sets, tuples, types */
    KIND_SET = 2,  /* frozensets too */
    KIND_TUPLE = 4,
    KIND_TYPE = 8,
    KIND_SUSPENDED = 16, /* generators, coroutines, async generators, frame objects */
    KIND_METACLASS = 32, /* the object's class has another metaclass than type */
};

/* heap.c: each object of the last scan that is of one of `kinds`, in no order, until `visit`
 * returns non-zero, which is then returned. */
int remap_each(struct remap *, unsigned kinds, int (*visit)(PyObject *, void *), void *arg);

/* Likewise each class; those that the collector does not list are found by their instances.
 * Some come twice. */
int remap_each_type(struct remap *, int (*visit)(PyObject *, void *), void *arg);

/* Store `value` at `address` and log the old word, so that a failed commit restores it.
 * Cannot fail: resolve reserved the room with remap_reserve_stores. */
int remap_reserve_stores(struct remap *, size_t n);
void remap_store(struct remap *, uintptr_t *address, uintptr_t value);

/* Name a reference that is not rewritten: "handler of signal 10"; a static variable of C code. */
int remap_hold(struct remap *, uint32_t key, const char *where, size_t count);
int remap_hold_static(struct remap *, uint32_t key, const struct static_word *);

/* field.c: the addresses of all fields of `referrer` that hold keys[key].old, proven by
 * the flip test.  Returns their number (it equals `visits`, or the search failed: then 0,
 * nothing to be written), -1 with MemoryError.  `visits` are those that no other writer
 * took; ob_type is never a field.  *fields: the `n_before` that an earlier search found, which are
 * tried before memory is searched; then what this one did, remap_alloc'ed.  Words may
 * carry tag bits (3.14+ stack references): bit 0 set means a borrowed reference. */
ptrdiff_t field_find(struct remap *, PyObject *referrer, uint32_t key, size_t visits,
                     size_t n_before, uintptr_t ***fields);

/* frames.c: try the layouts that the writers rely on, once.  Runs a little Python code, so
 * remap_new calls it, before anything is looked at. */
void writers_prepare_process(void);

/* frames.c / holders.c: roots that traversal does not reach.  Called after the scan, and
 * again after a rescan for derived keys; they set key.frames and key.held and the report's
 * lists anew.  What they can rewrite their writers do in commit_own. */
int frames_scan(struct remap *);
int holders_scan(struct remap *);

#endif
