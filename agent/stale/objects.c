/* Which old objects are alive and who holds them (objects.h).
 *
 * Old generations are found first, and their modules' sources read: that may release the GIL.
 * From then to the end nothing does. */
#include "objects.h"

#include <stdbool.h>

#include "cpython/collector.h"
#include "cpython/introspect.h"
#include "cpython/refcount.h"
#include "cpython/shared_keys.h"
#include "emit.h"
#include "path.h"
#include "survey.h"

/* --- roots */

static int add_module_root(struct survey *survey, PyObject *name, PyObject *module)
{
    const char *text = is_str(name) ? PyUnicode_AsUTF8(name) : NULL;

    PyErr_Clear();
    if (!text || !is_module(module))
        return 0;
    if (graph_add_root(&survey->graph, PyModule_GetDict(module), GRAPH_MODULE, text, NULL) < 0)
        return -1;
    return graph_add_root(&survey->graph, module, GRAPH_MODULE, text, NULL);
}

struct frame_root {
    struct survey *survey;
    const char *title;
};

static int add_local_root(PyObject *name, PyObject *value, void *arg)
{
    struct frame_root *root = arg;
    const char *text = PyUnicode_AsUTF8(name);

    PyErr_Clear();
    return graph_add_root(&root->survey->graph, value, GRAPH_FRAME, root->title, text ? text : "?");
}

/* Variables by their names; what else the frame refers to (up to 3.10 its object tells) just by
 * the frame. */
static int add_frame_root(struct survey *survey, const struct running_frame *frame)
{
    PyObject *title = frame_title(frame);
    struct frame_root root = {survey, title ? PyUnicode_AsUTF8(title) : NULL};
    int result = root.title ? frame_locals(frame, add_local_root, &root) : -1;

    if (result == 0)
        result = graph_add_root(&survey->graph, frame->frame, GRAPH_FRAME, root.title, NULL);
    Py_DecRef(title);
    return result;
}

/* Modules first, so that a module's name is the one by which it is imported. */
static int add_roots(struct survey *survey)
{
    PyObject *name, *module, *main_module = dict_get(PyImport_GetModuleDict(), "__main__");
    PyObject *main_name = PyUnicode_FromString("__main__");
    Py_ssize_t position = 0;
    int result = main_name ? 0 : -1;

    if (result == 0 && main_module)
        result = add_module_root(survey, main_name, main_module);
    while (result == 0 && PyDict_Next(PyImport_GetModuleDict(), &position, &name, &module))
        result = add_module_root(survey, name, module);
    for (size_t i = 0; result == 0 && i < survey->frames.n; i++)
        result = add_frame_root(survey, &survey->frames.items[i]);
    Py_DecRef(main_name);
    return result == 0 ? survey_add_outside_roots(survey) : result;
}

/* --- who holds a target */

static bool is_old_class(const struct survey *survey, PyObject *object)
{
    return is_type(object) && graph_target_of(&survey->graph, object);
}

/* Is the way to the holder one over an old class, so that the class is what must be looked at? */
static bool is_within_old_class(const struct survey *survey, uint32_t node)
{
    const struct graph_node *nodes = survey->graph.nodes;

    for (; !(node & GRAPH_ROOT); node = nodes[node].parent) {
        if (is_old_class(survey, nodes[node].object))
            return true;
    }
    return false;
}

/* Is the reference one that follows from another that is listed: a class's in its subclasses'
 * __mro__ and __base__, which __bases__ says, and in its instances, which are counted? */
static bool is_implied(const struct survey *survey, uint32_t node, PyObject *class)
{
    const struct graph_node *holder = &survey->graph.nodes[node];
    PyObject *owner;

    if ((PyObject *)type_of(holder->object) == class)
        return true;
    if (is_type(holder->object) && (PyObject *)((PyTypeObject *)holder->object)->tp_base == class)
        return true;
    if (!is_tuple(holder->object) || holder->parent & GRAPH_ROOT)
        return false;
    owner = survey->graph.nodes[holder->parent].object;
    return is_type(owner) && ((PyTypeObject *)owner)->tp_mro == holder->object;
}

/* Is the holder the namespace of an old class: does it hold a class nested in it? */
static bool is_old_namespace(const struct survey *survey, uint32_t node)
{
    const struct graph_node *holder = &survey->graph.nodes[node];
    PyObject *owner;

    if (holder->parent & GRAPH_ROOT)
        return false;
    owner = survey->graph.nodes[holder->parent].object;
    return is_old_class(survey, owner) && ((PyTypeObject *)owner)->tp_dict == holder->object;
}

static bool counts(const struct survey *survey, uint32_t node, PyObject *object)
{
    if (graph_leads_over(&survey->graph, node, object))
        return false;
    if (is_type(object))
        return !is_implied(survey, node, object) && !is_old_namespace(survey, node);
    return !is_within_old_class(survey, node);
}

