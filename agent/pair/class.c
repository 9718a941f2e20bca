/* Pairing classes: the class, its namespace, and what others did to the old one at run time.
 *
 * The new class belongs to nobody yet, so what stays is written into it at once, with
 * type.__setattr__ past any metaclass. */
#include "data.h"
#include "pairing.h"

/* Entries that belong to the class object itself or that its machinery makes anew. */
static bool is_machinery(PyObject *name)
{
    static const char *const names[] = {"_abc_impl",           "_field_defaults", "_fields",
                                        "_field_types",        "_use_args_",      "_is_protocol",
                                        "_is_runtime_protocol"};

    if (is_sunder(name) && !is_dunder(name))
        return true; /* enum's _member_map_ and the like */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (str_is(name, names[i]))
            return true;
    }
    return false;
}

/* type.__setattr__ on the new class, past any metaclass. */
static int set_on_class(PyObject *cls, PyObject *name, PyObject *value)
{
    return PyType_Type.tp_setattro(cls, name, value);
}

/* Made by C code together with the class: slots, __dict__, fields of a named tuple, of a ctypes
 * structure. */
static bool is_layout(PyObject *value)
{
    return type_of(value) == &PyMemberDescr_Type || type_of(value) == &PyGetSetDescr_Type ||
           is_exactly(value, "_collections", "_tuplegetter") || is_ctypes_field(value);
}

static int pair_entry_definition(const struct scope *scope, PyObject *name, PyObject *old,
                                 PyObject *new_)
{
    struct scope inner = *scope;
    int stays = stays_replaced(scope, name, old, new_), same = 0;

    if (stays)
        return stays < 0 ? -1 : set_on_class(scope->cls, name, old);
    if (scope->old && scope->new_ && (same = body_same(scope->old, scope->new_, name)) < 0)
        return -1;
    inner.name = name;
    inner.unchanged = same == 1;
    return is_made_as_definition(scope, name, old) ? pair_values(&inner, old, new_) : 0;
}

static int note(const struct scope *scope, PyObject *list, PyObject *name)
{
    PyObject *qualified = PyUnicode_FromFormat("%U.%U", scope->qualname, name);
    int status = qualified ? PyList_Append(list, qualified) : -1;

    Py_DecRef(qualified);
    return status;
}

static int pair_entry_data(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    int fate;

    if (is_dunder(name))
        return 0;
    fate = data_fate(scope, name, old, new_);
    if (fate < 0 || same_value(old, new_))
        return fate < 0 ? -1 : 0;
    if (fate == DATA_KEEP) {
        if (data_keep(scope, name, old, new_) < 0 || set_on_class(scope->cls, name, old) < 0)
            return -1;
        return note(scope, scope->module->kept, name);
    }
    if (data_take(scope, name, old, new_) < 0)
        return -1;
    return note(scope, scope->module->taken, name);
}

/* A member of an enum: paired by pair_members. */
static bool is_member(PyObject *cls, PyObject *name)
{
    PyObject *map = dict_get(class_dict(cls), "_member_map_");

    return map && is_dict(map) && dict_lookup(map, name);
}

static int pair_entry(const struct scope *scope, PyObject *name, PyObject *old, PyObject *new_)
{
    const struct binding *binding = scope->new_ ? body_binding(scope->new_, name) : NULL;
    int added;

    if (old == new_)
        return 0;
    if (is_layout(old) || is_layout(new_)) {
        added = type_of(old) == type_of(new_) && is_layout(old)
                    ? pairing_add(scope->pairing, old, new_)
                    : 0;
        return added < 0 ? -1 : 0;
    }
    if (is_machinery(name) || is_member(scope->cls, name))
        return 0;
    if (binding && binding->kind == BINDS_IMPORT)
        return 0;
    if (is_definition(scope->pairing, new_) || binds_definition(binding))
        return pair_entry_definition(scope, name, old, new_);
    return pair_entry_data(scope, name, old, new_);
}

/* --- what only the old class has */

/* A function of the modules that the new source does not have any more, or what holds one. */
static bool is_gone_definition(const struct scope *scope, PyObject *value)
{
    return is_definition(scope->pairing, value) && !remap_get(scope->pairing->remap, value) &&
           (!is_ours(scope->pairing, value) || type_of(value) == &PyFunction_Type ||
            is_type(value));
}

