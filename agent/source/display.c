/* Displays read from bytecode (display.h): the instructions are followed with a stack of nodes.
 * Of instructions that are not known here, the depths of the stack before and after tell what they
 * take: all above the one value that they leave. */
#include "display.h"

#include <stdlib.h>
#include <string.h>

#include "big.h"
#include "cpython/introspect.h"

struct reader {
    struct display *display;
    const struct bytecode *code;
    ptrdiff_t *stack; /* indexes of nodes */
    size_t depth, cap;
    bool unknown; /* the parts cannot be told */
    bool failed;  /* exception set */
};

static void no_memory(struct reader *reader)
{
    PyErr_NoMemory();
    reader->failed = true;
}

static struct display_node *node(const struct reader *reader, ptrdiff_t index)
{
    return &reader->display->nodes[index];
}

/* A node for the instructions from `first` to `at`; its index, or -1. */
static ptrdiff_t new_node(struct reader *reader, enum display_kind kind, size_t first, size_t at)
{
    struct display *display = reader->display;

    if (!big_reserve(&display->nodes, display->n, &reader->cap, sizeof *display->nodes)) {
        no_memory(reader);
        return -1;
    }
    display->nodes[display->n] = (struct display_node){
        .kind = kind, .first = first, .n = at + 1 - first, .parts = -1, .last = -1, .next = -1};
    return (ptrdiff_t)display->n++;
}

/* There is room for one element for each instruction, and none leaves more than two. */
static void push(struct reader *reader, ptrdiff_t index)
{
    if (index >= 0)
        reader->stack[reader->depth++] = index;
}

/* The node `from_top` elements below the top (0: the top), or -1. */
static ptrdiff_t peek(struct reader *reader, size_t from_top)
{
    if (from_top < reader->depth)
        return reader->stack[reader->depth - 1 - from_top];
    reader->unknown = true;
    return -1;
}

static void add_part(struct reader *reader, ptrdiff_t display, ptrdiff_t part)
{
    struct display_node *parent = node(reader, display);

    if (part < 0)
        return;
    if (parent->last < 0)
        parent->parts = part;
    else
        node(reader, parent->last)->next = part;
    parent->last = part;
}

static ptrdiff_t new_constant(struct reader *reader, PyObject *value, size_t at)
{
    ptrdiff_t index = new_node(reader, DISPLAY_CONSTANT, at, at);

    if (index >= 0)
        node(reader, index)->value = value;
    return index;
}

/* BUILD_*: the topmost `n` elements are its parts. */
static void read_build(struct reader *reader, enum display_kind kind, size_t n, size_t at)
{
    size_t first = at;
    ptrdiff_t index;

    if (n > reader->depth) {
        reader->unknown = true;
        return;
    }
    reader->depth -= n;
    if (n)
        first = node(reader, reader->stack[reader->depth])->first;
    index = new_node(reader, kind, first, at);
    for (size_t i = 0; index >= 0 && i < n; i++)
        add_part(reader, index, reader->stack[reader->depth + i]);
    push(reader, index);
}

/* BUILD_CONST_KEY_MAP: the values, and a tuple of the keys on top. */
static void read_const_keys(struct reader *reader, size_t n, size_t at)
{
    ptrdiff_t top = peek(reader, 0), index;
    PyObject *keys = top >= 0 ? node(reader, top)->value : NULL;
    size_t first = at;

    if (!keys || type_of(keys) != &PyTuple_Type || (size_t)PyTuple_Size(keys) != n ||
        n >= reader->depth) {
        reader->unknown = true;
        return;
    }
    reader->depth -= n + 1;
    first = node(reader, reader->stack[reader->depth])->first;
    index = new_node(reader, DISPLAY_DICT, first, at);
    for (size_t i = 0; index >= 0 && i < n; i++) {
        add_part(reader, index, new_constant(reader, PyTuple_GetItem(keys, (Py_ssize_t)i), at));
        add_part(reader, index, reader->stack[reader->depth + i]);
    }
    push(reader, index);
}

/* The display `below` elements under the top, if it is of this kind; or -1. */
static ptrdiff_t display_below(struct reader *reader, size_t below, size_t at)
{
    ptrdiff_t index = peek(reader, below);

    if (index >= 0 && node(reader, index)->kind < DISPLAY_LIST) {
        reader->unknown = true;
        return -1;
    }
    if (index >= 0)
        node(reader, index)->n = at + 1 - node(reader, index)->first;
    return index;
}

/* LIST_EXTEND, SET_UPDATE with a tuple or frozenset of constants. */
static void read_extend(struct reader *reader, size_t at)
{
    ptrdiff_t display = display_below(reader, 1, at), top = peek(reader, 0);
    PyObject *value = top >= 0 ? node(reader, top)->value : NULL;
    PyObject *items = value ? PySequence_List(value) : NULL;

    if (display < 0 || !items) {
        drop_error();
        Py_DecRef(items);
        reader->unknown = true;
        return;
    }
    if (PyList_Append(reader->display->owned, items) < 0)
        reader->failed = true;
    for (Py_ssize_t i = 0; !reader->failed && i < PyList_Size(items); i++)
        add_part(reader, display, new_constant(reader, PyList_GetItem(items, i), at));
    Py_DecRef(items);
    reader->depth--;
}

