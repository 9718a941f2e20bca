/* A job for the agent, from the command line to its answer (job.h). */
#include "job.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "cleanup.h"
#include "debugger.h"
#include "inject.h"
#include "noted_signal.h"
#include "python.h"
#include "remote_exec.h"
#include "report.h"
#include "variables.h"

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * UINT64_C(1000000000) + now.tv_nsec;
}

static size_t names_size(const struct names *names)
{
    size_t size = 0;

    for (size_t i = 0; i < names->n; i++)
        size += strlen(names->items[i]) + 1;
    return size;
}

static char *put_names(char *position, const struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        position = stpcpy(position, names->items[i]) + 1;
    return position;
}

struct pyhot_request *job_request(const struct options *options, enum pyhot_command command)
{
    size_t size = sizeof(struct pyhot_request) + names_size(&options->modules) +
                  names_size(&options->new_names) + names_size(&options->keep_names);
    struct pyhot_request *request = calloc(1, size);
    char *position;

    if (!request)
        return NULL;
    request->protocol = PYHOT_PROTOCOL;
    request->size = size;
    request->command = command;
    request->flags = options->flags | (options->verbose ? PYHOT_VERBOSE : 0) |
                     (options->debugger && options->debugger->here ? PYHOT_LENT : 0);
    request->data_policy = options->data_policy;
    request->timeout_ms = options->timeout_ms;
    request->n_modules = options->modules.n;
    request->n_new = options->new_names.n;
    request->n_keep = options->keep_names.n;
    position = put_names(request->strings, &options->modules);
    position = put_names(position, &options->new_names);
    put_names(position, &options->keep_names);
    return request;
}

struct json_object *job_complete(struct json_object *answer, pid_t pid, const char *python,
                                 double total_ms, uint64_t stop_us)
{
    struct json_object *whole = json_object_new_object(), *time = json_object_new_object();
    struct json_object *agent_time;
    char milliseconds[32];

    json_object_object_add(whole, "pid", json_object_new_int(pid));
    json_object_object_add(whole, "python", json_object_new_string(python));
    snprintf(milliseconds, sizeof(milliseconds), "%.3f", total_ms);
    json_object_object_add(time, "total_ms", json_object_new_double_s(total_ms, milliseconds));
    json_object_object_add(time, "stop_us", json_object_new_int64(stop_us));
    if (json_object_object_get_ex(answer, "time", &agent_time) &&
        json_object_is_type(agent_time, json_type_object)) {
        json_object_object_foreach(agent_time, key, value)
            json_object_object_add(time, key, json_object_get(value));
    }
    if (json_object_is_type(answer, json_type_object)) {
        json_object_object_foreach(answer, key, value) if (strcmp(key, "time"))
            json_object_object_add(whole, key, json_object_get(value));
    }
    json_object_object_del(whole, "exit"); /* stays the last */
    json_object_object_add(whole, "time", time);
    json_object_object_add(whole, "exit", json_object_new_int(job_exit_status(answer)));
    json_object_put(answer);
    return whole;
}

enum exit_status job_exit_status(struct json_object *result)
{
    struct json_object *status;

    if (!json_object_object_get_ex(result, "exit", &status))
        return EXIT_CANNOT_ATTACH;
    switch (json_object_get_int(status)) {
    case EXIT_DONE:
    case EXIT_SOURCE_FAILED:
    case EXIT_REFERENCES_LEFT:
    case EXIT_STALE:
        return json_object_get_int(status);
    default:
        return EXIT_CANNOT_ATTACH;
    }
}

/* The way from a process that was found fit to the agent's answer. */
static struct error *start_and_read(const struct options *options, const struct target *target,
                                    const struct python *python,
                                    const struct pyhot_request *request, enum via via,
                                    uint64_t start_ns, struct json_object **result)
{
    /* A breakpoint may hold the job up for as long as its user likes; who can wait, can cancel.
     * Where only our thread runs, it may wait for one that does not. */
    uint64_t deadline_ns = options->debugger && !options->debugger->here
                               ? UINT64_MAX
                               : start_ns + options->timeout_ms * UINT64_C(1000000);
    struct progress progress;
    struct injection injection;
    struct error *error = via == VIA_REMOTE_EXEC
                              ? remote_exec_start(&injection, target, python, request, deadline_ns)
                              : inject_start(&injection, target, python, request, deadline_ns);

    if (error)
        return error;
    report_progress_start(&progress, options);
    error = channel_read(&injection, target, deadline_ns, report_progress, &progress, result);
    report_progress_end(&progress);
    if (!error) {
        variables_name(*result, target);
        *result = job_complete(*result, target->pid, python->version, (now_ns() - start_ns) / 1e6,
                               injection.stop_ns / 1000);
    }
    if (via == VIA_REMOTE_EXEC) {
        remote_exec_end(&injection);
        return error;
    }
    inject_end(&injection);
    noted_signal_let_see(target, python);
    return error;
}