/* Where the static variable is that the path begins at; the injector looks for its symbol. */
static int add_place(PyObject *entry, const struct graph_root *root)
{
    PyObject *place = Py_BuildValue("{s:K,s:K,s:N}", "address", (unsigned long long)root->address,
                                    "offset", (unsigned long long)root->offset, "file",
                                    PyUnicode_DecodeFSDefault(root->file));
    int result = place ? PyDict_Update(entry, place) : -1;

    Py_DecRef(place);
    return result;
}

/* A static variable refers to the object: that it is counted follows from what else does. */
static int add_statics(struct survey *survey, PyObject *held_by, const struct graph_target *target)
{
    Py_ssize_t residual =
        refcount_of(target->object) - 1 - (Py_ssize_t)target->n_holders; /* 1 is the survey's */
    int result = 0;

    for (size_t i = 0; result == 0 && i < survey->graph.n_statics; i++) {
        const struct graph_static *found = &survey->graph.statics[i];
        const struct graph_root *root = &survey->graph.roots[found->root & ~GRAPH_ROOT];
        PyObject *entry;
        if (found->node != target->node || found->root == survey->graph.nodes[found->node].parent ||
            residual-- <= 0)
            continue;
        entry = Py_BuildValue("{s:s,s:s}", "path", root->name, "kind", "static");
        result = entry && add_place(entry, root) == 0 ? PyList_Append(held_by, entry) : -1;
        Py_DecRef(entry);
        if (result == 0)
            result = drawing_add_static(&survey->drawing, &survey->graph, root, target->object);
    }
    return result;
}

int survey_add_held_by(struct survey *survey, PyObject *held_by, uint32_t node, PyObject *object)
{
    const struct graph_root *root = graph_root_of(&survey->graph, node);
    PyObject *path, *entry;
    const char *kind = type_of(survey->graph.nodes[node].object)->tp_name;
    int result = -1;

    if (PyList_Size(held_by) >= MAX_HELD_BY)
        return 0;
    path = path_to(&survey->graph, node, object);
    entry = path ? Py_BuildValue("{s:N,s:s}", "path", path, "kind", kind) : NULL;
    if (entry && (!root->file || add_place(entry, root) == 0))
        result = PyList_Append(held_by, entry);
    Py_DecRef(entry);
    return result < 0 ? -1 : drawing_add_way(&survey->drawing, &survey->graph, node, object);
}

/* --- the report */

/* Several generations of one name are one entry. */
static int join(PyObject *entry, size_t count, PyObject *held_by)
{
    PyObject *more = dict_get(entry, "held_by");
    Py_ssize_t n = PyList_Size(more);
    PyObject *sum =
        PyLong_FromSsize_t(PyLong_AsSsize_t(dict_get(entry, "count")) + (Py_ssize_t)count);
    int result = sum ? PyDict_SetItemString(entry, "count", sum) : -1;

    if (result == 0)
        result = PyList_SetSlice(more, n, n, held_by);
    Py_DecRef(sum);
    return result;
}

/* Takes the reference to `held_by`. */
static int report(struct survey *survey, const struct generation *generation, const char *kind,
                  size_t count, PyObject *held_by)
{
    Py_ssize_t n = PyList_Size(survey->report);
    PyObject *name = generation->name;
    PyObject *last = n ? PyList_GetItem(survey->report, n - 1) : NULL, *entry;
    int result;

    if (last && PyUnicode_Compare(dict_get(last, "object"), name) == 0 &&
        str_is(dict_get(last, "kind"), kind)) {
        result = join(last, count, held_by);
        Py_DecRef(held_by);
        return result;
    }
    entry = Py_BuildValue("{s:O,s:O,s:s,s:n,s:N}", "object", name, "module", generation->module,
                          "kind", kind, "count", (Py_ssize_t)count, "held_by", held_by);
    result = entry ? PyList_Append(survey->report, entry) : -1;
    Py_DecRef(entry);
    return result;
}

static bool is_root(const struct survey *survey, uint32_t node)
{
    return node != GRAPH_NONE && survey->graph.nodes[node].parent & GRAPH_ROOT;
}

static int report_target(struct survey *survey, struct generation *generation)
{
    const struct graph_target *target = graph_target_of(&survey->graph, generation->old);
    PyObject *held_by = PyList_New(0);
    int result = held_by ? 0 : -1;
    size_t n = target->n_holders < MAX_HOLDERS ? target->n_holders : MAX_HOLDERS;

    if (result == 0 && is_root(survey, target->node))
        result = survey_add_held_by(survey, held_by, target->node, NULL);
    for (size_t i = 0; result == 0 && i < n; i++) {
        if (counts(survey, target->holders[i], target->object))
            result = survey_add_held_by(survey, held_by, target->holders[i], target->object);
    }
    if (result == 0 && target->node != GRAPH_NONE)
        result = add_statics(survey, held_by, target);
    if (result < 0 || (PyList_Size(held_by) == 0 && !target->instances)) {
        Py_DecRef(held_by);
        return result;
    }
    generation->alive = true;
    return report(survey, generation, is_type(target->object) ? "class" : "function", 1, held_by);
}

