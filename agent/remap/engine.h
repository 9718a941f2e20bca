/* Inside the engine: the data that scan, ledger, writers and commit share.
 *
 *   heap.c    enumerates all objects known to the collector
 *   keys.c    the map: a bitmap and an open-addressed table, looked up once an edge
 *   scan.c    traverses every object once; result: edges (referrer, key, visits)
 *   ledger.c  for each key: references = found + frames + named holders + ours + residual
 *   field.c   where in the referrer's memory a reference is (the flip test)
 *   commit.c  resolve, commit, undo, verify: the order of all writers
 *   writers   types.c instances.c hashed.c weakrefs.c code.c frames.c holders.c
 *
 * Memory of the engine is never the interpreter's: malloc and mmap only. */
#ifndef PYHOT_REMAP_ENGINE_H
#define PYHOT_REMAP_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "remap.h"

/* One entry of the map. */
struct key {
    PyObject *old, *new_; /* strong: the graveyard */
    bool is_class, is_code;
    bool derived;         /* added by a writer (a migrated instance, a frozenset copy) */
    Py_ssize_t refcount;  /* at the scan, less the engine's own and the excluded */
    size_t visits;        /* found by traversal */
    size_t frames;        /* in running frames of any thread */
    size_t held;          /* by a C holder known by name */
    size_t rewritten;     /* references that commit moves */
    size_t left;          /* left on purpose (code constants, frames on old code) */
    size_t unresolved;    /* visited, no writer */
};

/* One referrer of one key.  Edges of a referrer are adjacent. */
struct edge {
    PyObject *referrer; /* borrowed; alive as the GIL is held and nothing is freed */
    uint32_t key;       /* index */
    uint32_t visits;
    const struct writer *writer; /* chosen by resolve; NULL: unresolved */
    void *data;                  /* the writer's, from remap_alloc */
};

/* A way to rewrite references of one kind of referrer.  The first writer of the table in
 * commit.c whose `resolve` takes (part of) an edge gets it.
 *
 * Commit calls, for each writer in table order: `commit` for each of its edges, then
 * `finish` once.  A commit that can fail undoes itself for that edge before it returns -1;
 * `undo` takes back an edge that was committed.  Writers whose commit cannot fail leave
 * `undo` to the word log (remap_store). */
struct writer {
    const char *kind; /* the name in by_kind: "dict", "instance", "field", ... */

    /* 1: takes the edge.  0: not mine.  -1: exception (out of memory).  Changes nothing
     * in the target.  May add keys (remap_add_derived) and edges follow by a rescan. */
    int (*resolve)(struct remap *, struct edge *);
    int (*commit)(struct remap *, struct edge *);
    void (*undo)(struct remap *, struct edge *);
    int (*finish)(struct remap *);
    void (*release)(struct remap *, struct edge *); /* frees what resolve made */
};

extern const struct writer bases_writer, instance_writer, type_dict_writer, code_writer,
    dict_writer, hashed_writer, deque_writer, weakref_writer, frame_writer, field_writer;

struct remap {
    struct key *keys;
    size_t n_keys, cap_keys;
    struct key_table *table; /* keys.c */
    struct edge *edges;
    size_t n_edges, cap_edges;
    PyObject **excluded;
    size_t n_excluded;
    struct heap *heap; /* all objects of the scan; heap.c */
    struct word_log *log;
    bool migrate, resolved, committed;
    size_t objects_scanned, referrers, references_rewritten, unresolved;
    size_t rehashed_dicts, rehashed_sets, migrated;
    PyObject *held;            /* list of {"object","where","count"} */
    PyObject *frames_on_old;   /* list of {"thread","function","file","line"} */
    PyObject *by_kind;         /* dict str -> int */
    uint64_t scan_ns, commit_ns;
    void *writer_state[16];    /* a writer's own, indexed by its place in the table */
};

/* keys.c: the index of `object` in keys, or -1.  Inlined bitmap test in front. */
ptrdiff_t keys_find(const struct remap *, const PyObject *object);

/* A key that follows from others, found while resolving; the scan is then repeated for
 * the new keys only. */
int remap_add_derived(struct remap *, PyObject *old, PyObject *new_);

/* Zeroed memory that lives until remap_free.  NULL with MemoryError. */
void *remap_alloc(struct remap *, size_t bytes);

/* Store `value` at `address` and log the old word, so that a failed commit restores it.
 * Cannot fail: resolve reserved the room with remap_reserve_stores. */
int remap_reserve_stores(struct remap *, size_t n);
void remap_store(struct remap *, uintptr_t *address, uintptr_t value);

/* Name a reference that is not rewritten: "signal handler 10", "C static variable". */
int remap_hold(struct remap *, uint32_t key, const char *where, size_t count);

/* field.c: the addresses of all fields of `referrer` that hold keys[key].old, proven by
 * the flip test.  Returns their number (it equals `visits`, or the search failed: then 0,
 * nothing to be written), -1 with MemoryError.  *fields is remap_alloc'ed.  Words may
 * carry tag bits (3.14+ stack references): bit 0 set means a borrowed reference. */
ptrdiff_t field_find(struct remap *, PyObject *referrer, uint32_t key, size_t visits,
                     uintptr_t ***fields);

/* frames.c / holders.c: roots that traversal does not reach; they fill key.frames,
 * key.held and the report's lists, and rewrite at commit what they can. */
int frames_scan(struct remap *);
int frames_commit(struct remap *);
int holders_scan(struct remap *);
int holders_commit(struct remap *);

#endif
