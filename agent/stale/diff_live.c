/* Comparing the live definitions of a module with its source, where nothing is known of the
 * source that was loaded (diff.h).  A false alarm is worse than a miss here: what may
 * have come about at run time is not reported. */
#include <string.h>

#include "code.h"
#include "cpython/exception_table.h"
#include "cpython/introspect.h"
#include "cpython/version.h"
#include "diff.h"
#include "live.h"
#include "names.h"
#include "source/initialiser.h"
#include "source/loaded.h"

struct live {
    PyObject *dict;         /* of the module; borrowed */
    PyObject *disk;         /* module code; borrowed */
    struct definitions old; /* of the live functions */
    struct definitions new_;
    struct comparison *comparison;
    struct comparison doubts; /* differences that may have come about at run time */
    PyObject *disk_codes;     /* set: all code in `disk` */
    PyObject *searched;       /* a list of codes, borrowed, and where the next is likely */
    Py_ssize_t next;
    bool set_at_run_time;   /* any name of the module may have been */
    bool taken_at_run_time; /* any name of the module may have been taken away */
};

/* --- functions */

/* Is one of `codes` (NULL: none) the same as `code`?  `moved` is set if none of those is on the
 * same lines.  A table of thousands of lambdas is met in the order of the source, more or less. */
static int find_same(struct live *live, PyObject *codes, PyObject *code, bool *moved)
{
    Py_ssize_t n = codes ? PyList_Size(codes) : 0, first = codes == live->searched ? live->next : 0;
    int exists = n ? PySet_Contains(live->disk_codes, code) : 0;
    bool found = false;

    for (Py_ssize_t i = first; exists >= 0 && i < first + n; i++) {
        bool lines = false;
        int same = stale_same_code(code, PyList_GetItem(codes, i % n), &lines);
        if (same < 0)
            return same;
        if (same) {
            live->searched = codes;
            live->next = i % n + 1;
        }
        if (same && !lines)
            return 1;
        found |= same;
        if (found && !exists)
            break;
    }
    *moved |= found;
    return exists < 0 ? -1 : found;
}

/* The path after its last slash.  New reference.  Not by way of UTF-8: what bytes of a path do not
 * decode to is in the str as lone surrogates. */
static PyObject *base_name(PyObject *path)
{
    Py_ssize_t length = PyUnicode_GetLength(path),
               slash = PyUnicode_FindChar(path, '/', 0, length, -1);

    return slash < -1 ? NULL : PyUnicode_Substring(path, slash + 1, length);
}

/* Code made by exec (dataclasses, namedtuple, attrs) is not of the source.  The path may be spelled
 * differently: `python3 script.py` runs "script.py". */
static int is_of_file(PyObject *code, PyObject *module_code)
{
    PyObject *a = PyObject_GetAttrString(code, "co_filename");
    PyObject *b = a ? PyObject_GetAttrString(module_code, "co_filename") : NULL;
    PyObject *x = b ? base_name(a) : NULL, *y = x ? base_name(b) : NULL;
    int result = -1;

    if (y)
        result = PyUnicode_FindChar(a, '<', 0, 1, 1) != 0 && PyUnicode_Compare(x, y) == 0;
    Py_DecRef(a);
    Py_DecRef(b);
    Py_DecRef(x);
    Py_DecRef(y);
    return result;
}

/* The name that the compiler gave the function; __qualname__ is often copied from another one
 * (functools.wraps), and code has its own from 3.11 on.  New reference. */
static PyObject *qualname_of(PyObject *function, PyObject *code)
{
    if (cpython_minor() >= 11)
        return PyObject_GetAttrString(code, "co_qualname");
    return str_printable(builtin_attribute(function, &PyFunction_Type, "__qualname__"));
}

static int read_functions(struct live *live)
{
    PyObject *functions = live_functions(live->dict);
    int result = functions ? definitions_init(&live->old) : -1;

    for (Py_ssize_t i = 0; result == 0 && i < PyList_Size(functions); i++) {
        PyObject *function = PyList_GetItem(functions, i), *code = PyFunction_GetCode(function);
        PyObject *name = qualname_of(function, code);
        int of_file = name ? is_of_file(code, live->disk) : -1;
        result = of_file > 0 ? definitions_add(&live->old, name, code) : of_file;
        Py_DecRef(name);
    }
    Py_DecRef(functions);
    return result;
}

/* 1 if the source has the definition: under this name, or anywhere else under the name that the
 * code has (functions renamed or made by a factory). */
