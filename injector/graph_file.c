/* Writing a drawing (graph_file.h): text in the language of graphviz,
 * https://graphviz.org/doc/info/lang.html, made in memory, given to dot if need be, and put in
 * place by a rename. */
#include "graph_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "channel.h"
#include "cleanup.h"
#include "text.h"
#include "tracee.h"

extern char **environ;

enum { LABEL_MAX = 64, NODES_MAX = 400 };

static bool ends_in(const char *path, const char *suffix)
{
    size_t length = strlen(path), n = strlen(suffix);

    return length > n && !strcmp(path + length - n, suffix);
}

bool graph_file_known(const char *path)
{
    return ends_in(path, ".svg") || ends_in(path, ".dot");
}

/* --- the text */

/* A quoted string: an escString too, where a backslash begins \N and the like. */
static void print_quoted(FILE *out, const char *text)
{
    _cleanup_free_ char *safe = NULL;
    size_t size = 0, shown;
    FILE *memory = open_memstream(&safe, &size);

    if (!memory)
        return;
    print_safe(memory, text, false);
    fclose(memory);
    shown = size <= LABEL_MAX ? size : LABEL_MAX;
    while (shown < size && ((unsigned char)safe[shown] & 0xc0) == 0x80)
        shown--; /* within a character */
    for (size_t i = 0; i < shown; i++) {
        if (safe[i] == '"' || safe[i] == '\\')
            putc('\\', out);
        putc(safe[i], out);
    }
    if (shown < size)
        fputs("...", out);
}

static bool is_suspended(const char *type)
{
    return !strcmp(type, "generator") || !strcmp(type, "coroutine") ||
           !strcmp(type, "async_generator");
}

static void print_node(FILE *out, size_t number, struct json_object *node)
{
    static const struct {
        const char *kind, *look;
    } looks[] = {
        {"module", "shape=folder, fillcolor=\"#dbe7f5\""},
        {"frame", "shape=cds, fillcolor=\"#e2f0d9\""},
        {"outside", "shape=hexagon, fillcolor=\"#e6e6e6\""},
        {"static", "shape=hexagon, fillcolor=\"#e6e6e6\""},
        {"old", "fillcolor=\"#f4b3ab\", penwidth=2"},
        {"old-instance", "fillcolor=\"#fbe3b5\""},
    };
    const char *kind = member_text(node, "kind"), *type = member_text(node, "type");
    const char *label = member_text(node, "label"), *look = "fillcolor=white";
    struct json_object *runs_old_code;

    for (size_t i = 0; i < sizeof(looks) / sizeof(*looks); i++)
        if (!strcmp(kind, looks[i].kind))
            look = looks[i].look;
    fprintf(out, "n%zu [label=\"", number);
    print_quoted(out, label);
    if (!strcmp(kind, "old"))
        fprintf(out, "\\n%s %s", is_suspended(type) ? "suspended" : "old",
                is_suspended(type) || !strcmp(type, "function") ? type : "class");
    else if (!strcmp(kind, "old-instance"))
        fputs("\\ninstance", out);
    else if (!strcmp(type, "function") || !strcmp(type, "type"))
        fprintf(out, "\\n%s", strcmp(type, "type") ? type : "class");
    if (member_number(node, "instances")) {
        fputs("\\n", out);
        print_count(out, member_number(node, "instances"), "instance");
    }
    fprintf(out, "\", %s", look);
    if (json_object_object_get_ex(node, "old", &runs_old_code))
        fputs(", penwidth=2, color=\"#c0392b\"", out);
    fputs("];\n", out);
}

/* The first of `nodes` with this module, NULL: none? */
static bool is_first_of_module(struct json_object *nodes, size_t number, const char *module)
{
    for (size_t i = 0; i < number; i++)
        if (!strcmp(member_text(json_object_array_get_idx(nodes, i), "module"), module))
            return false;
    return true;
}

/* All nodes of one module, or those of none. */
static void print_cluster(FILE *out, struct json_object *nodes, size_t n, size_t first)
{
    const char *module = member_text(json_object_array_get_idx(nodes, first), "module");

    if (*module) {
        fprintf(out, "  subgraph \"cluster_%zu\" {\n    label=\"", first);
        print_quoted(out, module);
        fputs("\"; style=\"rounded\"; color=\"#8a9bb0\"; fontcolor=\"#46566a\";\n", out);
    }
    for (size_t i = first; i < n; i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i);

        if (strcmp(member_text(node, "module"), module))
            continue;
        fputs(*module ? "    " : "  ", out);
        print_node(out, i, node);
    }
    if (*module)
        fputs("  }\n", out);
}

static void print_edges(FILE *out, struct json_object *edges, size_t n)
{
    for (size_t i = 0; i < list_length(edges); i++) {
        struct json_object *edge = json_object_array_get_idx(edges, i);
        int64_t from = member_number(edge, "from"), to = member_number(edge, "to");
        const char *step = member_text(edge, "step");

        if (from < 0 || to < 0 || (size_t)from >= n || (size_t)to >= n)
            continue;
        fprintf(out, "  n%" PRId64 " -> n%" PRId64 " [label=\"", from, to);
        print_quoted(out, step);
        fprintf(out, "\"%s];\n", strcmp(step, ".__class__") ? "" : ", style=dashed");
    }
}

/* dot takes minutes for thousands of nodes, and nobody could read the drawing; paths are in the
 * order of the report, so the first nodes belong together. */
