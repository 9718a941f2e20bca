/* What two displays of one container say of its parts (literal.h). */
#include "literal.h"

#include "data.h"

#include "source/display.h"

struct literal {
    const struct scope *scope;
    struct display old, new_;
};

static const struct display_node *part(const struct display *display, ptrdiff_t index)
{
    return index < 0 ? NULL : &display->nodes[index];
}

static PyObject *attribute_of(PyObject *object, PyObject *name)
{
    PyObject *members;

    if (type_of(object) == &PyModule_Type && is_module(object))
        return dict_lookup(PyModule_GetDict(object), name);
    if (!is_type(object))
        return NULL;
    members = dict_get(class_dict(object), "_member_map_");
    if (members && is_dict(members) && dict_lookup(members, name))
        return dict_lookup(members, name);
    return class_dict(object) ? dict_lookup(class_dict(object), name) : NULL;
}

/* What a name, or attributes of one, stand for in a module's dict: borrowed, or NULL. */
static PyObject *value_in(const struct display *display, const struct display_node *node,
                          PyObject *dict)
{
    PyObject *value = NULL;

    for (size_t i = node->first; i < node->first + node->n; i++) {
        PyObject *name = display->body->code.at[i].name;

        if (!name)
            return NULL;
        value = i == node->first ? dict_lookup(dict, name) : attribute_of(value, name);
        if (!value)
            return NULL;
    }
    return value;
}

/* The object that a part of the old display made, where that can be told: borrowed, or NULL. */
static PyObject *old_value(const struct literal *literal, const struct display_node *node)
{
    if (node->kind == DISPLAY_CONSTANT)
        return node->value;
    return node->kind == DISPLAY_NAME
               ? value_in(&literal->old, node, literal->scope->module->old_dict)
               : NULL;
}

/* The same of the new display; definitions as the old objects that they replace. */
static PyObject *new_value(const struct literal *literal, const struct display_node *node)
{
    PyObject *value, *before;

    if (node->kind == DISPLAY_CONSTANT)
        return node->value;
    if (node->kind != DISPLAY_NAME)
        return NULL;
    value = value_in(&literal->new_, node, literal->scope->module->new_dict);
    if (!value || is_immutable(value))
        return value;
    before = value_in(&literal->new_, node, literal->scope->module->old_dict);
    return before ? before : value;
}

/* Are the parts made in the same way?  1, 0, -1. */
static int parts_same(const struct literal *literal, const struct display_node *old,
                      const struct display_node *new_)
{
    const struct bytecode *code = &literal->new_.body->code;
    PyObject *lambdas;
    int same;

    if (old->kind != new_->kind)
        return 0;
    if (old->kind == DISPLAY_CONSTANT)
        return constant_same(old->value, new_->value);
    if (old->n != new_->n)
        return 0;
    lambdas = PyList_New(0);
    same = lambdas ? bytecode_same_but_lambdas(&literal->old.body->code, old->first, code,
                                               new_->first, new_->n, lambdas)
                   : -1;
    if (same == 1)
        same = lambdas_are_kept(literal->scope->pairing, lambdas);
    for (size_t i = new_->first; same == 1 && i < new_->first + new_->n; i++) {
        if (code->at[i].kind == OP_LOAD_NAME && code->at[i].name)
            same = data_unchanged(literal->scope, code->at[i].name);
    }
    Py_DecRef(lambdas);
    return same;
}

static int set_state(PyObject *states, PyObject *key, enum literal_state state)
{
    PyObject *number = PyLong_FromLong(state);
    int status = number ? PyDict_SetItem(states, key, number) : -1;

    Py_DecRef(number);
    return status;
}

static PyObject *describe(const struct literal *, ptrdiff_t old, ptrdiff_t new_, PyObject *live,
                          PyObject *made);

static bool is_lambda(PyObject *object)
{
    PyObject *name = type_of(object) == &PyFunction_Type
                         ? code_attribute(PyFunction_GetCode(object), "co_name")
                         : NULL;
    bool is = name && str_is(name, "<lambda>");

    drop_error();
    Py_DecRef(name);
    return is;
}

/* Does the part end in making the function's code?  1, 0, or -1 with an exception. */
static int makes(const struct display *display, const struct display_node *node, PyObject *function)
{
    for (size_t i = node->first; i < node->first + node->n; i++) {
        PyObject *value = display->body->code.at[i].value;

        int same = value && type_of(value) == &PyCode_Type
                       ? program_same(value, PyFunction_GetCode(function))
                       : 0;

        if (same != 0)
            return same;
    }
    return 0;
}

