/* Bases that the program gave a class at run time, with `Class.__bases__ = ...`: they stay, as
 * attributes do, unless the class statement names other bases now.
 *
 * The new class belongs to nobody yet, so it gets them at once, by type's own setter: that makes
 * the MRO right, and does not call __init_subclass__. */
#include <string.h>

#include "cpython/descr.h"
#include "data.h"
#include "pairing.h"

/* What the class statement says of the bases: the instructions behind its body's code. */
struct arguments {
    struct bytecode
        own; /* of a class with type parameters, whose bases stand in code of their own */
    const struct bytecode *code; /* NULL: there is no such statement */
    size_t first, n;
};

static bool find_body(const struct bytecode *code, size_t first, size_t end, PyObject *body,
                      struct arguments *found)
{
    for (size_t i = first; i < end; i++) {
        if (code->at[i].value == body) {
            *found = (struct arguments){found->own, code, i + 1, end - i - 1};
            return true;
        }
    }
    return false;
}

static int find_arguments(const struct body *body, PyObject *name, struct arguments *found)
{
    const struct binding *binding = body_binding(body, name);
    size_t end = binding ? binding->first + binding->n : 0;

    *found = (struct arguments){.code = NULL};
    if (!binds_definition(binding) || !code_is_namespace(binding->body) ||
        find_body(&body->code, binding->first, end, binding->body, found))
        return 0;
    for (size_t i = binding->first; i < end && !found->code; i++) {
        PyObject *value = body->code.at[i].value;

        if (!value || type_of(value) != &PyCode_Type)
            continue;
        bytecode_clear(&found->own);
        if (bytecode_decode(value, &found->own) < 0)
            return -1;
        find_body(&found->own, 0, found->own.n, binding->body, found);
    }
    return 0;
}

/* --- the same class, made again */

static bool contains(PyObject *bases, const PyObject *class)
{
    for (Py_ssize_t i = 0; i < PyTuple_Size(bases); i++) {
        if (PyTuple_GetItem(bases, i) == class)
            return true;
    }
    return false;
}

/* Classes that a call in the class statement makes each time, as namedtuple does, are no pair. */
static bool is_made_again(PyObject *old, PyObject *new_)
{
    PyObject *a, *b;

    if (!is_heap_class(old) || !is_heap_class(new_) ||
        strcmp(((PyTypeObject *)old)->tp_name, ((PyTypeObject *)new_)->tp_name) != 0)
        return false;
    a = dict_get(class_dict(old), "__module__");
    b = dict_get(class_dict(new_), "__module__");
    return a && b && is_str(a) && is_str(b) && PyUnicode_Compare(a, b) == 0;
}

/* What an old base is among the new ones, or else. */
static PyObject *base_now(const struct pairing *pairing, PyObject *base, PyObject *old_bases,
                          PyObject *new_bases)
{
    PyObject *now = pairing_final(pairing, base);

    if (now != base || contains(new_bases, base))
        return now;
    for (Py_ssize_t i = 0; i < PyTuple_Size(new_bases); i++) {
        PyObject *other = PyTuple_GetItem(new_bases, i);

        if (is_made_again(base, other) && !contains(old_bases, other))
            return other;
    }
    return base;
}

static PyObject *bases_now(const struct pairing *pairing, PyObject *old_bases, PyObject *new_bases)
{
    Py_ssize_t n = PyTuple_Size(old_bases);
    PyObject *bases = PyTuple_New(n);

    for (Py_ssize_t i = 0; bases && i < n; i++) {
        PyObject *base = base_now(pairing, PyTuple_GetItem(old_bases, i), old_bases, new_bases);

        Py_IncRef(base);
        PyTuple_SetItem(bases, i, base);
    }
    return bases;
}

static bool are_same(PyObject *a, PyObject *b)
{
    if (PyTuple_Size(a) != PyTuple_Size(b))
        return false;
    for (Py_ssize_t i = 0; i < PyTuple_Size(a); i++) {
        if (PyTuple_GetItem(a, i) != PyTuple_GetItem(b, i))
            return false;
    }
    return true;
}

/* --- what the sources say */

/* Does the name mean the same as before? */
static int means_the_same(const struct scope *scope, PyObject *name)
{
    PyObject *old = dict_lookup(scope->module->old_dict, name);
    PyObject *new_ = dict_lookup(scope->module->new_dict, name);

    if (old && new_ && is_type(old) && is_type(new_))
        return pairing_final(scope->pairing, old) == new_ || is_made_again(old, new_);
    return data_unchanged(scope, name);
}

/* Does the class statement give the same bases as before?  1, 0, -1. */
static int source_agrees(const struct scope *scope, PyObject *name)
{
    struct arguments old, new_ = {.code = NULL};
    int same = 0;

    if (!scope->old || !scope->new_)
        return 0;
    if (find_arguments(scope->old, name, &old) < 0 || find_arguments(scope->new_, name, &new_) < 0)
        same = -1;
    else if (old.code && new_.code && old.n == new_.n)
        same = bytecode_same(old.code, old.first, new_.code, new_.first, old.n);
    for (size_t i = 0; same == 1 && i < new_.n; i++) {
        const struct instruction *in = &new_.code->at[new_.first + i];

        if (in->kind == OP_LOAD_NAME && in->name)
            same = means_the_same(scope, in->name);
    }
    bytecode_clear(&old.own);
    bytecode_clear(&new_.own);
    return same;
}

