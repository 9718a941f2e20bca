/* The initialisers of names, found in the bytecode of a module or class body.
 *
 * A store takes the top of the stack.  What made that value starts at the last instruction
 * before it that found the stack one lower than the value's place; jumps into the middle
 * (conditional expressions, `or`) and shuffles of the stack (unpacking, a = b = ...) extend
 * the range to where they began. */
#include "initialiser.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/introspect.h"

/* The last instruction at or before `at` that starts with a stack of `depth`. */
static size_t start_at_depth(const struct bytecode *code, size_t at, int depth)
{
    for (size_t i = at + 1; i-- > 0;) {
        if (code->at[i].depth <= depth)
            return i;
    }
    return 0;
}

/* The first jump before `first` into (first, last], or `first`. */
static size_t jump_into(const struct bytecode *code, size_t first, size_t last)
{
    for (size_t i = first; i-- > 0;) {
        ptrdiff_t target = code->at[i].target;

        if (target > (ptrdiff_t)first && target <= (ptrdiff_t)last)
            return i;
        if (code->at[i].kind == OP_STORE_NAME && code->at[i].depth <= 1)
            break; /* an earlier statement */
    }
    return first;
}

static bool has_shuffle(const struct bytecode *code, size_t first, size_t last)
{
    for (size_t i = first; i < last; i++) {
        if (code->at[i].kind == OP_SHUFFLE)
            return true;
    }
    return false;
}

static size_t extend_over_jumps(const struct bytecode *code, size_t first, size_t last)
{
    size_t jump;

    while ((jump = jump_into(code, first, last)) < first)
        first = start_at_depth(code, jump, code->at[jump].depth - 1);
    return first;
}

/* Where the expression starts whose value instruction `store` takes. */
static size_t expression_start(const struct bytecode *code, size_t store)
{
    int below = code->at[store].depth - 1;
    size_t first = extend_over_jumps(code, start_at_depth(code, store, below), store);

    while (has_shuffle(code, first, store) && code->at[first].depth > 0) {
        size_t lower = start_at_depth(code, first, code->at[first].depth - 1);

        if (lower == first || code->at[lower].kind == OP_STORE_NAME)
            break;
        first = extend_over_jumps(code, lower, store);
    }
    return first;
}

/* --- a, b = x, y */

/* The first store of `n` in a row, of which `store` is one. */
static size_t first_of_row(const struct bytecode *code, size_t store, size_t *n)
{
    size_t first = store, last = store;

    while (first > 0 && code->at[first - 1].kind == OP_STORE_NAME)
        first--;
    while (last + 1 < code->n && code->at[last + 1].kind == OP_STORE_NAME)
        last++;
    *n = last + 1 - first;
    return first;
}

/* Do the instructions before `at` turn round the `n` upper values of the stack?  SWAP n; to 3.10
 * ROT_TWO, or ROT_THREE and ROT_TWO.  Returns how many, or 0. */
static size_t count_turns(const struct bytecode *code, size_t at, size_t n)
{
    size_t turns = 0;

    while (turns < 2 && at > turns && code->at[at - turns - 1].kind == OP_SHUFFLE &&
           code->at[at - turns - 1].depth == code->at[at].depth)
        turns++;
    if (turns == 0 || n > 3)
        return 0;
    if (code->at[at - 1].arg)
        return code->at[at - 1].arg == (int)n ? 1 : 0;
    return n == turns + 1 ? turns : 0;
}

/* Where the values end that the row of `n` stores at `at` takes one by one from a display of the
 * same length; 0: it does not. */
static size_t values_end(const struct bytecode *code, size_t at, size_t n)
{
    const struct instruction *unpack = &code->at[at - 1], *build = &code->at[at - 2];
    size_t turns;

    if (n < 2 || at < 2)
        return 0;
    if (unpack->kind == OP_SHUFFLE && unpack->arg == (int)n &&
        code->at[at].depth == unpack->depth + (int)n - 1)
        return build->kind == OP_BUILD_TUPLE && build->arg == (int)n ? at - 2 : 0;
    turns = count_turns(code, at, n);
    return turns ? at - turns : 0;
}

/* The item of the constant tuple that the row of stores unpacks, or NULL. */
static PyObject *unpacked_constant(const struct bytecode *code, size_t at, size_t n, size_t index)
{
    PyObject *tuple = at >= 2 ? code->at[at - 2].value : NULL;

    if (n < 2 || !tuple || code->at[at - 2].kind != OP_LOAD_CONST ||
        type_of(tuple) != &PyTuple_Type || PyTuple_Size(tuple) != (Py_ssize_t)n ||
        code->at[at - 1].kind != OP_SHUFFLE || code->at[at - 1].arg != (int)n ||
        code->at[at].depth != code->at[at - 1].depth + (int)n - 1)
        return NULL;
    return PyTuple_GetItem(tuple, (Py_ssize_t)index);
}

