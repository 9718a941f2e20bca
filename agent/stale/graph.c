/* The search; graph.h.
 *
 * What no root leads to is either garbage that the collector has not met yet, or held by
 * something that is not an object.  As in a collection the two are told apart by their counts:
 * an object with more references than the others of its kind explain is held from outside. */
#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/refcount.h"
#include "cpython/statics.h"
#include "remap/remap.h"

static size_t slot_of(const PyObject *object, size_t size)
{
    return (((uintptr_t)object >> 4) * 0x9E3779B97F4A7C15u >> 24) & (size - 1);
}

static bool is_collected(PyObject *object)
{
    PyTypeObject *type = type_of(object);
    int (*is_gc)(PyObject *) = (int (*)(PyObject *))type->tp_is_gc;

    return type_has(type, Py_TPFLAGS_HAVE_GC) && type->tp_traverse && (!is_gc || is_gc(object));
}

static bool reserve(struct graph *graph, void *array, size_t n, size_t *cap, size_t size)
{
    if (big_reserve(array, n, cap, size))
        return true;
    graph->out_of_memory = true;
    return false;
}

static int result_of(const struct graph *graph)
{
    if (graph->out_of_memory)
        PyErr_NoMemory();
    return graph->out_of_memory ? -1 : 0;
}

/* --- the heap */

static int note_object(PyObject *object, void *arg)
{
    struct graph *graph = arg;

    if (reserve(graph, &graph->objects, graph->n_objects, &graph->cap_objects,
                sizeof *graph->objects))
        graph->objects[graph->n_objects++] = object;
    return 0;
}

int graph_read_heap(struct graph *graph)
{
    return heap_visit(note_object, graph) < 0 ? -1 : result_of(graph);
}

/* --- targets */

struct graph_target *graph_target_of(const struct graph *graph, const PyObject *object)
{
    if (!graph->target_table_size)
        return NULL;
    for (size_t slot = slot_of(object, graph->target_table_size);;
         slot = (slot + 1) & (graph->target_table_size - 1)) {
        uint32_t index = graph->target_table[slot];
        if (!index)
            return NULL;
        if (graph->targets[index - 1].object == object)
            return &graph->targets[index - 1];
    }
}

static void enter_target(struct graph *graph, uint32_t index)
{
    size_t mask = graph->target_table_size - 1;
    size_t slot = slot_of(graph->targets[index].object, graph->target_table_size);

    while (graph->target_table[slot])
        slot = (slot + 1) & mask;
    graph->target_table[slot] = index + 1;
}

static bool grow_target_table(struct graph *graph)
{
    size_t size = graph->target_table_size ? graph->target_table_size * 2 : 256;
    uint32_t *table = big_realloc(NULL, size * sizeof *table);

    if (!table) {
        graph->out_of_memory = true;
        return false;
    }
    big_free(graph->target_table);
    graph->target_table = table;
    graph->target_table_size = size;
    for (size_t i = 0; i < graph->n_targets; i++)
        enter_target(graph, (uint32_t)i);
    return true;
}

int graph_add_target(struct graph *graph, PyObject *object, PyObject *name, PyObject *module)
{
    if (graph_target_of(graph, object))
        return 0;
    if (graph->n_targets * 2 >= graph->target_table_size && !grow_target_table(graph))
        return result_of(graph);
    if (reserve(graph, &graph->targets, graph->n_targets, &graph->cap_targets,
                sizeof *graph->targets)) {
        graph->targets[graph->n_targets] = (struct graph_target){
            .object = object, .name = name, .module = module, .node = GRAPH_NONE};
        enter_target(graph, (uint32_t)graph->n_targets++);
    }
    return result_of(graph);
}

/* --- nodes */

static bool grow_table(struct graph *graph)
{
    size_t size = graph->table_size ? graph->table_size * 2 : 1 << 16;
    uint32_t *table = big_realloc(NULL, size * sizeof *table);

    if (!table) {
        graph->out_of_memory = true;
        return false;
    }
    for (size_t i = 0; i < graph->n_nodes; i++) {
        size_t slot = slot_of(graph->nodes[i].object, size);
        while (table[slot])
            slot = (slot + 1) & (size - 1);
        table[slot] = (uint32_t)i + 1;
    }
    big_free(graph->table);
    graph->table = table;
    graph->table_size = size;
    return true;
}

uint32_t graph_find(const struct graph *graph, const PyObject *object)
{
    if (!graph->table_size)
        return GRAPH_NONE;
    for (size_t slot = slot_of(object, graph->table_size);;
         slot = (slot + 1) & (graph->table_size - 1)) {
        uint32_t index = graph->table[slot];
        if (!index)
            return GRAPH_NONE;
        if (graph->nodes[index - 1].object == object)
            return index - 1;
    }
}

