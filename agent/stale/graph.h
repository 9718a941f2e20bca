/* Who leads to an object: the process as a graph, searched breadth first from the modules and the
 * running frames, so that the way found to each object is a shortest one.
 *
 * The GIL is held from graph_search to graph_free, the collector is paused, and no object that
 * existed before may be freed in between.  Names and files are malloc'ed, the rest is from big.h.
 */
#ifndef PYHOT_STALE_GRAPH_H
#define PYHOT_STALE_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython/api.h"

#define GRAPH_NONE UINT32_MAX

enum { MAX_HOLDERS = 32, MAX_SAMPLES = 3 };

/* Something looked for. */
struct graph_target {
    PyObject *object;              /* borrowed, as are: */
    PyObject *name, *module;       /* str: what is reported of it */
    uint32_t node;                 /* GRAPH_NONE: nothing leads to it */
    size_t n_holders;              /* references from objects that something leads to */
    uint32_t holders[MAX_HOLDERS]; /* the nearest of them: nodes */
    size_t instances;              /* of a class: objects of exactly this type */
    uint32_t samples[MAX_SAMPLES]; /* the nearest of them: nodes */
    size_t n_samples;
};

struct graph_node {
    PyObject *object;
    uint32_t parent; /* a node; with GRAPH_ROOT: an index of roots */
    uint32_t target; /* an index of targets, or GRAPH_NONE */
};

enum graph_root_kind { GRAPH_MODULE, GRAPH_FRAME, GRAPH_STATIC, GRAPH_OUTSIDE };

/* Where paths begin: a module, a frame or a variable of it, a static variable of C code, or what is
 * held from outside, nobody knows by what. */
struct graph_root {
    enum graph_root_kind kind;
    char *name;                /* what a path from here begins with */
    size_t owner;              /* the bytes of it that name the module or the frame */
    uintptr_t address, offset; /* of a static variable, in memory and in its file as linked */
    char *file;                /* NULL: it is none */
};

#define GRAPH_ROOT 0x80000000u

/* A word in static data that is the address of an object. */
struct graph_static {
    uint32_t node, root;
};

struct graph {
    PyObject **objects; /* all that the collector knows */
    size_t n_objects, cap_objects;
    struct graph_node *nodes;
    size_t n_nodes, cap_nodes;
    uint32_t *table; /* object -> node + 1, open-addressed */
    size_t table_size;
    uint32_t *queue;
    size_t head, tail, cap_queue;
    struct graph_root *roots;
    size_t n_roots, cap_roots;
    struct graph_static *statics; /* of targets, and of what only C code leads to */
    size_t n_statics, cap_statics;
    const void *named[64]; /* addresses of static variables that are roots by another name */
    size_t n_named;
    struct graph_target *targets;
    size_t n_targets, cap_targets;
    uint32_t *target_table;
    size_t target_table_size;
    uint32_t current;
    bool out_of_memory;
};

/* Functions that can fail return 0, or -1 with MemoryError.  The caller holds one reference to
 * each target. */
int graph_read_heap(struct graph *);
int graph_add_target(struct graph *, PyObject *object, PyObject *name, PyObject *module);

/* A path from here begins with `owner`, and with ", variable" behind it where that is not NULL. */
int graph_add_root(struct graph *, PyObject *object, enum graph_root_kind, const char *owner,
                   const char *variable);

/* After all targets and roots. */
int graph_search(struct graph *);
void graph_clear(struct graph *);

/* The node of an object, or GRAPH_NONE. */
uint32_t graph_find(const struct graph *, const PyObject *object);

/* The root that the way to `node` begins at. */
const struct graph_root *graph_root_of(const struct graph *, uint32_t node);

/* The target that `object` is, or NULL. */
struct graph_target *graph_target_of(const struct graph *, const PyObject *object);

/* Does the way to `node` lead over `object`? */
bool graph_leads_over(const struct graph *, uint32_t node, const PyObject *object);

#endif