static int is_in_source(struct live *live, PyObject *qualname, PyObject *code)
{
    PyObject *name = stale_code_name(code);
    bool elsewhere;
    int same = name ? find_same(live, dict_lookup(live->new_.by_qualname, qualname), code,
                                &live->comparison->lines_moved)
                    : -1;

    if (same == 0)
        same = find_same(live, dict_lookup(live->new_.by_name, name), code, &elsewhere);
    Py_DecRef(name);
    return same;
}

/* A lambda whose like the source does not have: its holder changed, whatever it is now. */
static int report_lambda(struct live *live, PyObject *qualname)
{
    PyObject *holder = definition_holder(qualname);
    int result = -1;

    if (!PyErr_Occurred())
        result = changes_add(live->comparison, holder ? holder : qualname, "changed",
                             holder ? "class" : "function");
    Py_DecRef(holder);
    return result;
}

/* A function that the source has no more: what went is the outermost of its holders that the
 * source does not have. */
static int report_removed(struct live *live, PyObject *qualname, PyObject *code, const char *kind)
{
    PyObject *name = stale_code_name(code), *holder;
    bool anonymous = name && stale_is_anonymous(name);
    int result;

    Py_DecRef(name);
    if (!name || anonymous)
        return name ? report_lambda(live, qualname) : -1;
    name = qualname;
    Py_IncRef(name);
    while (!definitions_hold(&live->new_, name) && (holder = definition_holder(name))) {
        const char *within = PyUnicode_AsUTF8(name);
        Py_ssize_t length =
            PyUnicode_AsUTF8(holder) ? (Py_ssize_t)strlen(PyUnicode_AsUTF8(holder)) : 0;
        kind = within && strncmp(within + length, ".<locals>", 9) == 0 ? "function" : "class";
        Py_DecRef(name);
        name = holder;
    }
    result = PyErr_Occurred() ? -1 : changes_add(live->comparison, name, "removed", kind);
    Py_DecRef(name);
    return result;
}

static int compare_functions(struct live *live)
{
    PyObject *name, *codes;
    Py_ssize_t position = 0;

    while (PyDict_Next(live->old.by_qualname, &position, &name, &codes)) {
        bool known = dict_lookup(live->new_.by_qualname, name) != NULL;
        int same = 1;
        PyObject *code = NULL;
        for (Py_ssize_t i = 0; same == 1 && i < PyList_Size(codes); i++) {
            code = PyList_GetItem(codes, i);
            same = stale_is_function(code);
            same = same == 1 ? is_in_source(live, name, code) : same < 0 ? -1 : 1;
        }
        if (same == 0) {
            const char *kind = definitions_kind(&live->new_, name, code);
            same = known ? changes_add(live->comparison, name, "changed", kind)
                         : report_removed(live, name, code, kind);
        }
        if (same < 0)
            return -1;
    }
    return 0;
}

/* --- names and constants */

/* Is the statement executed whenever the body is: not in a branch, a loop or a `try`? */
static int is_unconditional(const struct body *body, const struct binding *binding)
{
    int skipped = code_may_skip(&body->code, binding->store);

    return skipped < 0 ? -1 : !skipped;
}

static bool is_deleted(const struct body *body, PyObject *name)
{
    for (size_t i = 0; i < body->code.n; i++) {
        const struct instruction *in = &body->code.at[i];
        if (in->kind == OP_DELETE_NAME && in->name && PyUnicode_Compare(in->name, name) == 0)
            return true;
    }
    return false;
}

static bool assigns(const struct instruction *in, PyObject *name)
{
    return (in->kind == OP_STORE_NAME || in->kind == OP_STORE_ATTR || in->kind == OP_DELETE_NAME) &&
           in->name && PyUnicode_Compare(in->name, name) == 0;
}

static bool hands_out_names(const struct instruction *in, PyObject *unused)
{
    (void)unused;
    return in->kind == OP_LOAD_NAME && in->name &&
           (str_is(in->name, "globals") || str_is(in->name, "vars") || str_is(in->name, "locals"));
}

static bool takes_items(const struct instruction *in, PyObject *unused)
{
    (void)unused;
    return in->kind == OP_DELETE_SUBSCR ||
           (in->kind == OP_LOAD_ATTR && in->name &&
            (str_is(in->name, "pop") || str_is(in->name, "popitem") || str_is(in->name, "clear") ||
             str_is(in->name, "__delitem__")));
}