/* Finds the value of binding->store if it is one of several in one statement. */
static bool find_paired(const struct bytecode *code, struct binding *binding)
{
    size_t n, at = first_of_row(code, binding->store, &n), index = binding->store - at;
    size_t end = values_end(code, at, n), first;

    binding->constant = unpacked_constant(code, at, n, index);
    if (binding->constant) {
        binding->kind = BINDS_CONSTANT;
        binding->first = at - 2;
        binding->n = 1;
        return true;
    }
    if (!end)
        return false;
    for (size_t i = n; i-- > index; end = first) {
        int depth = code->at[at].depth - (int)(n - i);

        first = start_at_depth(code, end - 1, depth);
        first = extend_over_jumps(code, first, end);
        if (code->at[first].depth != depth)
            return false;
        binding->first = first;
        binding->n = end - first;
    }
    return true;
}

static bool is_code(PyObject *object)
{
    return object && type_of(object) == &PyCode_Type;
}

/* The code object whose function is made last in the range, or NULL; 3.12+ wraps classes and
 * functions with type parameters into a function of their own. */
static PyObject *made_function(const struct bytecode *code, size_t first, size_t last)
{
    PyObject *found = NULL;

    for (size_t i = first; i < last; i++) {
        if (is_code(code->at[i].value))
            found = code->at[i].value;
    }
    return found;
}

static size_t count_kind(const struct bytecode *code, size_t first, size_t last, enum op_kind kind)
{
    size_t n = 0;

    for (size_t i = first; i < last; i++)
        n += code->at[i].kind == kind;
    return n;
}

static PyObject *code_name(PyObject *code)
{
    return code_attribute(code, "co_name");
}

static bool code_is_named(PyObject *code, PyObject *name)
{
    PyObject *own = code_name(code);
    bool same = own && PyUnicode_Compare(own, name) == 0;

    Py_DecRef(own);
    drop_error();
    return same;
}

static PyObject *nested_named(PyObject *code, PyObject *name);

/* `code`, or what it wraps for the sake of type parameters, if it is called `name`. */
static PyObject *unwrap_generic(PyObject *code, PyObject *name)
{
    PyObject *own = code_name(code), *inner = NULL;
    const char *text = own ? PyUnicode_AsUTF8(own) : NULL;

    if (text && strncmp(text, "<generic parameters of ", 23) == 0)
        inner = nested_named(code, name);
    else if (own && code_is_named(code, name))
        inner = code;
    Py_DecRef(own);
    drop_error();
    return inner;
}

/* The last code object called `name` among the constants: borrowed, or NULL. */
static PyObject *nested_named(PyObject *code, PyObject *name)
{
    PyObject *consts = code_attribute(code, "co_consts"), *found = NULL;

    for (Py_ssize_t i = 0; consts && i < PyTuple_Size(consts); i++) {
        PyObject *nested = PyTuple_GetItem(consts, i);

        if (is_code(nested)) {
            nested = unwrap_generic(nested, name);
            found = nested ? nested : found;
        }
    }
    Py_DecRef(consts);
    drop_error();
    return found;
}

/* Is every instruction of the range a load, so that the name is but another one for an object
 * that exists? */
static bool is_alias(const struct bytecode *code, size_t first, size_t last)
{
    if (first == last || code->at[first].kind != OP_LOAD_NAME)
        return false;
    for (size_t i = first + 1; i < last; i++) {
        if (code->at[i].kind != OP_LOAD_ATTR)
            return false;
    }
    return true;
}

/* {}, [], set(), dict(), list(), also as an argument of nothing else. */
static bool is_empty(const struct bytecode *code, size_t first, size_t last)
{
    static const char *const makers[] = {"set", "dict", "list"};
    const struct instruction *in = &code->at[first];

    if (last - first == 1)
        return (in->kind == OP_BUILD_LIST || in->kind == OP_BUILD_SET ||
                in->kind == OP_BUILD_MAP) &&
               in->arg == 0;
    if (count_kind(code, first, last, OP_LOAD_NAME) != 1 ||
        count_kind(code, first, last, OP_CALL) != 1 || code->at[last - 1].kind != OP_CALL ||
        code->at[last - 1].arg != 0)
        return false;
    for (size_t i = first; i < last; i++) {
        for (size_t k = 0; k < 3; k++) {
            if (code->at[i].name && str_is(code->at[i].name, makers[k]))
                return true;
        }
    }
    return false;
}