static uint32_t add_node(struct graph *graph, PyObject *object, uint32_t parent)
{
    if (graph->n_nodes * 2 >= graph->table_size && !grow_table(graph))
        return GRAPH_NONE;
    if (!reserve(graph, &graph->nodes, graph->n_nodes, &graph->cap_nodes, sizeof *graph->nodes))
        return GRAPH_NONE;

    uint32_t node = (uint32_t)graph->n_nodes++;
    struct graph_target *target = graph_target_of(graph, object);
    graph->nodes[node] = (struct graph_node){
        .object = object,
        .parent = parent,
        .target = target ? (uint32_t)(target - graph->targets) : GRAPH_NONE,
    };
    size_t slot = slot_of(object, graph->table_size);
    while (graph->table[slot])
        slot = (slot + 1) & (graph->table_size - 1);
    graph->table[slot] = node + 1;
    return node;
}

/* The node has been reached: it waits to be looked at, and counts where it is looked for. */
static void reach(struct graph *graph, uint32_t node)
{
    struct graph_node *reached = &graph->nodes[node];
    struct graph_target *class;

    if (!reserve(graph, &graph->queue, graph->tail, &graph->cap_queue, sizeof *graph->queue))
        return;
    graph->queue[graph->tail++] = node;
    if (reached->target != GRAPH_NONE)
        graph->targets[reached->target].node = node;
    class = graph_target_of(graph, (PyObject *)type_of(reached->object));
    if (class) {
        class->instances++;
        if (class->n_samples < MAX_SAMPLES)
            class->samples[class->n_samples++] = node;
    }
}

/* Takes `name`, malloc'ed.  The index of the root, marked as such; GRAPH_NONE without memory. */
static uint32_t make_root(struct graph *graph, enum graph_root_kind kind, char *name, size_t owner)
{
    if (!name ||
        !reserve(graph, &graph->roots, graph->n_roots, &graph->cap_roots, sizeof *graph->roots)) {
        free(name);
        graph->out_of_memory = true;
        return GRAPH_NONE;
    }
    graph->roots[graph->n_roots] = (struct graph_root){.kind = kind, .name = name, .owner = owner};
    return GRAPH_ROOT | (uint32_t)graph->n_roots++;
}

int graph_add_root(struct graph *graph, PyObject *object, enum graph_root_kind kind,
                   const char *owner, const char *variable)
{
    char *name;
    uint32_t root, node;

    if (!is_collected(object) || graph_find(graph, object) != GRAPH_NONE)
        return 0;
    if (asprintf(&name, "%s%s%s", owner, variable ? ", " : "", variable ? variable : "") < 0)
        name = NULL;
    root = make_root(graph, kind, name, strlen(owner));
    node = root == GRAPH_NONE ? root : add_node(graph, object, root);
    if (node != GRAPH_NONE)
        reach(graph, node);
    return result_of(graph);
}

/* --- the search */

static void note_holder(struct graph_target *target, uint32_t holder)
{
    if (target->n_holders < MAX_HOLDERS)
        target->holders[target->n_holders] = holder;
    target->n_holders++;
}

static int follow(PyObject *object, void *arg)
{
    struct graph *graph = arg;
    uint32_t node;

    if (!object)
        return 0;
    node = graph_find(graph, object);
    if (node == GRAPH_NONE) {
        if (!is_collected(object))
            return 0;
        node = add_node(graph, object, graph->current);
        if (node == GRAPH_NONE)
            return 0;
        reach(graph, node);
    } else if (graph->nodes[node].parent == GRAPH_NONE) {
        graph->nodes[node].parent = graph->current;
        reach(graph, node);
    }
    if (graph->nodes[node].target != GRAPH_NONE)
        note_holder(&graph->targets[graph->nodes[node].target], graph->current);
    return 0;
}

static void search_from_queue(struct graph *graph)
{
    while (graph->head < graph->tail && !graph->out_of_memory) {
        PyObject *object;
        graph->current = graph->queue[graph->head++];
        object = graph->nodes[graph->current].object;
        type_of(object)->tp_traverse(object, follow, graph);
    }
}

struct count {
    const struct graph *graph;
    uint32_t first; /* the nodes from here on are those that nothing led to */
    uint32_t *found;
};

static int count_reference(PyObject *object, void *arg)
{
    struct count *count = arg;
    uint32_t node = object ? graph_find(count->graph, object) : GRAPH_NONE;

    if (node != GRAPH_NONE && node >= count->first)
        count->found[node - count->first]++;
    return 0;
}

/* --- static variables */

/* "C variable counters of libx.so"; the injector puts the symbol for "at 0x1234". */
static char *name_static(const struct static_word *word)
{
    const char *slash = strrchr(word->file, '/'), *file = slash ? slash + 1 : word->file;
    size_t inside;
    const char *symbol = static_symbol(word, &inside);
    char *name;

    if (!symbol)
        return asprintf(&name, "C variable at 0x%zx of %s", (size_t)word->offset, file) < 0 ? NULL
                                                                                            : name;
    if (inside)
        return asprintf(&name, "C variable %s+%zu of %s", symbol, inside, file) < 0 ? NULL : name;
    return asprintf(&name, "C variable %s of %s", symbol, file) < 0 ? NULL : name;
}

