/* pyhot attach PID MODULE...: reload modules in a running process. */
#include <string.h>

#include "report.h"
#include "tree.h"

enum { KEY_DRY_RUN = 512, KEY_DATA, KEY_NEW, KEY_KEEP, KEY_FORCE, KEY_STALE };

static const struct argp_option options_table[] = {
    {"dry-run", KEY_DRY_RUN, NULL, 0, "Tell what would be done; change nothing", 1},
    {"data", KEY_DATA, "POLICY", 0,
     "Values of the module's names that are no definitions: auto (default) keeps live mutable "
     "ones unless their initialiser changed, new takes all new, keep keeps all",
     1},
    {"new", KEY_NEW, "NAME", 0, "Take the new value of NAME", 1},
    {"keep", KEY_KEEP, "NAME", 0, "Keep the old value of NAME", 1},
    {"force", KEY_FORCE, NULL, 0, "Reload even where the source is unchanged", 1},
    {"stale", KEY_STALE, NULL, 0, "Reload all modules that list-stale shows, instead of MODULE...",
     1},
    {0},
};

static enum pyhot_data_policy parse_policy(const char *text, struct argp_state *state)
{
    if (!strcmp(text, "new"))
        return PYHOT_DATA_NEW;
    if (!strcmp(text, "keep"))
        return PYHOT_DATA_KEEP;
    if (strcmp(text, "auto"))
        argp_error(state, "--data is auto, new or keep, not \"%s\"", text);
    return PYHOT_DATA_AUTO;
}

static void check_arguments(const struct options *options, struct argp_state *state)
{
    bool stale = options->flags & PYHOT_STALE;

    if (options->pid && !stale && !options->modules.n)
        argp_error(state, "a module is needed: one in process %d, or --stale", options->pid);
    if (stale && options->modules.n)
        argp_error(state, "give modules or --stale, not both");
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_DRY_RUN:
        options->flags |= PYHOT_DRY_RUN;
        return 0;
    case KEY_DATA:
        options->data_policy = parse_policy(argument, state);
        return 0;
    case KEY_NEW:
        names_add(&options->new_names, argument, state);
        return 0;
    case KEY_KEEP:
        names_add(&options->keep_names, argument, state);
        return 0;
    case KEY_FORCE:
        options->flags |= PYHOT_FORCE;
        return 0;
    case KEY_STALE:
        options->flags |= PYHOT_STALE;
        return 0;
    case ARGP_KEY_END:
        check_arguments(options, state);
        return parse_process(key, argument, state);
    default:
        return parse_process(key, argument, state);
    }
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    static const struct tree_job job = {.command = PYHOT_ATTACH, .report = report_attach};

    return tree_run(options, &job, status);
}

static const struct argp argp = {
    .options = options_table,
    .parser = parse,
    .args_doc = "PID MODULE...",
    .doc = "Reload MODULEs (as in sys.modules; __main__ too) in process PID, all or none.\v"
           "Exit status: 0 done, or nothing to do; 1 the new source failed, nothing changed; "
           "2 usage; 3 cannot attach to this process; 4 the time was over, nothing changed; "
           "5 done, but references remain that could not be rewritten (they are listed); "
           "7 done, but the report could not be written.",
    .children = tree_options,
};

const struct command command_attach = {
    .name = "attach",
    .summary = "reload modules in a running process",
    .argp = &argp,
    .run = run,
};
