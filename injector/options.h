/* The command line: what the sub-commands share, and the table's row type. */
#ifndef PYHOT_OPTIONS_H
#define PYHOT_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define DEFAULT_TIMEOUT_MS 10000

enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

/* The way in: inject.h or remote_exec.h; auto: the first unless another tracer is in its way. */
enum via { VIA_AUTO = 0, VIA_PTRACE, VIA_REMOTE_EXEC };

/* Strings are borrowed from argv; the arrays are owned. */
struct names {
    char **items;
    size_t n;
};

struct debugger;

struct options {
    /* common to all sub-commands */
    bool json, quiet, tree;
    int verbose;
    enum color color;
    enum via via;
    uint32_t timeout_ms;

    pid_t pid;
    struct names modules, new_names, keep_names;
    struct names pids;         /* ps: those it is asked for; each is a process id */
    uint32_t flags;            /* enum pyhot_flag */
    uint32_t data_policy;      /* enum pyhot_data_policy */
    bool exit_code;            /* list-stale --exit-code */
    const char *graph;         /* list-stale --graph: a file's name, or NULL */
    struct debugger *debugger; /* that holds the process; NULL: none */
};

struct command {
    const char *name;
    const char *summary; /* for `pyhot --help`; NULL: not listed there */
    const struct argp *argp;
    /* Prints its own report; an error is printed by main. */
    struct error *(*run)(const struct options *, enum exit_status *);
};

/* One to a file of that name. */
extern const struct command command_attach, command_list_stale, command_loaded_modules, command_ps,
    command_watch, command_where;

/* --json, --timeout, -q, -v, --color: a child of every sub-command's argp, whose
 * input is the struct options.  tree_options: these, --tree and --via. */
extern const struct argp_child common_options[], tree_options[];

/* A process id, or a usage error. */
pid_t parse_pid(const char *text, struct argp_state *);

/* Adds to a list of names; exits as argp does when memory is out. */
void names_add(struct names *, char *name, struct argp_state *);

/* The arguments "PID [MODULE...]": call it with the keys that a sub-command has no other use for.
 * A usage error if PID is missing or none. */
error_t parse_process(int key, char *argument, struct argp_state *state);

/* Positive seconds, "2" or "0.5", as milliseconds; 0: not such a number. */
uint32_t parse_timeout(const char *text);

#endif