/* Where pyhot's commands for gdb are, beside this binary as installed or as built; malloc'ed, NULL:
 * not there. */
static char *gdb_script(void)
{
    static const char *const places[] = {"../share/pyhot", "../scripts"};
    char self[PATH_MAX], path[PATH_MAX + 64];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length < 0)
        return NULL;
    self[length] = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
        snprintf(path, sizeof(path), "%.*s/%s/pyhot-gdb.py", (int)(strrchr(self, '/') - self), self,
                 places[i]);
        if (!access(path, R_OK))
            return realpath(path, NULL);
    }
    return NULL;
}

/* gdb can do the job for us: the lines to type there. */
static struct error *name_command_for_gdb(struct error *error, const struct options *options,
                                          enum pyhot_command command)
{
    _cleanup_free_ char *modules = NULL, *script = gdb_script();
    size_t size = 0;
    FILE *out = open_memstream(&modules, &size);

    if (!out)
        return error;
    for (size_t i = 0; i < options->modules.n; i++)
        fprintf(out, " %s", options->modules.items[i]);
    fclose(out);
    return error_hint(error, "type in that gdb: pyhot %s%s%s%s (once before: source %s)",
                      command == PYHOT_ATTACH  ? "attach"
                      : command == PYHOT_WHERE ? "where"
                                               : "list-stale",
                      options->flags & PYHOT_STALE ? " --stale" : "",
                      options->flags & PYHOT_OBJECTS ? " --objects" : "", modules,
                      script ? script : "pyhot-gdb.py");
}

static struct error *offer_remote_exec(struct error *error, bool stopped)
{
    _cleanup_free_ char *hint = strdup(error->hint ? error->hint : "");

    return hint ? error_hint(error, "%s; or%s: --via=remote-exec, which needs no tracing", hint,
                             stopped ? ", once it has been continued" : "")
                : error;
}

static struct error *run_via(const struct options *options, const struct pyhot_request *request,
                             enum via via, uint64_t start_ns, struct json_object **result)
{
    struct target target;
    struct python python;
    struct error *error = via == VIA_REMOTE_EXEC
                              ? target_open_traced(&target, options->pid)
                              : target_open_held(&target, options->pid, options->debugger);

    if (error)
        return error;
    error = python_find(&python, &target);
    if (!error) {
        error = start_and_read(options, &target, &python, request, via, start_ns, result);
        python_clear(&python);
    }
    target_close(&target);
    return error;
}

/* Whether remote-exec serves a process that another program traces; *stopped: it would if the main
 * thread were not stopped just now. */
static bool remote_exec_serves(pid_t pid, bool *stopped)
{
    struct target target;
    struct python python;
    struct error *error = target_open_traced(&target, pid);
    bool serves;

    *stopped = false;
    if (!error) {
        error = python_find(&python, &target);
        if (!error) {
            error = remote_exec_check(&target, &python);
            python_clear(&python);
        }
        target_close(&target);
    }
    serves = !error;
    *stopped = error && !strcmp(error->code, "stopped-by-tracer");
    error_free(error);
    return serves;
}

/* What to say when remote-exec was tried because of `traced`.  Takes both errors. */
static struct error *after_all(struct error *traced, struct error *error)
{
    struct error *both = error;

    if (error && !strcmp(error->code, "main-thread-blocked")) {
        both = error_hint(error_new(error->status, error->code, "%s; with remote-exec, %s",
                                    traced->message, error->message),
                          "%s", traced->hint);
        error_free(error);
    }
    error_free(traced);
    return both;
}

static bool is_traced(const struct error *error)
{
    return error && (!strcmp(error->code, "in-gdb") || !strcmp(error->code, "traced"));
}

struct error *job_run(const struct options *options, enum pyhot_command command,
                      struct json_object **result)
{
    _cleanup_free_ struct pyhot_request *request = job_request(options, command);
    uint64_t start_ns = now_ns();
    bool serves, stopped;
    struct error *error;

    if (!request)
        return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
    error = run_via(options, request, options->via, start_ns, result);
    if (!is_traced(error))
        return error;
    serves = remote_exec_serves(options->pid, &stopped);
    if (!strcmp(error->code, "in-gdb"))
        error = name_command_for_gdb(error, options, command);
    if (serves && options->via == VIA_AUTO)
        return after_all(error, run_via(options, request, VIA_REMOTE_EXEC, start_ns, result));
    return serves || stopped ? offer_remote_exec(error, stopped) : error;
}