static void print_graph(FILE *out, struct json_object *result)
{
    struct json_object *graph = member_object(result, "graph");
    struct json_object *nodes = member_list(graph, "nodes");
    size_t all = list_length(nodes), n = all < NODES_MAX ? all : NODES_MAX;

    fprintf(out, "digraph pyhot {\n  label=\"%s in process %" PRId64 " (python ",
            all ? "Old objects and who holds them" : "No old objects",
            member_number(result, "pid"));
    print_quoted(out, member_text(result, "python"));
    fputc(')', out);
    if (n < all)
        fprintf(out, ": the first %zu of %zu nodes", n, all);
    fputs("\";\n"
          "  labelloc=t; rankdir=LR; fontname=\"Helvetica\"; fontsize=12; nodesep=0.15;\n"
          "  node [shape=box, style=\"rounded,filled\", fontname=\"Helvetica\", fontsize=10];\n"
          "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#606060\"];\n",
          out);
    for (size_t i = 0; i < n; i++)
        if (is_first_of_module(nodes, i,
                               member_text(json_object_array_get_idx(nodes, i), "module")))
            print_cluster(out, nodes, n, i);
    print_edges(out, member_list(graph, "edges"), n);
    fputs("}\n", out);
}

/* --- dot */

static bool is_in_path(const char *program)
{
    const char *path = getenv("PATH");

    while (path && *path) {
        size_t length = strcspn(path, ":");
        char file[PATH_MAX];

        snprintf(file, sizeof(file), "%.*s/%s", (int)length, path, program);
        if (length && !access(file, X_OK))
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

/* Waits for the child to end, and kills it when it is late or the user wants no more.  Its
 * status; *late. */
static int wait_for(pid_t child, uint64_t deadline_ns, bool *late)
{
    int status = 0;
    bool killed = false;

    *late = false;
    while (waitpid(child, &status, killed ? 0 : WNOHANG) == 0) {
        *late = monotonic_ns() >= deadline_ns;
        killed = *late || channel_interrupted;
        if (killed)
            kill(child, SIGKILL);
        else
            nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return status;
}

/* dot -Tsvg, from one descriptor to another. */
static struct error *run_dot(int in, int out, uint32_t timeout_ms)
{
    char *const arguments[] = {"dot", "-Tsvg", NULL};
    posix_spawn_file_actions_t actions;
    int failed, status;
    pid_t child;
    bool late;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    failed = posix_spawnp(&child, "dot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return error_errno(EXIT_REPORT_LOST, "no-graphviz", failed, "cannot run graphviz' dot");
    status = wait_for(child, monotonic_ns() + timeout_ms * (uint64_t)1000000, &late);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return NULL;
    if (late)
        return error_hint(error_new(EXIT_REPORT_LOST, "no-graphviz",
                                    "graphviz' dot did not end in %g s", timeout_ms / 1000.0),
                          "try again with a longer --timeout, or write FILE.dot");
    return error_hint(error_new(EXIT_REPORT_LOST, "no-graphviz",
                                WIFEXITED(status) ? "graphviz' dot failed with status %d"
                                                  : "graphviz' dot was ended by signal %d",
                                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)),
                      "write FILE.dot, and see what dot -Tsvg FILE.dot says");
}

/* --- the file */

static struct error *cannot_write(const char *path)
{
    return error_errno(EXIT_REPORT_LOST, "cannot-write", errno, "cannot write %s", path);
}

static int copy(int from, int to)
{
    char bytes[65536];
    off_t at = 0;
    ssize_t n;

    while ((n = pread(from, bytes, sizeof(bytes), at)) > 0) {
        if (write(to, bytes, n) != n)
            return -1;
        at += n;
    }
    return n < 0 ? -1 : 0;
}

/* What `content` has becomes the file; a link stays one. */
static struct error *replace_file(const char *path, int content)
{
    _cleanup_free_ char *resolved = realpath(path, NULL), *temporary = NULL;
    const char *final = resolved ? resolved : path;
    mode_t mask = umask(0);
    struct stat st;
    struct error *error = NULL;
    int fd, failed;

    umask(mask);
    if (asprintf(&temporary, "%s.XXXXXX", final) < 0)
        return cannot_write(path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return cannot_write(path);
    failed = copy(content, fd) || fchmod(fd, stat(final, &st) ? 0666 & ~mask : st.st_mode & 07777);
    failed |= close(fd);
    if (failed || rename(temporary, final)) {
        error = cannot_write(path);
        unlink(temporary);
    }
    return error;
}

struct error *graph_file_check(const char *path)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *directory =
        slash ? strndup(path, slash == path ? 1 : slash - path) : strdup(".");

    if (ends_in(path, ".svg") && !is_in_path("dot"))
        return error_hint(error_new(EXIT_REPORT_LOST, "no-graphviz",
                                    "cannot draw %s: graphviz' dot is not installed", path),
                          "install graphviz, or use %.*s.dot", (int)strlen(path) - 4, path);
    return directory && access(directory, W_OK) ? cannot_write(path) : NULL;
}

static int text_of(struct json_object *result)
{
    int fd = memfd_create("pyhot.dot", MFD_CLOEXEC);
    FILE *out = fd < 0 ? NULL : fdopen(dup(fd), "w");
    bool failed;

    if (!out)
        return -1;
    print_graph(out, result);
    failed = ferror(out);
    if (!fclose(out) && !failed && !lseek(fd, 0, SEEK_SET))
        return fd;
    close(fd);
    return -1;
}

struct error *graph_file_write(const char *path, struct json_object *result, uint32_t timeout_ms)
{
    _cleanup_close_ int text = text_of(result), picture = memfd_create("pyhot.svg", MFD_CLOEXEC);
    struct error *error;

    if (text < 0 || picture < 0)
        return cannot_write(path);
    if (ends_in(path, ".dot"))
        return replace_file(path, text);
    error = run_dot(text, picture, timeout_ms);
    return error ? error : replace_file(path, picture);
}
