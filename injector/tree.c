/* --tree (tree.h). */
#include "tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "cleanup.h"
#include "job.h"
#include "procfs.h"
#include "report.h"

/* How it goes over the whole tree. */
struct tree {
    const struct options *options;
    const struct tree_job *job;
    struct json_object *results; /* with --json */
    enum exit_status status;
    unsigned done;
};

static bool contains(const pid_t *pids, size_t n, pid_t pid)
{
    for (size_t i = 0; i < n; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

int tree_pids(pid_t root, pid_t **pids, size_t *n)
{
    _cleanup_free_ pid_t *all = NULL;
    size_t n_all, before;

    if (proc_list(&all, &n_all))
        return -1;
    *pids = malloc((n_all + 1) * sizeof(**pids));
    if (!*pids)
        return -1;
    (*pids)[0] = root;
    *n = 1;
    /* A child may have a lower number than its parent, once the numbers have wrapped. */
    do {
        before = *n;
        for (size_t i = 0; i < n_all; i++) {
            struct proc_stat stat;

            if (*n <= n_all && !contains(*pids, *n, all[i]) && !proc_stat(all[i], &stat) &&
                contains(*pids, *n, stat.parent))
                (*pids)[(*n)++] = all[i];
        }
    } while (*n != before);
    return 0;
}

static void note_status(struct tree *tree, enum exit_status status)
{
    if (tree->status == EXIT_DONE)
        tree->status = status;
}

static void take_result(struct tree *tree, const struct options *options,
                        struct json_object *result)
{
    tree->done++;
    if (tree->job->complete)
        tree->job->complete(options, result);
    note_status(tree, job_exit_status(result));
    if (tree->results) {
        json_object_array_add(tree->results, result);
        return;
    }
    tree->job->report(options, result);
    json_object_put(result);
}

/* A helper that the program started, or a worker without the module, is no failure. */
static bool is_passed_over(const struct error *error)
{
    static const char *const codes[] = {"not-python",    "not-loaded",      "zombie",
                                        "process-ended", "no-such-process", "kernel-thread",
                                        "self",          "shares-memory"};

    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        if (!strcmp(error->code, codes[i]))
            return true;
    return false;
}

static void take_error(struct tree *tree, const struct options *options, struct error *error)
{
    note_status(tree, error->status);
    if (tree->results)
        json_object_array_add(tree->results, report_error_object(options, error));
    else
        report_error(options, error);
    error_free(error);
}

static struct error *run_all(struct tree *tree, const pid_t *pids, size_t n)
{
    struct options options = *tree->options;
    struct error *first = NULL; /* what was passed over at the root */

    for (size_t i = 0; i < n && !channel_interrupted; i++) {
        struct json_object *result;
        struct error *error;

        options.pid = pids[i];
        error = job_run(&options, tree->job->command, &result);
        if (!error)
            take_result(tree, &options, result);
        else if (!is_passed_over(error))
            take_error(tree, &options, error);
        else if (!first)
            first = error;
        else
            error_free(error);
    }
    if (!tree->done && tree->status == EXIT_DONE)
        return first;
    error_free(first);
    return NULL;
}

static struct error *run_tree(struct tree *tree)
{
    _cleanup_free_ pid_t *pids = NULL;
    struct error *error;
    size_t n;

    if (tree_pids(tree->options->pid, &pids, &n))
        return error_errno(EXIT_CANNOT_ATTACH, "no-proc", errno,
                           "cannot list the descendants of process %d", tree->options->pid);
    if (tree->options->json)
        tree->results = json_object_new_array();
    error = run_all(tree, pids, n);
    if (!error && tree->results)
        report_tree(tree->results, tree->status);
    json_object_put(tree->results);
    return error;
}

struct error *tree_run(const struct options *options, const struct tree_job *job,
                       enum exit_status *status)
{
    struct tree tree = {.options = options, .job = job};
    struct json_object *result;
    struct error *error;

    if (options->tree) {
        error = run_tree(&tree);
    } else {
        error = job_run(options, job->command, &result);
        if (!error)
            take_result(&tree, options, result);
    }
    *status = tree.status;
    return error;
}