/* Lambdas at the same place are one, wherever they are in the source. */
static int pair_lambdas(const struct literal *literal, const struct display_node *old,
                        PyObject *live, PyObject *made)
{
    int ours;

    if (!live || !made || !is_lambda(live) || !is_lambda(made) ||
        !is_ours(literal->scope->pairing, live))
        return 0;
    ours = makes(&literal->old, old, live);
    return ours == 1 ? pair_values(literal->scope, live, made) : ours;
}

/* One part of a dict: `key` is the one of the old display. */
static int describe_value(const struct literal *literal, PyObject *states, PyObject *key,
                          ptrdiff_t old, ptrdiff_t new_, PyObject *live, PyObject *made)
{
    const struct display_node *a = part(&literal->old, old), *b = part(&literal->new_, new_);
    PyObject *inner;
    int same = a ? parts_same(literal, a, b) : 0, status;

    if (same < 0 || (a && pair_lambdas(literal, a, live, made) < 0))
        return -1;
    if (!a || same == 1 || !live || !made || a->kind < DISPLAY_LIST || a->kind != b->kind)
        return set_state(states, key,
                         !same                         ? STATE_OTHER
                         : b->kind == DISPLAY_CONSTANT ? STATE_SAME
                                                       : STATE_COMPUTED);
    inner = describe(literal, old, new_, live, made);
    if (!inner)
        return PyErr_Occurred() ? -1 : set_state(states, key, STATE_OTHER);
    status = PyDict_SetItem(states, key, inner);
    Py_DecRef(inner);
    return status;
}

/* The index of the value of `key` in the old display, or -1. */
static ptrdiff_t find_key(const struct literal *literal, const struct display_node *dict,
                          PyObject *key)
{
    ptrdiff_t found = -1;

    for (ptrdiff_t k = dict->parts; k >= 0;) {
        const struct display_node *node = part(&literal->old, k);
        PyObject *value = old_value(literal, node);

        if (value && (value == key || same_value(value, key)))
            found = node->next;
        k = part(&literal->old, node->next)->next;
    }
    return found;
}

static int describe_old_keys(const struct literal *literal, const struct display_node *old,
                             PyObject *states)
{
    for (ptrdiff_t k = old->parts; k >= 0;) {
        const struct display_node *node = part(&literal->old, k);
        PyObject *key = old_value(literal, node);

        if (!key || !is_plain_key(key))
            return 0;
        if (set_state(states, key, STATE_GONE) < 0)
            return -1;
        k = part(&literal->old, node->next)->next;
    }
    return 1;
}

static PyObject *made_value(const struct literal *literal, PyObject *made,
                            const struct display_node *key, PyObject *before)
{
    PyObject *now = key->kind == DISPLAY_NAME
                        ? value_in(&literal->new_, key, literal->scope->module->new_dict)
                        : before;

    return now && is_plain_key(now) ? dict_lookup(made, now) : NULL;
}

static int describe_dict(const struct literal *literal, const struct display_node *old,
                         const struct display_node *new_, PyObject *states, PyObject *live,
                         PyObject *made)
{
    int status = describe_old_keys(literal, old, states);

    for (ptrdiff_t k = new_->parts; status == 1 && k >= 0;) {
        const struct display_node *node = part(&literal->new_, k);
        PyObject *key = new_value(literal, node);

        if (!key || !is_plain_key(key))
            return 0;
        if (describe_value(literal, states, key, find_key(literal, old, key), node->next,
                           dict_lookup(live, key), made_value(literal, made, node, key)) < 0)
            return -1;
        k = part(&literal->new_, node->next)->next;
    }
    return status;
}

static int describe_set(const struct literal *literal, const struct display_node *old,
                        const struct display_node *new_, PyObject *states)
{
    for (ptrdiff_t i = old->parts; i >= 0; i = part(&literal->old, i)->next) {
        PyObject *element = old_value(literal, part(&literal->old, i));

        if (!element || !is_plain_key(element))
            return 0;
        if (set_state(states, element, STATE_GONE) < 0)
            return -1;
    }
    for (ptrdiff_t i = new_->parts; i >= 0; i = part(&literal->new_, i)->next) {
        PyObject *element = new_value(literal, part(&literal->new_, i));

        if (!element || !is_plain_key(element))
            return 0;
        if (set_state(states, element, dict_lookup(states, element) ? STATE_SAME : STATE_OTHER) < 0)
            return -1;
    }
    return 1;
}

/* Can the part have made the element? */
static bool may_have_made(const struct literal *literal, const struct display_node *node,
                          PyObject *element)
{
    PyObject *value = old_value(literal, node);

    if (value)
        return value == element || same_value(value, element);
    if (node->kind == DISPLAY_LIST)
        return is_list(element);
    if (node->kind == DISPLAY_DICT)
        return is_dict(element);
    if (is_lambda(element))
        return makes(&literal->old, node, element);
    return node->kind == DISPLAY_OTHER && !is_immutable(element);
}