static int add_sample(struct survey *survey, PyObject *held_by, uint32_t node, PyObject *class)
{
    if (survey_add_held_by(survey, held_by, node, NULL) < 0)
        return -1;
    return drawing_add_edge(&survey->drawing, &survey->graph, node, class, ".__class__");
}

static int report_instances(struct survey *survey, const struct generation *generation)
{
    const struct graph_target *target = graph_target_of(&survey->graph, generation->old);
    PyObject *held_by;
    int result = 0;

    if (!target->instances)
        return 0;
    held_by = PyList_New(0);
    for (size_t i = 0; held_by && result == 0 && i < target->n_samples; i++)
        result = add_sample(survey, held_by, target->samples[i], target->object);
    if (!held_by || result < 0) {
        Py_DecRef(held_by);
        return -1;
    }
    return report(survey, generation, "instance", target->instances, held_by);
}

static int search(struct survey *survey)
{
    int result = graph_read_heap(&survey->graph);

    for (size_t i = 0; result == 0 && i < survey->generations.n; i++)
        result = graph_add_target(&survey->graph, survey->generations.items[i].old,
                                  survey->generations.items[i].name,
                                  survey->generations.items[i].module);
    for (size_t i = 0; result == 0 && i < survey->suspended.n; i++)
        result =
            graph_add_target(&survey->graph, survey->suspended.items[i].generator,
                             survey->suspended.items[i].name, survey->suspended.items[i].module);
    if (result == 0)
        result = add_roots(survey);
    if (result == 0)
        result = graph_search(&survey->graph);
    for (size_t i = 0; result == 0 && i < survey->generations.n; i++)
        result = report_target(survey, &survey->generations.items[i]);
    for (size_t i = 0; result == 0 && i < survey->generations.n; i++) {
        if (is_type(survey->generations.items[i].old))
            result = report_instances(survey, &survey->generations.items[i]);
    }
    if (result == 0)
        result = survey_report_suspended(survey);
    graph_clear(&survey->graph);
    return result;
}

static int survey_all(struct survey *survey)
{
    PyObject *codes;
    bool was_on;
    int result;

    shared_keys_known(); /* now: it makes objects to find out */
    emit_progress("generations", 0, 0);
    if (generations_find(&survey->generations, NULL) < 0 ||
        running_frames_read(&survey->frames) < 0 || survey_report_frames(survey) < 0)
        return -1;
    codes = suspended_codes();
    if (!codes || suspended_find(&survey->suspended, codes) < 0 ||
        !(survey->generations.n || survey->suspended.n)) {
        Py_DecRef(codes);
        return codes && !PyErr_Occurred() ? 0 : -1;
    }
    emit_progress("holders", 0, 0);
    survey_read_outside(survey);
    result = collector_pause(&was_on);
    if (result == 0) {
        result = search(survey);
        collector_resume(was_on);
    }
    suspended_clear(&survey->suspended);
    Py_DecRef(codes);
    return result;
}

PyObject *stale_objects(PyObject **graph)
{
    struct survey survey = {.report = PyList_New(0)};
    int result = survey.report ? 0 : -1;

    if (result == 0 && graph)
        result = drawing_open(&survey.drawing);
    if (result == 0)
        result = survey_all(&survey);
    if (result == 0 && graph)
        result = (*graph = drawing_take(&survey.drawing)) ? 0 : -1;
    if (result < 0) {
        Py_DecRef(survey.report);
        survey.report = NULL;
    }
    drawing_clear(&survey.drawing);
    running_frames_clear(&survey.frames);
    generations_clear(&survey.generations);
    survey_clear_outside(&survey);
    return survey.report;
}

/* --- for a reload */

static int find_alive(struct survey *survey, PyObject *modules)
{
    bool was_on;
    int result;

    if (generations_find(&survey->generations, modules) < 0)
        return -1;
    if (!survey->generations.n)
        return 0;
    shared_keys_known();
    if (running_frames_read(&survey->frames) < 0 || collector_pause(&was_on) < 0)
        return -1;
    result = search(survey);
    collector_resume(was_on);
    return result;
}

static int append_generation(PyObject *list, const struct generation *generation)
{
    if (PyList_Append(list, generation->old) < 0 || PyList_Append(list, generation->current) < 0)
        return -1;
    return PyList_Append(list, generation->module);
}

PyObject *stale_generations(PyObject *modules)
{
    struct survey survey = {.report = PyList_New(0)};
    PyObject *list = survey.report ? PyList_New(0) : NULL;
    int result = list ? find_alive(&survey, modules) : -1;

    for (size_t i = 0; result == 0 && i < survey.generations.n; i++) {
        if (survey.generations.items[i].alive)
            result = append_generation(list, &survey.generations.items[i]);
    }
    running_frames_clear(&survey.frames);
    generations_clear(&survey.generations);
    Py_DecRef(survey.report);
    if (result == 0)
        return list;
    Py_DecRef(list);
    return NULL;
}
