/* Where the hooks are: PyInterpreterState.audit_hooks (Include/internal/pycore_interp.h; 3.8:
 * pycore_pystate.h), at another place in each version.  It is told by what it refers to: a list
 * that nothing else refers to and that the collector is not told of (Python/sysmodule.c,
 * sys_addaudithook_impl), of callables.  No other list is like that.
 *
 * Hidden hooks are those of a list that says to be empty: an event then makes an iterator that ends
 * at once. */
#include "audit.h"

#include <stdbool.h>
#include <stddef.h>

#include "statics.h"
#include "version.h"

enum { MAX_HOOKS = 256, MOST = 512 << 10, WORDS = 128 };

/* PyListObject, Include/cpython/listobject.h (3.9 to 3.15), Include/listobject.h (3.8),
 * with the collector's header before it. */
struct list {
    uintptr_t gc_next, gc_prev;
    PyVarObject ob_base;
    PyObject **items;
    Py_ssize_t allocated;
};

static struct {
    unsigned depth;
    PyVarObject *list; /* NULL: there was none */
    Py_ssize_t n;
    PyObject *hooks[MAX_HOOKS];
} hidden;

static bool is_callable(PyObject *object)
{
    PyObject head;
    PyTypeObject type;

    return object && read_safely(object, &head, sizeof head) &&
           read_safely(head.ob_type, &type, sizeof type) && type.tp_call;
}

/* A freed list, of which the interpreter keeps some, has no reference count: 0, or a link in
 * its place.  Copies the hooks. */
static bool is_list_of_hooks(const struct list *list, PyObject **hooks)
{
    if (list->ob_base.ob_base.ob_type != &PyList_Type || list->gc_next != 0 ||
        list->ob_base.ob_base.ob_refcnt != 1 || list->ob_base.ob_size <= 0 ||
        list->ob_base.ob_size > list->allocated || list->ob_base.ob_size > MAX_HOOKS ||
        !read_safely(list->items, hooks, (size_t)list->ob_base.ob_size * sizeof *hooks))
        return false;
    for (Py_ssize_t i = 0; i < list->ob_base.ob_size; i++) {
        if (!is_callable(hooks[i]))
            return false;
    }
    return true;
}

/* The first of the words that is the address of the list, or `n`. */
static size_t find_among(const uintptr_t *words, size_t n, PyObject **hooks, Py_ssize_t *n_hooks)
{
    const uintptr_t interpreter = (uintptr_t)PyInterpreterState_Main();
    uintptr_t addresses[WORDS];
    size_t places[WORDS], candidates = 0;
    struct list lists[WORDS];
    bool got[WORDS];

    for (size_t i = 0; i < n; i++) {
        if (words[i] > 4096 && words[i] >> 47 == 0 && words[i] % 16 == 0 &&
            words[i] - interpreter >= MOST) {
            places[candidates] = i;
            addresses[candidates++] = words[i] - offsetof(struct list, ob_base);
        }
    }
    read_each_safely(addresses, candidates, lists, sizeof *lists, got);
    for (size_t i = 0; i < candidates; i++) {
        if (got[i] && is_list_of_hooks(&lists[i], hooks)) {
            *n_hooks = lists[i].ob_base.ob_size;
            return places[i];
        }
    }
    return n;
}

/* The first bytes of PyInterpreterState, where its field audit_hooks is: at 2704 in 3.8, 3504 to
 * 3552 in 3.9 to 3.11, 267208 in 3.12 (less without pymalloc), 10808 to 10920 in 3.13 to 3.15. */
static size_t bytes_to_search(void)
{
    int minor = cpython_minor();

    if (minor > CPYTHON_NEWEST)
        return MOST;
    return minor < 12 ? 8 << 10 : minor == 12 ? 288 << 10 : 32 << 10;
}

/* Where the field was found; NULL: not yet. */
static const uintptr_t *field;

static PyVarObject *find_again(PyObject **hooks, Py_ssize_t *n)
{
    uintptr_t word;

    return field && read_safely(field, &word, sizeof word) && find_among(&word, 1, hooks, n) == 0
               ? (PyVarObject *)word
               : NULL;
}

static PyVarObject *find_list(PyObject **hooks, Py_ssize_t *n)
{
    PyVarObject *again = find_again(hooks, n);
    const uintptr_t *interpreter = (uintptr_t *)PyInterpreterState_Main();
    uintptr_t words[WORDS];

    for (size_t at = 0; !again && at < bytes_to_search() / sizeof *words; at += WORDS) {
        if (!read_safely(interpreter + at, words, sizeof words))
            break;
        size_t found = find_among(words, WORDS, hooks, n);
        if (found < WORDS) {
            field = interpreter + at + found;
            return (PyVarObject *)words[found];
        }
    }
    return again;
}

size_t audit_hooks(const PyObject **hooks, size_t most)
{
    PyObject *found[MAX_HOOKS], **from = found;
    Py_ssize_t n = 0;

    if (hidden.depth && hidden.list) {
        from = hidden.hooks;
        n = hidden.n;
    } else if (!find_list(found, &n)) {
        return 0;
    }
    if ((size_t)n > most)
        n = (Py_ssize_t)most;
    for (Py_ssize_t i = 0; i < n; i++)
        hooks[i] = from[i];
    return (size_t)n;
}

static void hide(PyVarObject *(*find)(PyObject **hooks, Py_ssize_t *n))
{
    if (hidden.depth++)
        return;
    hidden.list = find(hidden.hooks, &hidden.n);
    if (hidden.list)
        hidden.list->ob_size = 0;
}

void audit_look(void)
{
    PyObject *hooks[MAX_HOOKS];
    Py_ssize_t n;

    find_list(hooks, &n);
}

void audit_hide(void)
{
    hide(find_list);
}

void audit_hide_known(void)
{
    hide(find_again);
}

/* A destructor of the program may have added one meanwhile, in the memory of those that are
 * hidden: theirs are appended again.  Memory that runs out for that loses a hook, as a failed
 * sys.addaudithook does. */
void audit_show(void)
{
    if (--hidden.depth || !hidden.list)
        return;
    if (hidden.list->ob_size == 0) {
        hidden.list->ob_size = hidden.n;
        return;
    }
    for (Py_ssize_t i = 0; i < hidden.n; i++) {
        if (PyList_Append((PyObject *)hidden.list, hidden.hooks[i]) < 0)
            PyErr_Clear();
        Py_DecRef(hidden.hooks[i]);
    }
}