static void classify_made(const struct bytecode *code, struct binding *binding, size_t last)
{
    PyObject *made = made_function(code, binding->first, last);
    size_t calls = count_kind(code, binding->first, last, OP_CALL);
    bool is_class = count_kind(code, binding->first, last, OP_BUILD_CLASS) > 0;
    bool generic;

    made = made ? unwrap_generic(made, binding->name) : NULL;
    if (!made)
        return; /* a lambda, a function passed to a call: a value */
    generic = made != made_function(code, binding->first, last);
    binding->body = made;
    if (is_class)
        binding->kind = calls > 1 ? BINDS_DECORATED : BINDS_CLASS;
    else if (generic)
        binding->kind = calls > 1                 ? BINDS_DECORATED
                        : code_is_namespace(made) ? BINDS_CLASS
                                                  : BINDS_FUNCTION;
    else
        binding->kind = calls > 0 ? BINDS_DECORATED : BINDS_FUNCTION;
}

static void classify(const struct bytecode *code, struct binding *binding)
{
    size_t first = binding->first, last = first + binding->n;
    const struct instruction *in = &code->at[first];

    binding->kind = BINDS_VALUE;
    if (count_kind(code, first, last, OP_IMPORT_FROM) ||
        count_kind(code, first, last, OP_IMPORT_NAME))
        binding->kind = BINDS_IMPORT;
    else if (last - first == 1 && in->kind == OP_LOAD_CONST) {
        binding->kind = BINDS_CONSTANT;
        binding->constant = in->value;
    } else if (is_empty(code, first, last))
        binding->kind = BINDS_EMPTY;
    else if (is_alias(code, first, last))
        binding->kind = BINDS_ALIAS;
    else
        classify_made(code, binding, last);
}

/* Chains the bindings of each name, from the last to the first. */
static int index_bindings(struct body *body)
{
    body->first = PyDict_New();
    if (!body->first)
        return -1;
    for (size_t i = body->n; i-- > 0;) {
        struct binding *binding = &body->bindings[i];
        PyObject *later = dict_lookup(body->first, binding->name);
        PyObject *index = PyLong_FromSize_t(i);
        int status;

        binding->next = later ? PyLong_AsSsize_t(later) : -1;
        status = index ? PyDict_SetItem(body->first, binding->name, index) : -1;
        Py_DecRef(index);
        if (status < 0)
            return -1;
    }
    return 0;
}

int body_read(PyObject *code, struct body *body)
{
    size_t stores = 0;

    memset(body, 0, sizeof *body);
    if (bytecode_decode(code, &body->code) < 0)
        return -1;
    for (size_t i = 0; i < body->code.n; i++) {
        stores += body->code.at[i].kind == OP_STORE_NAME;
        body->star |= body->code.at[i].kind == OP_IMPORT_STAR;
    }
    body->bindings = calloc(stores + 1, sizeof *body->bindings);
    if (!body->bindings) {
        body_clear(body);
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < body->code.n; i++) {
        struct binding *binding = &body->bindings[body->n];

        if (body->code.at[i].kind != OP_STORE_NAME || !body->code.at[i].name)
            continue;
        binding->name = body->code.at[i].name;
        binding->store = i;
        if (!find_paired(&body->code, binding)) {
            binding->first = expression_start(&body->code, i);
            binding->n = i - binding->first;
        }
        if (!binding->constant)
            classify(&body->code, binding);
        body->n++;
    }
    if (index_bindings(body) == 0)
        return 0;
    body_clear(body);
    return -1;
}

void body_clear(struct body *body)
{
    free(body->bindings);
    Py_DecRef(body->first);
    bytecode_clear(&body->code);
    memset(body, 0, sizeof *body);
}

static const struct binding *first_binding(const struct body *body, PyObject *name)
{
    PyObject *index = dict_lookup(body->first, name);

    return index ? &body->bindings[PyLong_AsSsize_t(index)] : NULL;
}

static const struct binding *next_binding(const struct body *body, const struct binding *binding)
{
    return binding->next >= 0 ? &body->bindings[binding->next] : NULL;
}

const struct binding *body_binding(const struct body *body, PyObject *name)
{
    const struct binding *binding = first_binding(body, name), *next;

    while (binding && (next = next_binding(body, binding)))
        binding = next;
    return binding;
}

bool body_binds(const struct body *body, PyObject *name)
{
    return first_binding(body, name) != NULL;
}

size_t body_count(const struct body *body, PyObject *name)
{
    size_t n = 0;

    for (const struct binding *at = first_binding(body, name); at; at = next_binding(body, at))
        n++;
    return n;
}

