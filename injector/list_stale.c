/* pyhot list-stale PID: what in a process no longer matches its source. */
#include "cleanup.h"
#include "graph_file.h"
#include "job.h"
#include "report.h"
#include "tree.h"

enum { KEY_OBJECTS = 512, KEY_EXIT_CODE, KEY_GRAPH };

static const struct argp_option options_table[] = {
    {"objects", KEY_OBJECTS, NULL, 0, "Also list objects of old generations and who holds them", 1},
    {"graph", KEY_GRAPH, "FILE", 0,
     "Draw who holds the old objects into FILE.svg (by graphviz' dot) or FILE.dot; implies "
     "--objects",
     1},
    {"exit-code", KEY_EXIT_CODE, NULL, 0, "Exit with status 6 if something is stale", 1},
    {0},
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_OBJECTS:
        options->flags |= PYHOT_OBJECTS;
        return 0;
    case KEY_EXIT_CODE:
        options->exit_code = true;
        return 0;
    case KEY_GRAPH:
        if (!graph_file_known(argument))
            argp_error(state, "--graph writes FILE.svg or FILE.dot, not \"%s\"", argument);
        options->graph = argument;
        options->flags |= PYHOT_OBJECTS | PYHOT_GRAPH;
        return 0;
    default:
        return parse_process(key, argument, state);
    }
}

static bool anything_stale(struct json_object *result)
{
    struct json_object *list;

    if (json_object_object_get_ex(result, "objects", &list) &&
        json_object_is_type(list, json_type_array) && json_object_array_length(list))
        return true;
    if (!json_object_object_get_ex(result, "modules", &list) ||
        !json_object_is_type(list, json_type_array))
        return false;
    for (size_t i = 0; i < json_object_array_length(list); i++)
        if (report_is_stale(json_object_array_get_idx(list, i)))
            return true;
    return false;
}

static void complete(const struct options *options, struct json_object *result)
{
    if (job_exit_status(result) == EXIT_DONE && options->exit_code && anything_stale(result))
        json_object_object_add(result, "exit", json_object_new_int(EXIT_STALE));
}

/* The report is worth having even if the drawing could not be made; but --json is one object. */
static struct error *run_with_graph(const struct options *options, enum exit_status *status)
{
    struct json_object *result = NULL;
    struct error *error;

    if (options->tree)
        return error_new(EXIT_USAGE, "usage",
                         "--graph draws one process; it does not go with --tree");
    error = graph_file_check(options->graph);
    if (!error)
        error = job_run(options, PYHOT_LIST_STALE, &result);
    if (!result)
        return error;
    complete(options, result);
    *status = job_exit_status(result);
    error = graph_file_write(options->graph, result, options->timeout_ms);
    if (!error || !options->json)
        report_stale(options, result);
    json_object_put(result);
    return error;
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    static const struct tree_job job = {
        .command = PYHOT_LIST_STALE, .complete = complete, .report = report_stale};

    return options->graph ? run_with_graph(options, status) : tree_run(options, &job, status);
}

static const struct argp argp = {
    .options = options_table,
    .parser = parse,
    .args_doc = "PID [MODULE...]",
    .doc = "Tell which definitions of the modules in process PID differ from their source on "
           "disk.  Changes nothing in the process.\v"
           "Exit status: 0 done; 2 usage; 3 cannot attach to this process; 4 the time was over; "
           "6 something is stale (with --exit-code); 7 the report could not be written.",
    .children = tree_options,
};

const struct command command_list_stale = {
    .name = "list-stale",
    .summary = "what in a process no longer matches its source",
    .argp = &argp,
    .run = run,
};
