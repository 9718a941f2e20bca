/* Resolve, commit, verify: who does what in which order.
 *
 * Resolving changes nothing.  In the commit, what can fail comes first and can be taken
 * back; what is left cannot fail.  No Python code runs from the first write to the end of
 * the second scan. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../agent.h"
#include "../big.h"
#include "../cpython/introspect.h"
#include "../emit.h"
#include "arrays.h"
#include "field.h"
#include "garbage.h"
#include "heap.h"
#include "ledger.h"
#include "scan.h"
#include "store.h"
#include "types.h"

/* Asked in this order which edges are theirs; committed in this order. */
static const struct writer *const writers[] = {
    &code_writer,     &left_writer,      &refused_writer, &bases_writer,  &migration_writer,
    &instance_writer, &type_dict_writer, &dict_writer,    &hashed_writer, &deque_writer,
    &weakref_writer,  &frame_writer,     &holder_writer,  &array_writer,  &ctypes_writer,
    &alias_writer,    &field_writer,
};

enum { N_WRITERS = sizeof writers / sizeof writers[0] };

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- resolve */

static int push_edge(struct remap *r, const struct edge *e)
{
    if (big_reserve_or_raise(&r->edges, r->n_edges, &r->cap_edges, sizeof *r->edges) < 0)
        return -1;
    r->edges[r->n_edges++] = *e;
    return 0;
}

static bool writes_in_finish(const struct writer *w)
{
    return w->finish && !w->commit && !w->commit_own;
}

/* Deals the visits of one edge out to the writers; each part becomes an edge. */
static int resolve_edge(struct remap *r, const struct edge *found)
{
    struct edge rest = *found;

    r->visits_left_for_finish = 0;
    for (size_t i = 0; i < N_WRITERS && rest.visits; i++) {
        struct edge part = rest;
        ptrdiff_t taken = writers[i]->resolve ? writers[i]->resolve(r, &part) : 0;

        if (taken < 0)
            return -1;
        if (!taken)
            continue;
        part.visits = (uint32_t)taken;
        part.writer = writers[i];
        rest.visits -= part.visits;
        r->visits_left_for_finish += writes_in_finish(part.writer) ? part.visits : 0;
        if (push_edge(r, &part) < 0)
            return -1;
    }
    return rest.visits ? push_edge(r, &rest) : 0;
}

static int resolve_edges(struct remap *r, const struct edges *found)
{
    for (size_t i = 0; i < found->n; i++) {
        if (i % 4096 == 0) {
            emit_progress("resolve", i, found->n);
            if (job_cancelled()) {
                job_fail("cancelled", 4, NULL,
                         "given up while resolving references; "
                         "nothing was changed");
                return -1;
            }
        }
        if (i == 0 || found->items[i].referrer != found->items[i - 1].referrer)
            r->referrers++;
        if (resolve_edge(r, &found->items[i]) < 0)
            return -1;
    }
    return 0;
}

static size_t count_roots(const struct remap *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_keys; i++)
        n += r->keys[i].roots;
    return n;
}

static int find_roots(struct remap *r)
{
    if (frames_scan(r) < 0)
        return -1;
    r->frame_roots = count_roots(r);
    if (arrays_scan(r) < 0)
        return -1;
    r->array_roots = count_roots(r) - r->frame_roots;
    if (holders_scan(r) < 0)
        return -1;
    r->holder_roots = count_roots(r) - r->frame_roots - r->array_roots;
    return 0;
}

/* Scan for the keys from `first` on, which may bring further keys: until there are none. */
static int scan_and_resolve(struct remap *r)
{
    size_t first = 0;

    do {
        struct edges found;
        size_t n = r->n_keys;
        uint64_t start = now_ns();
        int status = scan(r, first, &found);

        if (status < 0)
            return -1;
        r->scan_ns += now_ns() - start;
        r->objects_scanned = r->heap->n;
        status = find_roots(r) < 0 ? -1 : resolve_edges(r, &found);
        big_free(found.items);
        if (status < 0)
            return -1;
        first = n;
    } while (first < r->n_keys);
    return 0;
}

static size_t place_of(const struct writer *writer)
{
    for (size_t i = 0; i < N_WRITERS; i++)
        if (writers[i] == writer)
            return i;
    return N_WRITERS;
}

/* Edges by writer, in the order of the table; those without one last. */
static int sort_edges(struct remap *r)
{
    size_t starts[N_WRITERS + 2] = {0};
    struct edge *sorted = big_realloc(NULL, (r->n_edges + 1) * sizeof *sorted);

    if (!sorted) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < r->n_edges; i++)
        starts[place_of(r->edges[i].writer) + 1]++;
    for (size_t i = 1; i <= N_WRITERS; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < r->n_edges; i++)
        sorted[starts[place_of(r->edges[i].writer)]++] = r->edges[i];
    big_free(r->edges);
    r->edges = sorted;
    r->cap_edges = r->n_edges + 1;
    return 0;
}

