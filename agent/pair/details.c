/* What -v lists: each definition that is replaced, and the names added, removed, kept, taken. */
#include "pairing.h"

/* `old` (or NULL) is what the references to count are to: see pair_count_references. */
static int add_detail(const struct pairing *pairing, PyObject *list, PyObject *name,
                      const char *kind, const char *change, PyObject *old)
{
    PyObject *detail = Py_BuildValue("{sOssss}", "name", name, "kind", kind, "change", change);
    int status = detail ? PyList_Append(list, detail) : -1;

    if (status == 0 && old && remap_get(pairing->remap, old)) {
        status = PyDict_SetItemString(detail, "old", old);
        if (status == 0)
            status = remap_exclude(pairing->remap, detail);
    }

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

        PyObject *value = dict_lookup(dict, name);

        if (add_detail(pairing, module->details, name, kind_of(pairing, value), change, value) < 0)
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
        status = full ? add_detail(pairing, module->details, full,
                                   prefix && !is_type(value) ? "method" : kind_of(pairing, value),
                                   "replaced", value)
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

        if (m->moved_from)
            continue;
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

static int count_references(struct remap *remap, PyObject *detail)
{
    PyObject *old = dict_get(detail, "old");
    PyObject *counts = old ? remap_report_key(remap, old) : NULL;
    int status = -1;

    if (!old)
        return 0;
    if (counts && PyDict_DelItemString(detail, "old") == 0)
        status = PyDict_Update(detail, counts);
    Py_DecRef(counts);
    return status;
}

int pair_count_references(struct remap *remap, struct module_pair *m)
{
    int status = 0;

    for (Py_ssize_t i = 0; m->details && status == 0 && i < PyList_Size(m->details); i++)
        status = count_references(remap, PyList_GetItem(m->details, i));
    return status;
}
