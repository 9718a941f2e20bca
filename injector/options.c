/* The part of the command line that the sub-commands share (options.h). */
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 256, KEY_TIMEOUT, KEY_COLOR, KEY_TREE, KEY_VIA };

static const struct argp_option options_table[] = {
    {"json", KEY_JSON, NULL, 0, "Print one JSON object and nothing else", 10},
    {"timeout", KEY_TIMEOUT, "SECONDS", 0, "Give up after SECONDS (default 10)", 10},
    {"quiet", 'q', NULL, 0, "Print errors only", 10},
    {"verbose", 'v', NULL, 0, "Print details", 10},
    {"color", KEY_COLOR, "WHEN", 0, "auto (default), always or never; NO_COLOR is heeded", 10},
    {0},
};

void names_add(struct names *names, char *name, struct argp_state *state)
{
    char **items = realloc(names->items, (names->n + 1) * sizeof(*items));

    if (!items)
        argp_failure(state, EXIT_CANNOT_ATTACH, ENOMEM, "cannot read the command line");
    names->items = items;
    names->items[names->n++] = name;
}

pid_t parse_pid(const char *text, struct argp_state *state)
{
    char *end;
    long pid;

    errno = 0;
    pid = strtol(text, &end, 10);
    if (end == text || *end || errno || pid <= 0 || pid > INT_MAX)
        argp_error(state, "\"%s\" is not a process id", text);
    return pid;
}

error_t parse_process(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options;
        return 0;
    case ARGP_KEY_ARG:
        if (!options->pid)
            options->pid = parse_pid(argument, state);
        else
            names_add(&options->modules, argument, state);
        return 0;
    case ARGP_KEY_END:
        if (!options->pid)
            argp_error(state, "a process id is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

uint32_t parse_timeout(const char *text)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !isfinite(seconds) || seconds < 0.001 || seconds > 86400)
        return 0;
    return seconds * 1000;
}

static enum color parse_color(const char *text, struct argp_state *state)
{
    if (!strcmp(text, "always"))
        return COLOR_ALWAYS;
    if (!strcmp(text, "never"))
        return COLOR_NEVER;
    if (strcmp(text, "auto"))
        argp_error(state, "--color is auto, always or never, not \"%s\"", text);
    return COLOR_AUTO;
}

static error_t parse_common(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case KEY_JSON:
        options->json = true;
        return 0;
    case KEY_TIMEOUT:
        options->timeout_ms = parse_timeout(argument);
        if (!options->timeout_ms)
            argp_error(state, "--timeout is a number of seconds from 0.001 to 86400, not \"%s\"",
                       argument);
        return 0;
    case 'q':
        options->quiet = true;
        return 0;
    case 'v':
        options->verbose++;
        return 0;
    case KEY_COLOR:
        options->color = parse_color(argument, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp common = {.options = options_table, .parser = parse_common};

const struct argp_child common_options[] = {{&common, 0, "Common options:", 10}, {0}};

static const struct argp_option tree_table[] = {
    {"tree", KEY_TREE, NULL, 0, "In PID and its descendants, where the modules are loaded", 2},
    {"via", KEY_VIA, "WAY", 0,
     "ptrace; remote-exec: the interpreter of 3.14 and later loads the agent itself, without "
     "tracing; auto (default): ptrace, unless another tracer has the process",
     2},
    {0},
};

static enum via parse_via(const char *text, struct argp_state *state)
{
    if (!strcmp(text, "ptrace"))
        return VIA_PTRACE;
    if (!strcmp(text, "remote-exec"))
        return VIA_REMOTE_EXEC;
    if (strcmp(text, "auto"))
        argp_error(state, "--via is auto, ptrace or remote-exec, not \"%s\"", text);
    return VIA_AUTO;
}

static error_t parse_tree(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = options;
        return 0;
    case KEY_TREE:
        options->tree = true;
        return 0;
    case KEY_VIA:
        options->via = parse_via(argument, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp tree = {
    .options = tree_table, .parser = parse_tree, .children = common_options};

const struct argp_child tree_options[] = {{&tree, 0, NULL, 0}, {0}};