/* Does the old class statement name the base? */
static bool names_base(const struct scope *scope, const struct arguments *arguments, PyObject *base)
{
    const char *dot = strrchr(((PyTypeObject *)base)->tp_name, '.');

    if (base == (PyObject *)&PyBaseObject_Type)
        return true;
    for (size_t i = 0; i < arguments->n; i++) {
        const struct instruction *in = &arguments->code->at[arguments->first + i];

        if (in->name && (str_is(in->name, dot ? dot + 1 : ((PyTypeObject *)base)->tp_name) ||
                         dict_lookup(scope->module->old_dict, in->name) == base))
            return true;
    }
    return false;
}

/* Had the old class bases that its source did not give it?  Not known: 0. */
static int had_others(const struct scope *scope, PyObject *name, PyObject *old_bases)
{
    struct arguments arguments;
    int found = 0;

    if (!scope->old)
        return 0;
    if (find_arguments(scope->old, name, &arguments) < 0)
        found = -1;
    for (Py_ssize_t i = 0; found == 0 && arguments.code && i < PyTuple_Size(old_bases); i++)
        found = !names_base(scope, &arguments, PyTuple_GetItem(old_bases, i));
    bytecode_clear(&arguments.own);
    return found;
}

/* --- one class */

/* A metaclass with an mro() of its own would run code of the program. */
static bool mro_is_plain(PyObject *class)
{
    PyObject *name = PyUnicode_InternFromString("mro");
    bool plain = name && _PyType_Lookup(type_of(class), name) == _PyType_Lookup(&PyType_Type, name);

    Py_DecRef(name);
    drop_error();
    return plain;
}

/* 1; 0: it cannot have them, as its layout or the MRO does not allow it; -1. */
static int set_bases(PyObject *class, PyObject *bases)
{
    PyObject *setter;
    int status;

    if (!mro_is_plain(class))
        return 0;
    setter = builtin_descr(&PyType_Type, "__bases__");
    status = setter ? descr_set(setter, class, bases) : -1;
    /* It passes over errors of its own (remove_subclass, update_all_slots). */
    if (status < 0 && !PyErr_Occurred())
        PyErr_NoMemory();
    return PyErr_Occurred() ? pass_over_error() : 1;
}

static int note(PyObject *list, PyObject *qualname)
{
    PyObject *text = PyUnicode_FromFormat("%U.__bases__", qualname);
    int status = text ? PyList_Append(list, text) : -1;

    Py_DecRef(text);
    return status;
}

static int settle(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    PyObject *old_bases = ((PyTypeObject *)old)->tp_bases;
    PyObject *new_bases = ((PyTypeObject *)new_)->tp_bases;
    PyObject *bases = bases_now(scope->pairing, old_bases, new_bases);
    int stays, others = 0;

    if (!bases || are_same(bases, new_bases)) {
        Py_DecRef(bases);
        return bases ? 0 : -1;
    }
    stays = source_agrees(scope, name);
    if (stays == 1)
        others = 1, stays = set_bases(new_, bases);
    else if (stays == 0)
        others = had_others(scope, name, old_bases);
    Py_DecRef(bases);
    if (stays < 0 || others < 0)
        return -1;
    if (stays)
        return note(scope->module->kept, scope->qualname);
    return others ? note(scope->module->taken, scope->qualname) : 0;
}

static int read_namespace(PyObject *places, PyObject *qualname, struct body *body,
                          const struct body **found)
{
    PyObject *code = class_body_at(places, qualname);

    *found = NULL;
    if (!code)
        return 0;
    *found = body;
    return body_read(code, body);
}

/* A class in the namespace of another, `outer`. */
static int settle_nested(const struct scope *module, PyObject *outer, PyObject *name, PyObject *old,
                         PyObject *new_, const struct module_pair *from)
{
    const struct pairing *pairing = module->pairing;
    struct body old_body = {0}, new_body = {0};
    struct scope scope = *module;
    int status;

    scope.outer = module;
    status =
        read_namespace(pairing->places[from - pairing->modules].old, outer, &old_body, &scope.old);
    if (status == 0)
        status = read_namespace(pairing->places[scope.module - pairing->modules].new_, outer,
                                &new_body, &scope.new_);
    if (status == 0)
        status = settle(&scope, name, old, new_);
    body_clear(&old_body);
    body_clear(&new_body);
    return status;
}

static int settle_class(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    struct module_pair *from = pairing_module(pairing, old);
    struct scope scope = {.pairing = pairing, .module = pairing_module(pairing, new_)};
    PyObject *qualname = builtin_attribute(new_, &PyType_Type, "__qualname__");
    Py_ssize_t size = qualname ? PyUnicode_GetLength(qualname) : 0, dot;
    PyObject *outer = NULL, *name = NULL;
    int status = -1;

    if (!from || !scope.module || !qualname) {
        Py_DecRef(qualname);
        return 0;
    }
    scope.old = from->old_code ? &pairing->old_bodies[from - pairing->modules] : NULL;
    scope.new_ = &pairing->new_bodies[scope.module - pairing->modules];
    scope.qualname = qualname;
    dot = PyUnicode_FindChar(qualname, '.', 0, size, -1);
    if (dot < 0) {
        status = settle(&scope, qualname, old, new_);
    } else {
        outer = PyUnicode_Substring(qualname, 0, dot);
        name = PyUnicode_Substring(qualname, dot + 1, size);
        if (outer && name)
            status = settle_nested(&scope, outer, name, old, new_, from);
    }
    Py_DecRef(outer);
    Py_DecRef(name);
    Py_DecRef(qualname);
    return status;
}

int keep_bases(struct pairing *pairing)
{
    PyObject *address, *old;
    Py_ssize_t at = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(pairing->origin, &at, &address, &old)) {
        PyObject *new_ = remap_get(pairing->remap, old);

        if (is_heap_class(old) && new_ && is_heap_class(new_))
            status = settle_class(pairing, old, new_);
    }
    return status;
}