/* Was it put on the class at run time, by others than its source? */
static bool is_set_at_run_time(const struct scope *scope, PyObject *old_class, PyObject *name,
                               PyObject *value)
{
    if (is_dunder(name) || is_machinery(name) || is_layout(value))
        return false;
    if ((PyObject *)type_of(value) == old_class)
        return !dict_get(class_dict(old_class), "_member_map_"); /* not an enum's member */
    if (scope->old)
        return !body_binds(scope->old, name) && !is_gone_definition(scope, value);
    return !is_gone_definition(scope, value);
}

static int carry_over(const struct scope *scope, PyObject *old_class)
{
    PyObject *copy = PyDict_Copy(class_dict(old_class)), *name, *value;
    Py_ssize_t at = 0;
    int status = copy ? 0 : -1;

    while (status == 0 && PyDict_Next(copy, &at, &name, &value)) {
        if (is_str(name) && !dict_lookup(class_dict(scope->cls), name) &&
            is_set_at_run_time(scope, old_class, name, value))
            status = set_on_class(scope->cls, name, value);
    }
    Py_DecRef(copy);
    return status;
}

/* --- enums */

static PyObject *enum_map(PyObject *cls, const char *name)
{
    PyObject *map = dict_get(class_dict(cls), name);

    return map && is_dict(map) ? map : NULL;
}

static int pair_members(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *old_map = enum_map(old, "_member_map_"), *new_map = enum_map(new_, "_member_map_");
    PyObject *name, *member;
    Py_ssize_t at = 0;

    if (!old_map || !new_map)
        return 0;
    while (PyDict_Next(old_map, &at, &name, &member)) {
        PyObject *there = dict_lookup(new_map, name);

        if (there && pairing_add(pairing, member, there) < 0)
            return -1;
    }
    return 0;
}

/* The member's number, or 0: none, or one that is no flag's. */
static long flag_of(PyObject *member)
{
    PyObject *attributes = instance_dict(member);
    PyObject *value = attributes ? dict_get(attributes, "_value_") : NULL;
    long number = value && type_of(value) == &PyLong_Type ? PyLong_AsLong(value) : 0;

    Py_DecRef(attributes);
    drop_error();
    return number > 0 ? number : 0;
}

/* What a combination of members is now that those of these names have other numbers: `value` if it
 * is not made of such members alone. */
static long combined_now(PyObject *old_map, PyObject *new_map, long value)
{
    PyObject *name, *member;
    Py_ssize_t at = 0;
    long rest = value, now = 0;

    while (value > 0 && PyDict_Next(old_map, &at, &name, &member)) {
        PyObject *there = dict_lookup(new_map, name);
        long flag = flag_of(member);

        if (!(flag & value) || flag & (flag - 1))
            continue;
        if (!there || !flag_of(there))
            return value;
        rest &= ~flag;
        now |= flag_of(there);
    }
    return rest || value <= 0 ? value : now;
}

/* At the commit the combination gets that number.  Its class is another one then, so it may not
 * keep its complement either (3.11+). */
static int renumber(struct pairing *pairing, PyObject *member, PyObject *value)
{
    PyObject *attributes = instance_dict(member);
    PyObject *names[] = {PyUnicode_InternFromString("_value_"),
                         PyUnicode_InternFromString("_inverted_")};
    int status = attributes && names[0] && names[1] ? 0 : -1;

    if (status == 0)
        status = pairing_set(pairing, attributes, names[0], value);
    if (status == 0 && dict_lookup(attributes, names[1]))
        status = pairing_set(pairing, attributes, names[1], NULL);
    Py_DecRef(names[0]);
    Py_DecRef(names[1]);
    Py_DecRef(attributes);
    return status;
}

/* One combination of flags that the new class has under `value`, or gets, if it can become its
 * instance; else the class makes its own when it is used. */
static int pair_pseudo_member(struct pairing *pairing, PyObject *member, PyObject *value,
                              PyObject *new_map, bool fits)
{
    PyObject *there = dict_lookup(new_map, value);

    if (there)
        return pairing_add(pairing, member, there) < 0 ? -1 : 0;
    if (!fits)
        return 0;
    return PyDict_SetItem(new_map, value, member) < 0 ? -1 : renumber(pairing, member, value);
}