/* LIST_APPEND, SET_ADD, MAP_ADD: `n` elements. */
static void read_add(struct reader *reader, size_t n, size_t at)
{
    ptrdiff_t display = display_below(reader, n, at);

    for (size_t i = n; display >= 0 && i-- > 0;)
        add_part(reader, display, peek(reader, i));
    if (display >= 0)
        reader->depth -= n;
}

/* DICT_UPDATE of a large display with its rest. */
static void read_dict_update(struct reader *reader, size_t at)
{
    ptrdiff_t display = display_below(reader, 1, at), rest = peek(reader, 0), part, next;

    if (display < 0 || rest < 0 || node(reader, rest)->kind != DISPLAY_DICT) {
        reader->unknown = true;
        return;
    }
    for (part = node(reader, rest)->parts; part >= 0; part = next) {
        next = node(reader, part)->next;
        node(reader, part)->next = -1;
        add_part(reader, display, part);
    }
    reader->depth--;
}

static void read_other(struct reader *reader, enum display_kind kind, size_t after, size_t at)
{
    size_t first;

    if (after > reader->depth) {
        for (size_t n = after - reader->depth; n-- > 0;)
            push(reader, new_node(reader, kind, at, at));
        return;
    }
    if (!after) {
        reader->unknown = true;
        return;
    }
    first = node(reader, reader->stack[after - 1])->first;
    reader->depth = after - 1;
    push(reader, new_node(reader, kind, first, at));
}

static bool is_name(struct reader *reader)
{
    ptrdiff_t top = reader->depth ? peek(reader, 0) : -1;

    return top >= 0 && node(reader, top)->kind == DISPLAY_NAME;
}

/* `after`: the depth of the stack after the instruction. */
static void read_instruction(struct reader *reader, size_t at, size_t after)
{
    const struct instruction *in = &reader->code->at[at];

    if (in->target >= 0 || in->kind == OP_SHUFFLE)
        reader->unknown = true;
    else if (in->kind == OP_LOAD_CONST && in->value)
        push(reader, new_constant(reader, in->value, at));
    else if (in->kind == OP_BUILD_LIST)
        read_build(reader, DISPLAY_LIST, (size_t)in->arg, at);
    else if (in->kind == OP_BUILD_SET)
        read_build(reader, DISPLAY_SET, (size_t)in->arg, at);
    else if (in->kind == OP_BUILD_MAP)
        read_build(reader, DISPLAY_DICT, 2 * (size_t)in->arg, at);
    else if (in->kind == OP_BUILD_CONST_KEY_MAP)
        read_const_keys(reader, (size_t)in->arg, at);
    else if (in->kind == OP_EXTEND)
        read_extend(reader, at);
    else if (in->kind == OP_DICT_UPDATE)
        read_dict_update(reader, at);
    else if (in->kind == OP_ADD && in->arg == 1)
        read_add(reader, reader->depth - after, at);
    else
        read_other(reader,
                   (in->kind == OP_LOAD_NAME && after == reader->depth + 1) ||
                           (in->kind == OP_LOAD_ATTR && after == reader->depth && is_name(reader))
                       ? DISPLAY_NAME
                       : DISPLAY_OTHER,
                   after, at);
}

/* {}, dict(), [], list(), set() */
static int read_empty(struct reader *reader, const struct binding *binding)
{
    enum display_kind kind = DISPLAY_LIST;
    size_t last = binding->first + binding->n;

    for (size_t i = binding->first; i < last; i++) {
        const struct instruction *in = &reader->code->at[i];

        if (in->kind == OP_BUILD_MAP || (in->name && str_is(in->name, "dict")))
            kind = DISPLAY_DICT;
        else if (in->kind == OP_BUILD_SET || (in->name && str_is(in->name, "set")))
            kind = DISPLAY_SET;
    }
    reader->display->root = new_node(reader, kind, binding->first, last - 1);
    return reader->failed ? -1 : 1;
}

static int read_all(struct reader *reader, const struct binding *binding)
{
    size_t last = binding->first + binding->n;
    int base = reader->code->at[binding->first].depth;

    if (binding->kind == BINDS_EMPTY)
        return read_empty(reader, binding);
    for (size_t i = binding->first; i < last && !reader->unknown && !reader->failed; i++) {
        int after = reader->code->at[i + 1].depth - base;

        if (after < 0 || reader->depth + 2 > 2 * reader->code->n ||
            (size_t)after > reader->depth + 2)
            return 0;
        read_instruction(reader, i, (size_t)after);
        if (!reader->unknown && !reader->failed && reader->depth != (size_t)after)
            return 0;
    }
    if (reader->failed)
        return -1;
    if (reader->unknown || reader->depth != 1)
        return 0;
    reader->display->root = reader->stack[0];
    return node(reader, reader->stack[0])->kind >= DISPLAY_LIST;
}

int display_read(const struct body *body, const struct binding *binding, struct display *display)
{
    struct reader reader = {.display = display, .code = &body->code};
    int status = -1;

    memset(display, 0, sizeof *display);
    display->body = body;
    display->owned = PyList_New(0);
    reader.stack = calloc(2 * body->code.n + 2, sizeof *reader.stack);
    if (!reader.stack)
        PyErr_NoMemory();
    else if (display->owned)
        status = read_all(&reader, binding);
    free(reader.stack);
    if (status != 1)
        display_clear(display);
    return status;
}

void display_clear(struct display *display)
{
    big_free(display->nodes);
    Py_DecRef(display->owned);
    memset(display, 0, sizeof *display);
}
