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

/* From 3.12 on handlers are behind all else, in the order of their `try` (push_cold_blocks_to_end,
 * Python/flowgraph.c). */
static size_t first_handler(const struct bytecode *code, const struct entries *entries)
{
    size_t first = code->n;

    for (size_t i = 0; i < entries->n; i++) {
        if (entries->items[i].target < first)
            first = entries->items[i].target;
    }
    return first;
}

/* Where the handlers begin of each `try` that is behind the instruction. */
static size_t later_handlers(const struct bytecode *code, const struct entries *entries,
                             size_t index, size_t first)
{
    size_t later = code->n;

    for (size_t i = 0; i < entries->n; i++) {
        const struct entry *entry = &entries->items[i];

        if (entry->start > index && entry->start < first && entry->target < later)
            later = entry->target;
    }
    return later;
}

int exceptions_may_skip(const struct bytecode *code, size_t index)
{
    struct entries entries;
    int result = 0;

    if (cpython_minor() < 11)
        return 0;
    if (read_entries(code, &entries) < 0)
        return -1;

    size_t first = first_handler(code, &entries);
    size_t later = later_handlers(code, &entries, index, first);
    if (cpython_minor() == 11) /* they are behind their `else` */
        result = entries.n > 0;
    for (size_t i = 0; !result && i < entries.n; i++) {
        const struct entry *entry = &entries.items[i];

        if (entry->start > index)
            continue;
        result = index < entry->end || first <= index;
        /* Where does it go on?  At the end of the code, if nothing follows the `else`. */
        for (size_t k = entry->target; !result && k < later; k++)
            result = instruction_returns(&code->at[k]) || (code->at[k].target > (ptrdiff_t)index &&
                                                           code->at[k].target < (ptrdiff_t)first);
    }
    free(entries.items);
    return result;
}