/* Members that are no names of the source: combinations of flags, made when first used.  They
 * are what their members are; one that is an int keeps its number. */
static int pair_pseudo_members(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    PyObject *old_map = enum_map(old, "_value2member_map_"), *old_names;
    PyObject *new_map = enum_map(new_, "_value2member_map_"), *new_names;
    PyObject *value, *member;
    Py_ssize_t at = 0;
    bool numbers = PyType_IsSubtype((PyTypeObject *)old, &PyLong_Type);
    bool fit =
        numbers == !!PyType_IsSubtype((PyTypeObject *)new_, &PyLong_Type) &&
        (!dict_get(class_dict(new_), "_boundary_") || dict_get(class_dict(new_), "_flag_mask_"));

    old_names = enum_map(old, "_member_map_");
    new_names = enum_map(new_, "_member_map_");
    if (!old_map || !new_map || !old_names || !new_names)
        return 0;
    while (PyDict_Next(old_map, &at, &value, &member)) {
        long was, is;
        PyObject *now;
        int status;

        if (type_of(value) != &PyLong_Type || remap_get(pairing->remap, member))
            continue;
        was = PyLong_AsLong(value);
        drop_error();
        is = numbers ? was : combined_now(old_names, new_names, was);
        if (is == was)
            Py_IncRef(now = value);
        else
            now = PyLong_FromLong(is);
        status = now ? pair_pseudo_member(pairing, member, now, new_map, fit) : -1;
        Py_DecRef(now);
        if (status < 0)
            return -1;
    }
    return 0;
}

/* --- the class */

static int pair_namespace(const struct scope *scope, PyObject *old)
{
    PyObject *copy = PyDict_Copy(class_dict(scope->cls)), *name, *new_;
    Py_ssize_t at = 0;
    int status = copy ? 0 : -1;

    while (status == 0 && PyDict_Next(copy, &at, &name, &new_)) {
        PyObject *before = is_str(name) ? dict_lookup(class_dict(old), name) : NULL;

        if (before)
            status = pair_entry(scope, name, before, new_);
    }
    Py_DecRef(copy);
    return status < 0 ? -1 : carry_over(scope, old);
}

static int read_class_body(PyObject *code, struct body *body)
{
    return code ? body_read(code, body) : 0;
}

static int pair_class_scope(struct scope *scope, PyObject *old, const struct module_pair *from)
{
    struct pairing *pairing = scope->pairing;
    struct body old_body = {0}, new_body = {0};
    PyObject *old_code =
        class_body_at(pairing->places[from - pairing->modules].old, scope->qualname);
    PyObject *new_code =
        class_body_at(pairing->places[scope->module - pairing->modules].new_, scope->qualname);
    int status = read_class_body(old_code, &old_body);

    if (status == 0)
        status = read_class_body(new_code, &new_body);
    scope->old = old_code ? &old_body : NULL;
    scope->new_ = new_code ? &new_body : NULL;
    if (status == 0)
        status = pair_namespace(scope, old);
    body_clear(&old_body);
    body_clear(&new_body);
    return status;
}

int pair_classes(struct pairing *pairing, PyObject *old, PyObject *new_)
{
    struct module_pair *from = pairing_module(pairing, old);
    struct module_pair *module = pairing_module(pairing, new_);
    struct scope outer = {.pairing = pairing, .module = module};
    struct scope scope = {.pairing = pairing, .module = module, .outer = &outer, .cls = new_};
    int added, status;

    if (!from || !module)
        return 0;
    added = pairing_add(pairing, old, new_);
    if (added <= 0)
        return added;
    pairing_counts(module)->classes++;
    outer.old = module->old_code ? &pairing->old_bodies[module - pairing->modules] : NULL;
    outer.new_ = &pairing->new_bodies[module - pairing->modules];
    scope.qualname = builtin_attribute(new_, &PyType_Type, "__qualname__");
    if (!scope.qualname)
        return 0;
    if (pair_type_parameters(&scope, old, new_) < 0 || pair_members(pairing, old, new_) < 0 ||
        pair_pseudo_members(pairing, old, new_) < 0 || pair_abc(pairing, old, new_) < 0)
        status = -1;
    else
        status = pair_class_scope(&scope, old, from);
    Py_DecRef(scope.qualname);
    return status;
}