/* 1 if an instruction of the code does it. */
static int does(PyObject *code, bool (*is_it)(const struct instruction *, PyObject *),
                PyObject *arg)
{
    struct bytecode decoded;
    bool found = false;

    if (bytecode_decode(code, &decoded) < 0)
        return -1;
    for (size_t i = 0; !found && i < decoded.n; i++)
        found = is_it(&decoded.at[i], arg);
    bytecode_clear(&decoded);
    return found;
}

enum which { FUNCTIONS, ANONYMOUS, ALL };

/* 1 if any code of the source does it, apart from that of the module itself. */
static int any_does(struct live *live, enum which which,
                    bool (*is_it)(const struct instruction *, PyObject *), PyObject *arg)
{
    PyObject *key, *codes;
    Py_ssize_t position = 0;
    int result = 0;

    while (result == 0 && PyDict_Next(live->new_.by_name, &position, &key, &codes)) {
        if (which == ANONYMOUS && !stale_is_anonymous(key))
            continue;
        for (Py_ssize_t k = 0; result == 0 && k < PyList_Size(codes); k++) {
            PyObject *code = PyList_GetItem(codes, k);
            result = which == FUNCTIONS ? stale_is_function(code) : 1;
            if (result == 1)
                result = does(code, is_it, arg);
        }
    }
    return result;
}

/* Does the body, or a comprehension, hand the module's namespace to others, who may set names
 * there?  If the source takes items out of anything, they may take names away too. */
static int find_gifts(struct live *live)
{
    int result = does(live->disk, hands_out_names, NULL);

    if (result == 0)
        result = any_does(live, ANONYMOUS, hands_out_names, NULL);
    if (result != 1)
        return result;
    live->set_at_run_time = true;
    result = does(live->disk, takes_items, NULL);
    if (result == 0)
        result = any_does(live, ALL, takes_items, NULL);
    live->taken_at_run_time = result == 1;
    return result;
}

static bool is_plain_constant(PyObject *value)
{
    PyTypeObject *type = type_of(value);

    return value == Py_None || type == &PyBool_Type || type == &PyLong_Type ||
           type == &PyFloat_Type || type == &PyUnicode_Type || type == &PyBytes_Type ||
           type == &PyComplex_Type;
}

/* 1: the name has another constant in the source than it has now, and nothing in the module
 * would have changed it. */
static int has_other_constant(struct live *live, const struct body *body,
                              const struct binding *binding, PyObject *value)
{
    PyObject *constant = binding->kind == BINDS_CONSTANT ? binding->constant : NULL;
    int differs = 0;

    if (constant && is_plain_constant(value) && is_plain_constant(constant) &&
        body_count(body, binding->name) == 1) {
        int same = constant_same(value, constant);
        differs = same < 0 ? -1 : !same;
    }
    if (differs == 1)
        differs = is_unconditional(body, binding);
    if (differs == 1) {
        /* By a function, as a global or as an attribute. */
        int assigned = any_does(live, FUNCTIONS, assigns, binding->name);
        differs = assigned < 0 ? -1 : !assigned;
    }
    return differs;
}

/* 1: the name should be there, and is not.  What a class body binds may be taken away by a
 * decorator or a metaclass, all but functions. */
static int is_missing(struct live *live, const struct body *body, const struct binding *binding,
                      bool module)
{
    if (module ? live->taken_at_run_time : binding->kind != BINDS_FUNCTION)
        return 0;
    if (is_deleted(body, binding->name))
        return 0;
    return is_unconditional(body, binding);
}

static const char *kind_of(const struct binding *binding, bool module)
{
    if (binding->kind == BINDS_IMPORT)
        return "import";
    if (!binding->body)
        return module ? "constant" : "attribute";
    if (stale_is_function(binding->body) == 0)
        return "class";
    return module ? "function" : "method";
}

/* Another value of a name in capitals has come from the source; one of any other name may have been
 * set by whoever imports the module. */
static bool is_doubtful(const struct binding *binding)
{
    const char *name = PyUnicode_AsUTF8(binding->name);
    bool doubtful = !name || strpbrk(name, "abcdefghijklmnopqrstuvwxyz");

    PyErr_Clear();
    return binding->kind == BINDS_CONSTANT && doubtful;
}

static int compare_name(struct live *live, const struct body *body, const struct binding *binding,
                        PyObject *namespace, PyObject *prefix)
{
    bool module = PyUnicode_GetLength(prefix) == 0;
    PyObject *value = dict_lookup(namespace, binding->name);
    int differs = value ? has_other_constant(live, body, binding, value)
                        : is_missing(live, body, binding, module);

    if (differs == 1) {
        PyObject *name = binding_qualname(binding, prefix);
        bool doubtful = is_doubtful(binding) || (module && live->set_at_run_time);
        differs = name ? changes_add(doubtful ? &live->doubts : live->comparison, name,
                                     value ? "changed" : "added", kind_of(binding, module))
                       : -1;
        Py_DecRef(name);
    }
    return differs < 0 ? -1 : 0;
}

