/* pyhot: the command line. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "debugger.h"
#include "options.h"
#include "report.h"

const char *argp_program_version = "pyhot 1.0";
const char *argp_program_bug_address;

static const struct command *const commands[] = {
    &command_attach, &command_list_stale, &command_loaded_modules,
    &command_ps,     &command_watch,      &command_where,
};

static const size_t n_commands = sizeof(commands) / sizeof(*commands);

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < n_commands; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

/* What was found on the command line so far. */
struct invocation {
    const struct command *command;
    int first; /* index of the command's name in argv */
};

static error_t parse_top(int key, char *argument, struct argp_state *state)
{
    struct invocation *invocation = state->input;

    switch (key) {
    case ARGP_KEY_ARG:
        invocation->command = find_command(argument);
        if (!invocation->command)
            argp_error(state, "there is no command \"%s\"", argument);
        invocation->first = state->next - 1;
        state->next = state->argc; /* the rest is the command's */
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "a command is needed");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* Lists the table of commands in `pyhot --help`. */
static char *filter_help(int key, const char *text, void *input)
{
    size_t size = 0;
    char *list = NULL;
    FILE *out;

    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC)
        return (char *)text;
    out = open_memstream(&list, &size);
    if (!out)
        return (char *)text;
    fputs("Commands:\n", out);
    for (size_t i = 0; i < n_commands; i++)
        if (commands[i]->summary)
            fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\n%s", text);
    fclose(out);
    return list;
}

static const struct argp top = {
    .parser = parse_top,
    .args_doc = "COMMAND ...",
    .doc = "Hot-reload Python modules inside a running CPython process that was never prepared "
           "for it.\v"
           "pyhot COMMAND --help tells a command's options; pyhot(1) the rest.",
    .help_filter = filter_help,
};

static void parse_command(const struct command *command, int argc, char **argv,
                          struct options *options)
{
    char *name;

    /* argp names the program by argv[0] in usage and errors. */
    if (asprintf(&name, "pyhot %s", command->name) >= 0)
        argv[0] = name;
    argp_parse(command->argp, argc, argv, 0, NULL, options);
    if (argv[0] == name)
        argv[0] = (char *)command->name;
    free(name);
}

static void on_interrupt(int signal)
{
    (void)signal;
    channel_interrupted = 1;
}

/* A first Ctrl-C makes the channel give up in an orderly way; no SA_RESTART, so that waits end.
 * Who started us in the background or by nohup may have had it ignored: then it stays so.  A reader
 * of ours that is gone, or a limit on file sizes, is an error to report, not a reason to die. */
static void handle_signals(void)
{
    struct sigaction interrupt = {.sa_handler = on_interrupt}, ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    const int interrupts[] = {SIGINT, SIGTERM};
    sigset_t child;

    for (size_t i = 0; i < sizeof(interrupts) / sizeof(*interrupts); i++) {
        sigaction(interrupts[i], NULL, &before);
        if (before.sa_handler != SIG_IGN)
            sigaction(interrupts[i], &interrupt, NULL);
    }
    sigaction(SIGPIPE, &ignore, NULL);
    /* Ignored, as a parent may leave it, waitpid tells no status; blocked, tracee.c misses a stop.
     */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}

/* Descriptors that we open must not become our stdin, stdout or stderr.  What is missing is
 * filled such that writing to it fails. */
static void occupy_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* A failure is worth more to the caller than that its report was lost too. */
static bool is_failure(enum exit_status status)
{
    return status == EXIT_SOURCE_FAILED || status == EXIT_CANNOT_ATTACH || status == EXIT_DEADLINE;
}

int main(int argc, char **argv)
{
    struct invocation invocation = {0};
    struct options options = {.timeout_ms = DEFAULT_TIMEOUT_MS};
    struct debugger debugger;
    enum exit_status status = EXIT_DONE;
    struct error *error;

    occupy_standard_descriptors();
    setlocale(LC_CTYPE, "");
    argp_err_exit_status = EXIT_USAGE;
    if (debugger_open(&debugger, &argc, &argv))
        options.debugger = &debugger;
    argp_parse(&top, argc, argv, ARGP_IN_ORDER, NULL, &invocation);
    parse_command(invocation.command, argc - invocation.first, argv + invocation.first, &options);
    handle_signals();

    error = invocation.command->run(&options, &status);
    if (error) {
        status = error->status;
        report_error(&options, error);
        error_free(error);
    }
    if (!report_flush(!is_failure(status)) && !is_failure(status))
        status = EXIT_REPORT_LOST;
    free(options.modules.items);
    free(options.new_names.items);
    free(options.keep_names.items);
    free(options.pids.items);
    return status;
}