bool binds_definition(const struct binding *binding)
{
    return binding && (binding->kind == BINDS_FUNCTION || binding->kind == BINDS_CLASS ||
                       binding->kind == BINDS_DECORATED);
}

bool body_always_constant(const struct body *body, PyObject *name)
{
    for (const struct binding *at = first_binding(body, name); at; at = next_binding(body, at)) {
        if (at->kind != BINDS_CONSTANT)
            return false;
    }
    return body_binds(body, name);
}

int body_same(const struct body *old, const struct body *new_, PyObject *name)
{
    return body_same_but_lambdas(old, new_, name, NULL);
}

int body_same_but_lambdas(const struct body *old, const struct body *new_, PyObject *name,
                          PyObject *lambdas)
{
    const struct binding *a = first_binding(old, name), *b = first_binding(new_, name);
    int same;

    for (; a && b; a = next_binding(old, a), b = next_binding(new_, b)) {
        if (a->n != b->n)
            return 0;
        if (a->constant && b->constant)
            same = constant_same(a->constant, b->constant);
        else
            same = bytecode_same_but_lambdas(&old->code, a->first, &new_->code, b->first, a->n,
                                             lambdas);
        if (same != 1)
            return same;
    }
    return !a && !b;
}

PyObject *body_uses(const struct body *body, PyObject *name)
{
    PyObject *list = PyList_New(0);

    for (const struct binding *at = list ? first_binding(body, name) : NULL; at;
         at = next_binding(body, at)) {
        for (size_t i = at->first; i < at->first + at->n; i++) {
            const struct instruction *in = &body->code.at[i];

            if (in->kind == OP_LOAD_NAME && in->name && PyList_Append(list, in->name) < 0) {
                Py_DecRef(list);
                return NULL;
            }
        }
    }
    return list;
}

/* The last `name.attribute = ...`: the index of its STORE_ATTR, or -1. */
static ptrdiff_t attribute_store(const struct body *body, PyObject *name, PyObject *attribute)
{
    for (size_t i = body->code.n; i-- > 1;) {
        const struct instruction *in = &body->code.at[i], *object = &body->code.at[i - 1];

        if (in->kind == OP_STORE_ATTR && in->name && object->kind == OP_LOAD_NAME && object->name &&
            PyUnicode_Compare(in->name, attribute) == 0 &&
            PyUnicode_Compare(object->name, name) == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}

bool body_sets_attribute(const struct body *body, PyObject *name, PyObject *attribute)
{
    return attribute_store(body, name, attribute) >= 0;
}

int body_attribute_same(const struct body *old, const struct body *new_, PyObject *name,
                        PyObject *attribute)
{
    ptrdiff_t a = attribute_store(old, name, attribute);
    ptrdiff_t b = attribute_store(new_, name, attribute);
    size_t first_a, first_b;

    if (a < 0 || b < 0)
        return a < 0 && b < 0;
    /* The value is under the object on the stack. */
    first_a = start_at_depth(&old->code, a, old->code.at[a].depth - 2);
    first_b = start_at_depth(&new_->code, b, new_->code.at[b].depth - 2);
    if ((size_t)a - first_a != (size_t)b - first_b)
        return 0;
    return bytecode_same(&old->code, first_a, &new_->code, first_b, (size_t)a - first_a + 1);
}

/* `level` of an import is the constant that is loaded before the list of names. */
static long import_level(const struct body *body, size_t import)
{
    const struct instruction *in = import >= 2 ? &body->code.at[import - 2] : NULL;
    long level = 0;

    if (in && in->value && is_int(in->value))
        level = PyLong_AsLong(in->value);
    drop_error();
    return level < 0 ? 0 : level;
}

int body_imports(const struct body *body,
                 int (*visit)(void *arg, PyObject *module, long level, PyObject *name,
                              PyObject *alias),
                 void *arg)
{
    PyObject *module = NULL;
    long level = 0;
    int status = 0;

    for (size_t i = 0; i + 1 < body->code.n && !status; i++) {
        const struct instruction *in = &body->code.at[i], *next = in + 1;

        if (in->kind == OP_IMPORT_NAME) {
            module = in->name;
            level = import_level(body, i);
        } else if (in->kind == OP_IMPORT_STAR && module)
            status = visit(arg, module, level, NULL, NULL);
        else if (in->kind == OP_IMPORT_FROM && module && in->name && next->kind == OP_STORE_NAME &&
                 next->name)
            status = visit(arg, module, level, in->name, next->name);
    }
    return status;
}
