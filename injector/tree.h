/* --tree: the same job in a process and in its descendants, one after the other. */
#ifndef PYHOT_TREE_H
#define PYHOT_TREE_H

#include <json-c/json.h>

#include "../agent/request.h"
#include "options.h"

/* What is done with each result: `complete` (or NULL) may set its "exit"; `report` prints it. */
struct tree_job {
    enum pyhot_command command;
    void (*complete)(const struct options *, struct json_object *result);
    void (*report)(const struct options *, struct json_object *result);
};

/* Runs the job in options->pid and, with options->tree, in every descendant that is a CPython in
 * which the modules are loaded.  Each result is reported as it comes; with --tree --json all of
 * them at the end, as {"processes":[...],"exit":...}.  *status: the first that is not 0.
 *
 * An error: the job could be done in none of the processes. */
struct error *tree_run(const struct options *, const struct tree_job *, enum exit_status *status)
    __attribute__((warn_unused_result));

/* `root` and its descendants, `root` first; malloc'ed.  0, or -1 with errno. */
int tree_pids(pid_t root, pid_t **pids, size_t *n);

#endif
