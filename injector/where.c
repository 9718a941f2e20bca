/* pyhot where PID: what each thread runs now, and which of it is old code. */
#include "report.h"
#include "tree.h"

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;
    error_t result = parse_process(key, argument, state);

    if (options->modules.n)
        argp_error(state, "where takes one process: \"%s\"", argument);
    return result;
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    static const struct tree_job job = {.command = PYHOT_WHERE, .report = report_where};

    return tree_run(options, &job, status);
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "PID",
    .doc = "Tell where each thread of process PID is, and which of them still run code that was "
           "replaced.  Changes nothing in the process.\v"
           "Exit status: 0 done; 2 usage; 3 cannot attach to this process; 4 the time was over; "
           "7 the report could not be written.",
    .children = tree_options,
};

const struct command command_where = {
    .name = "where",
    .summary = "where the threads of a process are, and which run old code",
    .argp = &argp,
    .run = run,
};
