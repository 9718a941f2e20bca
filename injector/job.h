/* A job for the agent, from the command line to its answer: what `attach` and `list-stale`
 * have in common. */
#ifndef PYHOT_JOB_H
#define PYHOT_JOB_H

#include <json-c/json.h>

#include "../agent/request.h"
#include "options.h"

/* Runs `command` in options->pid.  *result: the agent's answer with "pid", "python" and
 * "time" completed, owned by the caller. */
struct error *job_run(const struct options *, enum pyhot_command command,
                      struct json_object **result) __attribute__((warn_unused_result));

/* The request for it, malloc'ed; NULL: out of memory. */
struct pyhot_request *job_request(const struct options *, enum pyhot_command command);

/* Puts "pid" first, and what only the injector knows into the agent's answer. */
struct json_object *job_complete(struct json_object *answer, pid_t pid, const char *python,
                                 double total_ms, uint64_t stop_us);

/* The "exit" of a result; one that is none of ours counts as a failure to attach. */
enum exit_status job_exit_status(struct json_object *result);

#endif
