/* pyhot ps: the Python processes here, and why not for those that cannot be attached to.
 *
 * Looking at them from outside disturbs none.  What their threads run only an agent in them can
 * tell; so -v asks the processes that have one already, by an earlier attach, and those that are
 * named.  No other can run code that pyhot replaced. */
#include <json-c/json.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "cleanup.h"
#include "job.h"
#include "procfs.h"
#include "python.h"
#include "report.h"
#include "text.h"

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        parse_pid(argument, state);
        names_add(&options->pids, argument, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The command line with spaces between the arguments, malloc'ed; a kernel thread has none. */
static char *command_line(pid_t pid)
{
    size_t size = 0;
    char *text = proc_read(pid, "cmdline", &size);

    for (size_t i = 0; text && i + 1 < size; i++)
        if (!text[i])
            text[i] = ' ';
    return text;
}

/* By its name only: for processes that may not be looked into. */
static bool is_named_python(const char *command)
{
    size_t length = strcspn(command, " ");
    const char *name = command;

    for (size_t i = 0; i < length; i++)
        if (command[i] == '/')
            name = command + i + 1;
    return !strncmp(name, "python", 6) || !strncmp(name, "pypy", 4);
}

/* Whether what target_open or python_find said means that this is no Python at all. */
static bool is_other(const struct error *error, const char *command)
{
    static const char *const not_looked_into[] = {
        "permission", "traced", "stopped", "zombie", "wrong-machine", "unreadable-file", "in-gdb"};
    static const char *const certain[] = {"not-python",  "kernel-thread",   "not-a-process",
                                          "self",        "no-such-process", "process-ended",
                                          "read-memory", "shares-memory"};

    for (size_t i = 0; i < sizeof(certain) / sizeof(*certain); i++)
        if (!strcmp(error->code, certain[i]))
            return true;
    for (size_t i = 0; i < sizeof(not_looked_into) / sizeof(*not_looked_into); i++)
        if (!strcmp(error->code, not_looked_into[i]))
            return !is_named_python(command);
    return false;
}

static struct error *examine(pid_t pid, struct python *python)
{
    struct target target;
    struct error *error = target_open(&target, pid);

    if (error)
        return error;
    error = python_find(python, &target);
    target_close(&target);
    return error;
}

static struct json_object *describe_error(const struct error *error)
{
    struct json_object *object = json_object_new_object();

    json_object_object_add(object, "code", json_object_new_string(error->code));
    json_object_object_add(object, "message", json_text(error->message));
    json_object_object_add(object, "hint",
                           error->hint ? json_object_new_string(error->hint) : NULL);
    return object;
}

/* What the threads run, as the agent in the process says. */
static struct error *ask_where(const struct options *options, pid_t pid,
                               struct json_object **threads)
{
    struct options where = *options;
    struct json_object *result;
    struct error *error;

    where.pid = pid;
    error = job_run(&where, PYHOT_WHERE, &result);
    if (error)
        return error;
    *threads = json_object_get(member_list(result, "threads"));
    json_object_put(result);
    return NULL;
}

/* A process as `pyhot ps --json` shows it; NULL: not a Python, or it has gone. */
static struct json_object *describe(const struct options *options, pid_t pid)
{
    struct proc_status status;
    struct python python = {0};
    _cleanup_free_ char *command = command_line(pid);
    struct json_object *process, *threads = NULL;
    struct passwd *user;
    struct error *error;

    if (!command || !*command || proc_status(pid, &status))
        return NULL;
    error = examine(pid, &python);
    if (error && is_other(error, command)) {
        error_free(error);
        return NULL;
    }
    if (!error && options->verbose && (python.loaded_agent || options->pids.n))
        error = ask_where(options, pid, &threads);
    user = getpwuid(status.uid[1]);
    process = json_object_new_object();
    json_object_object_add(process, "pid", json_object_new_int(pid));
    json_object_object_add(process, "uid", json_object_new_int64(status.uid[1]));
    json_object_object_add(process, "user", user ? json_object_new_string(user->pw_name) : NULL);
    json_object_object_add(process, "python",
                           *python.version ? json_object_new_string(python.version) : NULL);
    json_object_object_add(process, "command", json_text(command));
    if (options->verbose)
        json_object_object_add(process, "threads", threads);
    json_object_object_add(process, "error", error ? describe_error(error) : NULL);
    error_free(error);
    python_clear(&python);
    return process;
}

/* What is said of a named process that is no Python. */
static struct error *refusal(pid_t pid)
{
    struct python python = {0};
    struct error *error = examine(pid, &python);

    python_clear(&python);
    return error ? error
                 : error_new(EXIT_CANNOT_ATTACH, "process-ended", "process %d has ended", (int)pid);
}

/* Those that were named, else all there are; malloc'ed. */
static struct error *choose(const struct options *options, pid_t **pids, size_t *n)
{
    *n = options->pids.n;
    if (!*n)
        return proc_list(pids, n)
                   ? error_new(EXIT_CANNOT_ATTACH, "no-proc", "cannot list the processes in /proc")
                   : NULL;
    *pids = calloc(*n, sizeof(**pids));
    if (!*pids)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    for (size_t i = 0; i < *n; i++)
        (*pids)[i] = strtol(options->pids.items[i], NULL, 10);
    return NULL;
}

static struct error *run(const struct options *options, enum exit_status *status)
{
    _cleanup_free_ pid_t *pids = NULL;
    struct json_object *result, *processes;
    struct error *error;
    size_t n;

    *status = EXIT_DONE;
    if ((error = choose(options, &pids, &n)))
        return error;
    result = json_object_new_object();
    processes = json_object_new_array();
    for (size_t i = 0; !error && i < n && !channel_interrupted; i++) {
        struct json_object *process = describe(options, pids[i]);

        if (process)
            json_object_array_add(processes, process);
        else if (options->pids.n)
            error = refusal(pids[i]);
    }
    json_object_object_add(result, "processes", processes);
    if (!error && channel_interrupted)
        error = error_new(EXIT_DEADLINE, "interrupted", "interrupted");
    if (error) {
        json_object_put(result);
        return error;
    }
    json_object_object_add(result, "exit", json_object_new_int(EXIT_DONE));
    report_processes(options, result);
    json_object_put(result);
    return NULL;
}

static const struct argp argp = {
    .parser = parse,
    .args_doc = "[PID...]",
    .doc = "List the Python processes here (or these) that can be attached to, with their version, "
           "and why not for those that cannot.  With -v also where their threads are, and which "
           "run old code: of those that pyhot was attached to before, and of all that are named.",
    .children = common_options,
};

const struct command command_ps = {
    .name = "ps",
    .summary = "the Python processes here that can be attached to",
    .argp = &argp,
    .run = run,
};
