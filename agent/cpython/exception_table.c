/* Reading exception tables; exception_table.h.  An entry is four numbers, in units of two bytes of
 * code: start, length, target, depth of the stack and whether to push lasti.  A number is bytes of
 * six bits, highest first, 0x40 set in all but the last; 0x80 begins an entry (InternalDocs/
 * exception_handling.md of 3.14, Objects/exception_handling_notes.txt of 3.11). */
#include "exception_table.h"

#include <stdlib.h>
#include <string.h>

#include "version.h"

struct entry {
    size_t start, end, target; /* indices of instructions */
    unsigned long depth;
};

struct entries {
    struct entry *items;
    size_t n;
};

static unsigned long read_number(const unsigned char **at, const unsigned char *end)
{
    unsigned long number = 0;
    bool more = true;

    while (more && *at < end) {
        number = number << 6 | (**at & 0x3f);
        more = *(*at)++ & 0x40;
    }
    return number;
}

/* The index of the instruction at the unit, or of the one that follows. */
static size_t index_at(const struct bytecode *code, size_t unit)
{
    size_t low = 0, high = code->n;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code->at[middle].unit < unit)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* An entry for nothing but NOPs is none, and one may have been cut in two by them. */
static void add(struct entries *entries, struct entry entry)
{
    struct entry *last = entries->n ? &entries->items[entries->n - 1] : NULL;

    if (entry.start == entry.end)
        return;
    if (last && last->end == entry.start && last->target == entry.target &&
        last->depth == entry.depth)
        last->end = entry.end;
    else
        entries->items[entries->n++] = entry;
}

static int read_entries(const struct bytecode *code, struct entries *entries)
{
    PyObject *table = code_attribute(code->code, "co_exceptiontable");
    const unsigned char *at, *end;

    *entries = (struct entries){0};
    if (!table)
        return -1;
    at = (const unsigned char *)PyBytes_AsString(table);
    end = at + PyBytes_Size(table);
    entries->items = calloc((size_t)(end - at) + 1, sizeof *entries->items);
    while (entries->items && at < end) {
        unsigned long start = read_number(&at, end), length = read_number(&at, end);
        unsigned long target = read_number(&at, end), depth = read_number(&at, end);
        add(entries, (struct entry){index_at(code, start), index_at(code, start + length),
                                    index_at(code, target), depth});
    }
    Py_DecRef(table);
    if (!entries->items)
        PyErr_NoMemory();
    return entries->items ? 0 : -1;
}

int exceptions_same(const struct bytecode *a, const struct bytecode *b)
{
    struct entries x, y = {0};
    int same;

    if (cpython_minor() < 11)
        return 1;
    same = read_entries(a, &x) == 0 && read_entries(b, &y) == 0 ? x.n == y.n : -1;
    for (size_t i = 0; same == 1 && i < x.n; i++)
        same = x.items[i].start == y.items[i].start && x.items[i].end == y.items[i].end &&
               x.items[i].target == y.items[i].target && x.items[i].depth == y.items[i].depth;
    free(x.items);
    free(y.items);
    return same;
}

/* Adds an instruction to those that are reached. */
static void reach(bool *reached, size_t *pending, size_t *n, ptrdiff_t index)
{
    if (index >= 0 && !reached[index]) {
        reached[index] = true;
        pending[(*n)++] = (size_t)index;
    }
}

static int returns_without(const struct bytecode *code, const struct entries *entries, size_t index)
{
    bool *reached = calloc(code->n + 1, sizeof *reached), returns = false;
    size_t *pending = calloc(code->n + 1, sizeof *pending), n = 0;

    if (!reached || !pending) {
        free(reached);
        free(pending);
        PyErr_NoMemory();
        return -1;
    }
    reach(reached, pending, &n, 0);
    while (n && !returns) {
        size_t at = pending[--n];

        if (at >= code->n || instruction_returns(&code->at[at])) {
            returns = true;
            break;
        }
        for (size_t i = 0; i < entries->n; i++) {
            if (entries->items[i].start <= at && at < entries->items[i].end)
                reach(reached, pending, &n, (ptrdiff_t)entries->items[i].target);
        }
        if (at == index) /* done here; what it may raise was looked at */
            continue;
        reach(reached, pending, &n, code->at[at].target);
        if (instruction_goes_on(&code->at[at]))
            reach(reached, pending, &n, (ptrdiff_t)at + 1);
    }
    free(reached);
    free(pending);
    return returns;
}

int code_may_skip(const struct bytecode *code, size_t index)
{
    struct entries entries = {0};
    int result;

    if (cpython_minor() >= 11 && read_entries(code, &entries) < 0)
        return -1;
    result = returns_without(code, &entries, index);
    free(entries.items);
    return result;
}
