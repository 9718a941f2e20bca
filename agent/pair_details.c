/* What -v lists: each definition that is replaced, and the names added, removed, kept, taken. */
#include "pairing.h"

static int add_detail(PyObject *list, PyObject *name, const char *kind, const char *change)
{
    PyObject *detail = Py_BuildValue("{sOssss}", "name", name, "kind", kind, "change", change);
    int status = detail ? PyList_Append(list, detail) : -1;

    Py_DecRef(detail);
    return status;
}

static const char *kind_of(const struct pairing *pairing, PyObject *value)
{
    if (!value || !is_definition(pairing, value))
        return "name";
    return is_type(value) ? "class" : "function";
}

static int add_names(const struct pairing *pairing, struct module_pair *module, PyObject *names,
                     PyObject *dict, const char *change)
{
    for (Py_ssize_t i = 0; i < PyList_Size(names); i++) {
        PyObject *name = PyList_GetItem(names, i);

        if (add_detail(module->details, name, kind_of(pairing, dict_lookup(dict, name)), change) <
            0)
            return -1;
    }
    return 0;
}

/* The definitions in `old` that became those in `new_`, both namespaces; `prefix` is "K.". */
static int add_replaced(const struct pairing *pairing, struct module_pair *module, PyObject *old,
                        PyObject *new_, PyObject *prefix)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    int status = 0;

    while (status == 0 && PyDict_Next(old, &at, &name, &value)) {
        PyObject *now = remap_get(pairing->remap, value), *full;

        if (!is_str(name) || !now || !is_definition(pairing, value) ||
            dict_lookup(new_, name) != now)
            continue;
        full = prefix ? PyUnicode_FromFormat("%U.%U", prefix, name) : (Py_IncRef(name), name);
        status = full ? add_detail(module->details, full,
                                   prefix && !is_type(value) ? "method" : kind_of(pairing, value),
                                   "replaced")
                      : -1;
        if (status == 0 && is_heap_class(value) && is_heap_class(now))
            status = add_replaced(pairing, module, class_dict(value), class_dict(now), full);
        Py_DecRef(full);
    }
    return status;
}

int pair_details(struct pairing *pairing)
{
    for (size_t i = 0; i < pairing->n; i++) {
        struct module_pair *m = &pairing->modules[i];

        m->details = PyList_New(0);
        if (!m->details || add_replaced(pairing, m, m->old_dict, m->new_dict, NULL) < 0 ||
            add_names(pairing, m, m->added, m->new_dict, "added") < 0 ||
            add_names(pairing, m, m->removed, m->old_dict, "removed") < 0 ||
            add_names(pairing, m, m->kept, m->old_dict, "kept") < 0 ||
            add_names(pairing, m, m->taken, m->new_dict, "taken") < 0)
            return -1;
    }
    return 0;
}