struct static_search {
    struct graph *graph;
    uint32_t first; /* the nodes from here on are those that nothing led to */
};

static bool is_named(const struct graph *graph, const void *address)
{
    for (size_t i = 0; i < graph->n_named; i++) {
        if (graph->named[i] == address)
            return true;
    }
    return false;
}

static int note_static(const struct static_word *word, void *arg)
{
    struct static_search *search = arg;
    struct graph *graph = search->graph;
    uint32_t node = graph_find(graph, (PyObject *)word->value), root;
    struct graph_root *made;

    if (node == GRAPH_NONE || (node < search->first && graph->nodes[node].target == GRAPH_NONE) ||
        static_is_uncounted(word) || is_named(graph, word->address))
        return 0;
    root = make_root(graph, GRAPH_STATIC, name_static(word), 0);
    if (root == GRAPH_NONE || !reserve(graph, &graph->statics, graph->n_statics,
                                       &graph->cap_statics, sizeof *graph->statics))
        return 1;
    made = &graph->roots[root & ~GRAPH_ROOT];
    made->owner = strlen(made->name);
    made->address = (uintptr_t)word->address;
    made->offset = word->offset;
    made->file = strdup(word->file);
    graph->statics[graph->n_statics++] = (struct graph_static){node, root};
    return 0;
}

static void find_statics(struct graph *graph, uint32_t first)
{
    struct static_search search = {graph, first};

    if (graph->n_targets && static_words(note_static, &search) != 0)
        graph->out_of_memory = true;
}

/* The root that a static variable makes of the node, or GRAPH_NONE. */
static uint32_t static_root(const struct graph *graph, uint32_t node)
{
    for (size_t i = 0; i < graph->n_statics; i++) {
        if (graph->statics[i].node == node)
            return graph->statics[i].root;
    }
    return GRAPH_NONE;
}

/* --- what is held from outside */

/* What is held from outside becomes a root. */
static int add_outside_roots(struct graph *graph, uint32_t first)
{
    size_t n = graph->n_nodes - first;
    struct count count = {graph, first, big_realloc(NULL, n * sizeof *count.found)};
    uint32_t last = (uint32_t)graph->n_nodes;

    if (!count.found) {
        graph->out_of_memory = true;
        return result_of(graph);
    }
    for (uint32_t i = first; i < last; i++) {
        PyObject *object = graph->nodes[i].object;
        type_of(object)->tp_traverse(object, count_reference, &count);
    }
    for (uint32_t i = first; i < last && !graph->out_of_memory; i++) {
        PyObject *object = graph->nodes[i].object;
        char name[160];
        uint32_t root;
        Py_ssize_t ours = graph->nodes[i].target != GRAPH_NONE; /* the caller's */
        if (refcount_of(object) - ours <= (Py_ssize_t)count.found[i - first])
            continue;
        snprintf(name, sizeof name, "<%s held by a running function or C code>",
                 type_of(object)->tp_name);
        root = static_root(graph, i);
        if (root == GRAPH_NONE)
            root = make_root(graph, GRAPH_OUTSIDE, strdup(name), strlen(name));
        if (root == GRAPH_NONE)
            break;
        graph->nodes[i].parent = root;
        reach(graph, i);
    }
    big_free(count.found);
    return result_of(graph);
}

int graph_search(struct graph *graph)
{
    uint32_t first;

    search_from_queue(graph);
    first = (uint32_t)graph->n_nodes;
    for (size_t i = 0; i < graph->n_objects && !graph->out_of_memory; i++) {
        PyObject *object = graph->objects[i];
        if (is_collected(object) && graph_find(graph, object) == GRAPH_NONE)
            add_node(graph, object, GRAPH_NONE);
    }
    if (!graph->out_of_memory)
        find_statics(graph, first);
    if (!graph->out_of_memory && add_outside_roots(graph, first) == 0)
        search_from_queue(graph);
    return result_of(graph);
}

const struct graph_root *graph_root_of(const struct graph *graph, uint32_t node)
{
    while (!(graph->nodes[node].parent & GRAPH_ROOT))
        node = graph->nodes[node].parent;
    return &graph->roots[graph->nodes[node].parent & ~GRAPH_ROOT];
}

bool graph_leads_over(const struct graph *graph, uint32_t node, const PyObject *object)
{
    while (!(node & GRAPH_ROOT)) {
        if (graph->nodes[node].object == object)
            return true;
        node = graph->nodes[node].parent;
    }
    return false;
}

void graph_clear(struct graph *graph)
{
    for (size_t i = 0; i < graph->n_roots; i++)
        free(graph->roots[i].name), free(graph->roots[i].file);
    big_free(graph->roots);
    big_free(graph->objects);
    big_free(graph->nodes);
    big_free(graph->table);
    big_free(graph->queue);
    big_free(graph->targets);
    big_free(graph->statics);
    big_free(graph->target_table);
    memset(graph, 0, sizeof *graph);
}