static int compare_names(struct live *live, PyObject *code, PyObject *namespace, PyObject *prefix)
{
    struct body body;

    if (body_read(code, &body) < 0)
        return -1;
    int result = 0;
    for (size_t i = 0; result == 0 && i < body.n; i++) {
        const struct binding *binding = &body.bindings[i];
        if (body_binding(&body, binding->name) == binding && !is_dunder(binding->name))
            result = compare_name(live, &body, binding, namespace, prefix);
    }
    body_clear(&body);
    return result;
}

/* The live class with the qualified name, if the module's own names lead to it: borrowed. */
static PyObject *find_class(struct live *live, PyObject *qualname)
{
    PyObject *dot = PyUnicode_FromString(".");
    PyObject *parts = dot ? PyUnicode_Split(qualname, dot, -1) : NULL;
    PyObject *namespace = live->dict, *found = NULL;

    for (Py_ssize_t i = 0; parts && namespace && i < PyList_Size(parts); i++) {
        found = dict_lookup(namespace, PyList_GetItem(parts, i));
        namespace = found && is_heap_class(found) ? class_dict(found) : NULL;
    }
    Py_DecRef(dot);
    Py_DecRef(parts);
    return namespace ? found : NULL;
}

static int compare_class(struct live *live, PyObject *qualname, PyObject *codes)
{
    PyObject *class = find_class(live, qualname), *prefix;
    PyObject *module = class ? dict_get(class_dict(class), "__module__") : NULL;
    PyObject *own = dict_get(live->dict, "__name__");
    int result;

    if (PyList_Size(codes) != 1 || !class || type_of(class) != &PyType_Type || !module || !own ||
        !is_str(module) || !is_str(own) || PyUnicode_Compare(module, own) != 0 ||
        class_is_written_in_c(class))
        return 0;
    prefix = PyUnicode_FromFormat("%U.", qualname);
    result = prefix ? compare_names(live, PyList_GetItem(codes, 0), class_dict(class), prefix) : -1;
    Py_DecRef(prefix);
    return result;
}

static int compare_all_names(struct live *live)
{
    PyObject *prefix = PyUnicode_FromString(""), *name, *codes;
    int result = prefix ? compare_names(live, live->disk, live->dict, prefix) : -1;
    Py_ssize_t position = 0;

    while (result == 0 && PyDict_Next(live->new_.by_qualname, &position, &name, &codes)) {
        if (stale_is_function(PyList_GetItem(codes, 0)) == 0)
            result = compare_class(live, name, codes);
    }
    Py_DecRef(prefix);
    return result;
}

/* In a source that has changed for certain they are likely too. */
static int add_doubts(struct live *live)
{
    int result = 0;

    if (!PyList_Size(live->comparison->changes))
        return 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_Size(live->doubts.changes); i++) {
        PyObject *doubt = PyList_GetItem(live->doubts.changes, i);
        result = changes_add(live->comparison, dict_get(doubt, "name"),
                             PyUnicode_AsUTF8(dict_get(doubt, "change")),
                             PyUnicode_AsUTF8(dict_get(doubt, "kind")));
    }
    return result;
}

int stale_compare_live(PyObject *module, PyObject *disk, struct comparison *comparison)
{
    struct live live = {
        .dict = PyModule_GetDict(module),
        .disk = disk,
        .comparison = comparison,
        /* One that put an object of its own in its place (celery, pygments). */
        .set_at_run_time = type_of(module) != &PyModule_Type,
    };
    int result = comparison_init(&live.doubts);

    live.disk_codes = result == 0 ? code_set(disk) : NULL;
    result = live.disk_codes ? definitions_of(disk, &live.new_) : -1;
    if (result == 0)
        result = read_functions(&live);
    if (result == 0)
        result = compare_functions(&live);
    if (result == 0 && find_gifts(&live) < 0)
        result = -1;
    if (result == 0)
        result = compare_all_names(&live);
    if (result == 0)
        result = add_doubts(&live);
    comparison_clear(&live.doubts);
    Py_DecRef(live.disk_codes);
    definitions_clear(&live.old);
    definitions_clear(&live.new_);
    return result;
}