static int add_kind(struct remap *r, const char *kind, size_t n)
{
    PyObject *known = dict_get(r->by_kind, kind);
    PyObject *sum;
    int status;

    if (!n)
        return 0;
    sum = PyLong_FromSize_t(n + (known ? (size_t)PyLong_AsSsize_t(known) : 0));
    status = sum ? PyDict_SetItemString(r->by_kind, kind, sum) : -1;
    Py_DecRef(sum);
    r->references_rewritten += n;
    return status;
}

static PyObject *module_of(PyTypeObject *type)
{
    PyObject *module = type->tp_dict ? dict_get(type->tp_dict, "__module__") : NULL;

    return module && is_str(module) ? module : NULL;
}

/* A subclass that keeps its base is laid out for that.  New reference. */
static PyObject *subclass_text(PyTypeObject *subclass, PyTypeObject *base)
{
    PyObject *name = ledger_name_of((PyObject *)subclass), *text = NULL;
    PyObject *module = module_of(subclass), *other = module_of(base);

    if (name && !subclass->tp_mro)
        text = PyUnicode_FromFormat("subclass %U, which cannot be rewritten, as it is being made",
                                    name);
    else if (name && module && other && PyUnicode_Compare(module, other) != 0)
        text = PyUnicode_FromFormat("subclass %U, which cannot be rewritten, as the layout changed "
                                    "(to take it along: --force, and %U among the modules)",
                                    name, module);
    else if (name)
        text = PyUnicode_FromFormat("subclass %U, which cannot be rewritten, as the layout changed",
                                    name);
    Py_DecRef(name);
    return text;
}

static int hold_unresolved(struct remap *r, const struct edge *e)
{
    PyTypeObject *subclass = r->keys[e->key].is_class ? types_subclass(r, e) : NULL;
    PyObject *where = subclass ? subclass_text(subclass, (PyTypeObject *)r->keys[e->key].old)
                               : PyUnicode_FromFormat("%s object, which cannot be rewritten",
                                                      type_of(e->referrer)->tp_name);
    const char *text = where ? PyUnicode_AsUTF8(where) : NULL;
    int status = text ? remap_hold(r, e->key, text, e->visits) : -1;

    Py_DecRef(where);
    if (status == 0)
        r->keys[e->key].held -= e->visits; /* a visit already */
    return status;
}

/* Fills the keys' accounts from the edges. */
static void count_edges(struct remap *r)
{
    for (size_t i = 0; i < r->n_edges; i++) {
        const struct edge *e = &r->edges[i];
        struct key *k = &r->keys[e->key];

        if (e->writer && e->writer->leaves)
            k->left += e->visits;
        else if (e->writer && !e->writer->refuses)
            k->rewritten += e->visits;
        else if (k->is_code)
            k->left += e->visits;
        else {
            k->unresolved += e->visits;
            r->unresolved += e->visits;
        }
    }
    for (size_t i = 0; i < r->n_keys; i++)
        if (!r->keys[i].is_code)
            r->left += r->keys[i].left + r->keys[i].frames - r->keys[i].roots;
}

static int report_edges(struct remap *r)
{
    size_t sums[N_WRITERS] = {0};

    for (size_t i = 0; i < r->n_edges; i++) {
        const struct edge *e = &r->edges[i];

        if (e->writer && !e->writer->leaves && !e->writer->refuses)
            sums[place_of(e->writer)] += e->visits;
        else if (!(e->writer && e->writer->leaves) && !r->keys[e->key].is_code &&
                 hold_unresolved(r, e) < 0)
            return -1;
    }
    for (size_t i = 0; i < N_WRITERS; i++)
        if (add_kind(r, writers[i]->kind, sums[i]) < 0)
            return -1;
    if (add_kind(r, frame_writer.kind, r->frame_roots) < 0 ||
        add_kind(r, array_writer.kind, r->array_roots) < 0)
        return -1;
    return add_kind(r, holder_writer.kind, r->holder_roots);
}

static int resolve(struct remap *r)
{
    if (scan_and_resolve(r) < 0 || garbage_leave(r) < 0 || sort_edges(r) < 0)
        return -1;
    count_edges(r);
    for (size_t i = 0; i < N_WRITERS; i++)
        if (writers[i]->prepare && writers[i]->prepare(r) < 0)
            return -1;
    r->unaccounted = ledger_unaccounted(r);
    return report_edges(r);
}

