/* gc.remap: make every reference to an old object a reference to its new one.
 *
 * What the rest of the agent sees of the engine.  Order of calls:
 *
 *     struct remap *r = remap_new();
 *     remap_add(r, old, new) ...       any number of keys
 *     remap_exclude(r, holder) ...     objects whose references stay as they are
 *     remap_resolve(r)                 scan, ledger, writers chosen; nothing changed
 *     ... the caller may look at remap_report() and stop here (--dry-run) ...
 *     remap_commit(r)                  all or nothing
 *     remap_verify(r)                  scans again, completes the report
 *     remap_free(r)
 *
 * The GIL is held from remap_resolve to the end of remap_verify, the collector is
 * off, and no Python code runs in between.  The engine holds a strong reference to
 * every key and value until remap_free; those do not count in the report.
 *
 * Functions that can fail return 0 or -1 with a Python exception set. */
#ifndef PYHOT_REMAP_H
#define PYHOT_REMAP_H

#include <stdbool.h>

#include "../cpython/api.h"

struct remap;

/* An empty map; NULL with MemoryError. */
struct remap *remap_new(void);
void remap_free(struct remap *);

/* References to `old` shall become references to `new`.  ValueError, and nothing
 * added, for: the same key with another value, a value that is itself a key (a chain
 * or a cycle; also found when the later of the two is added), an immortal or static
 * key, int/str/bytes/float/bool/None keys.  A key that is its own value is ignored.
 *
 * How a key is treated follows from its type:
 *   - a class: instances get the new `__class__`, subclasses the new base, ...; an
 *     instance that cannot (layout) is left to `remap_migrate` or is unresolved.
 *   - a code object: functions that run it get it through `__code__` (where the free
 *     variables agree), nothing else is rewritten; other holders are not counted as
 *     unresolved.
 *   - a module's dict or a module: like any object.
 *   - everything else: every reference. */
int remap_add(struct remap *, PyObject *old, PyObject *new_);

/* The value of `old` so far, borrowed, or NULL without an exception. */
PyObject *remap_get(struct remap *, PyObject *old);

/* References held by `holder` itself are left alone and are counted as ours:
 * lists and dicts of the caller that name old objects on purpose. */
int remap_exclude(struct remap *, PyObject *holder);

/* `old`'s instances whose layout differs from the new class get a new object that takes
 * over their attributes, and join the map; on by default.  Off: they are unresolved. */
void remap_set_migrate(struct remap *, bool on);

/* What the commit replaces is kept for ever. */
void remap_keep_replaced(struct remap *);

int remap_resolve(struct remap *);

/* How many references cannot be rewritten (visited, but no writer): known before the
 * commit.  They are listed in the report under "held". */
size_t remap_unresolved(const struct remap *);

int remap_commit(struct remap *);
int remap_verify(struct remap *);

/* New reference to a dict: the "remap" object of DESIGN.md section 5, and
 * "time":{"scan_ms","commit_ms"} beside it under that key.  After remap_resolve it
 * holds what would be done, after remap_verify what was. */
PyObject *remap_report(struct remap *);

/* With -v: for a key, a new reference to a dict {"references":n, "by_kind":{...},
 * "residual":n}; NULL with KeyError if it is no key. */
PyObject *remap_report_key(struct remap *, PyObject *old);

/* Old instances that were migrated: a new reference to a list of (old, new). */
PyObject *remap_migrated(struct remap *);

/* Calls `visit` for every object known to the collector, permanent generation included, until it
 * returns non-zero, which is returned; -1 with an exception also if the objects cannot be listed.
 * `visit` makes no Python objects.  GIL held. */
int heap_visit(int (*visit)(PyObject *, void *), void *arg);

/* After remap_verify, with nothing freed since: likewise every generator, coroutine, asynchronous
 * generator and frame object. */
int remap_each_suspended(struct remap *, int (*visit)(PyObject *, void *), void *arg);

#endif
