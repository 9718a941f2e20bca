/* The hash table inside a dict, and the linked list inside an OrderedDict.
 *
 * Needed to give an entry another key in its place: the API can only delete and
 * append, would call __eq__ of keys that have nothing to do with it, and can fail.
 * Objects/dictobject.c, Objects/odictobject.c, 3.8 to 3.15. */
#ifndef PYHOT_CPYTHON_DICT_H
#define PYHOT_CPYTHON_DICT_H

#include <stdbool.h>

#include "api.h"

struct dict_entry {
    Py_hash_t hash;
    PyObject *key, *value; /* NULL: deleted */
};

struct dict_table {
    PyObject *dict;
    struct dict_entry *entries; /* in insertion order */
    size_t n_entries;           /* deleted ones included */
    char *indices;
    unsigned index_bytes; /* of one index: 1, 2, 4 or 8 */
    size_t mask;
};

/* Do the layouts below hold in this interpreter?  Tried once on dicts of our own.
 * GIL held; false with no exception set. */
bool dict_layout_known(void);

/* The same without following anything that was not read safely, for a first look; `shift` bytes are
 * added to a dict's address. */
bool dict_layout_plausible(size_t shift);

/* Is `name` (a str) a key of what may be a dict, of an interpreter that may run, or be gone?  Keys
 * are compared by hash and length. */
bool dict_has_str_safely(const void *dict, PyObject *name);

/* True: `dict` (exact or a subclass) has entries with arbitrary keys, described in `t`
 * until the dict changes.  False: its keys are all exact str; such a dict is written
 * through the API, which runs no Python code then.  Needs dict_layout_known. */
bool dict_table_open(PyObject *dict, struct dict_table *t);

/* Free the entry's place; its references to key and value become the caller's.
 * dict_table_clear_indices and dict_table_insert of every other entry, or dict_table_reindex, must
 * follow. */
void dict_table_remove(struct dict_table *t, struct dict_entry *entry);

/* Rebuild the index: clear it, then insert each live entry in order.  `insert` returns
 * false and inserts nothing if an entry with the same hash for which `same` holds is
 * there already, and gives it in *earlier. */
void dict_table_clear_indices(struct dict_table *t);
bool dict_table_insert(struct dict_table *t, size_t entry,
                       bool (*same)(PyObject *, PyObject *, void *), void *arg,
                       struct dict_entry **earlier);

/* The same where no two keys have become equal. */
void dict_table_reindex(struct dict_table *t);

/* To 3.10 name lookups are cached by a dict's version; a raw write must give it one that
 * was never used.  `scratch` is any dict of ours with the str key "v".  No-op from 3.11. */
void dict_new_version(PyObject *dict, PyObject *scratch);

/* Each of two exact dicts, none of whose values are inside an instance, has the other's entries
 * then.  Cannot fail.  What caches remember of a dict that names are looked up in is not forgotten:
 * see dict_new_version. */
void dict_exchange(PyObject *one, PyObject *other);

/* To 3.10 deleting from a dict that shares its keys takes memory (delitem_common,
 * Objects/dictobject.c); not after this.  0, or -1 with MemoryError. */
int dict_unshare_keys(PyObject *dict);

/* descr_set by the descriptor of `__class__` or `__dict__`, past two faults of 3.13 (of its first
 * micro versions, all are treated alike) in _PyDict_DetachFromObject of Objects/dictobject.c:
 * without memory it empties the instance's dict, whose values are still there, and are given back
 * to it; and a dict that the collector did not track, as the instance showed its values, stays so.
 */
int instance_set(PyObject *descr, PyObject *instance, PyObject *value);

struct odict_node {
    PyObject *key;
    Py_hash_t hash;
    struct odict_node *next, *prev;
};

/* The first node if `dict` is an OrderedDict, else NULL. */
struct odict_node *odict_first(PyObject *dict);

/* Unlink and free the node of entry number `entry`; its reference to the key becomes the
 * caller's.  `kept` is the node of entry number `into` from now on. */
void odict_remove(PyObject *dict, struct odict_node *node, size_t entry, struct odict_node *kept,
                  size_t into);

#endif