/* Where in the live list the parts of the old display are, all together: index, or -1. */
static Py_ssize_t find_parts(const struct literal *literal, const struct display_node *old,
                             PyObject *live, Py_ssize_t n)
{
    for (Py_ssize_t at = 0; at + n <= PyList_Size(live); at++) {
        ptrdiff_t i = old->parts;
        Py_ssize_t k = at;

        for (; i >= 0; i = part(&literal->old, i)->next, k++) {
            if (!may_have_made(literal, part(&literal->old, i), PyList_GetItem(live, k)))
                break;
        }
        if (i < 0)
            return at;
    }
    return -1;
}

static Py_ssize_t count_parts(const struct display *display, const struct display_node *node)
{
    Py_ssize_t n = 0;

    for (ptrdiff_t i = node->parts; i >= 0; i = part(display, i)->next)
        n++;
    return n;
}

static bool holds_number(PyObject *list, Py_ssize_t number)
{
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        if (PyLong_AsSsize_t(PyList_GetItem(list, i)) == number)
            return true;
    }
    return false;
}

/* The index of the part of the old list that is the same, and not in `taken` yet; -1; -2: error. */
static Py_ssize_t same_part(const struct literal *literal, const struct display_node *old,
                            const struct display_node *node, PyObject *taken)
{
    Py_ssize_t k = 0;

    for (ptrdiff_t i = old->parts; i >= 0; i = part(&literal->old, i)->next, k++) {
        int same = holds_number(taken, k) ? 0 : parts_same(literal, part(&literal->old, i), node);

        if (same)
            return same < 0 ? -2 : k;
    }
    return -1;
}

static PyObject *describe_list(const struct literal *literal, const struct display_node *old,
                               const struct display_node *new_, PyObject *live)
{
    Py_ssize_t n = count_parts(&literal->old, old), at = find_parts(literal, old, live, n);
    PyObject *matches = at >= 0 ? PyList_New(0) : NULL, *description = NULL;
    int status = matches ? 0 : -1;

    for (ptrdiff_t i = new_->parts; status == 0 && i >= 0; i = part(&literal->new_, i)->next) {
        Py_ssize_t k = same_part(literal, old, part(&literal->new_, i), matches);
        PyObject *number = k >= -1 ? PyLong_FromSsize_t(k) : NULL;

        status = number ? PyList_Append(matches, number) : -1;
        Py_DecRef(number);
    }
    if (status == 0)
        description = Py_BuildValue("nnO", at, n, matches);
    Py_DecRef(matches);
    return description;
}

/* New reference; NULL without an exception: not known. */
static PyObject *describe(const struct literal *literal, ptrdiff_t old, ptrdiff_t new_,
                          PyObject *live, PyObject *made)
{
    const struct display_node *a = part(&literal->old, old), *b = part(&literal->new_, new_);
    PyObject *states;
    int status = 0;

    if (a->kind != b->kind || type_of(live) != type_of(made))
        return NULL;
    if (a->kind == DISPLAY_LIST && type_of(live) == &PyList_Type)
        return describe_list(literal, a, b, live);
    states = PyDict_New();
    if (!states)
        return NULL;
    if (a->kind == DISPLAY_DICT && type_of(live) == &PyDict_Type)
        status = describe_dict(literal, a, b, states, live, made);
    else if (a->kind == DISPLAY_SET && type_of(live) == &PySet_Type)
        status = describe_set(literal, a, b, states);
    if (status == 1)
        return states;
    Py_DecRef(states);
    return NULL;
}

int literal_note(const struct scope *scope, PyObject *name, PyObject *live, PyObject *made)
{
    const struct binding *a = scope->old ? body_binding(scope->old, name) : NULL;
    const struct binding *b = scope->new_ ? body_binding(scope->new_, name) : NULL;
    struct literal literal = {.scope = scope};
    PyObject *description = NULL, *entry;
    int status;

    if (!a || !b)
        return 0;
    status = display_read(scope->old, a, &literal.old);
    if (status == 1)
        status = display_read(scope->new_, b, &literal.new_);
    if (status == 1) {
        description = describe(&literal, literal.old.root, literal.new_.root, live, made);
        status = !description && PyErr_Occurred() ? -1 : 0;
    }
    display_clear(&literal.old);
    display_clear(&literal.new_);
    if (!description)
        return status;
    entry = PyTuple_Pack(3, live, made, description);
    status = entry ? PyList_Append(scope->pairing->literals, entry) : -1;
    Py_DecRef(entry);
    Py_DecRef(description);
    return status;
}