int remap_resolve(struct remap *r)
{
    if (remap_pause_collector(r) < 0)
        return -1;
    if (resolve(r) < 0) {
        remap_resume_collector(r);
        return -1;
    }
    r->resolved = true;
    return 0;
}

/* --- commit */

/* How far phase one came: all writers before `writer`, and of its own edges, those before
 * `edge`. */
struct progress {
    size_t writer, edge;
    bool own;
    size_t step; /* for injected failures */
};

#ifdef PYHOT_FAULTS
/* PYHOT_FAIL_AT=n in the tracee's environment: the n-th step fails. */
static bool fails_now(size_t *step)
{
    const char *at = getenv("PYHOT_FAIL_AT");

    if (!at || ++*step != strtoul(at, NULL, 10))
        return false;
    PyErr_SetString(PyExc_RuntimeError, "injected failure");
    return true;
}
#else
static bool fails_now(size_t *step)
{
    (void)step;
    return false;
}
#endif

static int commit_writer(struct remap *r, struct progress *at)
{
    const struct writer *w = writers[at->writer];

    at->own = false;
    if (fails_now(&at->step) || (w->commit_own && w->commit_own(r) < 0))
        return -1;
    at->own = true;
    for (; at->edge < r->n_edges && r->edges[at->edge].writer == w; at->edge++)
        if (fails_now(&at->step) || (w->commit && w->commit(r, &r->edges[at->edge]) < 0))
            return -1;
    return 0;
}

static void undo(struct remap *r, struct progress at)
{
    for (size_t i = at.writer + 1; i-- > 0;) {
        const struct writer *w = writers[i];

        if (i == N_WRITERS)
            continue;
        while (at.edge > 0 && r->edges[at.edge - 1].writer == w) {
            at.edge--;
            if (w->undo)
                w->undo(r, &r->edges[at.edge]);
        }
        if (w->undo_own && (i < at.writer || at.own))
            w->undo_own(r);
    }
    store_undo(r);
}

static void finish(struct remap *r)
{
    field_writer.finish(r);
    for (size_t i = 0; i < N_WRITERS; i++)
        if (writers[i] != &field_writer && writers[i]->finish)
            writers[i]->finish(r);
}

int remap_commit(struct remap *r)
{
    uint64_t start = now_ns();
    struct progress at = {0};
    size_t n_graves;

    emit_progress("commit", 0, 0);
    if (ledger_note(r) < 0) {
        remap_resume_collector(r);
        return -1;
    }
    for (; at.writer < N_WRITERS; at.writer++) {
        if (commit_writer(r, &at) < 0) {
            undo(r, at);
            remap_resume_collector(r);
            return -1;
        }
    }
    n_graves = r->n_graves;
    finish(r);
    r->miscounted = ledger_compare(r, n_graves);
    r->committed = true;
    r->commit_ns = now_ns() - start;
    return 0;
}

/* --- verify */

/* References that nobody expected: made between the scan and the commit. */
static int check_key(struct remap *r, size_t i)
{
    struct key *k = &r->keys[i];
    size_t expected = k->left + k->unresolved;
    size_t extra = k->visits > expected ? k->visits - expected : 0;

    if (!extra || k->is_code)
        return 0;
    k->unresolved += extra;
    r->unresolved += extra;
    if (remap_hold(r, (uint32_t)i, "made while the others were rewritten", extra) < 0)
        return -1;
    k->held -= extra;
    return 0;
}

/* The report's lists stay as they were when resolved: the second look at the frames is for
 * the accounts. */
static int look_again(struct remap *r)
{
    PyObject *held = r->held, *frames_on_old = r->frames_on_old;
    struct edges found;
    int status;

    if (scan(r, 0, &found) < 0)
        return -1;
    big_free(found.items);
    r->held = PyList_New(0);
    r->frames_on_old = PyList_New(0);
    status = r->held && r->frames_on_old ? frames_scan(r) : -1;
    if (status == 0)
        status = arrays_scan(r);
    if (status == 0)
        status = holders_scan(r);
    Py_DecRef(r->held);
    Py_DecRef(r->frames_on_old);
    r->held = held;
    r->frames_on_old = frames_on_old;
    return status;
}

static int verify(struct remap *r)
{
    emit_progress("verify", 0, 0);
    if (look_again(r) < 0)
        return -1;
    for (size_t i = 0; i < r->n_keys; i++)
        if (check_key(r, i) < 0)
            return -1;
    r->unaccounted = ledger_unaccounted(r) + r->miscounted;
    return 0;
}

int remap_verify(struct remap *r)
{
    int status = verify(r);

    remap_resume_collector(r);
    return status;
}
